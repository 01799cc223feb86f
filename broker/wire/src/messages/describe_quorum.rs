//! DescribeQuorum: the voters of the metadata, and how far each of them is.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use crate::codec::Uuid;

/// Asks for quorums. There is one: partition 0 of `__cluster_metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumRequest<'a> {
    /// The topics.
    pub topics: Vec<DescribeQuorumTopic<'a>>,
}

/// A topic asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeQuorumTopic<'a> {
    /// The topic's name.
    pub topic_name: &'a str,
    /// The partitions.
    pub partitions: Vec<DescribeQuorumPartition>,
}

/// A partition asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeQuorumPartition {
    /// The partition's index.
    pub partition_index: i32,
}

/// The quorums.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumResponse<'a> {
    /// An error of the whole request.
    pub error_code: i16,
    /// That error in words.
    #[kafka(versions = "2+", nullable = "2+")]
    pub error_message: Option<Cow<'a, str>>,
    /// The topics.
    pub topics: Vec<DescribeQuorumTopicResponse<'a>>,
    /// Where the voters and observers are reached.
    #[kafka(versions = "2+")]
    pub nodes: Vec<QuorumNode<'a>>,
}

/// A topic's quorums.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeQuorumTopicResponse<'a> {
    /// The topic's name.
    pub topic_name: Cow<'a, str>,
    /// The partitions.
    pub partitions: Vec<DescribeQuorumPartitionResponse<'a>>,
}

/// A quorum.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeQuorumPartitionResponse<'a> {
    /// The partition's index.
    pub partition_index: i32,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(versions = "2+", nullable = "2+")]
    pub error_message: Option<Cow<'a, str>>,
    /// The leader's node id, -1 if unknown.
    pub leader_id: i32,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// Everything before this offset is committed.
    pub high_watermark: i64,
    /// Who votes.
    pub current_voters: Vec<QuorumReplica>,
    /// Who only follows.
    pub observers: Vec<QuorumReplica>,
}

/// How far a node is.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct QuorumReplica {
    /// Its node id.
    pub replica_id: i32,
    /// The id of its directory.
    #[kafka(versions = "2+")]
    pub replica_directory_id: Uuid,
    /// The end of its log, -1 if unknown.
    pub log_end_offset: i64,
    /// When the leader last heard of it, in milliseconds since 1970; -1 if unknown.
    #[kafka(versions = "1+", default = -1)]
    pub last_fetch_timestamp: i64,
    /// When it last had everything, in milliseconds since 1970; -1 if unknown.
    #[kafka(versions = "1+", default = -1)]
    pub last_caught_up_timestamp: i64,
}

/// A node and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct QuorumNode<'a> {
    /// Its node id.
    pub node_id: i32,
    /// Its listeners for the quorum.
    pub listeners: Vec<QuorumListener<'a>>,
}

/// A listener for the quorum.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct QuorumListener<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its host name.
    pub host: Cow<'a, str>,
    /// Its port.
    pub port: u16,
}
