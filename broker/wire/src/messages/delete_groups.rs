//! DeleteGroups: empty groups are deleted, with their offsets.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks to delete groups.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct DeleteGroupsRequest<'a> {
    /// The groups.
    pub groups_names: Vec<&'a str>,
}

/// What became of each group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct DeleteGroupsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The groups.
    pub results: Vec<DeletableGroupResult<'a>>,
}

/// What became of one group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DeletableGroupResult<'a> {
    /// The group.
    pub group_id: Cow<'a, str>,
    /// The error code.
    pub error_code: i16,
}
