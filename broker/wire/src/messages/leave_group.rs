//! LeaveGroup: members leave a group, or an administrator removes them.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks to remove members.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-5", flexible = "4+")]
pub struct LeaveGroupRequest<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The one member.
    #[kafka(versions = "0-2")]
    pub member_id: &'a str,
    /// The members.
    #[kafka(versions = "3+")]
    pub members: Vec<MemberIdentity<'a>>,
}

/// A member, by its id or by what it calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MemberIdentity<'a> {
    /// The member's id, empty if an administrator removes a static member.
    pub member_id: &'a str,
    /// A static member's name of itself.
    #[kafka(nullable)]
    pub group_instance_id: Option<&'a str>,
    /// Why it leaves, in words.
    #[kafka(versions = "5+", nullable = "5+")]
    pub reason: Option<&'a str>,
}

/// What became of each member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-5", flexible = "4+")]
pub struct LeaveGroupResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    /// An error of the whole request; before version 3 also that of the one member.
    pub error_code: i16,
    /// The members.
    #[kafka(versions = "3+")]
    pub members: Vec<MemberResponse<'a>>,
}

/// What became of one member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MemberResponse<'a> {
    /// As in the request.
    pub member_id: Cow<'a, str>,
    /// As in the request.
    #[kafka(nullable)]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// The error code.
    pub error_code: i16,
}
