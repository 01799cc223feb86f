//! Objects that can't be decoded: they silence nobody, and say so on themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::reflector::{ObjectRef, reflector, store};
use kube::runtime::watcher::Event;
use ottla_api::KafkaCluster;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::api_server::ApiServer;
use super::world::{OURS, World};
use crate::lenient::{Lenient, Unread};
use crate::liveness::Watches;
use crate::unread::{Reader, Report, Unreads};
use crate::wake::{Changed, Wake, wake_of_unread_clusters};
use crate::watches::{Stores, Told, watch_all};

const PATIENCE: Duration = Duration::from_secs(20);

/// The watches of the namespace of tests.
struct Watching {
    stores: Stores,
    reports: mpsc::UnboundedReceiver<Report>,
    live: Arc<Watches>,
    /// Who would be woken: watches end once nobody listens.
    _woken: (mpsc::UnboundedReceiver<ObjectRef<KafkaCluster>>, mpsc::UnboundedReceiver<Changed>),
}

fn watch(api: &Arc<ApiServer>) -> Watching {
    let (clusters, topics) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let wake = Wake { clusters: clusters.0, topics: topics.0 };
    let (sender, reports) = mpsc::unbounded_channel();
    let live = Arc::new(Watches::default());
    let stores = watch_all(&api.client(), Some("shop"), &wake, &sender, &live, &TaskTracker::new());
    Watching { stores, reports, live, _woken: (clusters.1, topics.1) }
}

fn manifest(kind: &str, spec: &str) -> String {
    format!("{{apiVersion: ottla.dev/v1alpha1, kind: {kind}, metadata: {{}}, spec: {{{spec}}}}}")
}

#[tokio::test]
async fn numbers_above_32_bits_are_settings_as_any_other() {
    let world = World::without_brokers().await;
    world.apply("kafkaclusters", "demo", &manifest("KafkaCluster", "config: {log.retention.ms: 2592000000}"));
    world.apply(
        "topics",
        "orders",
        &manifest("Topic", "clusterRef: {name: demo}, config: {retention.ms: 2592000000}"),
    );
    let mut watching = watch(&world.api);
    timeout(PATIENCE, watching.stores.ready()).await.expect("every watch lists what there is");
    let topic = watching.stores.topics.get(&ObjectRef::new("orders").within("shop")).expect("it is there");
    assert_eq!(topic.spec.config["retention.ms"].to_string(), "2592000000");
    assert!(watching.stores.clusters.get(&ObjectRef::new("demo").within("shop")).is_some());
    assert!(watching.reports.try_recv().is_err(), "all can be read");
}

#[tokio::test]
async fn what_cannot_be_read_says_so_on_itself_and_silences_nobody() {
    let world = World::without_brokers().await;
    world.apply("kafkaclusters", "good", &manifest("KafkaCluster", "replicas: 1"));
    world.apply("kafkaclusters", "demo", &manifest("KafkaCluster", "replicas: 2592000000"));
    let path = format!("{OURS}/kafkaclusters/demo");
    let mut live = world.api.get(&path).expect("it is there");
    live["status"] = json!({"clusterId": "kept"});
    world.api.put(&path, live);
    let mut watching = watch(&world.api);
    assert!(watching.live.trouble(Instant::now()).is_some(), "nothing was listed yet");
    timeout(PATIENCE, watching.stores.ready()).await.expect("the others are listed");
    assert_eq!(watching.live.trouble(Instant::now()), None);
    let names: Vec<_> = watching.stores.clusters.state().iter().map(|c| c.metadata.name.clone()).collect();
    assert_eq!(names, [Some("good".to_owned())]);
    let report = watching.reports.try_recv().expect("it is told of");
    world.tell(&report).await;
    let ready = world.ready("kafkaclusters", "demo");
    assert!(ready.starts_with("False Unreadable: this operator cannot read it"), "{ready}");
    assert!(ready.contains("2592000000"), "{ready}");
    assert_eq!(world.api.get(&path).expect("it is there")["status"]["clusterId"], "kept");
    let events = world.api.all("/events/");
    assert_eq!(events.iter().map(|e| e["reason"].clone()).collect::<Vec<_>>(), ["Unreadable"]);
    // Its topics don't take it for gone.
    world.apply("topics", "orders", &manifest("Topic", "clusterRef: {name: demo}, deletionPolicy: Delete"));
    world.look_at_topic_by(&watching.stores, "orders").await.unwrap();
    let ready = world.ready("topics", "orders");
    assert!(ready.starts_with("False ClusterUnreachable: the KafkaCluster cannot be read"), "{ready}");
    // Told once is told: a later list finds that it says so.
    let mut again = watch(&world.api);
    timeout(PATIENCE, again.stores.ready()).await.expect("the others are listed");
    world.api.calls();
    let report = again.reports.try_recv().expect("it is found again");
    world.tell(&report).await;
    assert_eq!(world.api.calls(), [""; 0]);
}

/// A cluster that can't be decoded.
fn unread(name: &str) -> Lenient<KafkaCluster> {
    let metadata =
        serde_json::from_value(json!({"name": name, "namespace": "shop"})).expect("they are metadata");
    Lenient::Unread(Box::new(Unread { metadata, error: "it is odd".to_owned(), ..Default::default() }))
}

/// What takes out clusters that can't be decoded, what it notes, and whom it wakes.
fn reader() -> (Reader<KafkaCluster>, Arc<Unreads>, mpsc::UnboundedReceiver<Changed>) {
    let (clusters, topics) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let wake = Wake { clusters: clusters.0, topics: topics.0 };
    let unreads = Arc::<Unreads>::default();
    let reader = Reader {
        store: store().0,
        unreads: unreads.clone(),
        reports: mpsc::unbounded_channel().0,
        wake: wake_of_unread_clusters(wake),
        listed: Vec::new(),
    };
    (reader, unreads, topics.1)
}

#[test]
fn while_a_list_is_repeated_what_was_known_stands() {
    let (mut reader, unreads, _woken) = reader();
    let why = || unreads.why("KafkaCluster", "shop", "demo");
    reader.event(Event::Init);
    reader.event(Event::InitApply(unread("demo")));
    reader.event(Event::InitDone);
    assert_eq!(why().as_deref(), Some("it is odd"));
    // The first list fails, the second one doesn't have it any more.
    reader.event(Event::Init);
    assert_eq!(why().as_deref(), Some("it is odd"));
    reader.event(Event::Init);
    assert_eq!(why().as_deref(), Some("it is odd"));
    reader.event(Event::InitDone);
    assert_eq!(why(), None);
}

#[test]
fn a_cluster_that_could_not_be_read_wakes_its_topics_when_it_comes_and_goes() {
    let (mut reader, _unreads, mut woken) = reader();
    for event in [Event::Apply(unread("demo")), Event::Delete(unread("demo"))] {
        assert!(reader.event(event).is_none());
        let changed = woken.try_recv().expect("somebody is woken");
        assert_eq!((changed.cluster.name.as_str(), changed.topics), ("demo", None));
    }
}

#[tokio::test]
async fn a_list_wakes_by_what_there_is_and_what_is_gone_once_the_store_has_it() {
    let cluster = |name: &str| {
        let mut cluster = KafkaCluster::new(name, ottla_api::KafkaClusterSpec::default());
        cluster.metadata.namespace = Some("shop".to_owned());
        cluster
    };
    let list = |names: &[&str]| {
        let all = names.iter().map(|name| Event::InitApply(cluster(name)));
        [Event::Init].into_iter().chain(all).chain([Event::InitDone]).collect::<Vec<_>>()
    };
    let (store, writer) = store();
    let (seen, mut woken) = (store.clone(), Vec::new());
    let told = Told {
        store,
        unreads: Arc::default(),
        wake: |cluster: &KafkaCluster| {
            let there = seen.get(&ObjectRef::from_obj(cluster)).is_some();
            woken.push(format!("{} {there}", cluster.metadata.name.as_deref().unwrap_or_default()));
            true
        },
        wake_of_unread: Arc::new(|_| {}),
    };
    let events = [list(&["old", "kept"]), list(&["kept", "new"])].concat();
    told.by(reflector(writer, futures::stream::iter(events.into_iter().map(Ok)))).await;
    woken[..2].sort();
    woken[3..].sort();
    assert_eq!(woken, ["kept true", "old true", "old false", "kept true", "new true"]);
}
