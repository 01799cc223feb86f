//! What a client knows of a cluster: brokers, topics, leaders.

use std::collections::BTreeMap;

use ottla_types::TopicId;
use ottla_wire::ErrorCode;
use ottla_wire::messages::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};

/// A broker and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// The node id.
    pub id: i32,
    /// Its host name.
    pub host: String,
    /// Its port.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

impl Broker {
    /// `host:port`.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A partition and its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// An error, as LEADER_NOT_AVAILABLE.
    pub error: ErrorCode,
    /// The leader's node id, -1 if there is none.
    pub leader_id: i32,
    /// The leader's epoch, -1 if unknown.
    pub leader_epoch: i32,
    /// The node ids of all replicas.
    pub replicas: Vec<i32>,
    /// The node ids of the replicas in sync.
    pub isr: Vec<i32>,
}

/// A topic and its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, zero if the broker told none.
    pub id: TopicId,
    /// Whether Kafka itself uses it.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
}

/// The cluster as a broker described it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// The cluster's id, if the broker told it.
    pub cluster_id: Option<String>,
    /// The controller's node id, -1 if unknown.
    pub controller_id: i32,
    /// The brokers by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// The topics that were asked for, by name.
    pub topics: BTreeMap<String, Topic>,
}

impl ClusterView {
    /// The leader of a partition and its epoch, if both are known.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(&Broker, i32)> {
        let partition = self.topics.get(topic)?.partitions.iter().find(|p| p.index == partition)?;
        Some((self.brokers.get(&partition.leader_id)?, partition.leader_epoch))
    }

    /// Takes over what `response` says: all brokers, and the topics in it (which may be errors).
    pub(crate) fn merge(&mut self, response: &MetadataResponse<'_>) {
        self.cluster_id = response.cluster_id.as_deref().map(str::to_owned);
        self.controller_id = response.controller_id;
        let brokers = response.brokers.iter().map(|broker| {
            let rack = broker.rack.as_deref().map(str::to_owned);
            let (id, host, port) = (broker.node_id, broker.host.clone().into_owned(), broker.port);
            (id, Broker { id, host, port, rack })
        });
        self.brokers = brokers.collect();
        for topic in &response.topics {
            let Some(name) = topic.name.as_deref() else { continue };
            if ErrorCode::from_wire(topic.error_code).is_none() {
                self.topics.insert(name.to_owned(), read_topic(name, topic));
            } else {
                self.topics.remove(name);
            }
        }
    }
}

fn read_topic(name: &str, topic: &MetadataResponseTopic<'_>) -> Topic {
    let mut partitions: Vec<_> = topic.partitions.iter().map(read_partition).collect();
    partitions.sort_by_key(|partition| partition.index);
    Topic { name: name.to_owned(), id: TopicId(topic.topic_id), is_internal: topic.is_internal, partitions }
}

fn read_partition(partition: &MetadataResponsePartition) -> Partition {
    Partition {
        index: partition.partition_index,
        error: ErrorCode::from_wire(partition.error_code),
        leader_id: partition.leader_id,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.clone(),
        isr: partition.isr_nodes.clone(),
    }
}
