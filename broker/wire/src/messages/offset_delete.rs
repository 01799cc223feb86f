//! OffsetDelete: a group's offsets of topics that it no longer reads are forgotten.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks to forget offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct OffsetDeleteRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The topics.
    pub topics: Vec<OffsetDeleteRequestTopic<'a>>,
}

/// A topic whose offsets are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetDeleteRequestTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partitions.
    pub partitions: Vec<OffsetDeleteRequestPartition>,
}

/// A partition whose offset is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetDeleteRequestPartition {
    /// The partition's index.
    pub partition_index: i32,
}

/// What became of each offset.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct OffsetDeleteResponse<'a> {
    /// An error of the whole request.
    pub error_code: i16,
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<OffsetDeleteResponseTopic<'a>>,
}

/// What became of a topic's offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetDeleteResponseTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<OffsetDeleteResponsePartition>,
}

/// What became of one offset.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetDeleteResponsePartition {
    /// The partition's index.
    pub partition_index: i32,
    /// The error code.
    pub error_code: i16,
}
