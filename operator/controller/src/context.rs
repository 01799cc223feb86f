//! What reconciliations share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use ottla_api::{CONTROL_PORT, KafkaCluster};
use ottla_plan::{Names, TopicAction};
use parking_lot::Mutex;

use crate::connection::Connections;
use crate::metrics::Metrics;
use crate::watches::Stores;

const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Where a cluster's control listeners are: host:port each.
pub type Resolver = Arc<dyn Fn(&KafkaCluster) -> Vec<String> + Send + Sync>;

/// What reconciliations share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What it says there is.
    pub stores: Stores,
    /// The broker image of new clusters whose KafkaCluster names none.
    pub image: String,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who reports events: this operator's pod.
    pub identity: String,
    pub(crate) resolver: Resolver,
    pub(crate) connections: Connections,
    /// Statuses that were written, by uid, for as long as the watch may not show them yet.
    written: Mutex<HashMap<String, Written>>,
    /// Failures in a row, by uid.
    failures: Mutex<HashMap<String, u32>>,
    /// What the brokers said no to, by the uid of the Topic.
    refusals: Mutex<HashMap<String, RefusedAction>>,
    /// A node's labels don't change under its pods' feet; by name.
    nodes: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

/// What the brokers said no to.
struct RefusedAction {
    action: TopicAction,
    message: String,
    until: Instant,
}

struct Written {
    /// The resourceVersion that the writer had seen.
    seen: Option<String>,
    status: serde_json::Value,
}

impl Context {
    /// Nothing written, nothing failed, no connection.
    pub(crate) fn new(
        client: Client,
        stores: Stores,
        image: String,
        identity: String,
        resolver: Resolver,
        connections: Connections,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            stores,
            image,
            metrics,
            identity,
            resolver,
            connections,
            written: Mutex::default(),
            failures: Mutex::default(),
            refusals: Mutex::default(),
            nodes: Mutex::default(),
        }
    }

    /// The status that was written when the object was as it is in the watch still: newer than the object's
    /// own.
    pub(crate) fn newer_status<S: serde::de::DeserializeOwned>(
        &self,
        uid: &str,
        version: Option<&str>,
    ) -> Option<S> {
        let written = self.written.lock();
        let written = written.get(uid).filter(|w| w.seen.as_deref() == version)?;
        serde_json::from_value(written.status.clone()).ok()
    }

    /// Remembers a status that was just written.
    pub(crate) fn status_written(&self, uid: &str, version: Option<&str>, status: serde_json::Value) {
        let written = Written { seen: version.map(str::to_owned), status };
        self.written.lock().insert(uid.to_owned(), written);
    }

    /// Forgets an object that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.written.lock().remove(uid);
        self.failures.lock().remove(uid);
        self.refusals.lock().remove(uid);
    }

    /// How long to wait after another failure: twice as long as after the one before.
    pub(crate) fn pause_after_failure(&self, uid: &str) -> Duration {
        let mut failures = self.failures.lock();
        let count = failures.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        PAUSE_FIRST.saturating_mul(1 << (*count - 1).min(6)).min(PAUSE_MAX)
    }

    /// Remembers for a while that the brokers refuse this, as nothing else has changed.
    pub(crate) fn refused(&self, uid: &str, action: TopicAction, message: &str, stands: Duration) {
        let refusal = RefusedAction { action, message: message.to_owned(), until: Instant::now() + stands };
        self.refusals.lock().insert(uid.to_owned(), refusal);
    }

    /// What the brokers said to the same request, and for how long they aren't asked again: the status that
    /// says so would wake us, and so on.
    pub(crate) fn refusal(&self, uid: &str, action: &TopicAction) -> Option<(String, Duration)> {
        let refusals = self.refusals.lock();
        let refusal = refusals.get(uid).filter(|refusal| refusal.action == *action)?;
        let left = refusal.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| (refusal.message.clone(), left))
    }

    /// The next failure is the first again.
    pub(crate) fn succeeded(&self, uid: &str) {
        self.failures.lock().remove(uid);
    }

    /// The value of a label of each of these nodes, where they have it.
    pub(crate) async fn node_labels(&self, nodes: &[&str], key: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for node in nodes {
            let known = self.nodes.lock().get(*node).cloned();
            let labels = match known {
                Some(labels) => labels,
                None => match Api::<Node>::all(self.client.clone()).get(node).await {
                    Ok(live) => {
                        let labels = live.metadata.labels.unwrap_or_default();
                        self.nodes.lock().insert((*node).to_owned(), labels.clone());
                        labels
                    }
                    Err(error) => {
                        tracing::warn!(node, %error, "cannot read the labels of a node");
                        continue;
                    }
                },
            };
            if let Some(value) = labels.get(key) {
                found.insert((*node).to_owned(), value.clone());
            }
        }
        found
    }
}

/// The present second, as conditions have it.
pub(crate) fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Where the brokers of a cluster are by their pods' names.
pub fn pod_addresses(cluster: &KafkaCluster) -> Vec<String> {
    let (Some(name), Some(namespace)) = (&cluster.metadata.name, &cluster.metadata.namespace) else {
        return Vec::new();
    };
    let names = Names { cluster: name, namespace };
    let brokers = cluster.status.as_ref().map(|s| s.brokers.len()).unwrap_or_default();
    (0..brokers).map(|ordinal| format!("{}:{CONTROL_PORT}", names.pod_host(ordinal))).collect()
}
