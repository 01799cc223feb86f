//! DeleteTopics.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use crate::codec::Uuid;

/// Asks to delete topics.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsRequest<'a> {
    /// The topics by name or id.
    #[kafka(versions = "6+")]
    pub topics: Vec<DeleteTopicState<'a>>,
    /// The topics by name.
    #[kafka(versions = "0-5")]
    pub topic_names: Vec<&'a str>,
    /// For how long to wait, in milliseconds.
    pub timeout_ms: i32,
}

/// A topic to delete, by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteTopicState<'a> {
    /// The topic's name, null if by id.
    #[kafka(nullable)]
    pub name: Option<&'a str>,
    /// The topic's id, zeroes if by name.
    pub topic_id: Uuid,
}

/// What became of each topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub responses: Vec<DeletableTopicResult<'a>>,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeletableTopicResult<'a> {
    /// The topic's name; null if its id is unknown.
    #[kafka(nullable = "6+")]
    pub name: Option<Cow<'a, str>>,
    /// The topic's id.
    #[kafka(versions = "6+")]
    pub topic_id: Uuid,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(versions = "5+", nullable = "5+")]
    pub error_message: Option<Cow<'a, str>>,
}
