//! ConsumerGroupTargetAssignmentMember: the partitions that a member is to have.

use ottla_wire_derive::Message;

use crate::codec::Uuid;

/// Which member of which group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct ConsumerGroupTargetAssignmentMemberKey<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member's id.
    pub member_id: &'a str,
}

/// What it is to have.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ConsumerGroupTargetAssignmentMemberValue {
    /// The partitions, topic by topic.
    pub topic_partitions: Vec<TargetTopicPartitions>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TargetTopicPartitions {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
}
