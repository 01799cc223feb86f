//! OffsetFetch: the offsets that groups committed.
//!
//! Up to version 7 for one group, in the message itself; from version 8 on for several, in `groups`.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use crate::codec::Uuid;

/// Asks for offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-10", flexible = "6+")]
pub struct OffsetFetchRequest<'a> {
    /// The group.
    #[kafka(versions = "0-7")]
    pub group_id: &'a str,
    /// The topics; null for all that have offsets.
    #[kafka(versions = "0-7", nullable = "2-7")]
    pub topics: Option<Vec<OffsetFetchRequestTopic<'a>>>,
    /// The groups.
    #[kafka(versions = "8+")]
    pub groups: Vec<OffsetFetchRequestGroup<'a>>,
    /// Whether to answer with an error where a transaction that commits an offset is still open.
    #[kafka(versions = "7+")]
    pub require_stable: bool,
}

/// A group asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchRequestGroup<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member's id; null from who isn't a member.
    #[kafka(versions = "9+", nullable = "9+")]
    pub member_id: Option<&'a str>,
    /// The member's epoch, -1 from who isn't a member or uses the classic protocol.
    #[kafka(versions = "9+", default = -1)]
    pub member_epoch: i32,
    /// The topics; null for all that have offsets.
    #[kafka(nullable)]
    pub topics: Option<Vec<OffsetFetchRequestTopic<'a>>>,
}

/// A topic asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchRequestTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "0-9")]
    pub name: &'a str,
    /// The topic's id.
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    /// The partitions' indexes.
    pub partition_indexes: Vec<i32>,
}

/// The offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-10", flexible = "6+")]
pub struct OffsetFetchResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "3+")]
    pub throttle_time_ms: i32,
    /// The topics.
    #[kafka(versions = "0-7")]
    pub topics: Vec<OffsetFetchResponseTopic<'a>>,
    /// The error code.
    #[kafka(versions = "2-7")]
    pub error_code: i16,
    /// The groups.
    #[kafka(versions = "8+")]
    pub groups: Vec<OffsetFetchResponseGroup<'a>>,
}

/// A group's offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchResponseGroup<'a> {
    /// The group.
    pub group_id: Cow<'a, str>,
    /// The topics.
    pub topics: Vec<OffsetFetchResponseTopic<'a>>,
    /// The group's error code.
    pub error_code: i16,
}

/// A topic's offsets.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchResponseTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "0-9")]
    pub name: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<OffsetFetchResponsePartition<'a>>,
}

/// A partition's offset.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct OffsetFetchResponsePartition<'a> {
    /// The partition's index.
    pub partition_index: i32,
    /// The offset to go on from, -1 if none was committed.
    pub committed_offset: i64,
    /// The leader epoch of the last record that was read, -1 if unknown.
    #[kafka(versions = "5+", default = -1)]
    pub committed_leader_epoch: i32,
    /// What the client wanted to keep with it.
    #[kafka(nullable)]
    pub metadata: Option<Cow<'a, str>>,
    /// The error code.
    pub error_code: i16,
}
