//! KafkaCluster: observe, plan, carry the plan out, say what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use ottla_api::{KafkaCluster, KafkaClusterStatus};
use ottla_plan::{
    CONFLICT, ClusterObserved, ClusterPlan, ClusterView, Event, Failure, NoPlan, ObjectKind, Restart, Step,
    cluster_status, plan_cluster, unfit_status,
};

use crate::apply::{ApplyError, apply, delete, is_namespace_terminating, publish, write_status};
use crate::connection::ask;
use crate::context::{Context, now};
use crate::error::ReconcileError;
use crate::eviction::{Evicted, evict};
use crate::watches::{of_cluster, owned_by};

/// When to try again to restart a broker.
const RESTART_AGAIN: Duration = Duration::from_secs(5);

/// How many brokers are asked at once.
const CONCURRENT_ASKS: usize = 16;

/// Brings one KafkaCluster to what it asks.
///
/// # Errors
/// When a step fails or the status can't be written; it is to be tried again.
pub async fn reconcile_cluster(
    cluster: Arc<KafkaCluster>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let key = ObjectRef::from_obj(&*cluster);
    let uid = cluster.uid().unwrap_or_default();
    if cluster.meta().deletion_timestamp.is_some() {
        // What belongs to it is collected by its owner references; volumes follow their policy.
        context.connections.forget(&key);
        context.forget(&uid);
        return Ok(Action::await_change());
    }
    let mut cluster = (*cluster).clone();
    if let Some(newer) = context.newer_status(&uid, cluster.meta().resource_version.as_deref()) {
        cluster.status = Some(newer);
    }
    let namespace = cluster.namespace().unwrap_or_default();
    let name = cluster.name_any();
    let services = owned_by(&uid, of_cluster(&context.stores.services, &namespace, &name));
    let set = owned_by(&uid, of_cluster(&context.stores.stateful_sets, &namespace, &name)).pop();
    let set_uid = set.as_ref().and_then(|set| set.metadata.uid.as_deref()).unwrap_or_default();
    let pods = owned_by(set_uid, of_cluster(&context.stores.pods, &namespace, &name));
    let claims = of_cluster(&context.stores.claims, &namespace, &name);
    let racks = racks(&context, &cluster, &pods).await;
    let known = context.connections.known(&key, &uid);
    let observed = ClusterObserved {
        cluster: &cluster,
        services: &services,
        stateful_set: set.as_ref(),
        pods: &pods,
        claims: &claims,
        racks: &racks,
        image: &context.image,
        view: known.view.as_deref(),
        silent: known.silent,
        trouble: known.trouble.as_deref(),
    };
    let mut plan = match plan_cluster(observed) {
        Ok(plan) => plan,
        Err(why) => return no_plan(&context, &cluster, why).await,
    };
    // Who is who is on record before anything follows from it.
    let now = now();
    let (first, _) = cluster_status(observed, &plan, &[], now.clone());
    if !same_record(cluster.status.as_ref(), &first) {
        write_status(&context, &cluster, "KafkaCluster", &first).await?;
    }
    let Some(Outcome { mut failures, holds_pods }) = carry_out(&context, &namespace, &plan).await else {
        tracing::info!(namespace, name, "the namespace goes, and the cluster with it");
        return Ok(Action::await_change());
    };
    // A pod that isn't ready may wait for just that correction, whatever else fails.
    let due = plan
        .steps
        .iter_mut()
        .find_map(due)
        .filter(|restart| !holds_pods && (failures.is_empty() || !restart.ready));
    let is_due = due.is_some();
    let begun = match due {
        Some(restart) => restart_pod(&context, &cluster, known.view.as_deref(), restart, &mut failures).await,
        None => None,
    };
    let (status, mut events) = cluster_status(observed, &plan, &failures, now);
    events.extend(begun);
    report(&context, &cluster, &status, &events).await?;
    cluster.status = Some(status);
    context.connections.follow(&key, Some(&uid), (context.resolver)(&cluster));
    when_again(&context, &uid, &failures, is_due)
}

/// When to look again: after a failure, while a restart is due, or else when something changes.
fn when_again(
    context: &Context,
    uid: &str,
    failures: &[Failure],
    is_due: bool,
) -> Result<Action, ReconcileError> {
    if let [first, ..] = failures {
        let first = format!("{}: {}", first.step, first.error);
        return Err(ReconcileError::Steps { count: failures.len(), first });
    }
    context.succeeded(uid);
    // What the brokers or a budget held up is tried again; what was begun wakes us when it is done.
    Ok(if is_due { Action::requeue(RESTART_AGAIN) } else { Action::await_change() })
}

/// Says why nothing is to be done.
async fn no_plan(context: &Context, cluster: &KafkaCluster, why: NoPlan) -> Result<Action, ReconcileError> {
    let unfit = match why {
        NoPlan::NoIdentity(error) => return Err(ReconcileError::NoIdentity(error)),
        NoPlan::Unfit(unfit) => unfit,
    };
    let (status, events) = unfit_status(cluster, &unfit, now());
    report(context, cluster, &status, &events).await?;
    context.succeeded(&cluster.uid().unwrap_or_default());
    // The next word comes with another spec, or when a claim goes.
    Ok(Action::await_change())
}

/// What came of the steps of a plan.
struct Outcome {
    failures: Vec<Failure>,
    /// A pod that is made now would pass for new, and have what a refused step was to change.
    holds_pods: bool,
}

// A failed step doesn't stop the others: none but the StatefulSet needs another's success to be right. None if the whole
// namespace is being deleted: then nothing is to be made any more.
async fn carry_out(context: &Context, namespace: &str, plan: &ClusterPlan) -> Option<Outcome> {
    let mut failures = Vec::new();
    let (mut no_settings, mut holds_pods) = (false, false);
    for step in &plan.steps {
        let result = match step {
            // Brokers begin with what is theirs: not with another's account, settings or addresses. And the template names
            // the settings that its pods are to have: they have to be there.
            Step::Apply(object)
                if object.kind == ObjectKind::StatefulSet && (no_settings || is_conflict(&failures)) =>
            {
                continue;
            }
            Step::Apply(object) => apply(context, namespace, object).await.map(|_| ()),
            Step::Delete { kind, name, uid } => {
                delete(context, namespace, *kind, name, uid).await.map_err(ApplyError::from)
            }
            Step::Wait { .. } | Step::Restart(_) => Ok(()),
        };
        if let Err(error) = result {
            if matches!(&error, ApplyError::Kubernetes(error) if is_namespace_terminating(error)) {
                return None;
            }
            no_settings |= matches!(step, Step::Apply(object) if object.kind == ObjectKind::ConfigMap);
            holds_pods |= matches!(step, Step::Apply(object) if is_taken_by_pods(object.kind));
            failures.push(failure(context, namespace, step.name(), &error));
        }
    }
    let holds_pods = holds_pods || is_conflict(&failures);
    Some(Outcome { failures, holds_pods })
}

// Ports of Services stand in the settings, which change with them: a pod that has old ones is old.
fn is_taken_by_pods(kind: ObjectKind) -> bool {
    match kind {
        ObjectKind::ServiceAccount | ObjectKind::ConfigMap | ObjectKind::StatefulSet => true,
        ObjectKind::Service | ObjectKind::PodDisruptionBudget => false,
    }
}

fn is_conflict(failures: &[Failure]) -> bool {
    failures.iter().any(|failure| failure.reason == CONFLICT)
}

fn failure(context: &Context, namespace: &str, step: String, error: &ApplyError) -> Failure {
    context.metrics.steps_failed.inc();
    tracing::warn!(namespace, step, %error, "a step failed");
    Failure { step, error: error.to_string(), reason: error.reason() }
}

/// The restart, if it is one that nothing stands against.
fn due(step: &mut Step) -> Option<&mut Restart> {
    match step {
        Step::Restart(restart) if restart.blocked_by.is_none() => Some(restart),
        _ => None,
    }
}

/// Evicts a pod, unless the brokers or a PodDisruptionBudget object; what to tell if it goes. What holds it
/// up is noted in `restart`, for the status.
///
/// The brokers are asked anew for each try, the active controller first: what a watch has shown may be old.
async fn restart_pod(
    context: &Context,
    cluster: &KafkaCluster,
    view: Option<&ClusterView>,
    restart: &mut Restart,
    failures: &mut Vec<Failure>,
) -> Option<Event> {
    let namespace = cluster.namespace().unwrap_or_default();
    if restart.runs {
        restart.blocked_by = hindrance(context, cluster, view, restart).await;
    }
    if let Some(hindrance) = &restart.blocked_by {
        tracing::info!(namespace, pod = restart.pod, hindrance, "a restart waits");
        return None;
    }
    match evict(&context.client, &namespace, &restart.pod, &restart.uid).await {
        Ok(Evicted::Goes) => Some(restart.event()),
        Ok(Evicted::Stays(why)) => {
            restart.blocked_by = Some(why);
            None
        }
        Err(error) => {
            failures.push(failure(context, &namespace, restart.to_string(), &error.into()));
            None
        }
    }
}

/// What stands against a restart by the brokers' own word of this moment.
async fn hindrance(
    context: &Context,
    cluster: &KafkaCluster,
    view: Option<&ClusterView>,
    restart: &Restart,
) -> Option<String> {
    let mut addresses = (context.resolver)(cluster);
    let brokers = cluster.status.as_ref().map(|status| status.brokers.as_slice()).unwrap_or_default();
    let controller = view.and_then(|view| view.active_controller);
    if let Some(at) = brokers.iter().position(|b| controller.is_some_and(|id| id.0 == b.id))
        && at < addresses.len()
    {
        addresses[..=at].rotate_right(1);
    }
    // Where a broker may be stopped without an answer, everybody is asked before.
    let asked = if restart.ready { 1 } else { addresses.len() };
    let answers = stream::iter(addresses.into_iter().take(asked))
        .map(|address| async move { ask(&address).await })
        .buffered(CONCURRENT_ASKS);
    let mut answers = std::pin::pin!(answers.filter_map(std::future::ready));
    restart.hindrance(answers.next().await.as_ref())
}

/// Writes the status, if that changes it, and tells what happened.
async fn report(
    context: &Context,
    cluster: &KafkaCluster,
    status: &KafkaClusterStatus,
    events: &[Event],
) -> Result<(), ReconcileError> {
    let written =
        context.newer_status(&cluster.uid().unwrap_or_default(), cluster.meta().resource_version.as_deref());
    if written.as_ref().or(cluster.status.as_ref()) != Some(status) {
        write_status(context, cluster, "KafkaCluster", status).await?;
    }
    publish(context, cluster, events).await;
    Ok(())
}

/// The rack of each node with a broker, if the spec says how racks are told.
async fn racks(context: &Context, cluster: &KafkaCluster, pods: &[Pod]) -> BTreeMap<String, String> {
    let Some(rack) = &cluster.spec.rack else { return BTreeMap::new() };
    let nodes: Vec<&str> = pods.iter().filter_map(|p| p.spec.as_ref()?.node_name.as_deref()).collect();
    context.node_labels(&nodes, &rack.topology_key).await
}

fn same_record(old: Option<&KafkaClusterStatus>, new: &KafkaClusterStatus) -> bool {
    let ids = |status: &KafkaClusterStatus| {
        let brokers: Vec<(i32, String)> = status.brokers.iter().map(|b| (b.id, b.pod.clone())).collect();
        (status.cluster_id.clone(), status.voters.clone(), brokers, status.image.clone())
    };
    old.is_some_and(|old| ids(old) == ids(new))
}
