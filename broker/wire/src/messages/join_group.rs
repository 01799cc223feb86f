//! JoinGroup: a member joins a group of the classic protocol, or joins it again, and waits for the others.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks to be a member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-9", flexible = "6+")]
pub struct JoinGroupRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// After how long without a heartbeat the member is taken for dead, in milliseconds.
    pub session_timeout_ms: i32,
    /// For how long a rebalance waits for the member, in milliseconds; without it `session_timeout_ms`
    /// counts.
    #[kafka(versions = "1+", default = -1)]
    pub rebalance_timeout_ms: i32,
    /// The member's id, empty if it has none yet.
    pub member_id: &'a str,
    /// What a static member calls itself across restarts.
    #[kafka(versions = "5+", nullable = "5+")]
    pub group_instance_id: Option<&'a str>,
    /// What kind of protocols the group agrees on; `consumer` for consumers.
    pub protocol_type: &'a str,
    /// The protocols that the member knows, the one it likes best first.
    pub protocols: Vec<JoinGroupRequestProtocol<'a>>,
    /// Why it joins, in words.
    #[kafka(versions = "8+", nullable = "8+")]
    pub reason: Option<&'a str>,
}

/// A protocol that a member knows; an assignor, for consumers.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct JoinGroupRequestProtocol<'a> {
    /// The protocol's name.
    pub name: &'a str,
    /// What the protocol wants to know of the member, opaque here; for consumers their subscription.
    pub metadata: &'a [u8],
}

/// The generation that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-9", flexible = "6+")]
pub struct JoinGroupResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "2+")]
    pub throttle_time_ms: i32,
    /// The error code.
    pub error_code: i16,
    /// The generation, -1 for none.
    #[kafka(default = -1)]
    pub generation_id: i32,
    /// The group's protocol type.
    #[kafka(versions = "7+", nullable = "7+")]
    pub protocol_type: Option<Cow<'a, str>>,
    /// The protocol that was chosen; empty, or null from version 7 on, if none was.
    #[kafka(nullable = "7+", default = Some(Cow::Borrowed("")))]
    pub protocol_name: Option<Cow<'a, str>>,
    /// The leader's member id.
    pub leader: Cow<'a, str>,
    /// Whether the leader must not assign anew.
    #[kafka(versions = "9+")]
    pub skip_assignment: bool,
    /// The member's id, which a new member gets here.
    pub member_id: Cow<'a, str>,
    /// All members; told to the leader alone.
    pub members: Vec<JoinGroupResponseMember<'a>>,
}

/// A member, as the leader is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct JoinGroupResponseMember<'a> {
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// A static member's name of itself.
    #[kafka(versions = "5+", nullable = "5+")]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// What it said for the protocol that was chosen.
    pub metadata: Cow<'a, [u8]>,
}
