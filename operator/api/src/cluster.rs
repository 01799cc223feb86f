//! KafkaCluster: what a person asks of a cluster of brokers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::cluster_status::KafkaClusterStatus;
use crate::listener::{ListenerSpec, default_listeners};
use crate::pod::PodSpecPart;
use crate::setting::SettingValue;

/// The broker settings that the operator writes itself; `spec.config` may not hold them.
///
/// The CEL rule on [`KafkaClusterSpec::config`] lists the same names (a test compares them).
pub const CONFIG_KEYS_OWNED: [&str; 18] = [
    "advertised.listeners",
    "broker.id",
    "broker.rack",
    "cluster.id",
    "controller.listener.names",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "inter.broker.listener.name",
    "listener.security.protocol.map",
    "listeners",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "node.id",
    "ottla.http.listener",
    "ottla.log.filter",
    "process.roles",
    "security.inter.broker.protocol",
];

/// A Kafka cluster: brokers, their storage, and the addresses that clients use.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ottla.dev",
    version = "v1alpha1",
    kind = "KafkaCluster",
    namespaced,
    status = "KafkaClusterStatus",
    derive = "PartialEq",
    shortname = "okc",
    category = "ottla",
    doc = "A Kafka cluster: brokers, their storage, and the addresses that clients use.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.labelSelector"
    ),
    printcolumn(name = "Brokers", type_ = "integer", json_path = ".spec.replicas", description = "Brokers asked for"),
    printcolumn(name = "Ready Brokers", type_ = "integer", json_path = ".status.readyReplicas", description = "Brokers that serve"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions.total", description = "Partitions of all topics"),
    printcolumn(name = "Under-Replicated", type_ = "integer", json_path = ".status.partitions.underReplicated", description = "Partitions with a replica that is not in sync"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether the cluster is as asked"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Why it is ready, or why not"),
    printcolumn(name = "Bootstrap", type_ = "string", json_path = ".status.bootstrapServers", description = "Where clients inside of Kubernetes connect"),
    printcolumn(name = "External", type_ = "string", json_path = ".status.externalBootstrapServers", description = "Where clients outside connect", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, description = "The same in words", priority = "1"),
    printcolumn(name = "Cluster ID", type_ = "string", json_path = ".status.clusterId", description = "The id that every broker's disk carries", priority = "1"),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image", description = "The broker image in use", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 36")
        .message("metadata.name must be 1 to 36 of a-z, 0-9 and '-', starting with a letter and ending with a letter or digit: Services and Pods are named after it")
        .reason(Reason::FieldValueInvalid)
)]
#[serde(rename_all = "camelCase")]
pub struct KafkaClusterSpec {
    /// How many brokers. May grow; shrinking is not supported yet.
    #[serde(default = "default_replicas")]
    #[x_kube(
        validation = Rule::new("self >= 1 && self <= 1000").message("spec.replicas must be from 1 to 1000"),
        validation = Rule::new("self >= oldSelf").message("spec.replicas cannot decrease: moving replicas off a broker before it leaves is not supported yet; allowed are the present number or more"),
    )]
    pub replicas: i32,

    /// The volume of each broker.
    #[serde(default)]
    pub storage: StorageSpec,

    /// Where clients connect. Exactly one is of type internal; the brokers use it among themselves too.
    #[serde(default = "default_listeners")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".to_string()]),
        validation = Rule::new("self.exists_one(l, l.type == 'internal')").message("spec.listeners must hold exactly one listener of type internal (the others are of type nodeport)"),
        validation = Rule::new("self.all(l, self.exists_one(m, m.port == l.port))").message("spec.listeners must each have a port of their own"),
    )]
    pub listeners: Vec<ListenerSpec>,

    /// Broker settings under Kafka's names, for all brokers alike.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::config_map")]
    #[x_kube(
        validation = Rule::new("['advertised.listeners', 'broker.id', 'broker.rack', 'cluster.id', 'controller.listener.names', 'controller.quorum.bootstrap.servers', 'controller.quorum.voters', 'inter.broker.listener.name', 'listener.security.protocol.map', 'listeners', 'log.dir', 'log.dirs', 'metadata.log.dir', 'node.id', 'ottla.http.listener', 'ottla.log.filter', 'process.roles', 'security.inter.broker.protocol'].all(k, !(k in self))")
            .message("spec.config may hold any Kafka setting but those that the operator writes itself: advertised.listeners, broker.id, broker.rack, cluster.id, controller.listener.names, controller.quorum.bootstrap.servers, controller.quorum.voters, inter.broker.listener.name, listener.security.protocol.map, listeners, log.dir, log.dirs, metadata.log.dir, node.id, ottla.http.listener, ottla.log.filter, process.roles, security.inter.broker.protocol"),
        validation = Rule::new("self.all(k, k.matches('^[a-z][a-zA-Z0-9._-]{0,127}$'))").message("spec.config must have setting names of 1 to 128 of a-z, A-Z, 0-9, '.', '_' and '-', starting with a small letter"),
    )]
    pub config: BTreeMap<String, SettingValue>,

    /// Spreads the brokers, and the replicas of each partition, over racks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<RackSpec>,

    /// The broker image. If absent, a new cluster takes the operator's default, and keeps it or follows it:
    /// see `upgrade`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// Whether the brokers follow when the operator comes with another default image. Where `image` is set,
    /// it alone decides.
    #[serde(default)]
    pub upgrade: UpgradePolicy,

    /// Requests and limits of the broker container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// What else the broker pods should have.
    #[serde(default, skip_serializing_if = "PodSpecPart::is_empty")]
    pub pod: PodSpecPart,

    /// The filter of the brokers' logs, as in "info" or "info,ottla_server=debug".
    #[serde(default = "default_log_level")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_:=,]+$')").message("spec.logLevel must be a log filter: trace, debug, info, warn or error, or a list as in info,ottla_server=debug"))]
    pub log_level: String,
}

/// The volume of each broker.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.class) ? self.class : '') == (has(oldSelf.class) ? oldSelf.class : '')").message("spec.storage.class cannot change: a broker's volume keeps the class that it was made with").field_path(".class"),
)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// How much each broker gets, as in "10Gi".
    #[serde(default = "default_size")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))").message("spec.storage.size must be a quantity greater than zero, as in 10Gi"),
        validation = Rule::new("self == oldSelf").message("spec.storage.size cannot change yet: allowed is the size that the cluster was made with"),
    )]
    pub size: String,

    /// The StorageClass; the default class of Kubernetes if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class: Option<String>,

    /// What becomes of the volumes when the KafkaCluster is deleted.
    #[serde(default)]
    pub retention: StorageRetention,
}

/// What becomes of the volumes when the KafkaCluster is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum StorageRetention {
    /// They stay, and a cluster of the same name finds its records again.
    #[default]
    Retain,
    /// They are deleted, and the records with them.
    Delete,
}

/// Whether the brokers follow when the operator comes with another default image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum UpgradePolicy {
    /// They keep the image that they have (status.image) until somebody sets `image`, or this to Automatic.
    #[default]
    Manual,
    /// They are restarted with the new one, broker by broker.
    Automatic,
}

/// Spreads brokers and replicas over racks.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RackSpec {
    /// The label of the nodes whose value names a rack, as in topology.kubernetes.io/zone.
    #[schemars(length(max = 317))]
    #[x_kube(validation = Rule::new("self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')").message("spec.rack.topologyKey must be the name of a node label, as in topology.kubernetes.io/zone"))]
    pub topology_key: String,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self { size: default_size(), class: None, retention: StorageRetention::default() }
    }
}

fn default_replicas() -> i32 {
    3
}

fn default_size() -> String {
    "10Gi".to_owned()
}

fn default_log_level() -> String {
    "info".to_owned()
}

impl Default for KafkaClusterSpec {
    fn default() -> Self {
        Self {
            replicas: default_replicas(),
            storage: StorageSpec::default(),
            listeners: default_listeners(),
            config: BTreeMap::new(),
            rack: None,
            image: None,
            upgrade: UpgradePolicy::default(),
            resources: None,
            pod: PodSpecPart::default(),
            log_level: default_log_level(),
        }
    }
}

impl KafkaClusterSpec {
    /// The one listener of type internal, which the brokers use among themselves.
    ///
    /// None only for a spec that never passed [`crate::validate`].
    pub fn internal_listener(&self) -> Option<&ListenerSpec> {
        self.listeners.iter().find(|l| l.type_ == crate::ListenerType::Internal)
    }
}
