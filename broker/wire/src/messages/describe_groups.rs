//! DescribeGroups: groups of the classic protocol with their members.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use super::AUTHORIZED_OPERATIONS_OMITTED;

/// Asks for groups.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsRequest<'a> {
    /// The groups.
    pub groups: Vec<&'a str>,
    /// Whether to tell what the client may do with each.
    #[kafka(versions = "3+")]
    pub include_authorized_operations: bool,
}

/// The groups.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    /// The groups.
    pub groups: Vec<DescribedGroup<'a>>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribedGroup<'a> {
    /// The error code; from version 6 on GROUP_ID_NOT_FOUND for one that isn't there.
    pub error_code: i16,
    /// The error in words.
    #[kafka(versions = "6+", nullable = "6+")]
    pub error_message: Option<Cow<'a, str>>,
    /// The group.
    pub group_id: Cow<'a, str>,
    /// Its state, as `Stable`.
    pub group_state: Cow<'a, str>,
    /// Its protocol type.
    pub protocol_type: Cow<'a, str>,
    /// The protocol that was chosen; told of a stable group.
    pub protocol_data: Cow<'a, str>,
    /// Its members.
    pub members: Vec<DescribedGroupMember<'a>>,
    /// What the client may do with it, as bits.
    #[kafka(versions = "3+", default = AUTHORIZED_OPERATIONS_OMITTED)]
    pub authorized_operations: i32,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribedGroupMember<'a> {
    /// The member's id.
    pub member_id: Cow<'a, str>,
    /// A static member's name of itself.
    #[kafka(versions = "4+", nullable = "4+")]
    pub group_instance_id: Option<Cow<'a, str>>,
    /// The client's name of itself.
    pub client_id: Cow<'a, str>,
    /// From where it joined.
    pub client_host: Cow<'a, str>,
    /// What it said for the protocol that was chosen; told of a stable group.
    pub member_metadata: Cow<'a, [u8]>,
    /// What it is assigned; told of a stable group.
    pub member_assignment: Cow<'a, [u8]>,
}
