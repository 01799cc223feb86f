//! The operator as a whole: stands by, leads, watches, reconciles, stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use ottla_api::{KafkaCluster, Topic};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clusters::reconcile_cluster;
use crate::connection::Connections;
use crate::context::{Context, Resolver, pod_addresses};
use crate::definitions;
use crate::error::ReconcileError;
use crate::http::Health;
use crate::lease::Election;
use crate::metrics::Reconciled;
use crate::reports::report_all;
use crate::settings::Settings;
use crate::topics::reconcile_topic;
use crate::unread::Watched;
use crate::wake::{Changed, Wake};
use crate::watches::{Stores, watch_all};

/// How many resources of a kind are looked at at once.
const CONCURRENCY: u16 = 16;

/// Why the operator ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// Another operator may lead now: this process has to end, whatever it was doing.
    LeaseLost,
}

/// Runs until `stop`, or until the Lease is lost; says in `health` how it fares.
pub async fn run(client: Client, settings: Settings, health: Health, stop: CancellationToken) -> Ended {
    if stop.run_until_cancelled(definitions::wait(&client, &health.waits_for)).await.is_none() {
        return Ended::Stopped;
    }
    let mut election = Election::new(client.clone(), settings.lease.clone());
    tracing::info!(identity = settings.lease.identity, "standing by");
    if stop.run_until_cancelled(election.acquire(&health.ready)).await.is_none() {
        return Ended::Stopped;
    }
    tracing::info!("leading");
    health.metrics.leading.set(1);
    let work = stop.child_token();
    let tasks = TaskTracker::new();
    for namespace in scopes(&settings) {
        tasks.spawn(work_in(client.clone(), settings.clone(), namespace, health.clone(), work.clone()));
    }
    tasks.close();
    let lost = stop.run_until_cancelled(election.hold()).await.is_some();
    health.metrics.leading.set(0);
    work.cancel();
    if lost {
        return Ended::LeaseLost;
    }
    tasks.wait().await;
    election.release().await;
    Ended::Stopped
}

fn scopes(settings: &Settings) -> Vec<Option<String>> {
    if settings.namespaces.is_empty() {
        return vec![None];
    }
    settings.namespaces.iter().cloned().map(Some).collect()
}

async fn work_in(
    client: Client,
    settings: Settings,
    namespace: Option<String>,
    health: Health,
    stop: CancellationToken,
) {
    let watches = TaskTracker::new();
    let (clusters, clusters_woken) = mpsc::unbounded_channel();
    let (topics, topics_woken) = mpsc::unbounded_channel();
    let (reports, unread) = mpsc::unbounded_channel();
    let wake = Wake { clusters, topics };
    let stores = watch_all(&client, namespace.as_deref(), &wake, &reports, &health.watches, &watches);
    if stop.run_until_cancelled(stores.ready()).await.is_none() {
        return;
    }
    let resolver: Resolver = Arc::new(pod_addresses);
    let connections = Connections::new(wake, health.metrics.clone());
    let identity = settings.lease.identity;
    let context =
        Context::new(client, stores, settings.broker_image, identity, resolver, connections, health.metrics);
    let context = Arc::new(context);
    tokio::join!(
        run_clusters(context.clone(), clusters_woken, stop.clone()),
        run_topics(context.clone(), topics_woken, stop.clone()),
        report_all(context, unread, stop),
    );
}

async fn run_clusters(
    context: Arc<Context>,
    woken: mpsc::UnboundedReceiver<ObjectRef<KafkaCluster>>,
    stop: CancellationToken,
) {
    let seen = context.clone();
    let woken = UnboundedReceiverStream::new(woken).inspect(move |key| {
        if seen.stores.clusters.get(key).is_none() {
            seen.connections.forget(key);
        }
    });
    controller(context.stores.clusters.clone(), woken, stop)
        .run(
            |cluster, context| timed("KafkaCluster", context.clone(), reconcile_cluster(cluster, context)),
            |cluster, error, context| again(&*cluster, error, &context),
            context,
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn run_topics(context: Arc<Context>, woken: mpsc::UnboundedReceiver<Changed>, stop: CancellationToken) {
    let stores = context.stores.clone();
    let woken = UnboundedReceiverStream::new(woken)
        .flat_map(move |changed| futures::stream::iter(topics_concerned(&stores, &changed)));
    controller(context.stores.topics.clone(), woken, stop)
        .run(
            |topic, context| timed("Topic", context.clone(), reconcile_topic(topic, context)),
            |topic, error, context| again(&*topic, error, &context),
            context,
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

// Woken by our own watches alone, so that what is looked at is never older than what woke us.
fn controller<K>(
    store: Store<K>,
    woken: impl Stream<Item = ObjectRef<K>> + Send + 'static,
    stop: CancellationToken,
) -> Controller<K>
where
    K: Watched,
{
    Controller::for_stream(futures::stream::pending::<Result<K, watcher::Error>>(), store)
        .with_config(kube::runtime::controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_on(woken)
        .graceful_shutdown_on(stop.cancelled_owned())
}

fn topics_concerned(stores: &Stores, changed: &Changed) -> Vec<ObjectRef<Topic>> {
    stores
        .topics
        .state()
        .iter()
        .filter(|topic| {
            topic.namespace() == changed.cluster.namespace
                && topic.spec.cluster_ref.name == changed.cluster.name
                && changed.topics.as_ref().is_none_or(|names| names.iter().any(|n| n == topic.topic_name()))
        })
        .map(|t| ObjectRef::from_obj(&**t))
        .collect()
}

async fn timed(
    kind: &'static str,
    context: Arc<Context>,
    reconciliation: impl Future<Output = Result<Action, ReconcileError>>,
) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let result = reconciliation.await;
    context.metrics.seconds.observe(began.elapsed().as_secs_f64());
    let outcome = if result.is_ok() { "ok" } else { "error" };
    context.metrics.reconciliations.get_or_create(&Reconciled { kind, outcome }).inc();
    result
}

fn again<K: Resource<DynamicType = ()>>(object: &K, error: &ReconcileError, context: &Context) -> Action {
    let pause: Duration = context.pause_after_failure(object.meta().uid.as_deref().unwrap_or_default());
    let (kind, name, namespace) = (K::kind(&()), object.name_any(), object.namespace());
    tracing::warn!(%kind, namespace, name, %error, again_in_s = pause.as_secs(), "a reconciliation failed");
    Action::requeue(pause)
}
