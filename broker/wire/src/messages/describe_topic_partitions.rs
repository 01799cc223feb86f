//! DescribeTopicPartitions: topics and partitions for administrators, page by page.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use super::AUTHORIZED_OPERATIONS_OMITTED;
use crate::codec::Uuid;

/// Asks for topics.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsRequest<'a> {
    /// The topics; empty for all.
    pub topics: Vec<TopicRequest<'a>>,
    /// The most partitions to answer.
    #[kafka(default = 2000)]
    pub response_partition_limit: i32,
    /// Where to go on.
    #[kafka(nullable)]
    pub cursor: Option<Cursor<'a>>,
}

/// A topic asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TopicRequest<'a> {
    /// The topic's name.
    pub name: &'a str,
}

/// Where the next page starts.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct Cursor<'a> {
    /// The topic's name.
    pub topic_name: Cow<'a, str>,
    /// The partition's index.
    pub partition_index: i32,
}

/// The topics.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>,
    /// Where the next page starts; null after the last.
    #[kafka(nullable)]
    pub next_cursor: Option<Cursor<'a>>,
}

/// A topic with its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeTopicPartitionsResponseTopic<'a> {
    /// The topic's error code.
    pub error_code: i16,
    /// The topic's name.
    #[kafka(nullable)]
    pub name: Option<Cow<'a, str>>,
    /// The topic's id.
    pub topic_id: Uuid,
    /// Whether Kafka itself uses the topic.
    pub is_internal: bool,
    /// Its partitions.
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    /// What the client may do with the topic, as bits.
    #[kafka(default = AUTHORIZED_OPERATIONS_OMITTED)]
    pub topic_authorized_operations: i32,
}

/// A partition with its leader and replicas.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeTopicPartitionsResponsePartition {
    /// The partition's error code.
    pub error_code: i16,
    /// The partition's index.
    pub partition_index: i32,
    /// The leader's node id, -1 if there is none.
    pub leader_id: i32,
    /// The leader's epoch, -1 if unknown.
    #[kafka(default = -1)]
    pub leader_epoch: i32,
    /// The node ids of all replicas.
    pub replica_nodes: Vec<i32>,
    /// The node ids of the replicas in sync.
    pub isr_nodes: Vec<i32>,
    /// The node ids that may lead though they aren't in sync; null if unknown.
    #[kafka(nullable)]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// The last replicas known to be eligible; null if unknown.
    #[kafka(nullable)]
    pub last_known_elr: Option<Vec<i32>>,
    /// The node ids of the replicas that are down.
    pub offline_replicas: Vec<i32>,
}
