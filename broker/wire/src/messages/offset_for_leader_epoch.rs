//! OffsetForLeaderEpoch: where a leader's epoch ends, so that a consumer notices that records it read are
//! gone.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// The `replica_id` of who isn't a follower and doesn't want to see records above the high watermark.
pub const REPLICA_CONSUMER: i32 = -1;

/// Asks for the ends of epochs.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochRequest<'a> {
    /// The follower's node id, [`REPLICA_CONSUMER`] from a consumer, -2 for debugging.
    #[kafka(versions = "3+", default = -2)]
    pub replica_id: i32,
    /// The topics.
    pub topics: Vec<OffsetForLeaderTopic<'a>>,
}

/// A topic asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetForLeaderTopic<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<OffsetForLeaderPartition>,
}

/// A partition asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetForLeaderPartition {
    /// The partition's index.
    pub partition: i32,
    /// The leader epoch that the sender knows, -1 if none.
    #[kafka(default = -1)]
    pub current_leader_epoch: i32,
    /// The epoch whose end is asked for.
    pub leader_epoch: i32,
}

/// The ends of epochs.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<OffsetForLeaderTopicResult<'a>>,
}

/// A topic's partitions.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetForLeaderTopicResult<'a> {
    /// The topic's name.
    pub topic: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<OffsetForLeaderPartitionResult>,
}

/// The end of an epoch in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetForLeaderPartitionResult {
    /// The error code.
    pub error_code: i16,
    /// The partition's index.
    pub partition: i32,
    /// The greatest epoch in the log up to the one asked for, -1 if there is none.
    #[kafka(default = -1)]
    pub leader_epoch: i32,
    /// The offset after that epoch's last record, -1 if there is none.
    #[kafka(default = -1)]
    pub end_offset: i64,
}
