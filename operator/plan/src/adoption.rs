//! A Topic meets a topic: which settings are whose, and what would change.
//!
//! What the manifest doesn't name stays as it is. What this Topic has set, and its manifest names no more,
//! returns to the broker's default. So it is on record what this Topic asked for, with the values: the record
//! is made before the brokers are asked, who may refuse or not answer, and others may set the same key later.
//! Only a topic that has the very value had it from this Topic. Where another value is asked for in the place
//! of one that the topic has of this Topic, both are on record: no answer doesn't say which of the two it
//! has.

use std::collections::{BTreeMap, BTreeSet};

use ottla_api::{ADOPT_ANNOTATION, Topic, TopicStatus};

use crate::view::TopicView;

/// How many values of one setting are kept on record that may come into force unanswered.
const ASKED_MAX: usize = 8;

/// The settings that the manifest names, as text.
pub(crate) fn named(topic: &Topic) -> BTreeMap<String, String> {
    topic.spec.config.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
}

/// What is on record of the settings that a Topic has set or asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SettingsRecord {
    /// Each with the value that the topic has of this Topic, or with the one that was asked for first.
    pub managed: BTreeMap<String, String>,
    /// The values that were asked for in the place of those, in this order, and may have come into force
    /// unanswered.
    pub asked: BTreeMap<String, Vec<String>>,
}

/// The record in the Topic's status, as the topic shows which values are in force.
pub(crate) fn on_record(topic: &Topic, found: &TopicView, before: &TopicStatus) -> SettingsRecord {
    let mut managed = told(topic, found, before);
    let mut asked = before.asked_config.clone();
    for (key, had) in &mut managed {
        let Some(values) = asked.get_mut(key) else { continue };
        if let Some(position) = values.iter().position(|value| found.config.get(key) == Some(value)) {
            // What was asked for before this one is past.
            had.clone_from(&values[position]);
            values.drain(..=position);
        }
    }
    asked.retain(|key, values| managed.contains_key(key) && !values.is_empty());
    SettingsRecord { managed, asked }
}

fn told(topic: &Topic, found: &TopicView, before: &TopicStatus) -> BTreeMap<String, String> {
    match (&before.managed_config, &before.topic_id) {
        // A topic that was made anew by others owes this Topic nothing.
        (_, Some(id)) if *id != found.id => BTreeMap::new(),
        (Some(managed), _) => managed.clone(),
        // An operator that kept no record brought all of the topic's settings to what the manifest names.
        (None, Some(_)) => named(topic),
        (None, None) => BTreeMap::new(),
    }
}

/// The settings on record that the topic has by this Topic's word, and the manifest names no more.
fn taken_back<'a>(
    topic: &Topic,
    found: &'a TopicView,
    managed: &BTreeMap<String, String>,
) -> BTreeMap<&'a str, &'a str> {
    found
        .config
        .iter()
        .filter(|(key, value)| !topic.spec.config.contains_key(*key) && managed.get(*key) == Some(*value))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// All settings that the topic should have; `managed` is what is on record.
pub(crate) fn wanted(
    topic: &Topic,
    found: &TopicView,
    managed: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let taken_back = taken_back(topic, found, managed);
    let mut config = found.config.clone();
    config.retain(|key, _| !taken_back.contains_key(key.as_str()));
    config.extend(named(topic));
    config
}

/// What is to be on record before the brokers are asked for what the manifest says; `before` is what is.
pub(crate) fn managed(
    topic: &Topic,
    found: Option<&TopicView>,
    before: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut managed = BTreeMap::new();
    for (key, value) in named(topic) {
        let has = found.and_then(|found| found.config.get(&key));
        match before.get(&key) {
            // It is as it was, by nobody's doing here.
            None if has == Some(&value) => {}
            // What the topic has of this Topic stays on record until it has the other: it may be refused.
            Some(had) if has == Some(had) => {
                managed.insert(key, had.clone());
            }
            _ => {
                managed.insert(key, value);
            }
        }
    }
    // What is to be taken back stays on record until it is.
    let taken_back = found.map(|found| taken_back(topic, found, before)).unwrap_or_default();
    managed.extend(taken_back.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    managed
}

/// The values that may be in force in the place of what will be on record as `managed` once the brokers are
/// asked, to be on record before they are; `before` is what is.
pub(crate) fn asked(
    topic: &Topic,
    found: &TopicView,
    before: &SettingsRecord,
    managed: &BTreeMap<String, String>,
) -> BTreeMap<String, Vec<String>> {
    let mut named = named(topic);
    let values = managed.iter().filter_map(|(key, had)| {
        let named = named.remove(key);
        if named.as_ref() == Some(had) && found.config.get(key) == Some(had) {
            return None;
        }
        let mut values = before.asked.get(key).cloned().unwrap_or_default();
        values.extend(before.managed.get(key).cloned());
        values.extend(named);
        values.retain(|value| value != had);
        // Each once, the last time that it was asked for.
        let mut seen = BTreeSet::new();
        let mut last: Vec<String> =
            values.into_iter().rev().filter(|value| seen.insert(value.clone())).collect();
        last.truncate(ASKED_MAX);
        last.reverse();
        (!last.is_empty()).then(|| (key.clone(), last))
    });
    values.collect()
}

/// What is left of the record once the brokers have refused: what the topic has of it.
pub(crate) fn left_after_refusal(
    found: &TopicView,
    mut managed: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    managed.retain(|key, value| found.config.get(key) == Some(value));
    managed
}

/// The settings that the topic has and the manifest doesn't name, but for those that are taken back.
pub(crate) fn unmanaged(
    topic: &Topic,
    found: &TopicView,
    managed: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let taken_back = taken_back(topic, found, managed);
    let mut unmanaged = found.config.clone();
    unmanaged.retain(|key, _| !topic.spec.config.contains_key(key) && !taken_back.contains_key(key.as_str()));
    unmanaged
}

/// What a topic that was there before its Topic would have otherwise, in words; empty: it is as the manifest
/// asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Each, as in "retention.ms from -1 to 1000".
    pub all: Vec<String>,
    /// Those by which the topic would keep fewer records.
    pub deletes_records: Vec<String>,
}

/// How a topic that was there before its Topic differs from what the manifest names; `managed` is what is on
/// record all the same, `factor` how many replicas its partitions should have.
pub(crate) fn differences(
    topic: &Topic,
    found: &TopicView,
    managed: &BTreeMap<String, String>,
    factor: usize,
) -> Differences {
    let mut differences = Differences::default();
    let (named, taken_back) = (named(topic), taken_back(topic, found, managed));
    let changed = named.iter().map(|(key, wanted)| (key.as_str(), Some(wanted.as_str())));
    for (key, wanted) in changed.chain(taken_back.into_keys().map(|key| (key, None))) {
        let had = found.config.get(key).map(String::as_str);
        if had == wanted {
            continue;
        }
        let or_default = |value: Option<&str>| value.unwrap_or("its default").to_owned();
        let text = format!("{key} from {} to {}", or_default(had), or_default(wanted));
        if keeps_less(key, had, wanted) {
            differences.deletes_records.push(text.clone());
        }
        differences.all.push(text);
    }
    let present = found.partitions.len();
    let partitions = topic.spec.partitions.and_then(|n| usize::try_from(n).ok()).unwrap_or(present);
    if partitions != present {
        differences.all.push(format!("partitions from {present} to {partitions}"));
    }
    let others = found.partitions.iter().map(|p| p.target().len()).find(|had| *had != factor);
    if let Some(had) = others {
        differences.all.push(format!("replicas from {had} to {factor}"));
    }
    differences
}

/// Whether a person has said that this very topic may keep fewer records: a word for one topic is none for
/// the next one of its name.
pub(crate) fn is_agreed(topic: &Topic, found: &TopicView) -> bool {
    let annotations = topic.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(ADOPT_ANNOTATION)).is_some_and(|id| *id == found.id)
}

// What isn't set has a default that isn't known here: any limit may be narrower.
fn keeps_less(key: &str, had: Option<&str>, wanted: Option<&str>) -> bool {
    match key {
        "retention.ms" | "retention.bytes" if wanted.is_none() => true,
        "retention.ms" | "retention.bytes" => {
            let limit = |text: &str| text.trim().parse::<i64>().ok();
            let wanted = wanted.and_then(limit);
            match had.map(limit) {
                _ if wanted == Some(-1) => false,
                Some(Some(had)) if had >= 0 => wanted.is_none_or(|wanted| wanted < had),
                _ => true,
            }
        }
        "cleanup.policy" => {
            let policies = |text: &str| -> BTreeSet<String> {
                text.split(',').map(|policy| policy.trim().to_owned()).filter(|p| !p.is_empty()).collect()
            };
            !policies(wanted.unwrap_or("delete")).is_subset(&policies(had.unwrap_or("delete")))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_fewer_records_is_told_from_what_does_not() {
        for (key, had, wanted, expected) in [
            ("retention.ms", Some("-1"), "604800000", true),
            ("retention.ms", Some("604800000"), "-1", false),
            ("retention.ms", Some("1000"), "999", true),
            ("retention.ms", Some("1000"), "1000000", false),
            ("retention.ms", None, "604800000", true),
            ("retention.ms", None, "-1", false),
            ("retention.ms", Some("-1"), "nonsense", true),
            ("retention.bytes", Some("-1"), "1", true),
            ("cleanup.policy", Some("compact"), "delete", true),
            ("cleanup.policy", Some("compact"), "compact,delete", true),
            ("cleanup.policy", Some("compact, delete"), "delete", false),
            ("cleanup.policy", None, "delete", false),
            ("cleanup.policy", None, "compact", true),
            ("segment.bytes", None, "1048576", false),
        ] {
            assert_eq!(keeps_less(key, had, Some(wanted)), expected, "{key} {had:?} {wanted}");
        }
        // To the default, whatever it is.
        for (key, had, expected) in [
            ("retention.ms", "31536000000", true),
            ("retention.bytes", "-1", true),
            ("cleanup.policy", "compact", true),
            ("cleanup.policy", "delete", false),
            ("segment.bytes", "1048576", false),
        ] {
            assert_eq!(keeps_less(key, Some(had), None), expected, "{key} {had}");
        }
    }
}
