//! SyncGroup: the leader hands in everybody's assignment, and each member gets its own.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks for the member's assignment.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-5", flexible = "4+")]
pub struct SyncGroupRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The generation that the member joined.
    pub generation_id: i32,
    /// The member's id.
    pub member_id: &'a str,
    /// What a static member calls itself across restarts.
    #[kafka(versions = "3+", nullable = "3+")]
    pub group_instance_id: Option<&'a str>,
    /// The group's protocol type, as the member knows it.
    #[kafka(versions = "5+", nullable = "5+")]
    pub protocol_type: Option<&'a str>,
    /// The protocol that was chosen, as the member knows it.
    #[kafka(versions = "5+", nullable = "5+")]
    pub protocol_name: Option<&'a str>,
    /// All assignments, from the leader; none from the others.
    pub assignments: Vec<SyncGroupRequestAssignment<'a>>,
}

/// What a member is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct SyncGroupRequestAssignment<'a> {
    /// The member's id.
    pub member_id: &'a str,
    /// The assignment, opaque here.
    pub assignment: &'a [u8],
}

/// The member's assignment.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-5", flexible = "4+")]
pub struct SyncGroupResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    /// The error code.
    pub error_code: i16,
    /// The group's protocol type.
    #[kafka(versions = "5+", nullable = "5+")]
    pub protocol_type: Option<Cow<'a, str>>,
    /// The protocol that was chosen.
    #[kafka(versions = "5+", nullable = "5+")]
    pub protocol_name: Option<Cow<'a, str>>,
    /// The assignment as the leader gave it, empty if it gave none.
    pub assignment: Cow<'a, [u8]>,
}
