//! ConsumerGroupDescribe: groups of the consumer protocol (KIP-848) with their members.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use super::AUTHORIZED_OPERATIONS_OMITTED;
use crate::codec::Uuid;

/// The `member_type` of a member that uses the classic protocol.
pub const MEMBER_TYPE_CLASSIC: i8 = 0;
/// The `member_type` of a member that uses the consumer protocol.
pub const MEMBER_TYPE_CONSUMER: i8 = 1;

/// Asks for groups.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupDescribeRequest<'a> {
    /// The groups.
    pub group_ids: Vec<&'a str>,
    /// Whether to tell what the client may do with each.
    pub include_authorized_operations: bool,
}

/// The groups.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupDescribeResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The groups.
    pub groups: Vec<ConsumerGroupDescribeGroup<'a>>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ConsumerGroupDescribeGroup<'a> {
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The group.
    pub group_id: Cow<'a, str>,
    /// Its state, as `Stable`.
    pub group_state: Cow<'a, str>,
    /// Its epoch, which each change of members, subscriptions or topics advances.
    pub group_epoch: i32,
    /// The epoch that the target assignment was made for.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor_name: Cow<'a, str>,
    /// Its members.
    pub members: Vec<ConsumerGroupDescribeMember<'a>>,
    /// What the client may do with it, as bits.
    #[kafka(default = AUTHORIZED_OPERATIONS_OMITTED)]
    pub authorized_operations: i32,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ConsumerGroupDescribeMember<'a> {
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// A static member's name of itself.
    #[kafka(nullable)]
    pub instance_id: Option<Cow<'a, str>>,
    /// Its rack.
    #[kafka(nullable)]
    pub rack_id: Option<Cow<'a, str>>,
    /// Its epoch.
    pub member_epoch: i32,
    /// The client's name of itself.
    pub client_id: Cow<'a, str>,
    /// From where it joined.
    pub client_host: Cow<'a, str>,
    /// The topics that it reads, by name.
    pub subscribed_topic_names: Vec<Cow<'a, str>>,
    /// The pattern of the names of topics that it reads.
    #[kafka(nullable)]
    pub subscribed_topic_regex: Option<Cow<'a, str>>,
    /// What it has.
    pub assignment: ConsumerGroupDescribeAssignment<'a>,
    /// What it is to have.
    pub target_assignment: ConsumerGroupDescribeAssignment<'a>,
    /// [`MEMBER_TYPE_CLASSIC`], [`MEMBER_TYPE_CONSUMER`], or -1 if unknown.
    #[kafka(versions = "1+", default = -1)]
    pub member_type: i8,
}

/// Partitions of a member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ConsumerGroupDescribeAssignment<'a> {
    /// The partitions, topic by topic.
    pub topic_partitions: Vec<ConsumerGroupDescribeTopicPartitions<'a>>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ConsumerGroupDescribeTopicPartitions<'a> {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The topic's name.
    pub topic_name: Cow<'a, str>,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
}
