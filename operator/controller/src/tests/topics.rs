//! Topics: what the brokers are asked, and what the Topic says of it.

use tonic::Status;

use super::brokers::Brokers;
use super::world::{OURS, World};
use crate::lenient::Unread;

const CLUSTER: &str =
    "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 3}}";

fn manifest(spec: &str, metadata: &str) -> String {
    format!(
        "{{apiVersion: ottla.dev/v1alpha1, kind: Topic, metadata: {{{metadata}}}, spec: {{clusterRef: {{name: demo}}, {spec}}}}}"
    )
}

/// A world with a cluster whose brokers have spoken, and the Topic `orders`.
async fn world(spec: &str) -> World {
    let mut world = World::new().await;
    world.apply("kafkaclusters", "demo", CLUSTER);
    world.apply("topics", "orders", &manifest(spec, ""));
    world.look_at_cluster("demo").await.unwrap();
    world.hear_from_brokers().await;
    world.api.calls();
    world
}

#[tokio::test]
async fn a_topic_is_made_once_and_then_let_be() {
    let mut world = world("partitions: 4, replicas: 3, deletionPolicy: Delete").await;
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.brokers.calls(), ["apply orders of 4 partitions"]);
    // The finalizer comes before the topic.
    assert_eq!(world.api.calls(), ["PATCH topics/orders", "PATCH topics/orders/status"]);
    assert_eq!(world.ready("topics", "orders"), "True AsAsked: 4 partitions with 3 replicas each");
    world.look_at_topic("orders").await.unwrap();
    assert_eq!((world.brokers.calls(), world.api.calls()), (vec![], vec![]));
}

#[tokio::test]
async fn a_deleted_topic_takes_its_records_along_if_it_should() {
    let mut world = world("deletionPolicy: Delete").await;
    world.look_at_topic("orders").await.unwrap();
    let path = format!("{OURS}/topics/orders");
    let mut topic = world.api.get(&path).unwrap();
    topic["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z".into();
    world.api.put(&path, topic);
    world.brokers.calls();
    world.api.calls();
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.brokers.calls(), ["delete orders"]);
    assert_eq!(world.api.calls(), ["PATCH topics/orders"]);
    assert_eq!((world.api.get(&path), world.brokers.topics()), (None, vec![]));
}

#[tokio::test]
async fn a_deleted_topic_leaves_its_records_if_it_should() {
    let mut world = world("deletionPolicy: Retain").await;
    world.look_at_topic("orders").await.unwrap();
    let topic = world.api.get(&format!("{OURS}/topics/orders")).unwrap();
    assert!(topic["metadata"]["finalizers"].is_null(), "nothing holds it back");
    assert_eq!(world.brokers.topics(), ["orders"]);
}

#[tokio::test]
async fn a_topic_of_a_cluster_that_is_gone_can_be_deleted() {
    let mut world = World::new().await;
    let metadata = "finalizers: [ottla.dev/topic], deletionTimestamp: 2026-11-22T12:00:00Z";
    world.apply("topics", "orders", &manifest("deletionPolicy: Delete", metadata));
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.api.get(&format!("{OURS}/topics/orders")), None);
}

#[tokio::test]
async fn what_the_brokers_refuse_is_shown_in_their_words() {
    let mut world = world("replicas: 3").await;
    let refusal = || Status::invalid_argument("the name is taken");
    world.brokers.refuse(refusal());
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.ready("topics", "orders"), "False Refused: the name is taken");
    world.api.calls();
    world.brokers.refuse(refusal());
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.api.calls(), [""; 0], "the same refusal is no news");
}

#[tokio::test]
async fn what_was_refused_is_not_asked_for_again_by_each_look() {
    let mut world = world("replicas: 3, config: {max.message.bytes: 1MB}").await;
    world.brokers.refuse(Status::invalid_argument("1MB is no number"));
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.ready("topics", "orders"), "False Refused: 1MB is no number");
    assert_eq!(world.brokers.calls().len(), 1);
    // The status that was written wakes us, and nothing else has changed.
    world.api.calls();
    world.look_at_topic("orders").await.unwrap();
    assert_eq!((world.brokers.calls(), world.api.calls()), (vec![], vec![]));
    // Another manifest is another question.
    let path = format!("{OURS}/topics/orders");
    let mut topic = world.api.get(&path).unwrap();
    topic["spec"]["config"]["max.message.bytes"] = "1000000".into();
    world.api.put(&path, topic);
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.brokers.config("orders"), "max.message.bytes=1000000");
}

#[tokio::test]
async fn a_plan_from_an_old_view_is_made_anew() {
    let mut world = world("partitions: 2").await;
    world.brokers.refuse(Status::failed_precondition("the metadata has another version"));
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.brokers.calls().len(), 2);
    assert!(world.ready("topics", "orders").starts_with("True"));
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_waited_for() {
    let mut world = world("partitions: 2").await;
    world.brokers.refuse(Status::unavailable("no active controller"));
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.ready("topics", "orders"), "False ClusterUnreachable: no active controller");
}

#[tokio::test]
async fn an_operator_that_just_started_says_nothing_before_the_brokers_do() {
    let mut world = world("partitions: 2").await;
    world.look_at_topic("orders").await.unwrap();
    let ready = world.ready("topics", "orders");
    let mut world = world.operator_restarted();
    world.api.calls();
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.api.calls(), [""; 0]);
    world.hear_from_brokers().await;
    world.look_at_topic("orders").await.unwrap();
    assert_eq!((world.api.calls(), world.ready("topics", "orders")), (vec![], ready));
}

#[tokio::test]
async fn the_younger_of_two_topics_waits() {
    let mut world = world("topicName: shared").await;
    world.look_at_topic("orders").await.unwrap();
    world.brokers.calls();
    world.apply("topics", "other", &manifest("topicName: shared", "creationTimestamp: 2026-11-22T12:00:00Z"));
    world.look_at_topic("other").await.unwrap();
    assert_eq!(world.brokers.calls(), [""; 0]);
    let ready = world.ready("topics", "other");
    assert!(ready.starts_with("False Conflict: the Topic orders came first"), "{ready}");
}

#[tokio::test]
async fn an_elder_topic_that_cannot_be_read_makes_no_way_for_the_younger() {
    let mut world = world("topicName: shared").await;
    let unread = Unread {
        metadata: serde_json::from_value(serde_json::json!({"name": "first", "namespace": "shop"})).unwrap(),
        spec: serde_json::json!({"clusterRef": {"name": "demo"}, "topicName": "shared", "partitions": "many"}),
        ..Default::default()
    };
    world.apply(
        "topics",
        "orders",
        &manifest("topicName: shared", "creationTimestamp: 2026-11-22T12:00:00Z"),
    );
    world.unread_topic("first", Some(&unread));
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.brokers.calls(), [""; 0]);
    let ready = world.ready("topics", "orders");
    assert!(ready.starts_with("False Conflict: the Topic first came first"), "{ready}");
    // One of another cluster or topic is none, nor is one that is gone.
    for (pointer, other) in [("/clusterRef/name", "other"), ("/topicName", "other")] {
        let mut of_other = unread.clone();
        *of_other.spec.pointer_mut(pointer).unwrap() = other.into();
        world.unread_topic("first", Some(&of_other));
        assert_eq!(world.elder_of("orders"), None, "{pointer}");
    }
    world.unread_topic("first", None);
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.brokers.topics(), ["shared"]);
    // Whoever has had the topic in its care goes on.
    world.unread_topic("first", Some(&unread));
    world.look_at_topic("orders").await.unwrap();
    assert!(world.ready("topics", "orders").starts_with("True"));
}

/// The topic's id by the status of `orders`.
fn topic_id(world: &World) -> String {
    let topic = world.api.get(&format!("{OURS}/topics/orders")).expect("it is there");
    topic["status"]["topicId"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_word_of_a_broker_that_no_quorum_confirms_is_none() {
    let mut world = world("partitions: 2, config: {segment.bytes: 1048576}, deletionPolicy: Delete").await;
    world.look_at_topic("orders").await.unwrap();
    let (before, ready) = (topic_id(&world), world.ready("topics", "orders"));
    assert!(!before.is_empty());
    // A broker came back with an empty disk, and another operator asks it first.
    let (empty, address) = Brokers::start().await;
    empty.cut_off("broker 0 hears of no active controller");
    let mut world = world.operator_restarted_beside(&address);
    world.look_at_cluster("demo").await.unwrap();
    world.hear_from_brokers().await;
    world.look_at_topic("orders").await.unwrap();
    assert_eq!((topic_id(&world), world.ready("topics", "orders")), (before, ready));
    let cluster = world.ready("kafkaclusters", "demo");
    assert!(!cluster.contains("hears of no active controller"), "{cluster}");
    let path = format!("{OURS}/topics/orders");
    let mut topic = world.api.get(&path).unwrap();
    topic["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z".into();
    world.api.put(&path, topic);
    world.brokers.calls();
    world.look_at_topic("orders").await.unwrap();
    assert_eq!((world.brokers.calls(), world.api.get(&path)), (vec!["delete orders".to_owned()], None));
}

#[tokio::test]
async fn a_broker_that_is_cut_off_is_left_for_another() {
    let world = world("partitions: 2").await;
    let (first, address) = Brokers::start().await;
    first.elect(0);
    let mut world = world.operator_restarted_beside(&address);
    world.look_at_cluster("demo").await.unwrap();
    world.hear_from_brokers().await;
    first.cut_off("broker 0 hears of no active controller");
    for name in ["one", "two", "three"] {
        world.brokers.make_topic(name, &[]);
    }
    while !world.sees("three") {
        world.hear_from_brokers().await;
    }
    world.look_at_cluster("demo").await.unwrap();
    let ready = world.ready("kafkaclusters", "demo");
    assert!(!ready.contains("hears of no active controller"), "{ready}");
    // Where nobody has more, its word is told.
    world.brokers.cut_off("broker 1 hears of no active controller");
    let mut ready = String::new();
    while !ready.starts_with("False MetadataQuorumInTrouble") {
        world.hear_from_brokers().await;
        world.look_at_cluster("demo").await.unwrap();
        ready = world.ready("kafkaclusters", "demo");
    }
    assert!(ready.contains("hears of no active controller"), "{ready}");
}

#[tokio::test]
async fn a_topic_that_a_watch_does_not_show_yet_is_not_taken_for_gone() {
    let mut world = world("partitions: 1, deletionPolicy: Delete").await;
    world.look_at_topic("orders").await.unwrap();
    world.brokers.hide_from_watches("orders");
    while world.sees("orders") {
        world.hear_from_brokers().await;
    }
    let path = format!("{OURS}/topics/orders");
    let mut topic = world.api.get(&path).unwrap();
    topic["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z".into();
    world.api.put(&path, topic);
    world.look_at_topic("orders").await.unwrap();
    assert!(world.ready("topics", "orders").contains("no broker confirms that the topic is gone"));
    assert_eq!(world.brokers.topics(), ["orders"]);
}

#[tokio::test]
async fn a_topic_without_cluster_says_so() {
    let mut world = World::new().await;
    world.apply("topics", "orders", &manifest("partitions: 1", ""));
    world.look_at_topic("orders").await.unwrap();
    let ready = world.ready("topics", "orders");
    assert_eq!(ready, "False ClusterNotFound: there is no KafkaCluster demo in this namespace");
}

#[tokio::test]
async fn a_topic_that_was_there_before_keeps_what_nobody_names() {
    let mut world = world("partitions: 1, config: {segment.bytes: 1048576}").await;
    world.brokers.make_topic("orders", &[("retention.ms", "-1"), ("cleanup.policy", "compact")]);
    world.hear_from_brokers().await;
    world.look_at_topic("orders").await.unwrap();
    // What changes is shown first.
    let calls = world.api.calls();
    assert_eq!(calls, ["PATCH topics/orders/status", "PATCH topics/orders/status"]);
    let told = world.api.told();
    let topics: Vec<&str> =
        told.iter().map(String::as_str).filter(|reason| *reason != "BrokersNotReady").collect();
    assert_eq!(topics, ["Adopting", "Ready"]);
    assert_eq!(
        world.brokers.config("orders"),
        "cleanup.policy=compact retention.ms=-1 segment.bytes=1048576"
    );
    let status = |world: &World| world.api.get(&format!("{OURS}/topics/orders")).unwrap()["status"].clone();
    assert_eq!(status(&world)["managedConfig"], serde_json::json!({"segment.bytes": "1048576"}));
    // What is taken out of the manifest returns to the default, and nothing else does.
    let path = format!("{OURS}/topics/orders");
    let mut topic = world.api.get(&path).unwrap();
    topic["spec"]["config"] = serde_json::json!({});
    world.api.put(&path, topic);
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.brokers.config("orders"), "cleanup.policy=compact retention.ms=-1");
    assert_eq!(status(&world)["managedConfig"], serde_json::json!({}));
    world.api.calls();
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.api.calls(), [""; 0]);
}

#[tokio::test]
async fn records_of_a_topic_that_was_there_are_not_given_up_unasked() {
    let mut world = world("partitions: 1, config: {retention.ms: 1000}, deletionPolicy: Delete").await;
    world.brokers.make_topic("orders", &[("retention.ms", "-1")]);
    world.hear_from_brokers().await;
    world.look_at_topic("orders").await.unwrap();
    let ready = world.ready("topics", "orders");
    assert!(
        ready.starts_with("False AdoptionHeld:") && ready.contains("retention.ms from -1 to 1000"),
        "{ready}"
    );
    assert_eq!(
        (world.brokers.calls(), world.brokers.config("orders")),
        (vec![], "retention.ms=-1".to_owned())
    );
    let path = format!("{OURS}/topics/orders");
    let mut topic = world.api.get(&path).unwrap();
    topic["metadata"]["annotations"] = serde_json::json!({"ottla.dev/adopt": "BBBBBBBBBBBBBBBBBBBBBg"});
    world.api.put(&path, topic);
    world.look_at_topic("orders").await.unwrap();
    assert_eq!(world.brokers.config("orders"), "retention.ms=1000");
    assert!(world.ready("topics", "orders").starts_with("True AsAsked"));
}
