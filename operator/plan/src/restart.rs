//! Which pod is replaced next, so that it runs as the StatefulSet now says, and what still stands against it.
//!
//! One pod at a time, and only while every partition that counts on its broker has all replicas in sync. A
//! pod that isn't ready goes first: else a bad setting could never be corrected. Whether its broker serves
//! all the same is a controller's word: readiness may fail for all at once, by kubelets' probes, while
//! nobody's records may be stopped.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use ottla_api::BrokerStatus;
use ottla_types::BrokerId;

use crate::build::{CONFIG_HASH_ANNOTATION, TEMPLATE_HASH_ANNOTATION, own_hash};
use crate::event::Event;
use crate::view::ClusterView;

/// The label of pods that says which revision of the StatefulSet they were made from.
const REVISION_LABEL: &str = "controller-revision-hash";

/// The annotation of a template by which `kubectl rollout restart` has all pods replaced.
const RESTARTED_AT_ANNOTATION: &str = "kubectl.kubernetes.io/restartedAt";

/// A pod to be replaced, now or once what blocks it has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The pod's name.
    pub pod: String,
    /// Its uid: the pod that takes its place is another one.
    pub uid: String,
    /// The broker in it.
    pub broker: BrokerId,
    /// Whether the broker runs: then the brokers are asked once more before it is stopped.
    pub runs: bool,
    /// Whether the pod is ready: then the others must be too, and somebody must have answered.
    pub ready: bool,
    /// What has changed, in words.
    pub why: String,
    /// How many more are to follow.
    pub more: usize,
    /// What it waits for; none: nothing stands against it.
    pub blocked_by: Option<String>,
}

impl Restart {
    /// What stands against it by the cluster's own word; without a view nobody has answered.
    pub fn hindrance(&self, view: Option<&ClusterView>) -> Option<String> {
        if self.runs { stop_hindrance(view, self.broker, self.ready, None) } else { None }
    }

    /// Why the pod of another broker stands against it. If this broker serves though its pod isn't ready,
    /// unready pods that are yet to be replaced don't hold it up, as they may be in the same state. If it
    /// doesn't serve, only pods that are being replaced hold it up, as others may need this broker to become
    /// ready.
    fn hindered_by(&self, name: &str, pod: Option<&Pod>, serves: bool, is_old: bool) -> Option<String> {
        let unready = !pod.is_some_and(is_ready);
        let goes = pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some());
        let hinders = if self.ready {
            unready
        } else if serves {
            unready && (goes || !is_old)
        } else {
            self.runs && goes
        };
        hinders.then(|| if goes { format!("{name} is on its way") } else { format!("{name} is not ready") })
    }

    /// What to tell once it is begun.
    pub fn event(&self) -> Event {
        let follow = match self.more {
            0 => "it is the last".to_owned(),
            more => format!("{more} more to follow, one by one"),
        };
        let message = format!("{}: {}; {follow}", self.pod, self.why);
        Event { warning: false, reason: "RestartingBroker".to_owned(), message }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restart {} for {}", self.pod, self.why)?;
        if self.more > 0 { write!(f, ", then {} more", self.more) } else { Ok(()) }
    }
}

/// What to ask of the API server so that a pod goes: the one with this uid, not another that has its name by
/// then.
pub fn eviction(namespace: &str, pod: &str, uid: &str) -> Eviction {
    Eviction {
        metadata: ObjectMeta {
            name: Some(pod.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..Default::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..Default::default()
        }),
    }
}

/// What is left to do until every pod is as the plan's StatefulSet says, in words; none if nothing is.
///
/// `set` is the live StatefulSet, if it asks for what the plan asks for.
pub(crate) fn unrolled(set: Option<&StatefulSet>, pods: &[Pod], brokers: &[BrokerStatus]) -> Option<String> {
    let Some(set) = set else { return Some("the StatefulSet is being applied".to_owned()) };
    let Some(revision) = newest_revision(set) else {
        return Some("Kubernetes has yet to look at the StatefulSet as it is now".to_owned());
    };
    let all = brokers.len();
    let new = brokers.iter().enumerate().filter(|(ordinal, broker)| {
        let pod = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(&broker.pod));
        pod.filter(|pod| pod.metadata.deletion_timestamp.is_none() && made_from(pod).is_some())
            .is_some_and(|pod| !is_old(set, revision, pod, *ordinal))
    });
    let new = new.count();
    (new < all).then(|| format!("{new} of {all} brokers run as asked"))
}

// Until the StatefulSet was looked at, its status speaks of what it asked for before.
fn newest_revision(set: &StatefulSet) -> Option<&str> {
    let status = set.status.as_ref().filter(|s| s.observed_generation == set.metadata.generation)?;
    status.update_revision.as_deref()
}

fn made_from(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(REVISION_LABEL).map(String::as_str)
}

/// The next restart, or what it waits for; none if every pod is as the StatefulSet says.
///
/// `set` is the live StatefulSet, and it asks for what the plan asks for.
pub(crate) fn next_restart(
    set: &StatefulSet,
    pods: &[Pod],
    brokers: &[BrokerStatus],
    view: Option<&ClusterView>,
) -> Option<Restart> {
    let revision = newest_revision(set)?;
    let pod_of =
        |broker: &BrokerStatus| pods.iter().find(|p| p.metadata.name.as_deref() == Some(&broker.pod));
    let numbered = brokers.iter().enumerate().filter_map(|(ordinal, b)| Some((ordinal, b, pod_of(b)?)));
    let mut old: Vec<(usize, &BrokerStatus, &Pod)> =
        numbered.filter(|(ordinal, _, pod)| is_old(set, revision, pod, *ordinal)).collect();
    // Those that don't serve first, the active controller last: it is then elected anew only once.
    let controller = view.and_then(|view| view.active_controller);
    let is_serving = |id| view.is_some_and(|view| serves(view, id));
    old.sort_by_key(|(_, b, pod)| {
        let id = BrokerId(b.id);
        (is_ready(pod), runs(pod), is_ready(pod) || is_serving(id), controller == Some(id), id)
    });
    let (ordinal, broker, pod) = *old.first()?;
    let mut restart = Restart {
        pod: broker.pod.clone(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        broker: BrokerId(broker.id),
        runs: runs(pod),
        ready: is_ready(pod),
        why: difference(set, pod, ordinal),
        more: old.len() - 1,
        blocked_by: None,
    };
    let serves = is_serving(restart.broker);
    let mut others = brokers.iter().filter(|b| b.id != broker.id);
    restart.blocked_by = others
        .find_map(|b| {
            let is_old = old.iter().any(|(_, old, _)| old.id == b.id);
            restart.hindered_by(&b.pod, pod_of(b), serves, is_old)
        })
        .or_else(|| restart.hindrance(view));
    Some(restart)
}

/// What stands against stopping a broker that runs, by the cluster's own word, if somebody has answered; none
/// if nothing does.
///
/// `on_its_way` was restarted before it and isn't ready yet. Where nobody leads, that one may need the new
/// settings of this one to become ready, so it isn't waited for.
pub fn stop_hindrance(
    view: Option<&ClusterView>,
    broker: BrokerId,
    is_ready: bool,
    on_its_way: Option<BrokerId>,
) -> Option<String> {
    let is_led = view.is_some_and(|view| view.active_controller.is_some());
    if let Some(other) = on_its_way.filter(|_| is_led) {
        return Some(format!("broker {other} is not ready"));
    }
    match view {
        Some(view) if is_ready || serves(view, broker) => restart_hindrance(view, broker),
        Some(_) => None,
        // A broker that isn't ready may be why nobody answers.
        None => is_ready.then(|| "no broker answers".to_owned()),
    }
}

/// What stands against stopping a broker that serves, by the cluster's own word; none if nothing does.
pub fn restart_hindrance(view: &ClusterView, broker: BrokerId) -> Option<String> {
    if view.active_controller.is_none() {
        return Some("no active controller is known".to_owned());
    }
    if let Some(other) = view.brokers.iter().find(|b| b.fenced && b.id != broker) {
        return Some(format!("broker {} is out of service", other.id));
    }
    short_partition(view, broker)
}

/// Whether a broker serves by the word of a controller, whatever its pod says.
fn serves(view: &ClusterView, broker: BrokerId) -> bool {
    view.active_controller.is_some() && view.brokers.iter().any(|b| b.id == broker && !b.fenced)
}

// A partition that counts on this broker and lacks a replica, in words.
fn short_partition(view: &ClusterView, broker: BrokerId) -> Option<String> {
    let partitions =
        view.topics.iter().flat_map(|(name, t)| t.partitions.iter().enumerate().map(move |p| (name, p)));
    let mut short = partitions.filter(|(_, (_, p))| p.isr.contains(&broker) && p.is_under_replicated());
    short.next().map(|(name, (index, p))| format!("{name}-{index} has {}", p.in_sync_text()))
}

/// Whether a pod serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let is_ready = conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    pod.metadata.deletion_timestamp.is_none() && is_ready
}

// Whether the broker's process is there.
fn runs(pod: &Pod) -> bool {
    let containers = pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    containers.iter().any(|c| c.state.as_ref().is_some_and(|state| state.running.is_some()))
}

// Another revision may differ in what concerns another broker only; only old pods don't say what they were
// made from.
fn is_old(set: &StatefulSet, revision: &str, pod: &Pod, ordinal: usize) -> bool {
    let is_other =
        pod.metadata.deletion_timestamp.is_none() && made_from(pod).is_some_and(|had| had != revision);
    let had = pod.metadata.annotations.as_ref();
    let Some(had_template) = had.and_then(|a| a.get(TEMPLATE_HASH_ANNOTATION)) else { return is_other };
    let wanted = template_annotations(set).and_then(|a| a.get(TEMPLATE_HASH_ANNOTATION));
    is_other
        && (wanted != Some(had_template)
            || settings_differ(set, pod, ordinal)
            || is_asked_to_restart(set, pod))
}

/// Whether a person had the pods of the StatefulSet replaced (`kubectl rollout restart`) since this one was
/// made.
fn is_asked_to_restart(set: &StatefulSet, pod: &Pod) -> bool {
    let asked = |annotations: Option<&BTreeMap<String, String>>| {
        annotations.and_then(|a| a.get(RESTARTED_AT_ANNOTATION)).cloned()
    };
    let wanted = asked(template_annotations(set));
    wanted.is_some() && wanted != asked(pod.metadata.annotations.as_ref())
}

fn settings_differ(set: &StatefulSet, pod: &Pod, ordinal: usize) -> bool {
    let own = |annotations: Option<&BTreeMap<String, String>>| {
        let all = annotations.and_then(|a| a.get(CONFIG_HASH_ANNOTATION)).map(String::as_str);
        all.and_then(|all| own_hash(all, ordinal)).map(str::to_owned)
    };
    own(template_annotations(set)) != own(pod.metadata.annotations.as_ref())
}

fn template_annotations(set: &StatefulSet) -> Option<&BTreeMap<String, String>> {
    set.spec.as_ref()?.template.metadata.as_ref()?.annotations.as_ref()
}

fn difference(set: &StatefulSet, pod: &Pod, ordinal: usize) -> String {
    if settings_differ(set, pod, ordinal) {
        return "changed settings".to_owned();
    }
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let image = |containers: &[Container]| containers.first().and_then(|c| c.image.clone());
    let wanted = template.and_then(|t| image(&t.spec.as_ref()?.containers));
    match wanted {
        Some(wanted) if pod.spec.as_ref().and_then(|s| image(&s.containers)).as_ref() != Some(&wanted) => {
            format!("the image {wanted}")
        }
        _ if is_asked_to_restart(set, pod) => "a restart that was asked for".to_owned(),
        _ => "a changed pod".to_owned(),
    }
}
