//! Clusters: a manifest and what was observed in; steps, objects and status out.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ottla_api::{KafkaCluster, UpgradePolicy};
use ottla_plan::{
    ClusterObserved, ClusterPlan, ClusterView, NoPlan, ObjectKind, PassOutcome, Step, StepFailure, Unfit,
    cluster_status, plan_cluster, unfit_status,
};
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
            trouble: None,
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

    fn status_yaml(&self, failures: &[StepFailure]) -> String {
        let outcome = PassOutcome { failures: failures.to_vec(), restart: None };
        let (status, events) = cluster_status(self.observed(), &self.plan(), &outcome, now());
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
    let failed = StepFailure {
        step: "apply Service demo-brokers".into(),
        applies: Some(ObjectKind::Service),
        error: "forbidden".into(),
        reason: ottla_plan::STEP_FAILED,
    };
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
    let (status, _) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now());
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
        cluster_status(observed, &plan, &PassOutcome::default(), now()).0
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
    let (mut status, _) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now());
    status.image = None;
    world.cluster.status = Some(status);
    assert_eq!(image(&world, "ottla/broker:next"), "ottla/broker:dev");
    world.set = None;
    assert_eq!(image(&world, "ottla/broker:next"), "ottla/broker:next", "none runs");
}

#[test]
fn a_service_that_is_made_anew_asks_for_the_port_that_it_had() {
    let mut world = World::new(EXTERNAL).with_node_ports().with_pods(3);
    let (status, _) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now());
    let ports: Vec<(String, i32)> = status.node_ports.iter().map(|p| (p.service.clone(), p.port)).collect();
    assert_eq!(ports.len(), 4, "{ports:?}");
    assert_eq!(ports[2], ("demo-external-1".to_owned(), 30_003));
    world.cluster.status = Some(status.clone());
    // All are gone: what they had is on record still, and is asked for again.
    let services = std::mem::take(&mut world.services);
    let plan = world.plan();
    let again = |plan: &ClusterPlan| -> Vec<Option<i64>> {
        let objects = plan.steps.iter().filter_map(|step| match step {
            Step::Apply(object) if object.body["spec"]["type"] == "NodePort" => Some(object.again.clone()),
            _ => None,
        });
        objects.map(|body| body?.pointer("/spec/ports/0/nodePort")?.as_i64()).collect()
    };
    assert_eq!(again(&plan), [Some(30_001), Some(30_002), Some(30_003), Some(30_004)]);
    let (kept, _) = cluster_status(world.observed(), &plan, &PassOutcome::default(), now());
    assert_eq!(kept.node_ports, status.node_ports);
    // One couldn't have its port again: the new one is on record, and people hear of it.
    world.services = services;
    let port = world.services.iter_mut().find(|s| s.metadata.name.as_deref() == Some("demo-external-1"));
    let ports = port.and_then(|service| service.spec.as_mut()?.ports.as_mut()?.first_mut());
    ports.expect("it has one").node_port = Some(31_000);
    let (moved, events) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now());
    assert_eq!(moved.node_ports[2].port, 31_000);
    let told: Vec<String> = events.iter().map(ToString::to_string).collect();
    let expected = "Warning NodePortChanged: the Service demo-external-1 has the node port 31000 and had 30003: clients outside have to use the new one";
    assert!(told.contains(&expected.to_owned()), "{told:?}");
    // What the spec names goes before what was.
    let fixed = EXTERNAL.replace("type: nodeport", "type: nodeport, nodePort: 30100");
    let mut world = World { cluster: World::new(&fixed).cluster, ..world };
    world.cluster.status = Some(status);
    assert_eq!(again(&world.plan()), [None; 4]);
}

#[test]
fn each_broker_has_a_fingerprint_of_its_own() {
    let mut world = World::new(EXTERNAL).with_node_ports();
    let before = world.plan().config_hash.expect("the ports are there");
    let ports = world.services.iter_mut().find(|s| s.metadata.name.as_deref() == Some("demo-external-1"));
    let port = ports.and_then(|service| service.spec.as_mut()?.ports.as_mut()?.first_mut());
    port.expect("it has one").node_port = Some(31_000);
    let after = world.plan().config_hash.expect("the ports are there");
    let same: Vec<bool> = before.split(',').zip(after.split(',')).map(|(a, b)| a == b).collect();
    assert_eq!(same, [true, false, true]);
}

/// The claim of a broker of an earlier cluster.
fn claim(ordinal: usize, cluster_id: &str, voters: &str) -> PersistentVolumeClaim {
    let text = format!(
        "{{metadata: {{name: data-demo-broker-{ordinal}, annotations: {{ottla.dev/cluster-id: {cluster_id}, ottla.dev/voters: '{voters}'}}}}}}"
    );
    serde_saphyr::from_str(&text).expect("a claim")
}

const ONE: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const OTHER: &str = "AAAAAAAAAAAAAAAAAAAAAg";

/// Why a new cluster of so many brokers isn't begun on these claims; empty if it is.
fn unfit(replicas: i32, claims: Vec<PersistentVolumeClaim>) -> Option<Unfit> {
    let mut world = World::new(&format!("{{replicas: {replicas}}}"));
    world.claims = claims;
    match plan_cluster(world.observed()) {
        Ok(_) => None,
        Err(NoPlan::Unfit(unfit)) => Some(unfit),
        Err(NoPlan::NoIdentity(error)) => panic!("{error}"),
    }
}

#[test]
fn a_cluster_with_fewer_brokers_than_its_volumes_know_of_is_not_begun() {
    let of_three = || (0..3).map(|ordinal| claim(ordinal, ONE, "0,1,2")).collect::<Vec<_>>();
    let refused = unfit(1, of_three()).expect("two are missing");
    assert_eq!(refused.reason, "FewerBrokersThanBefore");
    assert_eq!(
        refused.message,
        "the volumes that an earlier cluster of this name left (data-demo-broker-0, data-demo-broker-1, data-demo-broker-2) know of brokers up to number 2, and spec.replicas is 1: set spec.replicas to 3 or more; or, to begin anew without their records, delete these claims"
    );
    assert!(unfit(2, of_three()).is_some());
    assert_eq!((unfit(3, of_three()), unfit(5, of_three())), (None, None));
    // The voters alone are told by any volume that is left.
    assert!(unfit(1, vec![claim(0, ONE, "0,1,2")]).is_some());
    assert_eq!(unfit(1, vec![claim(0, ONE, "0")]), None);
    // More brokers than voters: none may be missing either.
    assert!(unfit(3, (0..5).map(|ordinal| claim(ordinal, ONE, "0,1,2")).collect()).is_some());
    let many = unfit(1, (0..9).map(|ordinal| claim(ordinal, ONE, "0")).collect()).expect("eight are missing");
    assert!(many.message.contains("data-demo-broker-4 and 4 more"), "{}", many.message);
    // What is being deleted is no longer remembered, whoever it was.
    let mut going = of_three();
    going.iter_mut().for_each(|claim| claim.metadata.deletion_timestamp = Some(now()));
    assert_eq!(unfit(1, going.clone()), None);
    let mut world = World::new("{replicas: 1}");
    let own = world.plan().record.cluster_id;
    world.claims = going;
    assert_eq!(world.plan().record.cluster_id, own);
}

#[test]
fn volumes_of_two_clusters_are_not_mixed() {
    let refused =
        unfit(3, vec![claim(0, ONE, "0"), claim(1, OTHER, "0")]).expect("they don't belong together");
    assert_eq!(refused.reason, "VolumesOfTwoClusters");
    assert!(refused.message.contains("data-demo-broker-0") && refused.message.contains("data-demo-broker-1"));
}

#[test]
fn a_cluster_that_has_begun_is_never_refused() {
    let mut world = World::new("{replicas: 3}");
    let (status, _) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now());
    world.cluster.status = Some(status);
    world.claims = (0..5).map(|ordinal| claim(ordinal, OTHER, "0,1,2")).collect();
    assert_eq!(world.plan().record.brokers.len(), 3);
}

#[test]
fn a_refused_cluster_has_no_record_and_begins_once_it_fits() {
    let mut world = World::new("{replicas: 1}");
    world.claims = (0..3).map(|ordinal| claim(ordinal, ONE, "0,1,2")).collect();
    let Err(NoPlan::Unfit(refused)) = plan_cluster(world.observed()) else { panic!("it must be refused") };
    let (status, events) = unfit_status(&world.cluster, &refused, now());
    assert_eq!((status.cluster_id.clone(), status.brokers.len(), events.len()), (None, 0, 1));
    assert!(events[0].warning && events[0].reason == "FewerBrokersThanBefore");
    world.cluster.status = Some(status);
    assert_eq!(unfit_status(&world.cluster, &refused, now()).1, [], "it is told once");
    world.cluster.spec.replicas = 3;
    assert_eq!(world.plan().record.cluster_id.to_string(), ONE);
}

#[test]
fn racks_that_are_nodes_are_spread_over_once() {
    for (key, expected) in [("zone", 2), ("kubernetes.io/hostname", 1)] {
        let world = World::new(&format!("{{rack: {{topologyKey: {key}}}}}"));
        let set = world.plan().steps.into_iter().find_map(|step| match step {
            Step::Apply(object) if object.kind == ObjectKind::StatefulSet => Some(object.body),
            _ => None,
        });
        let spread = &set.expect("it is planned")["spec"]["template"]["spec"]["topologySpreadConstraints"];
        assert_eq!(spread.as_array().map(Vec::len), Some(expected), "{key}: {spread}");
    }
}
