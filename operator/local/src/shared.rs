//! What the tasks of a local cluster share: the desired resources, what is known of them, and who to wake.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use ottla_api::{KafkaClusterStatus, TopicStatus};
use ottla_control::proto::ClusterView;
use tokio::sync::{Notify, watch};

use crate::ports::Ports;
use crate::resources::Resources;
use crate::supervisor::ProcessState;

/// Shared by the tasks; no lock is held over an await.
pub(crate) struct Shared {
    /// The ports of this cluster.
    pub ports: Ports,
    /// The newest view of the cluster, once a broker gave one.
    pub view: watch::Receiver<Option<ClusterView>>,
    /// Wakes the task that looks after topics and statuses.
    pub status_wake: Arc<Notify>,
    /// Wakes the task that looks after the brokers' processes.
    pub brokers_wake: Notify,
    state: Mutex<State>,
}

/// What changes.
pub(crate) struct State {
    /// What is desired.
    pub resources: Resources,
    /// What was observed of the cluster.
    pub cluster_status: KafkaClusterStatus,
    /// What was observed of each Topic, by resource name.
    pub topic_status: BTreeMap<String, TopicStatus>,
    /// Topics that are being deleted just now, by resource name: nobody may bring them back.
    pub deleting: BTreeSet<String>,
    /// The brokers' processes.
    pub processes: BTreeMap<i32, watch::Receiver<ProcessState>>,
    /// Whether the brokers' processes run with the settings that are desired.
    pub brokers_as_asked: bool,
    /// When the desired resources last changed, while the cluster isn't known to be as they ask.
    pub changed_at: Option<Instant>,
}

impl Shared {
    /// Nothing observed yet.
    pub fn new(
        resources: Resources,
        ports: Ports,
        view: watch::Receiver<Option<ClusterView>>,
        cluster_status: KafkaClusterStatus,
        began: Instant,
    ) -> Arc<Self> {
        let state = State {
            resources,
            cluster_status,
            topic_status: BTreeMap::new(),
            deleting: BTreeSet::new(),
            processes: BTreeMap::new(),
            brokers_as_asked: false,
            changed_at: Some(began),
        };
        Arc::new(Self {
            ports,
            view,
            status_wake: Arc::default(),
            brokers_wake: Notify::new(),
            state: Mutex::new(state),
        })
    }

    /// The state, for as long as the guard lives.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding it")
    }

    /// Says that the desired resources changed.
    pub fn resources_changed(&self) {
        {
            let mut state = self.state();
            (state.changed_at, state.brokers_as_asked) = (Some(Instant::now()), false);
        }
        self.brokers_wake.notify_one();
        self.status_wake.notify_one();
    }

    /// The newest view, if there is one.
    pub fn view(&self) -> Option<ClusterView> {
        self.view.borrow().clone()
    }
}

/// The present time, as conditions have it.
pub(crate) fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
