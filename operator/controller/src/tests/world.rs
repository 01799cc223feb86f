//! A small world: an API server, the operator's stores, and brokers if there are any.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::watcher::Event;
use ottla_api::{KafkaCluster, READY, Topic, find_condition};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use super::api_server::ApiServer;
use super::brokers::Brokers;
use crate::clusters::reconcile_cluster;
use crate::connection::Connections;
use crate::context::{Context, Resolver};
use crate::error::ReconcileError;
use crate::lenient::Unread;
use crate::metrics::Metrics;
use crate::topics::reconcile_topic;
use crate::unread::Report;
use crate::wake::{Changed, Wake};
use crate::watches::Stores;

/// Where our kinds are.
pub const OURS: &str = "/apis/ottla.dev/v1alpha1/namespaces/shop";

/// A small world.
pub struct World {
    /// The API server.
    pub api: Arc<ApiServer>,
    /// The brokers.
    pub brokers: Arc<Brokers>,
    address: String,
    context: Arc<Context>,
    writers: Writers,
    changes: mpsc::UnboundedReceiver<Changed>,
}

struct Writers {
    clusters: Writer<KafkaCluster>,
    topics: Writer<Topic>,
    services: Writer<Service>,
    config_maps: Writer<ConfigMap>,
    service_accounts: Writer<ServiceAccount>,
    stateful_sets: Writer<StatefulSet>,
    budgets: Writer<PodDisruptionBudget>,
    pods: Writer<Pod>,
    claims: Writer<PersistentVolumeClaim>,
}

impl World {
    /// With brokers that answer, but no resources.
    pub async fn new() -> Self {
        let (brokers, address) = Brokers::start().await;
        Self::with(Arc::new(ApiServer::default()), brokers, address)
    }

    /// With brokers that nobody can reach.
    pub async fn without_brokers() -> Self {
        let (brokers, _) = Brokers::start().await;
        // A reserved port: nobody listens there.
        Self::with(Arc::new(ApiServer::default()), brokers, "127.0.0.1:0".to_owned())
    }

    /// Another operator, which knows nothing yet.
    pub fn operator_restarted(self) -> Self {
        Self::with(self.api, self.brokers, self.address)
    }

    /// Another operator, which knows nothing yet, and asks the brokers at `first` before the others.
    pub fn operator_restarted_beside(self, first: &str) -> Self {
        let address = format!("{first},{}", self.address);
        Self::with(self.api, self.brokers, address)
    }

    /// Whether the operator knows of a topic of the cluster `demo` by the brokers' word.
    pub fn sees(&self, topic: &str) -> bool {
        let cluster: KafkaCluster = self.object(&format!("{OURS}/kafkaclusters/demo"));
        let uid = cluster.metadata.uid.clone().unwrap_or_default();
        let known = self.context.connections.known(&ObjectRef::from_obj(&cluster), &uid);
        known.view.is_some_and(|view| view.topics.contains_key(topic))
    }

    /// The watch of Topics finds one that it can't decode, or doesn't any more.
    pub fn unread_topic(&self, name: &str, unread: Option<&Unread>) {
        let key = ObjectRef::<Topic>::new(name).within("shop");
        self.context.stores.unreads.note(&key, unread);
    }

    /// The Topic that came before this one and can't be read, if there is one.
    pub fn elder_of(&self, name: &str) -> Option<String> {
        self.context.stores.unreads.elder_of(&self.object(&format!("{OURS}/topics/{name}")))
    }

    fn with(api: Arc<ApiServer>, brokers: Arc<Brokers>, address: String) -> Self {
        let (clusters, topics, services) = (store(), store(), store());
        let (config_maps, service_accounts, stateful_sets) = (store(), store(), store());
        let (budgets, pods, claims) = (store(), store(), store());
        let stores = Stores {
            clusters: clusters.0,
            topics: topics.0,
            services: services.0,
            config_maps: config_maps.0,
            service_accounts: service_accounts.0,
            stateful_sets: stateful_sets.0,
            budgets: budgets.0,
            pods: pods.0,
            claims: claims.0,
            unreads: Arc::default(),
        };
        let writers = Writers {
            clusters: clusters.1,
            topics: topics.1,
            services: services.1,
            config_maps: config_maps.1,
            service_accounts: service_accounts.1,
            stateful_sets: stateful_sets.1,
            budgets: budgets.1,
            pods: pods.1,
            claims: claims.1,
        };
        let (context, changes) = context(&api, &address, stores);
        Self { api, brokers, address, context: Arc::new(context), writers, changes }
    }

    fn context_by(&self, stores: Stores) -> Context {
        context(&self.api, &self.address, stores).0
    }

    /// A person applies a manifest.
    pub fn apply(&self, kind: &str, name: &str, manifest: &str) {
        let mut object: Value = serde_saphyr::from_str(manifest).expect("a manifest is YAML");
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = "shop".into();
        object["metadata"]["generation"] = 1.into();
        self.api.put(&format!("{OURS}/{kind}/{name}"), object);
    }

    /// The watches catch up with the API server.
    pub fn sync(&mut self) {
        let api = &self.api;
        fill(api, "/kafkaclusters/", &mut self.writers.clusters);
        fill(api, "/topics/", &mut self.writers.topics);
        fill(api, "/services/", &mut self.writers.services);
        fill(api, "/configmaps/", &mut self.writers.config_maps);
        fill(api, "/serviceaccounts/", &mut self.writers.service_accounts);
        fill(api, "/statefulsets/", &mut self.writers.stateful_sets);
        fill(api, "/poddisruptionbudgets/", &mut self.writers.budgets);
        fill(api, "/pods/", &mut self.writers.pods);
        fill(api, "/persistentvolumeclaims/", &mut self.writers.claims);
    }

    /// Looks at a KafkaCluster once, with watches that are up to date.
    pub async fn look_at_cluster(&mut self, name: &str) -> Result<(), ReconcileError> {
        self.sync();
        self.look_at_unsynced_cluster(name).await
    }

    /// Looks at a KafkaCluster once, with watches as they are.
    pub async fn look_at_unsynced_cluster(&mut self, name: &str) -> Result<(), ReconcileError> {
        let cluster = self.object(&format!("{OURS}/kafkaclusters/{name}"));
        reconcile_cluster(Arc::new(cluster), self.context.clone()).await.map(|_| ())
    }

    /// The watch of Services says that one is gone, as it does when its labels are.
    pub fn forget_service(&mut self, name: &str) {
        let service = self.object(&format!("/api/v1/namespaces/shop/services/{name}"));
        self.writers.services.apply_watcher_event(&Event::Delete(service));
    }

    /// Looks at a KafkaCluster once, with watches as they were: whatever has changed hasn't come yet.
    pub async fn look_without_news(&mut self, name: &str) -> Result<(), ReconcileError> {
        let cluster = self.object(&format!("{OURS}/kafkaclusters/{name}"));
        reconcile_cluster(Arc::new(cluster), self.context.clone()).await.map(|_| ())
    }

    /// Looks at the KafkaCluster `demo` until these calls were made, as views of the brokers come one by one.
    pub async fn look_when(&mut self, made: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.look_at_cluster("demo").await.expect("it goes well");
            if made(&self.api.calls()) {
                return;
            }
            assert!(Instant::now() < deadline, "the calls are made in time");
            tokio::task::yield_now().await;
        }
    }

    /// Looks at a KafkaCluster as an old watch still has it; the other watches are up to date.
    pub async fn look_at_old_cluster(&mut self, cluster: Value) -> Result<(), ReconcileError> {
        self.sync();
        let cluster = serde_json::from_value(cluster).expect("it is a KafkaCluster");
        reconcile_cluster(Arc::new(cluster), self.context.clone()).await.map(|_| ())
    }

    /// Looks at a Topic once, with watches that are up to date.
    pub async fn look_at_topic(&mut self, name: &str) -> Result<(), ReconcileError> {
        self.sync();
        let topic = self.object(&format!("{OURS}/topics/{name}"));
        reconcile_topic(Arc::new(topic), self.context.clone()).await.map(|_| ())
    }

    /// Looks at a Topic once, by these watches in the place of its own.
    pub async fn look_at_topic_by(&self, stores: &Stores, name: &str) -> Result<(), ReconcileError> {
        let context = self.context_by(stores.clone());
        let topic = self.object(&format!("{OURS}/topics/{name}"));
        reconcile_topic(Arc::new(topic), Arc::new(context)).await.map(|_| ())
    }

    /// Tells of an object that can't be read.
    pub async fn tell(&self, report: &Report) {
        report.tell(&self.context).await;
    }

    /// Waits until the brokers' word has come, and says how many messages it took.
    pub async fn hear_from_brokers(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let left = deadline.saturating_duration_since(Instant::now());
        let heard = tokio::time::timeout(left, self.changes.recv()).await;
        assert!(matches!(heard, Ok(Some(_))), "the brokers' view comes in time");
    }

    /// What a resource's Ready condition says: status, reason and message.
    pub fn ready(&self, kind: &str, name: &str) -> String {
        let object = self.api.get(&format!("{OURS}/{kind}/{name}")).expect("it is there");
        let conditions =
            serde_json::from_value::<Vec<_>>(object["status"]["conditions"].clone()).unwrap_or_default();
        let ready = find_condition(&conditions, READY).expect("it says whether it is ready");
        format!("{} {}: {}", ready.status, ready.reason, ready.message)
    }

    fn object<K: DeserializeOwned>(&self, path: &str) -> K {
        serde_json::from_value(self.api.get(path).expect("it is there")).expect("it is of its kind")
    }
}

fn context(
    api: &Arc<ApiServer>,
    address: &str,
    stores: Stores,
) -> (Context, mpsc::UnboundedReceiver<Changed>) {
    let metrics = Arc::new(Metrics::default());
    let (sender, changes) = mpsc::unbounded_channel();
    let wake = Wake { clusters: mpsc::unbounded_channel().0, topics: sender };
    let connections = Connections::new(wake, metrics.clone());
    let reached = address.to_owned();
    let resolver: Resolver = Arc::new(move |_| reached.split(',').map(str::to_owned).collect());
    let (image, identity) = ("ottla/broker:test".to_owned(), "test".to_owned());
    (Context::new(api.client(), stores, image, identity, resolver, connections, metrics), changes)
}

fn fill<K>(api: &ApiServer, part: &str, writer: &mut Writer<K>)
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + 'static,
{
    writer.apply_watcher_event(&Event::Init);
    for object in api.all(part) {
        let object = serde_json::from_value(object).expect("the server holds what was written");
        writer.apply_watcher_event(&Event::InitApply(object));
    }
    writer.apply_watcher_event(&Event::InitDone);
}
