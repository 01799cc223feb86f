//! KafkaClusters: from nothing to running, and then nothing more.

use super::api_server::ApiServer;
use super::world::{OURS, World};

const EXTERNAL: &str = "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 1, listeners: [{name: internal, port: 9092, type: internal}, {name: external, port: 9094, type: nodeport}]}}";

#[tokio::test]
async fn from_nothing_to_settled() {
    let mut world = World::without_brokers().await;
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
    let mut world = World::without_brokers().await;
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
    let mut world = World::without_brokers().await;
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
    let mut world = World::without_brokers().await;
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
async fn what_the_api_server_says_in_its_own_words_is_no_difference() {
    let mut world = World::without_brokers().await;
    world.apply(
        "kafkaclusters",
        "demo",
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 1, resources: {requests: {cpu: 0.5, memory: 1024Mi}}}}",
    );
    world.look_at_cluster("demo").await.unwrap();
    world.api.rewrite("/apis/apps/v1/namespaces/shop/statefulsets/demo-broker", |set| {
        let containers = &mut set["spec"]["template"]["spec"]["containers"];
        containers[0]["resources"]["requests"] = serde_json::json!({"cpu": "500m", "memory": "1Gi"});
        containers.as_array_mut().expect("a list").push(serde_json::json!({"name": "of-a-webhook"}));
    });
    world.api.calls();
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(world.api.calls(), [""; 0]);
}

#[tokio::test]
async fn a_cluster_that_is_being_deleted_is_left_alone() {
    let mut world = World::without_brokers().await;
    world.apply(
        "kafkaclusters",
        "demo",
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {deletionTimestamp: 2026-11-22T12:00:00Z, finalizers: [foregroundDeletion]}, spec: {replicas: 1}}",
    );
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(world.api.calls(), [""; 0]);
}

/// A cluster with a topic, whose pods all serve and were made from an older StatefulSet; it was looked at.
async fn with_old_pods() -> World {
    with_old_pods_that(|_| {}).await
}

/// The same, after something was done to the API server before that look.
async fn with_old_pods_that(change: impl FnOnce(&ApiServer)) -> World {
    let mut world = World::new().await;
    let cluster = "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 3}}";
    world.apply("kafkaclusters", "demo", cluster);
    let topic = "{apiVersion: ottla.dev/v1alpha1, kind: Topic, metadata: {}, spec: {clusterRef: {name: demo}, replicas: 3}}";
    world.apply("topics", "orders", topic);
    world.look_at_cluster("demo").await.unwrap();
    world.hear_from_brokers().await;
    world.brokers.elect(0);
    world.hear_from_brokers().await;
    world.look_at_topic("orders").await.unwrap();
    let path = "/apis/apps/v1/namespaces/shop/statefulsets/demo-broker";
    let mut set = world.api.get(path).expect("it was applied");
    set["status"] = serde_json::json!({"replicas": 3, "updateRevision": "new"});
    world.api.put(path, set);
    for ordinal in 0..3 {
        world.api.put(&format!("{PODS}/demo-broker-{ordinal}"), pod(ordinal, "old"));
    }
    change(&world.api);
    world.look_at_cluster("demo").await.unwrap();
    world
}

const PODS: &str = "/api/v1/namespaces/shop/pods";

fn pod(ordinal: usize, revision: &str) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"name": format!("demo-broker-{ordinal}"), "namespace": "shop",
            "labels": {"app.kubernetes.io/instance": "demo", "controller-revision-hash": revision},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo-broker",
                "uid": "uid of /apis/apps/v1/namespaces/shop/statefulsets/demo-broker"}]},
        "spec": {"containers": []},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "broker", "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
                "state": {"running": {}}}],
        },
    })
}

fn evictions(world: &World) -> Vec<String> {
    let calls = world.api.calls();
    calls.into_iter().filter(|call| call.ends_with("/eviction")).collect()
}

#[tokio::test]
async fn changed_settings_restart_one_pod_at_a_time() {
    let mut world = with_old_pods().await;
    assert_eq!(evictions(&world), ["POST pods/demo-broker-1/eviction"], "the active controller comes last");
    // It is away: nobody else is stopped.
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(evictions(&world), [""; 0]);
    let ready = world.ready("kafkaclusters", "demo");
    assert!(ready.starts_with("False BrokersNotReady: 2 of 3 brokers serve"), "{ready}");
    // It is back, but has yet to catch up: the watch may not have told, so the brokers are asked.
    world.api.put(&format!("{PODS}/demo-broker-1"), pod(1, "new"));
    world.brokers.set_isr(&[0, 2]);
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(evictions(&world), [""; 0]);
    world.brokers.set_isr(&[0, 1, 2]);
    world.hear_from_brokers().await;
    for next in [2, 0] {
        world.look_when(|calls| calls.contains(&format!("POST pods/demo-broker-{next}/eviction"))).await;
        world.api.put(&format!("{PODS}/demo-broker-{next}"), pod(next, "new"));
    }
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(evictions(&world), [""; 0], "all are as asked");
}

/// What the status says of the one operation that is held up.
fn held_up(world: &World) -> String {
    let cluster = world.api.get(&format!("{OURS}/kafkaclusters/demo")).expect("it is there");
    let operations = &cluster["status"]["operations"];
    format!("{}: {}", operations[0]["name"], operations[0]["blockedBy"]).replace('"', "")
}

#[tokio::test]
async fn a_budget_that_refuses_is_shown_and_asked_again_by_newer_leave() {
    let mut world =
        with_old_pods_that(|api| api.budget(Some("The disruption budget demo-broker needs 3"))).await;
    assert_eq!(evictions(&world), ["POST pods/demo-broker-1/eviction"], "it is asked once");
    let restart = "restart demo-broker-1 for changed settings, then 2 more";
    assert_eq!(held_up(&world), format!("{restart}: The disruption budget demo-broker needs 3"));
    // The budget gives way, but by now the brokers object: they were asked for this try too.
    world.api.budget(None);
    world.brokers.set_isr(&[1, 2]);
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(evictions(&world), [""; 0]);
    assert_eq!(held_up(&world), format!("{restart}: orders-0 has 2 of 3 replicas in sync"));
    world.brokers.set_isr(&[0, 1, 2]);
    world.hear_from_brokers().await;
    world.look_when(|calls| calls.contains(&"POST pods/demo-broker-1/eviction".to_owned())).await;
}

#[tokio::test]
async fn a_pod_that_took_the_place_of_another_is_not_evicted() {
    let mut world = with_old_pods_that(|api| api.budget(Some("not yet"))).await;
    world.api.budget(None);
    world.sync();
    // The watch still shows the old pod of that name.
    world.api.put(&format!("{PODS}/demo-broker-1"), pod(1, "new"));
    world.api.calls();
    world.look_at_unsynced_cluster("demo").await.unwrap();
    assert_eq!(evictions(&world), ["POST pods/demo-broker-1/eviction"]);
    assert!(world.api.get(&format!("{PODS}/demo-broker-1")).is_some(), "the new pod stays");
    assert!(held_up(&world).contains("the UID in the precondition does not match"), "{}", held_up(&world));
}

#[tokio::test]
async fn a_changed_spec_is_not_ready_before_its_roll_is_done() {
    let mut world = with_old_pods().await;
    for ordinal in 0..3 {
        world.api.put(&format!("{PODS}/demo-broker-{ordinal}"), pod(ordinal, "new"));
    }
    world.look_at_cluster("demo").await.unwrap();
    assert!(world.ready("kafkaclusters", "demo").starts_with("True AllBrokersReady"));
    let path = format!("{OURS}/kafkaclusters/demo");
    let mut cluster = world.api.get(&path).expect("it is there");
    cluster["metadata"]["generation"] = 2.into();
    cluster["spec"]["config"] = serde_json::json!({"num.partitions": 4});
    world.api.put(&path, cluster);
    // All pods serve, by the old settings.
    for _ in 0..2 {
        world.look_at_cluster("demo").await.unwrap();
        let ready = world.ready("kafkaclusters", "demo");
        assert!(ready.starts_with("False RestartingBrokers: 3 of 3 brokers serve"), "{ready}");
        // The API server has another generation of the StatefulSet now, which nobody has looked at.
        world.api.rewrite("/apis/apps/v1/namespaces/shop/statefulsets/demo-broker", |set| {
            set["metadata"]["generation"] = 2.into();
        });
    }
}

#[tokio::test]
async fn no_pod_restarts_into_settings_that_were_not_written() {
    let mut world = with_old_pods_that(|api| api.budget(Some("not yet"))).await;
    world.api.budget(None);
    let settings = "/api/v1/namespaces/shop/configmaps/demo-broker-config";
    world.api.remove(settings);
    world.api.refuse(Some("/configmaps/demo-broker-config"));
    world.api.calls();
    world.look_at_cluster("demo").await.unwrap_err();
    assert_eq!(evictions(&world), [""; 0], "the restart is due, but not the settings for it");
    // Nor does the template name other settings than there are.
    let path = format!("{OURS}/kafkaclusters/demo");
    let mut cluster = world.api.get(&path).expect("it is there");
    cluster["spec"]["config"] = serde_json::json!({"num.partitions": 4});
    world.api.put(&path, cluster);
    world.look_at_cluster("demo").await.unwrap_err();
    let calls = world.api.calls();
    assert!(
        !calls.iter().any(|call| call.contains("statefulsets") || call.contains("eviction")),
        "{calls:?}"
    );
    world.api.refuse(None);
    world.look_at_cluster("demo").await.unwrap();
    let calls = world.api.calls();
    assert!(calls.contains(&"PATCH statefulsets/demo-broker".to_owned()), "{calls:?}");
}

/// A pod whose broker crashes again and again.
fn crashing(ordinal: usize) -> serde_json::Value {
    let mut pod = pod(ordinal, "old");
    pod["status"]["conditions"][0]["status"] = "False".into();
    let container = &mut pod["status"]["containerStatuses"][0];
    container["ready"] = false.into();
    container["state"] = serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}});
    pod
}

#[tokio::test]
async fn a_step_that_fails_keeps_no_crashing_broker_from_the_correction_it_has_no_part_in() {
    let mut world = with_old_pods_that(|api| api.budget(Some("not yet"))).await;
    world.api.budget(None);
    world.api.remove("/apis/policy/v1/namespaces/shop/poddisruptionbudgets/demo-broker");
    world.api.refuse(Some("/poddisruptionbudgets/demo-broker"));
    world.api.calls();
    // Those that are ready have time until all is as asked.
    world.look_at_cluster("demo").await.unwrap_err();
    assert_eq!(evictions(&world), [""; 0]);
    world.api.put(&format!("{PODS}/demo-broker-2"), crashing(2));
    // What pods are made with comes first.
    let account = "/api/v1/namespaces/shop/serviceaccounts/demo-broker";
    let kept = world.api.get(account).expect("it was applied");
    world.api.remove(account);
    world.api.refuse(Some("s/demo-broker"));
    world.look_at_cluster("demo").await.unwrap_err();
    assert_eq!(evictions(&world), [""; 0]);
    world.api.put(account, kept);
    world.api.refuse(Some("/poddisruptionbudgets/demo-broker"));
    let error = world.look_at_cluster("demo").await.unwrap_err().to_string();
    assert!(error.starts_with("1 steps failed, the first: apply PodDisruptionBudget"), "{error}");
    assert_eq!(evictions(&world), ["POST pods/demo-broker-2/eviction"]);
}

/// The port of the nodes that each Service of the listener has: those of the brokers, then the one for
/// bootstrapping.
fn node_ports(world: &World) -> Vec<i64> {
    let services = world.api.all("/services/demo-external-");
    services.iter().filter_map(|s| s["spec"]["ports"][0]["nodePort"].as_i64()).collect()
}

#[tokio::test]
async fn a_service_that_was_deleted_comes_back_with_its_port() {
    let mut world = World::without_brokers().await;
    world.apply("kafkaclusters", "demo", &EXTERNAL.replace("replicas: 1", "replicas: 3"));
    for _ in 0..3 {
        world.look_at_cluster("demo").await.unwrap();
    }
    let before = node_ports(&world);
    assert_eq!(before.len(), 4);
    let path = |name: &str| format!("/api/v1/namespaces/shop/services/{name}");
    let config = |world: &World| world.api.get("/api/v1/namespaces/shop/configmaps/demo-broker-config");
    let settings = config(&world);
    for name in ["demo-external-0", "demo-external-1", "demo-external-bootstrap"] {
        world.api.remove(&path(name));
        // The API server tells that a Service is gone before it has let go of its port.
        let left = node_ports(&world);
        let gone = before.iter().find(|port| !left.contains(port)).expect("one is gone");
        world.api.release_late(*gone, 2);
        world.look_at_cluster("demo").await.unwrap();
        world.look_at_cluster("demo").await.unwrap();
        assert_eq!(node_ports(&world), before, "{name}");
        assert_eq!(config(&world), settings, "{name}");
    }
    // Meanwhile another Service got the port: there is a new one, and the broker tells it.
    world.api.remove(&path("demo-external-1"));
    let other = serde_json::json!({"metadata": {"name": "window"}, "spec": {"type": "NodePort", "ports": [{"nodePort": before[1]}]}});
    world.api.put(&path("window"), other);
    world.look_at_cluster("demo").await.unwrap();
    world.look_at_cluster("demo").await.unwrap();
    let after = node_ports(&world);
    assert_ne!(after[1], before[1]);
    assert_eq!((after[0], after[2], after[3]), (before[0], before[2], before[3]));
    let settings = config(&world).expect("it is there")["data"]["demo-broker-1.properties"].to_string();
    assert!(settings.contains(&format!("HOST_IP}}:{}", after[1])), "{settings}");
    world.look_at_cluster("demo").await.unwrap();
    world.api.calls();
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(world.api.calls(), [""; 0], "it comes to rest");
}

#[tokio::test]
async fn a_cluster_that_its_volumes_do_not_fit_makes_nothing_and_says_why() {
    let mut world = World::without_brokers().await;
    for ordinal in 0..3 {
        let name = format!("data-demo-broker-{ordinal}");
        let claim = serde_json::json!({"metadata": {"name": name, "namespace": "shop",
            "labels": {"app.kubernetes.io/instance": "demo"},
            "annotations": {"ottla.dev/cluster-id": "AAAAAAAAAAAAAAAAAAAAAQ", "ottla.dev/voters": "0,1,2"}}});
        world.api.put(&format!("/api/v1/namespaces/shop/persistentvolumeclaims/{name}"), claim);
    }
    world.apply(
        "kafkaclusters",
        "demo",
        "{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {}, spec: {replicas: 1}}",
    );
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(world.api.calls(), ["PATCH kafkaclusters/demo/status"]);
    let ready = world.ready("kafkaclusters", "demo");
    assert!(ready.starts_with("False FewerBrokersThanBefore: the volumes that"), "{ready}");
    world.look_at_cluster("demo").await.unwrap();
    assert_eq!(world.api.calls(), [""; 0]);
    // The person corrects it.
    let path = format!("{OURS}/kafkaclusters/demo");
    let mut cluster = world.api.get(&path).unwrap();
    cluster["spec"]["replicas"] = 3.into();
    world.api.put(&path, cluster);
    world.look_at_cluster("demo").await.unwrap();
    let status = world.api.get(&path).unwrap()["status"].clone();
    assert_eq!(
        (&status["clusterId"], &status["voters"]),
        (&"AAAAAAAAAAAAAAAAAAAAAQ".into(), &serde_json::json!([0, 1, 2]))
    );
    assert!(world.api.calls().contains(&"PATCH statefulsets/demo-broker".to_owned()));
}
