//! AddRaftVoter: lets a node vote on the metadata.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use super::QuorumListener;
use crate::codec::Uuid;

/// Asks for one more voter.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct AddRaftVoterRequest<'a> {
    /// The cluster's id, if the sender knows it.
    #[kafka(nullable)]
    pub cluster_id: Option<&'a str>,
    /// For how long to wait, in milliseconds.
    pub timeout_ms: i32,
    /// The node's id.
    pub voter_id: i32,
    /// The id of its directory.
    pub voter_directory_id: Uuid,
    /// Where it is reached.
    pub listeners: Vec<QuorumListener<'a>>,
    /// Whether to answer once the change is committed, and not as soon as it is under way.
    #[kafka(versions = "1+", default = true)]
    pub ack_when_committed: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct AddRaftVoterResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
}
