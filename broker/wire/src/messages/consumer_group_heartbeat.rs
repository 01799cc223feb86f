//! ConsumerGroupHeartbeat: a member of a group of the consumer protocol (KIP-848) joins, says what changed,
//! learns what it is assigned, and leaves.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use crate::codec::Uuid;

/// The `member_epoch` of who joins.
pub const MEMBER_EPOCH_JOIN: i32 = 0;
/// The `member_epoch` of who leaves.
pub const MEMBER_EPOCH_LEAVE: i32 = -1;
/// The `member_epoch` of a static member that leaves and will come back.
pub const MEMBER_EPOCH_LEAVE_STATIC: i32 = -2;

/// Says that a member is alive, and what has changed since it last said so.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The member's id, which it makes itself; in version 0 empty at first, and then the coordinator's.
    pub member_id: &'a str,
    /// The member's epoch, or [`MEMBER_EPOCH_JOIN`], [`MEMBER_EPOCH_LEAVE`], [`MEMBER_EPOCH_LEAVE_STATIC`].
    pub member_epoch: i32,
    /// What a static member calls itself across restarts; null if it is none, or as before.
    #[kafka(nullable)]
    pub instance_id: Option<&'a str>,
    /// The member's rack; null if it has none, or as before.
    #[kafka(nullable)]
    pub rack_id: Option<&'a str>,
    /// For how long to wait until the member gives partitions up, in milliseconds; -1 if as before.
    #[kafka(default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The topics that it reads; null if as before.
    #[kafka(nullable)]
    pub subscribed_topic_names: Option<Vec<&'a str>>,
    /// The pattern of the names of topics that it reads (RE2 syntax); null if as before.
    #[kafka(versions = "1+", nullable = "1+")]
    pub subscribed_topic_regex: Option<&'a str>,
    /// The server's assignor that it wants; null if it doesn't care, or as before.
    #[kafka(nullable)]
    pub server_assignor: Option<&'a str>,
    /// The partitions that it has; null if as before.
    #[kafka(nullable)]
    pub topic_partitions: Option<Vec<ConsumerGroupHeartbeatTopicPartitions>>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ConsumerGroupHeartbeatTopicPartitions {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
}

/// What the member is to do.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// The member's id.
    #[kafka(nullable)]
    pub member_id: Option<Cow<'a, str>>,
    /// The member's epoch.
    pub member_epoch: i32,
    /// After how long the next heartbeat is due, in milliseconds.
    pub heartbeat_interval_ms: i32,
    /// What it is assigned; null if as before.
    #[kafka(nullable)]
    pub assignment: Option<ConsumerGroupHeartbeatAssignment>,
}

/// What a member is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ConsumerGroupHeartbeatAssignment {
    /// The partitions that it can use at once.
    pub topic_partitions: Vec<ConsumerGroupHeartbeatTopicPartitions>,
}
