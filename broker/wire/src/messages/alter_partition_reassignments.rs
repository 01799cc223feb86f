//! AlterPartitionReassignments: moves partitions' replicas, or stops that.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks to move replicas.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsRequest<'a> {
    /// For how long to wait, in milliseconds.
    #[kafka(default = 60_000)]
    pub timeout_ms: i32,
    /// Whether a partition may get another number of replicas.
    #[kafka(versions = "1+", default = true)]
    pub allow_replication_factor_change: bool,
    /// The topics.
    pub topics: Vec<ReassignableTopic<'a>>,
}

/// A topic whose partitions are to move.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReassignableTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<ReassignablePartition>,
}

/// A partition that is to move.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReassignablePartition {
    /// The partition's index.
    pub partition_index: i32,
    /// The node ids that it is to have, the preferred leader's first; null to stop its move.
    #[kafka(nullable)]
    pub replicas: Option<Vec<i32>>,
}

/// What became of each move.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// As in the request.
    #[kafka(versions = "1+", default = true)]
    pub allow_replication_factor_change: bool,
    /// An error of the whole request.
    pub error_code: i16,
    /// That error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The topics.
    pub responses: Vec<ReassignableTopicResponse<'a>>,
}

/// What became of a topic's moves.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReassignableTopicResponse<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<ReassignablePartitionResponse<'a>>,
}

/// What became of one move.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReassignablePartitionResponse<'a> {
    /// The partition's index.
    pub partition_index: i32,
    /// The error code; none once the move is in the metadata.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
}
