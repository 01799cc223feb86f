//! Heartbeat: a member of a group of the classic protocol says that it is alive.

use ottla_wire_derive::Message;

/// Says that a member is alive.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-4", flexible = "4+")]
pub struct HeartbeatRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The generation that the member joined.
    pub generation_id: i32,
    /// The member's id.
    pub member_id: &'a str,
    /// What a static member calls itself across restarts.
    #[kafka(versions = "3+", nullable = "3+")]
    pub group_instance_id: Option<&'a str>,
}

/// Whether the member still is one.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-4", flexible = "4+")]
pub struct HeartbeatResponse {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    /// The error code; REBALANCE_IN_PROGRESS asks the member to join again.
    pub error_code: i16,
}
