//! Builders: each makes one kind of object, or none where there is nothing to make.

mod config;
mod services;
mod stateful_set;
mod supporting;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use ottla_api::{API_VERSION, KafkaClusterSpec};
use ottla_types::{BrokerId, ClusterId};

use crate::names::Names;

pub(crate) use config::{config_files, config_map, own_hash};
pub(crate) use services::{bootstrap_service, headless_service, node_port_of, nodeport_services};
pub(crate) use stateful_set::stateful_set;
pub(crate) use supporting::{pod_disruption_budget, service_account};

/// The annotation of volume claims that says which cluster's records they hold.
pub const CLUSTER_ID_ANNOTATION: &str = "ottla.dev/cluster-id";
/// The annotation of volume claims that says who votes in the cluster whose records they hold.
pub const VOTERS_ANNOTATION: &str = "ottla.dev/voters";
/// The annotation of pods with the fingerprints of the configurations that all brokers had when they began.
pub const CONFIG_HASH_ANNOTATION: &str = "ottla.dev/config-hash";
/// The annotation of pods with the fingerprint of all else that was asked of them.
pub const TEMPLATE_HASH_ANNOTATION: &str = "ottla.dev/template-hash";

/// One broker, by record.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    /// Its `node.id`.
    pub id: BrokerId,
    /// The ordinal of its pod.
    pub ordinal: usize,
    /// Its rack, if known.
    pub rack: Option<String>,
}

/// Everything that builders need.
#[derive(Debug)]
pub(crate) struct BuildInput<'a> {
    pub names: Names<'a>,
    pub uid: &'a str,
    pub spec: &'a KafkaClusterSpec,
    pub cluster_id: ClusterId,
    pub voters: &'a [BrokerId],
    pub brokers: &'a [Broker],
    /// The broker image in use.
    pub image: &'a str,
}

impl BuildInput<'_> {
    /// The metadata of an object of the cluster.
    fn metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.names.namespace.to_owned()),
            labels: Some(self.names.labels()),
            owner_references: Some(vec![OwnerReference {
                api_version: API_VERSION.to_owned(),
                kind: "KafkaCluster".to_owned(),
                name: self.names.cluster.to_owned(),
                uid: self.uid.to_owned(),
                controller: Some(true),
                // Where that is enforced, blocking would need rights on the finalizers of KafkaClusters.
                block_owner_deletion: None,
            }]),
            ..Default::default()
        }
    }
}
