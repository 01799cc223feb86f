//! OffsetCommit: a group's offsets, to go on from.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use crate::codec::Uuid;

/// Asks to keep offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "2-10", flexible = "8+")]
pub struct OffsetCommitRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The generation (classic protocol) or the member's epoch, -1 from who isn't a member.
    #[kafka(default = -1)]
    pub generation_id_or_member_epoch: i32,
    /// The member's id, empty from who isn't a member.
    pub member_id: &'a str,
    /// What a static member calls itself across restarts.
    #[kafka(versions = "7+", nullable = "7+")]
    pub group_instance_id: Option<&'a str>,
    /// For how long to keep the offsets, in milliseconds; -1 for as long as the broker keeps others.
    #[kafka(versions = "2-4", default = -1)]
    pub retention_time_ms: i64,
    /// The topics.
    pub topics: Vec<OffsetCommitRequestTopic<'a>>,
}

/// A topic with offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetCommitRequestTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "0-9")]
    pub name: &'a str,
    /// The topic's id.
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<OffsetCommitRequestPartition<'a>>,
}

/// A partition's offset.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetCommitRequestPartition<'a> {
    /// The partition's index.
    pub partition_index: i32,
    /// The offset to go on from.
    pub committed_offset: i64,
    /// The leader epoch of the last record that was read, -1 if unknown.
    #[kafka(versions = "6+", default = -1)]
    pub committed_leader_epoch: i32,
    /// What the client wants to keep with it.
    #[kafka(nullable)]
    pub committed_metadata: Option<&'a str>,
}

/// What became of each offset.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "2-10", flexible = "8+")]
pub struct OffsetCommitResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "3+")]
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<OffsetCommitResponseTopic<'a>>,
}

/// What became of a topic's offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetCommitResponseTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "0-9")]
    pub name: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

/// What became of one offset.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetCommitResponsePartition {
    /// The partition's index.
    pub partition_index: i32,
    /// The error code.
    pub error_code: i16,
}
