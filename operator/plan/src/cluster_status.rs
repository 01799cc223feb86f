//! What a KafkaCluster's status says, from what was observed, what was planned, and what came of the steps.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ottla_api::{
    BrokerStatus, KafkaCluster, KafkaClusterStatus, ListenerSpec, ListenerStatus, ListenerType,
    NodePortStatus, OperationState, OperationStatus, PartitionCounts,
};

use crate::build::node_port_of;
use crate::cluster::{ClusterObserved, ClusterPlan, Step};
use crate::event::{Event, ready_changed};
use crate::names::Names;
use crate::object::PlannedObject;
use crate::pass::{CONFLICT, PassOutcome, RestartOutcome, StepFailure};
use crate::readiness::Readiness;
use crate::restart::Restart;
use crate::retained::Unfit;
use crate::view::{counts, troubles};

/// The most addresses that a listener's bootstrap.servers holds.
const BOOTSTRAP_HOSTS_MAX: usize = 3;

/// The status, and what to tell, after the steps of `plan` that were tried up to now: all of them at the end
/// of a pass, none yet at [`Step::Record`]. Nothing else computes a status of a cluster that has a plan.
pub fn cluster_status(
    observed: ClusterObserved<'_>,
    plan: &ClusterPlan,
    outcome: &PassOutcome,
    now: Time,
) -> (KafkaClusterStatus, Vec<Event>) {
    let cluster = observed.cluster;
    let names = Names {
        cluster: cluster.metadata.name.as_deref().unwrap_or_default(),
        namespace: cluster.metadata.namespace.as_deref().unwrap_or_default(),
    };
    let old = cluster.status.clone().unwrap_or_default();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let listeners = listeners(observed, names);
    let first = |type_| {
        let name = &cluster.spec.listeners.iter().find(|l| l.type_ == type_)?.name;
        listeners.iter().find(|l| l.name == *name).map(|l| l.bootstrap_servers.clone())
    };
    let mut status = KafkaClusterStatus {
        observed_generation: cluster.metadata.generation,
        conditions: old.conditions.clone(),
        replicas: count(observed.pods.len()),
        ready_replicas: count(plan.record.brokers.iter().filter(|b| b.ready).count()),
        label_selector: names.selector_text(),
        cluster_id: Some(plan.record.cluster_id.to_string()),
        voters: plan.record.voters.iter().map(|v| v.0).collect(),
        brokers: plan.record.brokers.clone(),
        image: Some(plan.record.image.clone()),
        image_available: available(observed, &plan.record.image),
        bootstrap_servers: first(ListenerType::Internal),
        external_bootstrap_servers: first(ListenerType::Nodeport),
        partitions: partitions(observed),
        operations: operations(plan, outcome),
        node_ports: node_ports(observed, plan),
        listeners,
    };
    let readiness = readiness(observed, plan, outcome, status.partitions);
    readiness.set(&mut status.conditions, cluster.metadata.generation, now);
    let mut events: Vec<Event> = ready_changed(&old.conditions, &status.conditions).into_iter().collect();
    events.extend(disks_changed(&old.brokers, &status.brokers));
    events.extend(node_ports_changed(&old.node_ports, &status.node_ports));
    if outcome.restart == Some(RestartOutcome::Begun) {
        events.extend(plan.restart().map(Restart::event));
    }
    (status, events)
}

/// The status of a cluster that isn't begun, and what to tell. Nothing goes on record: another spec may fit.
pub fn unfit_status(cluster: &KafkaCluster, unfit: &Unfit, now: Time) -> (KafkaClusterStatus, Vec<Event>) {
    let before = cluster.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    let generation = cluster.metadata.generation;
    let mut status = KafkaClusterStatus {
        observed_generation: generation,
        conditions: before.clone(),
        ..Default::default()
    };
    Readiness::stuck(unfit.reason, unfit.message.clone()).set(&mut status.conditions, generation, now);
    let events = ready_changed(&before, &status.conditions).into_iter().collect();
    (status, events)
}

// Where the spec names an image, nothing else is on offer.
fn available(observed: ClusterObserved<'_>, image: &str) -> Option<String> {
    let differs = observed.cluster.spec.image.is_none() && observed.image != image;
    differs.then(|| observed.image.to_owned())
}

// Brokers that haven't spoken yet to an operator that just started: what was seen last stands.
fn partitions(observed: ClusterObserved<'_>) -> Option<PartitionCounts> {
    let said = observed.view.map(|view| counts(view.topics.values().flat_map(|topic| &topic.partitions)));
    let before = observed.cluster.status.as_ref().and_then(|status| status.partitions);
    said.or(before.filter(|_| !observed.silent))
}

fn disks_changed(before: &[BrokerStatus], after: &[BrokerStatus]) -> Vec<Event> {
    let mut events = Vec::new();
    for BrokerStatus { id, directory_id, .. } in after {
        let had = before.iter().find(|b| b.id == *id).and_then(|b| b.directory_id.as_ref());
        if had.is_none() || had == directory_id.as_ref() {
            continue;
        }
        events.push(Event {
            warning: true,
            reason: "DiskReplaced".to_owned(),
            message: format!(
                "broker {id} came back with another disk: what other replicas have of its partitions is copied to it, and what was only on the old disk is offline"
            ),
        });
    }
    events
}

// What each Service of a nodeport listener has, or had last: it may be made anew.
fn node_ports(observed: ClusterObserved<'_>, plan: &ClusterPlan) -> Vec<NodePortStatus> {
    let before = observed.cluster.status.as_ref().map(|s| s.node_ports.as_slice()).unwrap_or_default();
    let objects = plan.steps.iter().filter_map(|step| match step {
        Step::Apply(object) if object.body["spec"]["type"] == "NodePort" => Some(object),
        _ => None,
    });
    objects
        .filter_map(|PlannedObject { name, .. }| {
            let live = observed.services.iter().find(|s| s.metadata.name.as_deref() == Some(name));
            let had = before.iter().find(|had| had.service == *name).map(|had| had.port);
            let port = live.and_then(node_port_of).map(i32::from).or(had)?;
            Some(NodePortStatus { service: name.clone(), port })
        })
        .collect()
}

fn node_ports_changed(before: &[NodePortStatus], after: &[NodePortStatus]) -> Vec<Event> {
    let mut events = Vec::new();
    for NodePortStatus { service, port } in after {
        let Some(had) = before.iter().find(|had| had.service == *service && had.port != *port) else {
            continue;
        };
        let message = format!(
            "the Service {service} has the node port {port} and had {}: clients outside have to use the new one",
            had.port
        );
        events.push(Event { warning: true, reason: "NodePortChanged".to_owned(), message });
    }
    events
}

/// Ready and Progressing, with the reason that weighs most.
fn readiness(
    observed: ClusterObserved<'_>,
    plan: &ClusterPlan,
    outcome: &PassOutcome,
    partitions: Option<PartitionCounts>,
) -> Readiness {
    let conflict = outcome.failures.iter().find(|failure| failure.reason == CONFLICT);
    if let Some(StepFailure { step, error, reason, .. }) = conflict.or(outcome.failures.first()) {
        return Readiness::stuck(reason, format!("{step}: {error}"));
    }
    if plan.config_hash.is_none() {
        let waits = plan.steps.iter().find_map(|step| match step {
            Step::Wait { blocked_by, .. } => Some(blocked_by.clone()),
            _ => None,
        });
        return Readiness::working("Preparing", waits.unwrap_or_default());
    }
    let brokers = &plan.record.brokers;
    let (ready, all) = (brokers.iter().filter(|b| b.ready).count(), brokers.len());
    let mut message = format!("{ready} of {all} brokers serve");
    let unready = brokers.iter().filter(|b| !b.ready);
    for broker in unready.take(BOOTSTRAP_HOSTS_MAX) {
        message += &format!("; {}: {}", broker.pod, pod_trouble(observed.pods, &broker.pod));
    }
    let troubles = partitions.map(|counts| troubles(&counts)).unwrap_or_default();
    for trouble in &troubles {
        message += &format!("; {}", trouble.message);
    }
    let said = observed.view.and_then(|view| view.quorum_trouble.as_deref());
    if let Some(trouble) = said.or(observed.trouble) {
        return Readiness::stuck("MetadataQuorumInTrouble", format!("{message}; {trouble}"));
    }
    // Records that can't be written weigh more than a broker that is away, and that more than a replica that
    // lags.
    let worst = troubles.first();
    match worst {
        Some(trouble) if !trouble.heals => Readiness::stuck(trouble.reason, message),
        _ if ready < all => Readiness::working("BrokersNotReady", message),
        Some(trouble) => Readiness::working(trouble.reason, message),
        None if observed.silent => {
            let silent = "no broker answers the operator: the state of partitions is unknown";
            Readiness::stuck("BrokersSilent", format!("{message}; {silent}"))
        }
        None => match &plan.unrolled {
            // Whoever waits for the new generation is to wait until the last pod runs by it.
            Some(left) => {
                let next = plan.restart().and_then(|next| Some((&next.pod, hindrance(next, outcome)?)));
                let waits = next.map(|(pod, by)| format!("; {pod} waits: {by}")).unwrap_or_default();
                Readiness::working("RestartingBrokers", format!("{message}; {left}{waits}"))
            }
            None => Readiness::ready("AllBrokersReady", message),
        },
    }
}

// What keeps a pod from serving, as far as its own status says.
fn pod_trouble(pods: &[Pod], name: &str) -> String {
    let Some(pod) = pods.iter().find(|p| p.metadata.name.as_deref() == Some(name)) else {
        return "no pod yet".to_owned();
    };
    if pod.metadata.deletion_timestamp.is_some() {
        return "stopping".to_owned();
    }
    let status = pod.status.as_ref();
    let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    if let Some(unscheduled) = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False") {
        return unscheduled.message.clone().unwrap_or_else(|| "not scheduled".to_owned());
    }
    let containers = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let waiting = containers.iter().find_map(|c| c.state.as_ref()?.waiting.clone());
    match waiting.and_then(|w| w.reason) {
        // The two take turns: one name for both, or the status would never come to rest.
        Some(reason) if reason == "ErrImagePull" => "ImagePullBackOff".to_owned(),
        Some(reason) => reason,
        None => "starting".to_owned(),
    }
}

/// What a restart waits for: what held it up when it was tried, or what kept it from being tried.
fn hindrance<'a>(restart: &'a Restart, outcome: &'a PassOutcome) -> Option<&'a str> {
    match &outcome.restart {
        Some(RestartOutcome::HeldUp(by)) => Some(by),
        _ => restart.blocked_by.as_deref(),
    }
}

fn operations(plan: &ClusterPlan, outcome: &PassOutcome) -> Vec<OperationStatus> {
    let waiting = plan.steps.iter().filter_map(|step| match step {
        Step::Wait { name, blocked_by } => Some(OperationStatus {
            name: name.clone(),
            state: OperationState::Waiting,
            blocked_by: Some(blocked_by.clone()),
        }),
        Step::Restart(restart) => Some(OperationStatus {
            name: restart.to_string(),
            state: OperationState::Waiting,
            blocked_by: hindrance(restart, outcome).map(str::to_owned),
        }),
        _ => None,
    });
    let failed = outcome.failures.iter().map(|failure| OperationStatus {
        name: failure.step.clone(),
        state: OperationState::Failed,
        blocked_by: Some(failure.error.clone()),
    });
    waiting.chain(failed).collect()
}

fn listeners(observed: ClusterObserved<'_>, names: Names<'_>) -> Vec<ListenerStatus> {
    let mut all = Vec::new();
    for listener in &observed.cluster.spec.listeners {
        let servers = match listener.type_ {
            ListenerType::Internal => {
                Some(format!("{}.{}.svc:{}", names.bootstrap(), names.namespace, listener.port))
            }
            ListenerType::Nodeport => nodeport_servers(observed, names, listener),
        };
        all.extend(
            servers.map(|servers| ListenerStatus { name: listener.name.clone(), bootstrap_servers: servers }),
        );
    }
    all
}

// Any node would do; those with a broker are surely there.
fn nodeport_servers(
    observed: ClusterObserved<'_>,
    names: Names<'_>,
    listener: &ListenerSpec,
) -> Option<String> {
    let name = names.listener_bootstrap(&listener.name);
    let service: &Service =
        observed.services.iter().find(|s| s.metadata.name.as_deref() == Some(name.as_str()))?;
    let port = node_port_of(service)?;
    let mut hosts: Vec<String> = match &listener.advertised_host {
        Some(host) => vec![host.clone()],
        None => observed.pods.iter().filter_map(|p| p.status.as_ref()?.host_ip.clone()).collect(),
    };
    hosts.sort_unstable();
    hosts.dedup();
    hosts.truncate(BOOTSTRAP_HOSTS_MAX);
    let servers: Vec<String> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
    (!servers.is_empty()).then(|| servers.join(","))
}
