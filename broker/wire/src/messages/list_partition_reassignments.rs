//! ListPartitionReassignments: which partitions are moving.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks for moves.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ListPartitionReassignmentsRequest<'a> {
    /// For how long to wait, in milliseconds.
    #[kafka(default = 60_000)]
    pub timeout_ms: i32,
    /// The partitions; null for all.
    #[kafka(nullable)]
    pub topics: Option<Vec<ListPartitionReassignmentsTopic<'a>>>,
}

/// A topic asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListPartitionReassignmentsTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions' indexes.
    pub partition_indexes: Vec<i32>,
}

/// The moves; a partition that isn't moving is left out.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ListPartitionReassignmentsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The topics.
    pub topics: Vec<OngoingTopicReassignment<'a>>,
}

/// A topic with partitions that move.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OngoingTopicReassignment<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<OngoingPartitionReassignment>,
}

/// A partition that moves.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OngoingPartitionReassignment {
    /// The partition's index.
    pub partition_index: i32,
    /// The node ids of all replicas, those that come and those that go among them.
    pub replicas: Vec<i32>,
    /// The node ids that come.
    pub adding_replicas: Vec<i32>,
    /// The node ids that go.
    pub removing_replicas: Vec<i32>,
}
