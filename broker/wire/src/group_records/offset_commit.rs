//! OffsetCommit: the offset of one partition that a group committed.

use ottla_wire_derive::Message;

use crate::codec::Uuid;

/// Whose offset, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct OffsetCommitKey<'a> {
    /// The group.
    pub group: &'a str,
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's index.
    pub partition: i32,
}

/// The offset. Kafka writes version 4, and version 1 where `expire_timestamp` is set, which no other has.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-4", flexible = "4+")]
pub struct OffsetCommitValue<'a> {
    /// The offset to go on from.
    pub offset: i64,
    /// The leader epoch of the last record that was read, -1 if unknown.
    #[kafka(versions = "3+", default = -1)]
    pub leader_epoch: i32,
    /// What the client wants to keep with it.
    pub metadata: &'a str,
    /// When it was committed, in milliseconds since 1970.
    pub commit_timestamp: i64,
    /// When the client wants it to be forgotten, in milliseconds since 1970; -1 if it doesn't say.
    #[kafka(versions = "1", default = -1)]
    pub expire_timestamp: i64,
    /// The topic's id, zeroes if unknown.
    #[kafka(versions = "4+", tag = 0)]
    pub topic_id: Uuid,
}
