//! KafkaCluster: observe, plan, carry the plan out, say what came of it.

use std::sync::Arc;

use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use ottla_api::{KafkaCluster, KafkaClusterStatus};
use ottla_plan::{ClusterObserved, ClusterPlan, Failure, Step, cluster_status, plan_cluster};

use crate::apply::{apply, delete, is_namespace_terminating, publish, write_status};
use crate::context::{Context, now};
use crate::error::ReconcileError;
use crate::watches::of_cluster;

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
    let services = of_cluster(&context.stores.services, &namespace, &name);
    let pods = of_cluster(&context.stores.pods, &namespace, &name);
    let claims = of_cluster(&context.stores.claims, &namespace, &name);
    let racks = match &cluster.spec.rack {
        Some(rack) => {
            let nodes: Vec<&str> =
                pods.iter().filter_map(|p| p.spec.as_ref()?.node_name.as_deref()).collect();
            context.node_labels(&nodes, &rack.topology_key).await
        }
        None => Default::default(),
    };
    let observed = ClusterObserved {
        cluster: &cluster,
        services: &services,
        pods: &pods,
        claims: &claims,
        racks: &racks,
        image: &context.image,
    };
    let plan = plan_cluster(observed).map_err(ReconcileError::NoIdentity)?;
    // Who is who is on record before anything follows from it.
    let (first, _) = cluster_status(observed, &plan, &[], now());
    if !same_record(cluster.status.as_ref(), &first) {
        write_status(&context, &cluster, "KafkaCluster", &first).await?;
    }
    let Some(failures) = carry_out(&context, &namespace, &plan).await else {
        tracing::info!(namespace, name, "the namespace goes, and the cluster with it");
        return Ok(Action::await_change());
    };
    let (status, events) = cluster_status(observed, &plan, &failures, now());
    if context
        .newer_status(&uid, cluster.meta().resource_version.as_deref())
        .as_ref()
        .or(cluster.status.as_ref())
        != Some(&status)
    {
        write_status(&context, &cluster, "KafkaCluster", &status).await?;
    }
    publish(&context, &cluster, &events).await;
    cluster.status = Some(status);
    context.connections.follow(&key, Some(&uid), (context.resolver)(&cluster));
    match failures.as_slice() {
        [] => {
            context.succeeded(&uid);
            Ok(Action::await_change())
        }
        [first, ..] => Err(ReconcileError::Steps {
            count: failures.len(),
            first: format!("{}: {}", first.step, first.error),
        }),
    }
}

// A failed step doesn't stop the others: none needs another's success to be right. None if the whole namespace is
// being deleted: then nothing is to be made any more.
async fn carry_out(context: &Context, namespace: &str, plan: &ClusterPlan) -> Option<Vec<Failure>> {
    let mut failures = Vec::new();
    for step in &plan.steps {
        let result = match step {
            Step::Apply(object) => apply(context, namespace, object).await.map(|_| ()),
            Step::Delete { kind, name } => delete(context, namespace, *kind, name).await,
            Step::Wait { .. } => Ok(()),
        };
        if let Err(error) = result {
            if is_namespace_terminating(&error) {
                return None;
            }
            context.metrics.steps_failed.inc();
            tracing::warn!(namespace, step = step.name(), %error, "a step failed");
            failures.push(Failure { step: step.name(), error: error.to_string() });
        }
    }
    Some(failures)
}

fn same_record(old: Option<&KafkaClusterStatus>, new: &KafkaClusterStatus) -> bool {
    let ids = |status: &KafkaClusterStatus| {
        let brokers: Vec<(i32, String)> = status.brokers.iter().map(|b| (b.id, b.pod.clone())).collect();
        (status.cluster_id.clone(), status.voters.clone(), brokers)
    };
    old.is_some_and(|old| ids(old) == ids(new))
}
