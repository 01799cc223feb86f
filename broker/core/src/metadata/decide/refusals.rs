//! Why one topic of a command is left alone, where several decisions say so.

use std::collections::BTreeSet;

use super::super::reply::{TopicError, TopicErrorKind};

/// The names that come more than once.
pub(super) fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

pub(super) fn unknown_topic(name: &str) -> TopicError {
    TopicError::new(TopicErrorKind::UnknownTopicOrPartition, format!("topic {name:?} does not exist"))
}

pub(super) fn invalid_request(message: String) -> TopicError {
    TopicError::new(TopicErrorKind::InvalidRequest, message)
}
