//! What is known of a running cluster: the control API's ClusterView, in types of our own.

use std::collections::BTreeMap;

use ottla_types::BrokerId;

/// A cluster at one metadata version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// The cluster's id.
    pub cluster_id: String,
    /// The version that this is a picture of.
    pub metadata_version: u64,
    /// The broker that is the active controller, if one is known.
    pub active_controller: Option<BrokerId>,
    /// The brokers.
    pub brokers: Vec<BrokerView>,
    /// The topics, by name.
    pub topics: BTreeMap<String, TopicView>,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerView {
    /// Its id.
    pub id: BrokerId,
    /// Whether it is out of service.
    pub fenced: bool,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicView {
    /// Its id, as text.
    pub id: String,
    /// What was set on the topic itself.
    pub config: BTreeMap<String, String>,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionView>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// The brokers that keep it, in order of preference.
    pub replicas: Vec<BrokerId>,
    /// The one that leads it, if one does.
    pub leader: Option<BrokerId>,
}
