//! KafkaCluster: observe, plan, carry the plan out, say what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use ottla_api::{KafkaCluster, KafkaClusterStatus};
use ottla_plan::{
    ClusterObserved, ClusterPlan, Event, NoPlan, Pass, PassOutcome, Restart, Step, cluster_status,
    plan_cluster, unfit_status,
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
    let plan = match plan_cluster(observed) {
        Ok(plan) => plan,
        Err(why) => return no_plan(&context, &cluster, why).await,
    };
    let work = Work { context: &context, namespace: &namespace, observed, plan: &plan, now: now() };
    let Some(outcome) = work.carry_out().await? else {
        tracing::info!(namespace, name, "the namespace goes, and the cluster with it");
        return Ok(Action::await_change());
    };
    let (status, events) = work.report(&outcome).await?;
    publish(&context, &cluster, &events).await;
    cluster.status = Some(status);
    context.connections.follow(&key, Some(&uid), (context.resolver)(&cluster));
    when_again(&context, &uid, &outcome)
}

/// When to look again: after a failure, while a restart is due, or else when something changes.
fn when_again(context: &Context, uid: &str, outcome: &PassOutcome) -> Result<Action, ReconcileError> {
    if let [first, ..] = outcome.failures.as_slice() {
        let first = format!("{}: {}", first.step, first.error);
        return Err(ReconcileError::Steps { count: outcome.failures.len(), first });
    }
    context.succeeded(uid);
    // What the brokers or a budget held up is tried again; what was begun wakes us when it is done.
    let is_due = outcome.restart.is_some();
    Ok(if is_due { Action::requeue(RESTART_AGAIN) } else { Action::await_change() })
}

/// Says why nothing is to be done.
async fn no_plan(context: &Context, cluster: &KafkaCluster, why: NoPlan) -> Result<Action, ReconcileError> {
    let unfit = match why {
        NoPlan::NoIdentity(error) => return Err(ReconcileError::NoIdentity(error)),
        NoPlan::Unfit(unfit) => unfit,
    };
    let (status, events) = unfit_status(cluster, &unfit, now());
    write_if_new(context, cluster, &status).await?;
    publish(context, cluster, &events).await;
    context.succeeded(&cluster.uid().unwrap_or_default());
    // The next word comes with another spec, or when a claim goes.
    Ok(Action::await_change())
}

/// A plan that is being carried out.
struct Work<'a> {
    context: &'a Context,
    namespace: &'a str,
    observed: ClusterObserved<'a>,
    plan: &'a ClusterPlan,
    now: Time,
}

impl Work<'_> {
    /// Carries the steps out, in the order of the plan. None if the whole namespace is being deleted: then
    /// nothing is to be made any more.
    async fn carry_out(&self) -> Result<Option<PassOutcome>, ReconcileError> {
        let Self { context, namespace, .. } = *self;
        let mut pass = Pass::new(self.plan);
        while let Some(step) = pass.next_step() {
            let result = match step {
                Step::Record => {
                    self.report(&PassOutcome::default()).await?;
                    Ok(())
                }
                Step::Apply(object) => apply(context, namespace, object).await.map(|_| ()),
                Step::Delete { kind, name, uid } => {
                    delete(context, namespace, *kind, name, uid).await.map_err(ApplyError::from)
                }
                Step::Restart(restart) => self.restart(restart, &mut pass).await,
                Step::Wait { .. } => Ok(()),
            };
            let Err(error) = result else { continue };
            if matches!(&error, ApplyError::Kubernetes(error) if is_namespace_terminating(error)) {
                return Ok(None);
            }
            context.metrics.steps_failed.inc();
            tracing::warn!(namespace, step = step.name(), %error, "a step failed");
            pass.failed(step, error.to_string(), error.reason());
        }
        Ok(Some(pass.end()))
    }

    /// Evicts a pod, unless the brokers or a PodDisruptionBudget object.
    ///
    /// The brokers are asked anew for each try, the active controller first: what a watch has shown may be
    /// old.
    async fn restart(&self, restart: &Restart, pass: &mut Pass<'_>) -> Result<(), ApplyError> {
        let hindrance = if restart.runs { self.hindrance(restart).await } else { None };
        if let Some(hindrance) = hindrance {
            tracing::info!(namespace = self.namespace, pod = restart.pod, hindrance, "a restart waits");
            pass.restart_held_up(hindrance);
            return Ok(());
        }
        match evict(&self.context.client, self.namespace, &restart.pod, &restart.uid).await? {
            Evicted::Goes => pass.restart_begun(),
            Evicted::Stays(why) => pass.restart_held_up(why),
        }
        Ok(())
    }

    /// What stands against a restart by the brokers' own word of this moment.
    async fn hindrance(&self, restart: &Restart) -> Option<String> {
        let cluster = self.observed.cluster;
        let mut addresses = (self.context.resolver)(cluster);
        let brokers = cluster.status.as_ref().map(|status| status.brokers.as_slice()).unwrap_or_default();
        let controller = self.observed.view.and_then(|view| view.active_controller);
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

    /// Writes the status after what was done so far. What it tells with it is published at the end of the
    /// pass.
    async fn report(
        &self,
        outcome: &PassOutcome,
    ) -> Result<(KafkaClusterStatus, Vec<Event>), ReconcileError> {
        let (status, events) = cluster_status(self.observed, self.plan, outcome, self.now.clone());
        write_if_new(self.context, self.observed.cluster, &status).await?;
        Ok((status, events))
    }
}

/// Writes a status, if it says anything else than the one that was written last.
async fn write_if_new(
    context: &Context,
    cluster: &KafkaCluster,
    status: &KafkaClusterStatus,
) -> Result<(), ReconcileError> {
    let written =
        context.newer_status(&cluster.uid().unwrap_or_default(), cluster.meta().resource_version.as_deref());
    if written.as_ref().or(cluster.status.as_ref()) != Some(status) {
        write_status(context, cluster, "KafkaCluster", status).await?;
    }
    Ok(())
}

/// The rack of each node with a broker, if the spec says how racks are told.
async fn racks(context: &Context, cluster: &KafkaCluster, pods: &[Pod]) -> BTreeMap<String, String> {
    let Some(rack) = &cluster.spec.rack else { return BTreeMap::new() };
    let nodes: Vec<&str> = pods.iter().filter_map(|p| p.spec.as_ref()?.node_name.as_deref()).collect();
    context.node_labels(&nodes, &rack.topology_key).await
}
