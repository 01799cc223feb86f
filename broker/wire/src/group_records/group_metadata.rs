//! GroupMetadata: a group of the classic protocol, with all of its members.

use ottla_wire_derive::Message;

/// Which group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct GroupMetadataKey<'a> {
    /// The group.
    pub group: &'a str,
}

/// The group. Kafka reads version 4 and writes version 3.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-4", flexible = "4+")]
pub struct GroupMetadataValue<'a> {
    /// The group's protocol type, empty if it only has offsets.
    pub protocol_type: &'a str,
    /// The generation.
    pub generation: i32,
    /// The protocol that was chosen; null if none was.
    #[kafka(nullable)]
    pub protocol: Option<&'a str>,
    /// The leader's member id; null if there is none.
    #[kafka(nullable)]
    pub leader: Option<&'a str>,
    /// When the group's state last changed, in milliseconds since 1970; -1 if unknown.
    #[kafka(versions = "2+", default = -1)]
    pub current_state_timestamp: i64,
    /// The members.
    pub members: Vec<MemberMetadata<'a>>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MemberMetadata<'a> {
    /// The member's id.
    pub member_id: &'a str,
    /// A static member's name of itself.
    #[kafka(versions = "3+", nullable = "3+")]
    pub group_instance_id: Option<&'a str>,
    /// The client's name of itself.
    pub client_id: &'a str,
    /// From where it joined.
    pub client_host: &'a str,
    /// For how long a rebalance waits for it, in milliseconds; -1 from version 0, where its session time-out
    /// counts.
    #[kafka(versions = "1+", default = -1)]
    pub rebalance_timeout: i32,
    /// After how long without a heartbeat it is taken for dead, in milliseconds.
    pub session_timeout: i32,
    /// What it said for the protocol that was chosen.
    pub subscription: &'a [u8],
    /// What it is assigned.
    pub assignment: &'a [u8],
}
