//! Metadata: the brokers, topics, partitions and leaders.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use super::AUTHORIZED_OPERATIONS_OMITTED;
use crate::codec::Uuid;

/// Asks for brokers and topics.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-13", flexible = "9+")]
pub struct MetadataRequest<'a> {
    /// The topics asked for. Null stands for all; in version 0 so does an empty array.
    #[kafka(nullable = "1+")]
    pub topics: Option<Vec<MetadataRequestTopic<'a>>>,
    /// Whether a topic that doesn't exist may be created.
    #[kafka(versions = "4+", default = true)]
    pub allow_auto_topic_creation: bool,
    /// Whether the response says what the client may do with the cluster.
    #[kafka(versions = "8-10")]
    pub include_cluster_authorized_operations: bool,
    /// Whether the response says what the client may do with each topic.
    #[kafka(versions = "8+")]
    pub include_topic_authorized_operations: bool,
}

/// A topic asked for, by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MetadataRequestTopic<'a> {
    /// The topic's id, zeroes if asked for by name.
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    /// The topic's name, null if asked for by id.
    #[kafka(nullable = "10+")]
    pub name: Option<&'a str>,
}

/// The brokers and topics.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-13", flexible = "9+")]
pub struct MetadataResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    #[kafka(versions = "3+")]
    pub throttle_time_ms: i32,
    /// The brokers that are alive.
    pub brokers: Vec<MetadataResponseBroker<'a>>,
    /// The cluster's id.
    #[kafka(versions = "2+", nullable = "2+")]
    pub cluster_id: Option<Cow<'a, str>>,
    /// The node id of the controller, -1 if unknown.
    #[kafka(versions = "1+", default = -1)]
    pub controller_id: i32,
    /// The topics.
    pub topics: Vec<MetadataResponseTopic<'a>>,
    /// What the client may do with the cluster, as bits.
    #[kafka(versions = "8-10", default = AUTHORIZED_OPERATIONS_OMITTED)]
    pub cluster_authorized_operations: i32,
    /// An error of the whole request, as REBOOTSTRAP_REQUIRED.
    #[kafka(versions = "13+")]
    pub error_code: i16,
}

/// A broker and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MetadataResponseBroker<'a> {
    /// The node id.
    pub node_id: i32,
    /// Its host name.
    pub host: Cow<'a, str>,
    /// Its port.
    pub port: i32,
    /// Its rack, if it has one.
    #[kafka(versions = "1+", nullable = "1+")]
    pub rack: Option<Cow<'a, str>>,
}

/// A topic with its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MetadataResponseTopic<'a> {
    /// The topic's error code.
    pub error_code: i16,
    /// The topic's name; null if asked for by an id that is unknown.
    #[kafka(nullable = "12+")]
    pub name: Option<Cow<'a, str>>,
    /// The topic's id.
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    /// Whether Kafka itself uses the topic.
    #[kafka(versions = "1+")]
    pub is_internal: bool,
    /// Its partitions.
    pub partitions: Vec<MetadataResponsePartition>,
    /// What the client may do with the topic, as bits.
    #[kafka(versions = "8+", default = AUTHORIZED_OPERATIONS_OMITTED)]
    pub topic_authorized_operations: i32,
}

/// A partition with its leader and replicas.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct MetadataResponsePartition {
    /// The partition's error code.
    pub error_code: i16,
    /// The partition's index.
    pub partition_index: i32,
    /// The leader's node id, -1 if there is none.
    pub leader_id: i32,
    /// The leader's epoch, -1 if unknown.
    #[kafka(versions = "7+", default = -1)]
    pub leader_epoch: i32,
    /// The node ids of all replicas.
    pub replica_nodes: Vec<i32>,
    /// The node ids of the replicas in sync.
    pub isr_nodes: Vec<i32>,
    /// The node ids of the replicas that are down.
    #[kafka(versions = "5+")]
    pub offline_replicas: Vec<i32>,
}
