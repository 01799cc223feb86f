//! ElectLeaders: gives partitions another leader.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// The `election_type` that makes the preferred replica the leader.
pub const ELECTION_PREFERRED: i8 = 0;
/// The `election_type` that lets a replica lead that lacks acknowledged records.
pub const ELECTION_UNCLEAN: i8 = 1;

/// Asks for elections.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct ElectLeadersRequest<'a> {
    /// [`ELECTION_PREFERRED`] or [`ELECTION_UNCLEAN`].
    #[kafka(versions = "1+")]
    pub election_type: i8,
    /// The partitions; null for all.
    #[kafka(nullable)]
    pub topic_partitions: Option<Vec<ElectLeadersTopic<'a>>>,
    /// For how long to wait, in milliseconds.
    #[kafka(default = 60_000)]
    pub timeout_ms: i32,
}

/// A topic whose partitions are to have another leader.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ElectLeadersTopic<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
}

/// What became of each election.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct ElectLeadersResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// An error of the whole request.
    #[kafka(versions = "1+")]
    pub error_code: i16,
    /// The topics.
    pub replica_election_results: Vec<ElectLeadersTopicResult<'a>>,
}

/// What became of a topic's elections.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ElectLeadersTopicResult<'a> {
    /// The topic's name.
    pub topic: Cow<'a, str>,
    /// The partitions.
    pub partition_result: Vec<ElectLeadersPartitionResult<'a>>,
}

/// What became of one election.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ElectLeadersPartitionResult<'a> {
    /// The partition's index.
    pub partition_id: i32,
    /// The error code; ELECTION_NOT_NEEDED if it has that leader.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
}
