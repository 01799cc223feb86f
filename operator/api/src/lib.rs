//! KafkaCluster and Topic, group `ottla.dev/v1alpha1`: types, defaults, validation rules, conditions.
//!
//! Every rule is CEL (or plain schema) in the generated CustomResourceDefinitions, so the API server
//! enforces it at admission; [`validate`] evaluates the very same text here, so that `ottla apply`
//! says the same words without a Kubernetes. Not here: what to do about a resource (`operator/plan`).

mod cluster;
mod cluster_status;
mod conditions;
mod crd;
mod definition;
mod json;
mod listener;
mod pod;
mod schema;
mod setting;
mod topic;
mod validate;

pub use cluster::{
    CONFIG_KEYS_OWNED, KafkaCluster, KafkaClusterSpec, RackSpec, StorageRetention, StorageSpec, UpgradePolicy,
};
pub use cluster_status::{
    BrokerStatus, KafkaClusterStatus, ListenerStatus, NodePortStatus, OperationState, OperationStatus,
    PartitionCounts,
};
pub use conditions::{PROGRESSING, READY, condition, find_condition, same_conditions, set_condition};
pub use crd::{CrdFile, crd_files, crd_yaml, crds};
pub use definition::{DEFINITION_ANNOTATION, DEFINITION_VERSION_ANNOTATION, definition_trouble};
pub use json::to_json;
pub use listener::{CONTROL_PORT, HTTP_PORT, ListenerSpec, ListenerType};
pub use pod::PodSpecPart;
pub use schema::Violation;
pub use setting::SettingValue;
pub use topic::{
    ADOPT_ANNOTATION, ClusterRef, DeletionPolicy, PartitionStatus, REPLICAS_DEFAULT, REPLICAS_MAX,
    TOPIC_NAMES_INTERNAL, Topic, TopicSpec, TopicStatus,
};
pub use validate::{Kind, kind_of, validate};

/// The API group of both kinds.
pub const GROUP: &str = "ottla.dev";
/// The version of both kinds.
pub const VERSION: &str = "v1alpha1";
/// Group and version as manifests write them.
pub const API_VERSION: &str = "ottla.dev/v1alpha1";
