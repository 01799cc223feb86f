//! Topic: what a person asks of one topic.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::setting::SettingValue;

/// How many replicas the partitions of a new topic get, if there are as many brokers.
pub const REPLICAS_DEFAULT: i32 = 3;

/// The greatest replication factor that a Topic may ask for.
pub const REPLICAS_MAX: i32 = 7;

/// The annotation by which a person has a topic that was there before its Topic changed so that it keeps
/// fewer records; its value is that topic's id, so that it says nothing of a later one of that name.
pub const ADOPT_ANNOTATION: &str = "ottla.dev/adopt";

/// Topics that belong to the brokers themselves.
pub const TOPIC_NAMES_INTERNAL: [&str; 4] =
    ["__cluster_metadata", "__consumer_offsets", "__share_group_state", "__transaction_state"];

/// A topic of a Kafka cluster.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ottla.dev",
    version = "v1alpha1",
    kind = "Topic",
    namespaced,
    status = "TopicStatus",
    derive = "PartialEq",
    shortname = "ot",
    category = "ottla",
    doc = "A topic of a Kafka cluster.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name", description = "The KafkaCluster that holds it"),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName", description = "The topic's name in Kafka"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions", description = "Partitions that there are"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas", description = "Replicas of each partition"),
    printcolumn(name = "Under-Replicated", type_ = "integer", json_path = ".status.underReplicatedPartitions", description = "Partitions with a replica that is not in sync"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether the topic is as asked"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Why it is ready, or why not"),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, description = "The same in words", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(has(self.spec.topicName) ? self.spec.topicName : self.metadata.name) <= 249")
        .message("metadata.name must be at most 249 characters where spec.topicName is absent, as it is the topic's name"),
    validation = Rule::new("(has(self.spec.topicName) ? self.spec.topicName : self.metadata.name) == (has(oldSelf.spec.topicName) ? oldSelf.spec.topicName : oldSelf.metadata.name)")
        .message("spec.topicName cannot change: allowed is the name that the topic was made with (make another Topic for another name)")
)]
#[serde(rename_all = "camelCase")]
pub struct TopicSpec {
    /// The KafkaCluster that holds the topic, in the same namespace.
    #[x_kube(validation = Rule::new("self.name == oldSelf.name").message("spec.clusterRef.name cannot change: allowed is the cluster that the topic was made in"))]
    pub cluster_ref: ClusterRef,

    /// The topic's name in Kafka; metadata.name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 249))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-zA-Z0-9._-]+$') && self != '.' && self != '..'").message("spec.topicName must be 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', and neither '.' nor '..'"),
        validation = Rule::new("!(self in ['__cluster_metadata', '__consumer_offsets', '__share_group_state', '__transaction_state'])").message("spec.topicName may be any but __cluster_metadata, __consumer_offsets, __share_group_state and __transaction_state, which are the brokers' own"),
    )]
    pub topic_name: Option<String>,

    /// How many partitions. May grow, never shrinks. If absent, a new topic gets one, and a topic that is
    /// there keeps what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("self >= 1 && self <= 10000").message("spec.partitions must be from 1 to 10000"),
        validation = Rule::new("self >= oldSelf").message("spec.partitions cannot decrease, as that would lose records: allowed are the present number or more"),
    )]
    pub partitions: Option<i32>,

    /// How many brokers keep each partition; a change moves records. If absent, a new topic gets three, or as
    /// many as the cluster has brokers, and keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 7").message("spec.replicas must be from 1 to 7"))]
    pub replicas: Option<i32>,

    /// The topic's settings under Kafka's names. A new topic has the broker's default of what is not here; a
    /// topic that was there before keeps what it has. What is taken out here returns to the default, if this
    /// Topic had set it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::config_map")]
    #[x_kube(validation = Rule::new("self.all(k, k.matches('^[a-z][a-zA-Z0-9._-]{0,127}$'))").message("spec.config must have setting names of 1 to 128 of a-z, A-Z, 0-9, '.', '_' and '-', starting with a small letter"))]
    pub config: BTreeMap<String, SettingValue>,

    /// What becomes of the topic and its records when this Topic is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Names a KafkaCluster of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRef {
    /// The KafkaCluster's metadata.name.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self != ''").message("spec.clusterRef.name must be the name of a KafkaCluster in the same namespace"))]
    pub name: String,
}

/// What becomes of a topic when its Topic resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The topic and its records stay in the cluster.
    #[default]
    Retain,
    /// The topic is deleted, and its records with it.
    Delete,
}

/// What the operator reports of a Topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready and Progressing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,

    /// The topic's name in Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,

    /// The topic's id in the cluster; a topic that is made anew has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,

    /// Partitions that there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,

    /// Replicas of each partition (the least, where they differ).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,

    /// Partitions without a leader: they can neither be written nor read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaderless_partitions: Option<i32>,

    /// Partitions with fewer replicas in sync than min.insync.replicas: acks=all is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_min_isr_partitions: Option<i32>,

    /// Partitions with a replica that is not in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_replicated_partitions: Option<i32>,

    /// Partitions with replicas on the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reassigning_partitions: Option<i32>,

    /// "written" where the topic itself asks that acknowledged records be in the page cache only, not yet on
    /// disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_durability: Option<String>,

    /// The settings that this Topic has set or asked for, with their values: what is taken out of its
    /// manifest returns to the broker's default, if the topic still has that value. Absent where no record
    /// was kept yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_config: Option<BTreeMap<String, String>>,

    /// The values of each setting that the brokers were asked for in the place of the one in managedConfig
    /// and have not yet shown, in this order: where no answer came they may be in force all the same, and are
    /// this Topic's then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub asked_config: BTreeMap<String, Vec<String>>,

    /// The settings that the topic has and the manifest doesn't name: they stay as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unmanaged_config: BTreeMap<String, String>,

    /// Who keeps the first partitions (64 at most), by index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["partition".to_string()]))]
    pub assignments: Vec<PartitionStatus>,
}

/// Who keeps one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// The partition's number.
    pub partition: i32,
    /// The broker that leads it, if any does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<i32>,
    /// The brokers that keep it, in order of preference; those that a reassignment adds and removes too.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    #[serde(default)]
    pub isr: Vec<i32>,
    /// Those that aren't in sync and may lead all the same: they have everything that was acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elr: Vec<i32>,
    /// Those that are out of service, or whose disk is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offline: Vec<i32>,
    /// Those that a reassignment adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adding: Vec<i32>,
    /// Those that a reassignment removes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removing: Vec<i32>,
    /// What an administrator gave up by an unclean election, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unclean_election: String,
}

impl Topic {
    /// The topic's name in Kafka: spec.topicName, else metadata.name.
    pub fn topic_name(&self) -> &str {
        self.spec.topic_name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}
