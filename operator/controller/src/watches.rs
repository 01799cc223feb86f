//! What the API server says there is, kept up to date by watches.

use std::sync::Arc;
use std::time::Instant;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::runtime::reflector::{ObjectRef, Store, reflector, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use ottla_api::{KafkaCluster, Topic, to_json};
use ottla_plan::{CLUSTER_LABEL, FIELD_MANAGER, ObjectKind};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::lenient::{Lenient, Unread};
use crate::liveness::Watches;
use crate::unread::{Reader, Report, Unreads, Watched};
use crate::wake::{
    Wake, WakeOfUnread, wake_of_clusters, wake_of_topics, wake_of_unread_clusters, wake_of_unread_topics,
};

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
    Some(to_json(&*object))
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
        clusters: follow.all(wake_of_clusters(wake.clone()), wake_of_unread_clusters(wake.clone())),
        topics: follow.all(wake_of_topics(wake.clone()), wake_of_unread_topics(wake.clone())),
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
        self.watch(
            ours,
            move |object: &K| cluster_of(object).is_none_or(|cluster| wake.send(cluster).is_ok()),
            // They are Kubernetes' own kinds, which can always be read.
            Arc::new(|_| {}),
        )
    }

    fn all<K: Watched>(
        &self,
        wake: impl FnMut(&K) -> bool + Send + 'static,
        wake_of_unread: WakeOfUnread,
    ) -> Store<K> {
        self.watch(watcher::Config::default(), wake, wake_of_unread)
    }

    fn watch<K: Watched>(
        &self,
        config: watcher::Config,
        wake: impl FnMut(&K) -> bool + Send + 'static,
        wake_of_unread: WakeOfUnread,
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
        let reader = Reader {
            store: store.clone(),
            unreads: unreads.clone(),
            reports,
            wake: wake_of_unread.clone(),
            listed: Vec::new(),
        };
        // Which fields are the operator's own is looked at; what others have is not.
        let objects = reader.read(events).modify(|object| object.managed_fields_mut().retain(is_own));
        let told = Told { store: store.clone(), unreads, wake, wake_of_unread };
        self.tasks.spawn(told.by(reflector(writer, objects)));
        store
    }
}

fn is_own(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply")
}

/// Who is told of changes once the store has them.
pub(crate) struct Told<K: Watched, W> {
    /// What there is.
    pub store: Store<K>,
    /// What can't be decoded of it.
    pub unreads: Arc<Unreads>,
    /// Wakes whom an object concerns; tells whether anybody listens.
    pub wake: W,
    /// Wakes whom one that can't be decoded concerns.
    pub wake_of_unread: WakeOfUnread,
}

impl<K: Watched, W: FnMut(&K) -> bool> Told<K, W> {
    /// Until nobody listens any more.
    pub async fn by(mut self, events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>) {
        let mut events = std::pin::pin!(events);
        // What there was before a list that is under way.
        let (mut before, mut unread_before) = (Vec::new(), Vec::new());
        while let Some(event) = events.next().await {
            let goes_on = match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => (self.wake)(&object),
                Ok(watcher::Event::Init) => {
                    (before, unread_before) = (self.store.state(), self.unreads.of::<K>());
                    true
                }
                // The store has them once the list is done.
                Ok(watcher::Event::InitApply(_)) => true,
                Ok(watcher::Event::InitDone) => {
                    self.listed(&std::mem::take(&mut before), &std::mem::take(&mut unread_before))
                }
                Err(error) => {
                    tracing::warn!(%error, "a watch was interrupted");
                    true
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Wakes by all that there is by a list, and by what isn't any more; whether anybody listens.
    fn listed(&mut self, before: &[Arc<K>], unread_before: &[Unread]) -> bool {
        unread_before.iter().chain(&self.unreads.of::<K>()).for_each(|unread| (self.wake_of_unread)(unread));
        let mut gone = before.to_vec();
        gone.retain(|object| self.store.get(&ObjectRef::from_obj(&**object)).is_none());
        gone.iter().chain(&self.store.state()).all(|object| (self.wake)(object))
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
    let key = ObjectRef::new(cluster).within(namespace);
    let all = store.state();
    let own = all.iter().filter(|object| cluster_of(&***object).as_ref() == Some(&key));
    let mut found: Vec<K> = own.map(|object| (**object).clone()).collect();
    found.sort_by_key(|object| object.meta().name.clone());
    found
}

/// Those of the objects that this uid owns: labels can be anybody's.
pub(crate) fn owned_by<K: Resource>(uid: &str, mut objects: Vec<K>) -> Vec<K> {
    objects.retain(|object| object.meta().owner_references.iter().flatten().any(|owner| owner.uid == uid));
    objects
}
