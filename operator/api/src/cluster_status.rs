//! What the operator reports of a KafkaCluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator reports of a KafkaCluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaClusterStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready and Progressing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,

    /// Brokers that there are.
    #[serde(default)]
    pub replicas: i32,

    /// Brokers that serve.
    #[serde(default)]
    pub ready_replicas: i32,

    /// Selects the broker pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label_selector: String,

    /// The id that every broker's disk carries; given once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,

    /// The brokers that vote on metadata; chosen once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<i32>,

    /// The record of who is which broker: ids follow this, not the pods' ordinals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".to_string()]))]
    pub brokers: Vec<BrokerStatus>,

    /// The broker image in use; another default of the operator changes it only where spec.upgrade is
    /// Automatic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// The operator's default image, where the brokers keep another one until they are asked to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_available: Option<String>,

    /// Where clients inside of Kubernetes connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_servers: Option<String>,

    /// Where clients outside connect, if a listener of type nodeport has addresses already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_bootstrap_servers: Option<String>,

    /// How all partitions are, by the brokers' own word; absent while none of them answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionCounts>,

    /// The ports of the nodes that lead to the brokers; one of these Services that is made anew asks for its
    /// port again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["service".to_string()]))]
    pub node_ports: Vec<NodePortStatus>,

    /// Every listener's addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub listeners: Vec<ListenerStatus>,

    /// Steps that are under way or held up, and by what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<OperationStatus>,
}

/// One broker, by record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// The broker's node.id.
    pub id: i32,
    /// The pod (or process) that runs it.
    pub pod: String,
    /// The rack where it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// The id of the disk that it was last seen with; a disk that was wiped has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory_id: Option<String>,
    /// Whether it serves.
    #[serde(default)]
    pub ready: bool,
}

/// How many partitions there are, and how many are not as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionCounts {
    /// All.
    pub total: i32,
    /// Without a leader: they can neither be written nor read.
    pub offline: i32,
    /// With fewer replicas in sync than min.insync.replicas: acks=all is refused.
    pub under_min_isr: i32,
    /// With a replica that is not in sync.
    pub under_replicated: i32,
    /// With replicas on the move.
    pub reassigning: i32,
}

/// The addresses of one listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The listener's name.
    pub name: String,
    /// What to give a client as bootstrap.servers.
    pub bootstrap_servers: String,
}

/// The port of the nodes that a Service has, or had last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePortStatus {
    /// The Service.
    pub service: String,
    /// The port.
    pub port: i32,
}

/// A step that is under way or held up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// What is to be done.
    pub name: String,
    /// How far it is.
    pub state: OperationState,
    /// What holds it up, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationState {
    /// It waits for something else.
    Waiting,
    /// It was tried and refused.
    Failed,
}
