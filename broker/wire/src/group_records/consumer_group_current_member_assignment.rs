//! ConsumerGroupCurrentMemberAssignment: the partitions that a member has, and how far it is on the way to
//! what it is to have.

use ottla_wire_derive::Message;

use crate::codec::Uuid;

/// Which member of which group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct ConsumerGroupCurrentMemberAssignmentKey<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member's id.
    pub member_id: &'a str,
}

/// The `state` of a member that has what it is to have.
pub const MEMBER_STATE_STABLE: i8 = 0;
/// The `state` of a member that has yet to give partitions up.
pub const MEMBER_STATE_UNREVOKED_PARTITIONS: i8 = 1;
/// The `state` of a member that waits for partitions which others have yet to give up.
pub const MEMBER_STATE_UNRELEASED_PARTITIONS: i8 = 2;

/// What it has.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ConsumerGroupCurrentMemberAssignmentValue {
    /// Its epoch.
    pub member_epoch: i32,
    /// The epoch before that, which it still names if the answer with the new one was lost.
    pub previous_member_epoch: i32,
    /// [`MEMBER_STATE_STABLE`], [`MEMBER_STATE_UNREVOKED_PARTITIONS`] or
    /// [`MEMBER_STATE_UNRELEASED_PARTITIONS`].
    pub state: i8,
    /// The partitions that it has.
    pub assigned_partitions: Vec<CurrentTopicPartitions>,
    /// The partitions that it must give up.
    pub partitions_pending_revocation: Vec<CurrentTopicPartitions>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CurrentTopicPartitions {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
    /// The epoch in which the member got each of them; empty from before Kafka 4.3, which is the default.
    #[kafka(nullable, tag = 0, default = Some(Vec::new()))]
    pub assignment_epochs: Option<Vec<i32>>,
}
