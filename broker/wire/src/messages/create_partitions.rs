//! CreatePartitions: gives topics more partitions.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks for more partitions.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsRequest<'a> {
    /// The topics.
    pub topics: Vec<CreatePartitionsTopic<'a>>,
    /// For how long to wait, in milliseconds.
    pub timeout_ms: i32,
    /// Whether only to say what would happen.
    pub validate_only: bool,
}

/// A topic that is to have more partitions.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatePartitionsTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// How many partitions it is to have in all.
    pub count: i32,
    /// Which brokers get the new partitions; null for the broker to choose.
    #[kafka(nullable)]
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
}

/// The replicas of one new partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatePartitionsAssignment {
    /// The node ids, the preferred leader's first.
    pub broker_ids: Vec<i32>,
}

/// What became of each topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub results: Vec<CreatePartitionsTopicResult<'a>>,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatePartitionsTopicResult<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
}
