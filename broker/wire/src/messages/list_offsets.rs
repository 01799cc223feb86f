//! ListOffsets: a partition's offsets by time.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// The `timestamp` that asks for the end of the log.
pub const TIMESTAMP_LATEST: i64 = -1;
/// The `timestamp` that asks for the start of the log.
pub const TIMESTAMP_EARLIEST: i64 = -2;
/// The `timestamp` that asks for the record with the greatest timestamp.
pub const TIMESTAMP_MAX: i64 = -3;
/// The `timestamp` that asks for the start of what is on the broker's own disk.
pub const TIMESTAMP_EARLIEST_LOCAL: i64 = -4;
/// The `timestamp` that asks for the last offset in tiered storage.
pub const TIMESTAMP_LATEST_TIERED: i64 = -5;
/// The `timestamp` that asks for the first offset that isn't in tiered storage yet; since version 11.
pub const TIMESTAMP_EARLIEST_PENDING_UPLOAD: i64 = -6;

/// Asks for offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-11", flexible = "6+")]
pub struct ListOffsetsRequest<'a> {
    /// The follower's node id, -1 from a consumer.
    pub replica_id: i32,
    /// 0 counts uncommitted records, 1 only committed ones.
    #[kafka(versions = "2+")]
    pub isolation_level: i8,
    /// The topics.
    pub topics: Vec<ListOffsetsTopic<'a>>,
    /// For how long to wait for offsets in tiered storage, in milliseconds.
    #[kafka(versions = "10+")]
    pub timeout_ms: i32,
}

/// A topic with the partitions asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListOffsetsTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// A partition asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListOffsetsPartition {
    /// The partition's index.
    pub partition_index: i32,
    /// The leader epoch that the sender knows, -1 if none.
    #[kafka(versions = "4+", default = -1)]
    pub current_leader_epoch: i32,
    /// A time in milliseconds since 1970, or one of the `TIMESTAMP_` constants.
    pub timestamp: i64,
}

/// The offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-11", flexible = "6+")]
pub struct ListOffsetsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "2+")]
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<ListOffsetsTopicResponse<'a>>,
}

/// A topic with its partitions' offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListOffsetsTopicResponse<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

/// A partition's offset.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListOffsetsPartitionResponse {
    /// The partition's index.
    pub partition_index: i32,
    /// The error code.
    pub error_code: i16,
    /// The record's time in milliseconds since 1970, -1 for none.
    #[kafka(default = -1)]
    pub timestamp: i64,
    /// The offset, -1 for none.
    #[kafka(default = -1)]
    pub offset: i64,
    /// The record's leader epoch, -1 if unknown.
    #[kafka(versions = "4+", default = -1)]
    pub leader_epoch: i32,
}
