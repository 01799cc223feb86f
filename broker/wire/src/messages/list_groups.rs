//! ListGroups: the groups that a broker coordinates.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks for groups.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-5", flexible = "3+")]
pub struct ListGroupsRequest<'a> {
    /// Only those in one of these states; empty for all.
    #[kafka(versions = "4+")]
    pub states_filter: Vec<&'a str>,
    /// Only those of one of these types; empty for all.
    #[kafka(versions = "5+")]
    pub types_filter: Vec<&'a str>,
}

/// The groups.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-5", flexible = "3+")]
pub struct ListGroupsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    /// The error code.
    pub error_code: i16,
    /// The groups.
    pub groups: Vec<ListedGroup<'a>>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ListedGroup<'a> {
    /// The group.
    pub group_id: Cow<'a, str>,
    /// Its protocol type, empty if it only has offsets.
    pub protocol_type: Cow<'a, str>,
    /// Its state, as `Stable`.
    #[kafka(versions = "4+")]
    pub group_state: Cow<'a, str>,
    /// Its type, as `consumer` or `classic`.
    #[kafka(versions = "5+")]
    pub group_type: Cow<'a, str>,
}
