//! KafkaClusters: from nothing to running, and then nothing more.

use super::world::{OURS, World};

const EXTERNAL: &str = "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 1, listeners: [{name: internal, port: 9092, type: internal}, {name: external, port: 9094, type: nodeport}]}}";

#[tokio::test]
async fn from_nothing_to_settled() {
    let mut world = World::new().await;
    world.apply("kafkaclusters", "demo", EXTERNAL);
    world.look_at_cluster("demo").await.unwrap();
    let first = world.api.calls();
    let expected = [
        // Who is who goes on record before anything else.
        "PATCH kafkaclusters/demo/status",
        "PATCH serviceaccounts/demo-broker",
        "PATCH services/demo-brokers",
        "PATCH services/demo-bootstrap",
        "PATCH services/demo-external-bootstrap",
        "PATCH services/demo-external-0",
        "PATCH poddisruptionbudgets/demo-broker",
    ];
    assert_eq!(first, expected);
    assert!(world.ready("kafkaclusters", "demo").starts_with("False Preparing: the Service demo-external-0"));
    // Kubernetes has given the Services their ports.
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(
        world.api.calls(),
        [
            "PATCH configmaps/demo-broker-config",
            "PATCH statefulsets/demo-broker",
            "PATCH kafkaclusters/demo/status"
        ]
    );
    // Nothing has changed: nothing is written.
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(world.api.calls(), [""; 0]);
}

#[tokio::test]
async fn a_stale_watch_makes_no_second_write_of_the_status() {
    let mut world = World::new().await;
    world.apply(
        "kafkaclusters",
        "demo",
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 1}}",
    );
    let before = world.api.get(&format!("{OURS}/kafkaclusters/demo")).unwrap();
    world.look_at_cluster("demo").await.unwrap();
    world.api.calls();
    // The watch still shows the KafkaCluster without its status.
    world.look_at_old_cluster(before).await.unwrap();
    assert_eq!(world.api.calls(), [""; 0]);
}

#[tokio::test]
async fn a_refused_step_stops_no_other() {
    let mut world = World::new().await;
    world.apply(
        "kafkaclusters",
        "demo",
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 1}}",
    );
    world.api.refuse(Some("/services/demo-brokers"));
    let error = world.look_at_cluster("demo").await.unwrap_err().to_string();
    assert!(error.starts_with("1 steps failed, the first: apply Service demo-brokers:"), "{error}");
    assert!(world.api.calls().contains(&"PATCH statefulsets/demo-broker".to_owned()));
    let ready = world.ready("kafkaclusters", "demo");
    assert!(ready.starts_with("False StepFailed: apply Service demo-brokers:"), "{ready}");
    world.api.refuse(None);
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(world.api.calls(), ["PATCH services/demo-brokers", "PATCH kafkaclusters/demo/status"]);
}

#[tokio::test]
async fn what_someone_changed_by_hand_is_put_right() {
    let mut world = World::new().await;
    world.apply(
        "kafkaclusters",
        "demo",
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 1}}",
    );
    world.look_at_cluster("demo").await.unwrap();
    let path = "/apis/apps/v1/namespaces/shop/statefulsets/demo-broker";
    let mut set = world.api.get(path).expect("it was applied");
    set["spec"]["replicas"] = 5.into();
    world.api.put(path, set);
    world.api.calls();
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(world.api.calls(), ["PATCH statefulsets/demo-broker"]);
}

#[tokio::test]
async fn a_cluster_that_is_being_deleted_is_left_alone() {
    let mut world = World::new().await;
    world.apply(
        "kafkaclusters",
        "demo",
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {deletionTimestamp: 2026-11-22T12:00:00Z, finalizers: [foregroundDeletion]}, spec: {replicas: 1}}",
    );
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(world.api.calls(), [""; 0]);
}
