//! DeleteRecords: moves the starts of partitions' logs forward.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// The `offset` that stands for the high watermark.
pub const OFFSET_HIGH_WATERMARK: i64 = -1;

/// Asks to delete records.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsRequest<'a> {
    /// The topics.
    pub topics: Vec<DeleteRecordsTopic<'a>>,
    /// For how long to wait, in milliseconds.
    pub timeout_ms: i32,
}

/// A topic whose records are to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteRecordsTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<DeleteRecordsPartition>,
}

/// A partition whose records are to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteRecordsPartition {
    /// The partition's index.
    pub partition_index: i32,
    /// The first offset to be left, or [`OFFSET_HIGH_WATERMARK`].
    pub offset: i64,
}

/// What became of each partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<DeleteRecordsTopicResult<'a>>,
}

/// What became of a topic's partitions.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteRecordsTopicResult<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<DeleteRecordsPartitionResult>,
}

/// What became of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeleteRecordsPartitionResult {
    /// The partition's index.
    pub partition_index: i32,
    /// The lowest log start offset of its replicas, -1 if unknown.
    pub low_watermark: i64,
    /// The error code.
    pub error_code: i16,
}
