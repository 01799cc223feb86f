//! What the API server says there is, kept up to date by watches.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store, reflector, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use ottla_api::{KafkaCluster, Topic};
use ottla_plan::{CLUSTER_LABEL, FIELD_MANAGER, ObjectKind};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::connection::Changed;
use crate::lenient::Lenient;
use crate::liveness::Watches;
use crate::unread::{Reader, Report, Unreads};

/// The objects that there are, of each kind that plans depend on.
#[derive(Clone)]
pub struct Stores {
    /// KafkaClusters.
    pub clusters: Store<KafkaCluster>,
    /// Topics.
    pub topics: Store<Topic>,
    /// Services of clusters.
    pub services: Store<Service>,
    /// ConfigMaps of clusters.
    pub config_maps: Store<ConfigMap>,
    /// ServiceAccounts of clusters.
    pub service_accounts: Store<ServiceAccount>,
    /// StatefulSets of clusters.
    pub stateful_sets: Store<StatefulSet>,
    /// PodDisruptionBudgets of clusters.
    pub budgets: Store<PodDisruptionBudget>,
    /// Pods of clusters.
    pub pods: Store<Pod>,
    /// Volume claims of clusters, those that are gone too.
    pub claims: Store<PersistentVolumeClaim>,
    /// What is there and can't be decoded: none of the stores has it.
    pub(crate) unreads: Arc<Unreads>,
}

impl Stores {
    /// The live object of a kind and name, as JSON.
    pub fn live(&self, kind: ObjectKind, namespace: &str, name: &str) -> Option<Value> {
        match kind {
            ObjectKind::ServiceAccount => json(&self.service_accounts, namespace, name),
            ObjectKind::Service => json(&self.services, namespace, name),
            ObjectKind::ConfigMap => json(&self.config_maps, namespace, name),
            ObjectKind::StatefulSet => json(&self.stateful_sets, namespace, name),
            ObjectKind::PodDisruptionBudget => json(&self.budgets, namespace, name),
        }
    }

    /// Waits until every store holds what there was at the start.
    pub async fn ready(&self) {
        let Self { services, config_maps, service_accounts, stateful_sets, budgets, pods, claims, .. } = self;
        // A store whose watch has ended is never asked again.
        let _ = tokio::join!(
            self.clusters.wait_until_ready(),
            self.topics.wait_until_ready(),
            services.wait_until_ready(),
            config_maps.wait_until_ready(),
            service_accounts.wait_until_ready(),
            stateful_sets.wait_until_ready(),
            budgets.wait_until_ready(),
            pods.wait_until_ready(),
            claims.wait_until_ready(),
        );
    }
}

fn json<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Value>
where
    K: Resource<DynamicType = ()> + Clone + serde::Serialize + 'static,
{
    let object = store.get(&ObjectRef::new(name).within(namespace))?;
    Some(serde_json::to_value(&*object).expect("an object is JSON"))
}

/// Who is woken by what changed. Stores have the change before anyone is woken.
#[derive(Clone)]
pub(crate) struct Wake {
    /// Clusters that something of changed.
    pub clusters: mpsc::UnboundedSender<ObjectRef<KafkaCluster>>,
    /// Topics that something about changed.
    pub topics: mpsc::UnboundedSender<Changed>,
}

/// Begins to watch everything in a namespace, or in all.
pub(crate) fn watch_all(
    client: &Client,
    namespace: Option<&str>,
    wake: &Wake,
    reports: &mpsc::UnboundedSender<Report>,
    watches: &Arc<Watches>,
    tasks: &TaskTracker,
) -> Stores {
    let unreads = Arc::new(Unreads::default());
    let follow = Follow { client, namespace, wake, reports, watches, unreads: &unreads, tasks };
    Stores {
        clusters: follow.all(wake_of_clusters(wake.clone())),
        topics: follow.all(wake_of_topics(wake.clone())),
        services: follow.ours(),
        config_maps: follow.ours(),
        service_accounts: follow.ours(),
        stateful_sets: follow.ours(),
        budgets: follow.ours(),
        pods: follow.ours(),
        claims: follow.ours(),
        unreads,
    }
}

fn wake_of_clusters(wake: Wake) -> impl FnMut(&KafkaCluster) -> bool + Send + 'static {
    move |cluster| {
        let key = ObjectRef::from_obj(cluster);
        wake.topics.send(Changed { cluster: key.clone(), topics: None }).is_ok()
            && wake.clusters.send(key).is_ok()
    }
}

fn wake_of_topics(wake: Wake) -> impl FnMut(&Topic) -> bool + Send + 'static {
    move |topic| {
        let cluster =
            ObjectRef::new(&topic.spec.cluster_ref.name).within(&topic.namespace().unwrap_or_default());
        let topics = Some(vec![topic.topic_name().to_owned()]);
        wake.topics.send(Changed { cluster, topics }).is_ok()
    }
}

struct Follow<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    wake: &'a Wake,
    reports: &'a mpsc::UnboundedSender<Report>,
    watches: &'a Arc<Watches>,
    unreads: &'a Arc<Unreads>,
    tasks: &'a TaskTracker,
}

impl Follow<'_> {
    fn ours<K: Watched>(&self) -> Store<K> {
        let ours =
            watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER}"));
        let wake = self.wake.clusters.clone();
        self.watch(ours, move |object| cluster_of(object).is_none_or(|cluster| wake.send(cluster).is_ok()))
    }

    fn all<K: Watched>(&self, wake: impl FnMut(&K) -> bool + Send + 'static) -> Store<K> {
        self.watch(watcher::Config::default(), wake)
    }

    fn watch<K: Watched>(
        &self,
        config: watcher::Config,
        wake: impl FnMut(&K) -> bool + Send + 'static,
    ) -> Store<K> {
        let api: Api<Lenient<K>> = match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let name = match self.namespace {
            Some(namespace) => format!("{} in {namespace}", K::plural(&())),
            None => K::plural(&()).into_owned(),
        };
        self.watches.begin(&name);
        let watches = self.watches.clone();
        let events = watcher(api, config).default_backoff().inspect(move |item| match item {
            // It is about to be listed, which may fail yet.
            Ok(watcher::Event::Init) => {}
            Ok(watcher::Event::InitDone) => watches.synced(&name),
            Ok(_) => watches.heard(&name),
            Err(error) => watches.failed(&name, &error.to_string(), Instant::now()),
        });
        let (store, writer) = store();
        let (unreads, reports) = (self.unreads.clone(), self.reports.clone());
        let events = Reader { store: store.clone(), unreads, reports }.read(events);
        // Which fields are the operator's own is looked at; what others have is not.
        let objects = events.modify(|object| object.managed_fields_mut().retain(is_own));
        self.tasks.spawn(tell(reflector(writer, objects).touched_objects(), wake));
        store
    }
}

fn is_own(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply")
}

/// What is watched: all of it lives in namespaces.
pub(crate) trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static
{
}

// Until nobody listens any more.
async fn tell<K>(stream: impl Stream<Item = Result<K, watcher::Error>>, mut wake: impl FnMut(&K) -> bool) {
    let mut stream = std::pin::pin!(stream);
    while let Some(item) = stream.next().await {
        match item {
            Ok(object) if !wake(&object) => return,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a watch was interrupted"),
        }
    }
}

/// The cluster of an object, by its label: claims outlive their owners.
fn cluster_of<K: Resource>(object: &K) -> Option<ObjectRef<KafkaCluster>> {
    let name = object.meta().labels.as_ref()?.get(CLUSTER_LABEL)?;
    Some(ObjectRef::new(name).within(object.meta().namespace.as_deref()?))
}

/// The objects of a store that belong to a cluster.
pub(crate) fn of_cluster<K>(store: &Store<K>, namespace: &str, cluster: &str) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let belongs = |object: &&std::sync::Arc<K>| {
        let meta = object.meta();
        meta.namespace.as_deref() == Some(namespace)
            && meta.labels.as_ref().and_then(|l| l.get(CLUSTER_LABEL)).is_some_and(|l| l == cluster)
    };
    let mut found: Vec<K> = store.state().iter().filter(belongs).map(|object| (**object).clone()).collect();
    found.sort_by_key(|object| object.meta().name.clone());
    found
}

/// Those of the objects that this uid owns: labels can be anybody's.
pub(crate) fn owned_by<K: Resource>(uid: &str, mut objects: Vec<K>) -> Vec<K> {
    let owners = |object: &K| object.meta().owner_references.clone().unwrap_or_default();
    objects.retain(|object| owners(object).iter().any(|owner| owner.uid == uid));
    objects
}
