//! The names and labels of everything that belongs to a cluster.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Who the operator says it is when it applies objects.
pub const FIELD_MANAGER: &str = "ottla-operator";

/// The label that says which cluster an object belongs to.
pub const CLUSTER_LABEL: &str = "app.kubernetes.io/instance";

/// Names derived from a KafkaCluster's own.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The KafkaCluster's metadata.name.
    pub cluster: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

impl Names<'_> {
    /// The StatefulSet, the brokers' ServiceAccount and their PodDisruptionBudget.
    pub fn brokers(&self) -> String {
        format!("{}-broker", self.cluster)
    }

    /// The pod of the broker with this ordinal.
    pub fn pod(&self, ordinal: usize) -> String {
        format!("{}-broker-{ordinal}", self.cluster)
    }

    /// The headless Service, which gives each pod a name.
    pub fn headless(&self) -> String {
        format!("{}-brokers", self.cluster)
    }

    /// The Service where clients inside of Kubernetes begin.
    pub fn bootstrap(&self) -> String {
        format!("{}-bootstrap", self.cluster)
    }

    /// The Service where clients of a nodeport listener begin.
    pub fn listener_bootstrap(&self, listener: &str) -> String {
        format!("{}-{listener}-bootstrap", self.cluster)
    }

    /// The Service of one broker on a nodeport listener.
    pub fn listener_broker(&self, listener: &str, ordinal: usize) -> String {
        format!("{}-{listener}-{ordinal}", self.cluster)
    }

    /// The ConfigMap with each broker's properties.
    pub fn config(&self) -> String {
        format!("{}-broker-config", self.cluster)
    }

    /// A broker pod's host name, good in the whole of Kubernetes.
    pub fn pod_host(&self, ordinal: usize) -> String {
        format!("{}.{}.{}.svc", self.pod(ordinal), self.headless(), self.namespace)
    }

    /// The labels that select the broker pods; they never change.
    pub fn selector_labels(&self) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/name", "ottla-broker"),
            (CLUSTER_LABEL, self.cluster),
            ("app.kubernetes.io/component", "broker"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// The labels of every object of the cluster.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector_labels();
        for (key, value) in
            [("app.kubernetes.io/part-of", "ottla"), ("app.kubernetes.io/managed-by", FIELD_MANAGER)]
        {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }

    /// Selects the broker pods.
    pub fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(self.selector_labels()), ..Default::default() }
    }

    /// The same as text, for the scale subresource.
    pub fn selector_text(&self) -> String {
        let pairs = self.selector_labels().into_iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(",")
    }
}
