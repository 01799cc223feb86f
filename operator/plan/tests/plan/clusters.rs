//! Clusters: a manifest and what was observed in; steps, objects and status out.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ottla_api::{KafkaCluster, UpgradePolicy};
use ottla_plan::{ClusterObserved, ClusterPlan, ClusterView, Failure, Step, cluster_status, plan_cluster};
use serde_json::Value;

use crate::server::applied;

fn now() -> Time {
    serde_saphyr::from_str("2026-11-22T12:00:00Z").expect("a time")
}

/// A KafkaCluster and what else there is.
struct World {
    cluster: KafkaCluster,
    services: Vec<Service>,
    pods: Vec<Pod>,
    claims: Vec<PersistentVolumeClaim>,
    racks: BTreeMap<String, String>,
    set: Option<StatefulSet>,
    view: Option<ClusterView>,
}

impl World {
    fn new(spec: &str) -> Self {
        let text = format!(
            "{{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {{name: demo, namespace: shop, uid: 0f8fad5b-d9cb-469f-a165-70867728950e, generation: 1}}, spec: {spec}}}"
        );
        Self {
            cluster: serde_saphyr::from_str(&text).expect("a KafkaCluster"),
            services: vec![],
            pods: vec![],
            claims: vec![],
            racks: BTreeMap::new(),
            set: None,
            view: None,
        }
    }

    fn observed(&self) -> ClusterObserved<'_> {
        ClusterObserved {
            cluster: &self.cluster,
            services: &self.services,
            stateful_set: self.set.as_ref(),
            pods: &self.pods,
            claims: &self.claims,
            racks: &self.racks,
            image: "ottla/broker:dev",
            view: self.view.as_ref(),
            silent: false,
        }
    }

    fn plan(&self) -> ClusterPlan {
        plan_cluster(self.observed()).expect("it has an identity")
    }

    /// Kubernetes gives each planned Service its node port.
    fn with_node_ports(mut self) -> Self {
        let planned = self.plan();
        let services = planned.steps.iter().filter_map(|step| match step {
            Step::Apply(object) => serde_json::from_value::<Service>(object.body.clone()).ok(),
            _ => None,
        });
        let mut next = 30_000;
        self.services = services
            .filter_map(|mut service| {
                let spec = service.spec.as_mut()?;
                if spec.type_.as_deref() == Some("NodePort") {
                    next += 1;
                    spec.ports.as_mut()?.first_mut()?.node_port = Some(next);
                }
                Some(service)
            })
            .collect();
        self
    }

    /// Brokers run, the first of them ready.
    fn with_pods(mut self, ready: usize) -> Self {
        let planned = self.plan();
        let hash = planned.config_hash.clone().unwrap_or_default();
        let set = planned.steps.iter().find_map(|step| match step {
            Step::Apply(object) if object.kind.as_str() == "StatefulSet" => Some(applied(object)),
            _ => None,
        });
        let mut set: StatefulSet =
            serde_json::from_value(set.expect("it is planned")).expect("a StatefulSet");
        set.status = Some(StatefulSetStatus { update_revision: Some("r".into()), ..Default::default() });
        self.set = Some(set);
        let pod = |ordinal: usize| {
            let status = if ordinal < ready { "True" } else { "False" };
            let text = format!(
                "{{metadata: {{name: demo-broker-{ordinal}, labels: {{controller-revision-hash: r}}, annotations: {{ottla.dev/config-hash: '{hash}'}}}}, spec: {{nodeName: node-{ordinal}, containers: []}}, status: {{hostIP: 10.0.0.{ordinal}, conditions: [{{type: Ready, status: '{status}'}}]}}}}"
            );
            serde_saphyr::from_str(&text).expect("a Pod")
        };
        self.pods = (0..self.cluster.spec.replicas as usize).map(pod).collect();
        self
    }

    fn status_yaml(&self, failures: &[Failure]) -> String {
        let (status, events) = cluster_status(self.observed(), &self.plan(), failures, now());
        let events: Vec<String> = events.iter().map(|e| format!("# {e}\n")).collect();
        events.concat() + &serde_saphyr::to_string(&status).expect("a status is YAML")
    }
}

const INTERNAL: &str = "{replicas: 3, storage: {size: 1Gi}}";
const EXTERNAL: &str = "{replicas: 3, listeners: [{name: internal, port: 9092, type: internal}, {name: external, port: 9094, type: nodeport}], rack: {topologyKey: zone}}";

fn body(plan: &ClusterPlan, kind: &str) -> Value {
    let found = plan.steps.iter().find_map(|step| match step {
        Step::Apply(object) if object.kind.as_str() == kind => Some(object.body.clone()),
        _ => None,
    });
    found.expect("the plan has one")
}

fn file(plan: &ClusterPlan, broker: &str) -> String {
    let map = body(plan, "ConfigMap");
    map["data"][format!("{broker}.properties")].as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_object_of_a_plain_cluster() {
    let world = World::new(INTERNAL);
    let plan = world.plan();
    insta::assert_snapshot!(plan);
    let objects = plan.steps.iter().filter_map(|step| match step {
        Step::Apply(object) => Some(serde_saphyr::to_string(&object.body).expect("an object is YAML")),
        _ => None,
    });
    insta::assert_snapshot!(objects.collect::<Vec<_>>().join("---\n"));
}

#[test]
fn a_second_plan_changes_nothing() {
    let world = World::new(EXTERNAL).with_node_ports();
    for step in world.plan().steps {
        if let Step::Apply(object) = step {
            assert!(object.changes(None) && !object.changes(Some(&applied(&object))), "{}", object.name);
        }
    }
}

#[test]
fn node_ports_come_before_the_configuration() {
    let world = World::new(EXTERNAL);
    insta::assert_snapshot!(world.plan());
    insta::assert_snapshot!(world.status_yaml(&[]));
    let world = world.with_node_ports();
    insta::assert_snapshot!(world.plan());
    insta::assert_snapshot!(file(&world.plan(), "demo-broker-1"));
}

#[test]
fn fixed_node_ports_count_up() {
    let spec = EXTERNAL
        .replace("type: nodeport", "type: nodeport, nodePort: 30100, advertisedHost: kafka.example.org");
    let plan = World::new(&spec).plan();
    let ports: Vec<i64> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Apply(object) => object.body.pointer("/spec/ports/0/nodePort")?.as_i64(),
            _ => None,
        })
        .collect();
    assert_eq!(ports, [30_100, 30_101, 30_102, 30_103]);
    let plan = World::new(&spec).with_node_ports().plan();
    assert!(
        file(&plan, "demo-broker-0").contains("EXTERNAL://kafka.example.org:30002"),
        "{}",
        file(&plan, "demo-broker-0")
    );
}

#[test]
fn the_status_says_who_serves_and_where() {
    let mut world = World::new(EXTERNAL).with_node_ports().with_pods(2);
    world.racks = BTreeMap::from([("node-0".to_owned(), "a".to_owned())]);
    insta::assert_snapshot!(world.status_yaml(&[]));
    let world = world.with_pods(3);
    insta::assert_snapshot!(world.status_yaml(&[]));
    let failed = Failure { step: "apply Service demo-brokers".into(), error: "forbidden".into() };
    insta::assert_snapshot!(world.status_yaml(&[failed]));
}

#[test]
fn a_rack_is_written_where_it_is_known_and_restarts_nothing() {
    let world = World::new(EXTERNAL).with_node_ports().with_pods(3);
    let before = world.plan();
    let world = World { racks: BTreeMap::from([("node-0".to_owned(), "a".to_owned())]), ..world };
    let after = world.plan();
    assert!(file(&after, "demo-broker-0").contains("broker.rack=a\n"));
    assert!(!file(&after, "demo-broker-1").contains("broker.rack"));
    assert_eq!(before.config_hash, after.config_hash);
}

#[test]
fn the_record_outlives_changes_and_the_resource() {
    let mut world = World::new("{replicas: 1}");
    let (status, _) = cluster_status(world.observed(), &world.plan(), &[], now());
    assert_eq!((status.voters.clone(), status.brokers.len()), (vec![0], 1));
    // More brokers don't change who votes, nor who was who.
    world.cluster.status = Some(status.clone());
    world.cluster.spec.replicas = 4;
    let plan = world.plan();
    assert_eq!(plan.record.brokers.iter().map(|b| b.id).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(plan.record.voters.len(), 1);
    // Ids follow the record, not the ordinals.
    if let Some(status) = &mut world.cluster.status {
        status.brokers[0].id = 7;
        status.voters = vec![7];
    }
    let plan = world.plan();
    assert_eq!(plan.record.brokers.iter().map(|b| b.id).collect::<Vec<_>>(), [7, 8, 9, 10]);
    assert!(file(&plan, "demo-broker-0").contains("node.id=7\nprocess.roles=broker,controller\n"));
    // Nor do they shrink before their records have moved.
    world.cluster.spec.replicas = 1;
    world.cluster.status.as_mut().expect("a status").brokers = plan.record.brokers;
    assert_eq!(world.plan().record.brokers.len(), 4);
    // A new cluster takes up the volumes of an old one of its name.
    let mut again = World::new(INTERNAL);
    again.cluster.metadata.uid = Some("11111111-1111-1111-1111-111111111111".into());
    let old_id = status.cluster_id.unwrap_or_default();
    let claim =
        format!("{{metadata: {{annotations: {{ottla.dev/cluster-id: {old_id}, ottla.dev/voters: '0'}}}}}}");
    assert_ne!(again.plan().record.cluster_id.to_string(), old_id);
    again.claims = vec![serde_saphyr::from_str(&claim).expect("a claim")];
    assert_eq!(again.plan().record.cluster_id.to_string(), old_id);
    assert_eq!(again.plan().record.voters.len(), 1);
}

#[test]
fn a_listener_that_is_gone_takes_its_services_along() {
    let mut world = World::new(EXTERNAL).with_node_ports();
    world.cluster.spec.listeners.pop();
    insta::assert_snapshot!(world.plan());
}

/// The image that the planned StatefulSet has, with this default of the operator.
fn image(world: &World, default: &str) -> String {
    let observed = ClusterObserved { image: default, ..world.observed() };
    let plan = plan_cluster(observed).expect("it has an identity");
    let set = body(&plan, "StatefulSet");
    let image = set.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
    let image = image.expect("it has one").to_owned();
    assert_eq!(plan.record.image, image);
    image
}

#[test]
fn another_default_image_moves_only_who_asked_to_be_moved() {
    let mut world = World::new(INTERNAL);
    assert_eq!(image(&world, "broker:1"), "broker:1", "a new cluster takes the default");
    let status_with = |world: &World, default: &str| {
        let observed = ClusterObserved { image: default, ..world.observed() };
        let plan = plan_cluster(observed).expect("it has an identity");
        cluster_status(observed, &plan, &[], now()).0
    };
    let status = status_with(&world, "broker:1");
    assert_eq!((status.image.as_deref(), status.image_available.as_deref()), (Some("broker:1"), None));
    world.cluster.status = Some(status);
    assert_eq!(image(&world, "broker:2"), "broker:1", "it is on record");
    assert_eq!(status_with(&world, "broker:2").image_available.as_deref(), Some("broker:2"));
    world.cluster.spec.upgrade = UpgradePolicy::Automatic;
    assert_eq!(image(&world, "broker:2"), "broker:2");
    // What it has moved to stays, too.
    world.cluster.status = Some(status_with(&world, "broker:2"));
    world.cluster.spec.upgrade = UpgradePolicy::Manual;
    assert_eq!(image(&world, "broker:3"), "broker:2");
    world.cluster.spec.image = Some("mine:7".into());
    assert_eq!(image(&world, "broker:3"), "mine:7", "the spec decides");
    assert_eq!(status_with(&world, "broker:3").image_available, None);
}

#[test]
fn brokers_of_an_operator_that_kept_no_record_keep_their_image() {
    let mut world = World::new(INTERNAL).with_pods(3);
    let (mut status, _) = cluster_status(world.observed(), &world.plan(), &[], now());
    status.image = None;
    world.cluster.status = Some(status);
    assert_eq!(image(&world, "ottla/broker:next"), "ottla/broker:dev");
    world.set = None;
    assert_eq!(image(&world, "ottla/broker:next"), "ottla/broker:next", "none runs");
}
