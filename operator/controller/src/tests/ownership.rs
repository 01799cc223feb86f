//! What isn't a cluster's own stays as it is, whatever it is called and whatever labels it has.

use serde_json::{Value, json};

use super::world::{OURS, World};

const PLAIN: &str = "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 1}}";
const CORE: &str = "/api/v1/namespaces/shop";
const SET: &str = "/apis/apps/v1/namespaces/shop/statefulsets/demo-broker";

async fn world(manifest: &str) -> World {
    let world = World::without_brokers().await;
    world.apply("kafkaclusters", "demo", manifest);
    world
}

/// An object that a person made, or another resource.
fn made_by_hand(path: &str, owner: Option<&str>) -> Value {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut object = json!({"metadata": {"name": name, "namespace": "shop", "labels": {
        "app.kubernetes.io/instance": "demo", "app.kubernetes.io/managed-by": "ottla-operator"}}});
    if let Some(owner) = owner {
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Shop", "name": owner, "uid": "its own", "controller": true}]);
    }
    object
}

#[tokio::test]
async fn a_hand_made_account_is_left_alone_and_named() {
    let mut world = world(PLAIN).await;
    let path = &format!("{CORE}/serviceaccounts/demo-broker");
    // No watch of ours shows it.
    world.api.put(path, json!({"metadata": {"name": "demo-broker", "namespace": "shop"}}));
    let before = world.api.get(path);
    let error = world.look_at_cluster("demo").await.unwrap_err().to_string();
    assert!(error.starts_with("1 steps failed, the first: apply ServiceAccount demo-broker:"), "{error}");
    assert_eq!(world.api.get(path), before);
    let ready = world.ready("kafkaclusters", "demo");
    let expected = "False Conflict: apply ServiceAccount demo-broker: the ServiceAccount demo-broker is there already and was not made for this KafkaCluster, so it is left alone: delete or rename it, or give this KafkaCluster another name";
    assert_eq!(ready, expected);
    assert_eq!(world.api.get(SET), None, "no broker begins with an account that isn't its own");
    // Nor is it told again while nothing changes.
    world.api.calls();
    world.look_at_cluster("demo").await.unwrap_err();
    assert!(!world.api.calls().contains(&"PATCH kafkaclusters/demo/status".to_owned()));
    // The person takes it away.
    world.api.remove(path);
    world.look_at_cluster("demo").await.unwrap();
    let made = world.api.get(path).expect("it is made");
    assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "KafkaCluster");
    assert!(world.api.get(SET).is_some());
}

#[tokio::test]
async fn objects_of_every_kind_are_left_to_their_owners() {
    let kinds = [
        ("ServiceAccount", format!("{CORE}/serviceaccounts/demo-broker")),
        ("Service", format!("{CORE}/services/demo-bootstrap")),
        ("ConfigMap", format!("{CORE}/configmaps/demo-broker-config")),
        (
            "PodDisruptionBudget",
            "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/demo-broker".to_owned(),
        ),
        ("StatefulSet", SET.to_owned()),
    ];
    for (kind, path) in &kinds {
        for owner in [None, Some("window")] {
            let mut world = world(PLAIN).await;
            let mut object = made_by_hand(path, owner);
            if *kind == "StatefulSet" {
                object["spec"] = json!({"selector": {}, "serviceName": "x", "template": {}});
            }
            world.api.put(path, object);
            let before = world.api.get(path);
            world.look_at_cluster("demo").await.unwrap_err();
            assert_eq!(world.api.get(path), before, "{kind} {owner:?}");
            let ready = world.ready("kafkaclusters", "demo");
            let named = format!("False Conflict: apply {kind} ");
            let whose = owner
                .map_or("was not made for this KafkaCluster".to_owned(), |o| format!("belongs to Shop {o}"));
            assert!(ready.starts_with(&named) && ready.contains(&whose), "{ready}");
        }
    }
}

#[tokio::test]
async fn what_is_ours_is_taken_up_again_when_its_labels_are_gone() {
    let mut world = world(PLAIN).await;
    world.look_at_cluster("demo").await.unwrap();
    let path = &format!("{CORE}/services/demo-bootstrap");
    let labelled = world.api.get(path).expect("it was made");
    let mut stripped = labelled.clone();
    stripped["metadata"]["labels"] = json!({});
    world.api.put(path, stripped);
    // The watch, which goes by labels, says that it is gone.
    world.sync();
    world.forget_service("demo-bootstrap");
    world.look_without_news("demo").await.unwrap();
    let now = world.api.get(path).expect("it is there");
    assert_eq!(now["metadata"]["labels"], labelled["metadata"]["labels"]);
    assert_eq!(now["metadata"]["uid"], labelled["metadata"]["uid"]);
}

#[tokio::test]
async fn an_object_that_came_since_the_watch_looked_is_left_alone() {
    let mut world = world(PLAIN).await;
    world.look_at_cluster("demo").await.unwrap();
    let path = &format!("{CORE}/services/demo-bootstrap");
    let mut drifted = world.api.get(path).expect("it was made");
    drifted["spec"]["type"] = "LoadBalancer".into();
    world.api.put(path, drifted);
    world.sync();
    // It is put right, but meanwhile it is another's.
    world.api.put(path, made_by_hand(path, None));
    let before = world.api.get(path);
    world.look_without_news("demo").await.unwrap_err();
    assert_eq!(world.api.get(path), before);
}

#[tokio::test]
async fn a_service_with_our_labels_alone_is_neither_used_nor_deleted() {
    let external = PLAIN.replace("replicas: 1", "replicas: 1, listeners: [{name: internal, port: 9092, type: internal}, {name: external, port: 9094, type: nodeport}]");
    let mut world = world(&external).await;
    let path = &format!("{CORE}/services/demo-old-0");
    world.api.put(path, made_by_hand(path, None));
    let taken = &format!("{CORE}/services/demo-external-0");
    let mut service = made_by_hand(taken, Some("window"));
    service["spec"] = json!({"type": "NodePort", "ports": [{"port": 9094, "nodePort": 31000}]});
    world.api.put(taken, service);
    let before = world.api.all("/services/demo-old-0");
    world.look_at_cluster("demo").await.unwrap_err();
    assert_eq!(world.api.all("/services/demo-old-0"), before);
    assert_eq!(
        world.api.get(&format!("{CORE}/configmaps/demo-broker-config")),
        None,
        "31000 leads elsewhere"
    );
}

#[tokio::test]
async fn two_clusters_whose_names_meet_do_not_take_from_each_other() {
    // A listener "x" of the one has the same Service as the internal listener of the other.
    let listeners =
        "listeners: [{name: internal, port: 9092, type: internal}, {name: x, port: 9094, type: nodeport}]";
    let mut world = world(&PLAIN.replace("replicas: 1", &format!("replicas: 1, {listeners}"))).await;
    world.look_at_cluster("demo").await.unwrap();
    world.apply("kafkaclusters", "demo-x", PLAIN);
    let path = &format!("{CORE}/services/demo-x-bootstrap");
    let before = world.api.get(path).expect("it is the listener's");
    world.look_at_cluster("demo-x").await.unwrap_err();
    assert_eq!(world.api.get(path), Some(before));
    let ready = world.ready("kafkaclusters", "demo-x");
    assert!(
        ready.contains("the Service demo-x-bootstrap is there already and belongs to KafkaCluster demo,"),
        "{ready}"
    );
    world.look_at_cluster("demo").await.unwrap();
    assert!(world.api.get(&format!("{OURS}/kafkaclusters/demo")).is_some());
}
