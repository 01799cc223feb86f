//! FindCoordinator: which broker coordinates a group or a transactional id.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// The `key_type` of a group.
pub const COORDINATOR_GROUP: i8 = 0;
/// The `key_type` of a transactional id.
pub const COORDINATOR_TRANSACTION: i8 = 1;

/// Asks for coordinators.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorRequest<'a> {
    /// The group or transactional id.
    #[kafka(versions = "0-3")]
    pub key: &'a str,
    /// [`COORDINATOR_GROUP`], [`COORDINATOR_TRANSACTION`] or 2 for a share group.
    #[kafka(versions = "1+")]
    pub key_type: i8,
    /// The groups or transactional ids.
    #[kafka(versions = "4+")]
    pub coordinator_keys: Vec<&'a str>,
}

/// The coordinators.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    /// The error code.
    #[kafka(versions = "0-3")]
    pub error_code: i16,
    /// The error in words.
    #[kafka(versions = "1-3", nullable = "1-3")]
    pub error_message: Option<Cow<'a, str>>,
    /// The coordinator's node id.
    #[kafka(versions = "0-3")]
    pub node_id: i32,
    /// Its host name.
    #[kafka(versions = "0-3")]
    pub host: Cow<'a, str>,
    /// Its port.
    #[kafka(versions = "0-3")]
    pub port: i32,
    /// The coordinator of each key.
    #[kafka(versions = "4+")]
    pub coordinators: Vec<Coordinator<'a>>,
}

/// The coordinator of one key.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct Coordinator<'a> {
    /// The group or transactional id.
    pub key: Cow<'a, str>,
    /// The coordinator's node id.
    pub node_id: i32,
    /// Its host name.
    pub host: Cow<'a, str>,
    /// Its port.
    pub port: i32,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
}
