//! Rolling restarts: which pod is next, and what stands against it.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{Container, Pod, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ottla_api::{KafkaCluster, KafkaClusterStatus, READY, find_condition};
use ottla_plan::{
    BrokerView, ClusterObserved, ClusterPlan, ClusterView, PartitionView, PassOutcome, Restart, Step,
    TopicView, cluster_status, eviction, plan_cluster, restart_hindrance, stop_hindrance,
};
use ottla_types::BrokerId;

use crate::server::applied;

/// Three brokers whose pods were made from these revisions; the StatefulSet is at revision `new`.
pub struct World {
    pub cluster: KafkaCluster,
    set: StatefulSet,
    pub pods: Vec<Pod>,
    view: Option<ClusterView>,
    pub services: Vec<Service>,
}

impl World {
    pub fn new(revisions: [&str; 3]) -> Self {
        Self::of("{}", revisions)
    }

    fn of(spec: &str, revisions: [&str; 3]) -> Self {
        let cluster = format!(
            "{{apiVersion: ottla.dev/v1alpha1, kind: KafkaCluster, metadata: {{name: demo, namespace: shop, uid: 0f8fad5b-d9cb-469f-a165-70867728950e, generation: 1}}, spec: {spec}}}"
        );
        let cluster: KafkaCluster = serde_saphyr::from_str(&cluster).expect("a KafkaCluster");
        let pod = |(ordinal, revision): (usize, &&str)| {
            let text = format!(
                "{{metadata: {{name: demo-broker-{ordinal}, uid: u{ordinal}, labels: {{controller-revision-hash: {revision}}}}}, spec: {{containers: []}}, status: {{conditions: [{{type: Ready, status: 'True'}}], containerStatuses: [{{name: broker, image: i, imageID: i, ready: true, restartCount: 0, state: {{running: {{}}}}}}]}}}}"
            );
            serde_saphyr::from_str(&text).expect("a Pod")
        };
        let mut world = Self {
            cluster,
            set: StatefulSet::default(),
            pods: revisions.iter().enumerate().map(pod).collect(),
            view: Some(view()),
            services: Vec::new(),
        };
        world.take_plan();
        world
    }

    /// The StatefulSet is as the plan has it, and its controller has looked at it.
    fn take_plan(&mut self) {
        let set = self.plan().steps.into_iter().find_map(|step| match step {
            Step::Apply(object) if object.kind.as_str() == "StatefulSet" => Some(applied(&object)),
            _ => None,
        });
        self.set = serde_json::from_value(set.expect("it is planned")).expect("a StatefulSet");
        self.set.metadata.generation = Some(2);
        let status = StatefulSetStatus {
            observed_generation: Some(2),
            update_revision: Some("new".into()),
            ..Default::default()
        };
        self.set.status = Some(status);
    }

    pub fn observed(&self) -> ClusterObserved<'_> {
        ClusterObserved {
            cluster: &self.cluster,
            services: &self.services,
            stateful_set: Some(&self.set),
            pods: &self.pods,
            claims: &[],
            racks: &NO_RACKS,
            image: "ottla/broker:dev",
            view: self.view.as_ref(),
            silent: false,
            trouble: None,
        }
    }

    pub fn plan(&self) -> ClusterPlan {
        plan_cluster(self.observed()).expect("it has an identity")
    }

    fn next(&self) -> Option<Restart> {
        self.plan().steps.into_iter().find_map(|step| match step {
            Step::Restart(restart) => Some(restart),
            _ => None,
        })
    }

    /// The next pod's name, or what it waits for.
    fn verdict(&self) -> Result<String, String> {
        let Some(next) = self.next() else { return Ok("nothing".into()) };
        next.blocked_by.map_or(Ok(next.pod), Err)
    }

    fn partition(&mut self) -> &mut PartitionView {
        let view = self.view.as_mut().expect("the brokers answer");
        &mut view.topics.get_mut("orders").expect("it is there").partitions[0]
    }
}

static NO_RACKS: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();

/// One partition on all brokers; broker 0 is the active controller.
fn view() -> ClusterView {
    let broker = |id| BrokerView {
        id: BrokerId(id),
        fenced: false,
        draining: false,
        rack: None,
        directory_id: format!("disk{id}"),
    };
    let all = vec![BrokerId(0), BrokerId(1), BrokerId(2)];
    let partition = PartitionView {
        replicas: all.clone(),
        leader: Some(BrokerId(1)),
        isr: all,
        min_insync_replicas: 2,
        ..Default::default()
    };
    let topic = TopicView { partitions: vec![partition], ..Default::default() };
    ClusterView {
        active_controller: Some(BrokerId(0)),
        brokers: (0..3).map(broker).collect(),
        topics: [("orders".to_owned(), topic)].into(),
        ..Default::default()
    }
}

#[test]
fn one_by_one_and_the_active_controller_last() {
    assert_eq!(World::new(["new"; 3]).verdict(), Ok("nothing".into()));
    for (revisions, next) in [
        (["old"; 3], "demo-broker-1"),
        (["old", "new", "old"], "demo-broker-2"),
        (["old", "new", "new"], "demo-broker-0"),
    ] {
        assert_eq!(World::new(revisions).verdict(), Ok(next.into()), "{revisions:?}");
    }
    let next = World::new(["old"; 3]).next().expect("a restart is due");
    assert_eq!((next.uid.as_str(), next.more), ("u1", 2));
    assert_eq!(next.event().message, "demo-broker-1: changed settings; 2 more to follow, one by one");
}

/// Gives each pod the annotations and the spec of the template, as if it had been made from it.
fn made_from_template(world: &mut World) {
    let template = &world.set.spec.as_ref().expect("it has one").template;
    for pod in &mut world.pods {
        pod.metadata.annotations =
            template.metadata.as_ref().and_then(|metadata| metadata.annotations.clone());
        pod.spec = template.spec.clone();
    }
}

#[test]
fn only_the_broker_whose_own_settings_changed_restarts() {
    let external = "{listeners: [{name: internal, port: 9092, type: internal}, {name: external, port: 9094, type: nodeport}]}";
    let service = |ordinal: usize, port: usize| -> Service {
        let text = format!(
            "{{metadata: {{name: demo-external-{ordinal}}}, spec: {{ports: [{{port: 9094, nodePort: {port}}}]}}}}"
        );
        serde_saphyr::from_str(&text).expect("a Service")
    };
    for changed in 0..3 {
        let mut world = World::new(["old"; 3]);
        world.cluster.spec = serde_saphyr::from_str(external).expect("a spec");
        world.services = (0..3).map(|ordinal| service(ordinal, 30_000 + ordinal)).collect();
        world.take_plan();
        made_from_template(&mut world);
        assert_eq!(world.verdict(), Ok("nothing".into()), "another revision alone is no reason");
        // Its Service was made anew, and has another port.
        world.services[changed] = service(changed, 31_000);
        world.take_plan();
        let next = world.next().expect("one restart is due");
        let pod = format!("demo-broker-{changed}");
        assert_eq!((next.pod, next.more, next.why.as_str()), (pod, 0, "changed settings"));
    }
}

#[test]
fn what_all_pods_share_restarts_all() {
    let mut world = World::new(["old"; 3]);
    made_from_template(&mut world);
    for spec in ["{config: {num.partitions: 7}}", "{image: 'other:2'}", "{pod: {priorityClassName: high}}"] {
        world.cluster.spec = serde_saphyr::from_str(spec).expect("a spec");
        world.take_plan();
        assert_eq!(world.next().map(|next| next.more), Some(2), "{spec}");
    }
}

#[test]
fn nothing_stops_while_a_partition_that_counts_on_it_lacks_a_replica() {
    let mut world = World::new(["old"; 3]);
    world.partition().isr.retain(|id| id.0 != 2);
    assert_eq!(world.verdict(), Err("orders-0 has 2 of 3 replicas in sync".into()));
    // What the broker isn't in sync for loses nothing by its restart.
    let view = world.view.clone().expect("the brokers answer");
    assert_eq!(restart_hindrance(&view, BrokerId(2)), None);
    // A replica that has yet to come is none that is missing.
    world.partition().adding = vec![BrokerId(2)];
    assert_eq!(world.verdict(), Ok("demo-broker-1".into()));
}

#[test]
fn nothing_stops_while_another_is_away_or_nobody_answers() {
    let mut world = World::new(["old", "old", "new"]);
    world.pods[2].status.as_mut().expect("a status").conditions = None;
    assert_eq!(world.verdict(), Err("demo-broker-2 is not ready".into()));
    let mut world = World::new(["old"; 3]);
    world.view.as_mut().expect("the brokers answer").brokers[2].fenced = true;
    assert_eq!(world.verdict(), Err("broker 2 is out of service".into()));
    world.view = Some(ClusterView { active_controller: None, ..view() });
    assert_eq!(world.verdict(), Err("no active controller is known".into()));
    world.view = None;
    assert_eq!(world.verdict(), Err("no broker answers".into()));
}

/// Two settings that only fit together may keep each broker from being ready until the other has them.
#[test]
fn a_broker_on_its_way_is_waited_for_only_where_somebody_leads() {
    let (led, leaderless) = (view(), ClusterView { active_controller: None, ..view() });
    let hindrance =
        |view, on_its_way: Option<i32>| stop_hindrance(view, BrokerId(1), false, on_its_way.map(BrokerId));
    assert_eq!(hindrance(Some(&led), Some(2)), Some("broker 2 is not ready".into()));
    assert_eq!(hindrance(Some(&led), None), None);
    assert_eq!(hindrance(Some(&leaderless), Some(2)), None);
    assert_eq!(hindrance(None, Some(2)), None);
}

/// The pod isn't ready; its container waits to be started again, or runs for a moment.
pub fn crash_loops(pod: &mut Pod, runs: bool) {
    let status = pod.status.as_mut().expect("a status");
    status.conditions = None;
    let state = &mut status.container_statuses.as_mut().expect("a container")[0].state;
    if !runs {
        *state = None;
    }
}

#[test]
fn a_broker_that_does_not_serve_goes_first_whatever_the_others_say() {
    for runs in [false, true] {
        let mut world = World::new(["old"; 3]);
        world.view = None;
        crash_loops(&mut world.pods[2], runs);
        assert_eq!(world.verdict(), Ok("demo-broker-2".into()), "it runs: {runs}");
        // Two of three: no quorum, and nobody who could say anything. They go one after the other.
        crash_loops(&mut world.pods[1], runs);
        assert_eq!(world.verdict(), Ok("demo-broker-1".into()), "it runs: {runs}");
        world.view = Some(ClusterView { active_controller: None, ..view() });
        assert_eq!(world.verdict(), Ok("demo-broker-1".into()), "it runs: {runs}");
        // The one that serves waits for them.
        let mut world = World::new(["old", "new", "new"]);
        crash_loops(&mut world.pods[1], runs);
        assert_eq!(world.verdict(), Err("demo-broker-1 is not ready".into()), "it runs: {runs}");
    }
}

#[test]
fn a_broker_that_serves_though_its_pod_is_not_ready_keeps_what_counts_on_it() {
    let mut world = World::new(["old"; 3]);
    crash_loops(&mut world.pods[2], true);
    assert_eq!(world.verdict(), Ok("demo-broker-2".into()), "all replicas are in sync");
    world.view.as_mut().expect("the brokers answer").brokers[1].fenced = true;
    assert_eq!(world.verdict(), Err("broker 1 is out of service".into()));
    world.view = Some(view());
    world.partition().isr.retain(|id| id.0 != 0);
    assert_eq!(world.verdict(), Err("orders-0 has 2 of 3 replicas in sync".into()));
    world.view.as_mut().expect("the brokers answer").brokers[2].fenced = true;
    assert_eq!(world.verdict(), Ok("demo-broker-2".into()), "it is out of service");
}

#[test]
fn brokers_that_serve_go_one_by_one_though_no_pod_is_ready() {
    let mut world = World::new(["old"; 3]);
    world.pods.iter_mut().for_each(|pod| crash_loops(pod, true));
    assert_eq!(world.verdict(), Ok("demo-broker-1".into()));
    // It goes, and has yet to tell the others.
    let mut going = world;
    going.pods[1].metadata.deletion_timestamp =
        Some(serde_saphyr::from_str("2026-11-22T12:00:00Z").expect("a time"));
    assert_eq!(going.verdict(), Err("demo-broker-1 is on its way".into()));
    // The same where nobody answers.
    going.view = None;
    assert_eq!(going.verdict(), Err("demo-broker-1 is on its way".into()));
    // It is gone; another has come, and serves, but isn't ready yet.
    let mut gone = World::new(["old", "new", "old"]);
    gone.pods.iter_mut().for_each(|pod| crash_loops(pod, true));
    let back = gone.pods.remove(1);
    assert_eq!(gone.verdict(), Err("demo-broker-1 is on its way".into()));
    gone.pods.insert(1, back);
    assert_eq!(gone.verdict(), Err("demo-broker-1 is not ready".into()));
    gone.pods[1] = World::new(["new"; 3]).pods.remove(1);
    assert_eq!(gone.verdict(), Ok("demo-broker-2".into()));
    // Whoever doesn't serve by a controller's word is healed first.
    let mut one = World::new(["old"; 3]);
    one.pods.iter_mut().for_each(|pod| crash_loops(pod, true));
    one.view.as_mut().expect("the brokers answer").brokers[2].fenced = true;
    assert_eq!(one.verdict(), Ok("demo-broker-2".into()));
}

#[test]
fn a_rollout_restart_by_hand_restarts_each_once() {
    let mut world = World::new(["old"; 3]);
    made_from_template(&mut world);
    assert_eq!(world.verdict(), Ok("nothing".into()));
    let template =
        world.set.spec.as_mut().and_then(|spec| spec.template.metadata.as_mut()).expect("it has one");
    let annotations = template.annotations.get_or_insert_default();
    annotations.insert("kubectl.kubernetes.io/restartedAt".into(), "2026-11-22T12:00:00Z".into());
    let next = world.next().expect("it was asked for");
    assert_eq!((next.pod.as_str(), next.more), ("demo-broker-1", 2));
    assert_eq!(next.why, "a restart that was asked for");
    made_from_template(&mut world);
    assert_eq!(world.verdict(), Ok("nothing".into()));
}

#[test]
fn nothing_restarts_before_the_stateful_set_was_looked_at() {
    let mut world = World::new(["old"; 3]);
    world.set.metadata.generation = Some(3);
    assert_eq!(world.verdict(), Ok("nothing".into()));
    // Nor while it asks for something else than the plan.
    let mut world = World::new(["old"; 3]);
    world.cluster.spec.image = Some("other:2".into());
    assert_eq!(world.verdict(), Ok("nothing".into()));
}

#[test]
fn a_metadata_quorum_in_trouble_is_named_with_what_to_do() {
    let mut world = World::new(["new"; 3]);
    let remedy = "`ottla quorum recover` shows which broker knows what";
    world.view.as_mut().expect("the brokers answer").quorum_trouble = Some(remedy.to_owned());
    let now = serde_saphyr::from_str::<Time>("2026-11-22T12:00:00Z").expect("a time");
    let (status, _) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now);
    let ready = &status.conditions[0];
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "MetadataQuorumInTrouble"));
    assert!(ready.message.ends_with(remedy), "{}", ready.message);
}

#[test]
fn what_brokers_say_is_wrong_while_none_is_confirmed_is_named() {
    let mut world = World::new(["new"; 3]);
    world.view = None;
    let observed = ClusterObserved { trouble: Some("no controller"), ..world.observed() };
    let now = serde_saphyr::from_str::<Time>("2026-11-22T12:00:00Z").expect("a time");
    let (status, _) = cluster_status(observed, &world.plan(), &PassOutcome::default(), now);
    let ready = &status.conditions[0];
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "MetadataQuorumInTrouble"));
    assert!(ready.message.ends_with("; no controller"), "{}", ready.message);
}

#[test]
fn a_cluster_whose_brokers_nobody_can_ask_is_not_ready() {
    let mut world = World::new(["new"; 3]);
    world.view = None;
    // The operator has just started: what was said before stands.
    assert_eq!(ready(&world).0, "True");
    let observed = ClusterObserved { silent: true, ..world.observed() };
    let now = serde_saphyr::from_str::<Time>("2026-11-22T12:00:00Z").expect("a time");
    let (status, _) = cluster_status(observed, &world.plan(), &PassOutcome::default(), now);
    let ready = &status.conditions[0];
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "BrokersSilent"));
    assert!(ready.message.contains("no broker answers the operator"), "{}", ready.message);
}

#[test]
fn the_status_counts_partitions_and_tells_of_a_new_disk() {
    let now = || serde_saphyr::from_str::<Time>("2026-11-22T12:00:00Z").expect("a time");
    let mut world = World::new(["new"; 3]);
    let (status, _) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now());
    assert_eq!(status.brokers[1].directory_id.as_deref(), Some("disk1"));
    assert_eq!(status.partitions.map(|p| (p.total, p.under_replicated)), Some((1, 0)));
    world.cluster.status = Some(status);
    world.partition().isr = vec![BrokerId(0)];
    world.view.as_mut().expect("the brokers answer").brokers[1].directory_id = "other".into();
    let (status, events) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now());
    let events: Vec<String> = events.iter().map(|e| e.reason.clone()).collect();
    assert_eq!(events, ["UnderMinIsr", "DiskReplaced"]);
    assert_eq!(
        status.conditions[0].message,
        "3 of 3 brokers serve; 1 of 1 partition under min.insync.replicas: no acks=all; 1 of 1 partition under-replicated"
    );
    // An operator that just started knows no better than what was said.
    world.cluster.status = Some(status.clone());
    world.view = None;
    let (again, events) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now());
    assert_eq!((again, events), (status, vec![]));
    // One that nobody answers for long says so.
    let silent = ClusterObserved { silent: true, ..world.observed() };
    let (unknown, _) = cluster_status(silent, &world.plan(), &PassOutcome::default(), now());
    assert_eq!(unknown.partitions, None);
}

#[test]
fn an_eviction_names_the_pod_and_its_uid_as_the_api_server_reads_them() {
    let body = serde_json::to_string(&eviction("shop", "demo-broker-1", "u1")).expect("it is JSON");
    let expected = concat!(
        r#"{"apiVersion":"policy/v1","kind":"Eviction","deleteOptions":{"preconditions":{"uid":"u1"}},"#,
        r#""metadata":{"name":"demo-broker-1","namespace":"shop"}}"#
    );
    assert_eq!(body, expected);
}

#[test]
fn a_quantity_in_the_api_servers_words_holds_up_no_restart() {
    let spec = "{resources: {requests: {cpu: 0.5}, limits: {memory: 1024Mi}}, pod: {tolerations: [{key: a, operator: Exists, value: ''}]}}";
    let mut world = World::of(spec, ["old"; 3]);
    world.cluster.status =
        Some(KafkaClusterStatus { image: Some("ottla/broker:dev".into()), ..Default::default() });
    let template = world.set.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).expect("a template");
    let resources = template.containers[0].resources.as_mut().expect("resources");
    resources.requests = Some([("cpu".to_owned(), Quantity("500m".into()))].into());
    resources.limits = Some([("memory".to_owned(), Quantity("1Gi".into()))].into());
    template.tolerations.as_mut().expect("tolerations")[0].value = None;
    // A webhook has its own opinion of the image, and adds a container.
    template.containers[0].image = Some("mirror.example.org/broker:dev".into());
    template.containers.push(Container { name: "sidecar".into(), ..Default::default() });
    assert_eq!(world.verdict(), Ok("demo-broker-1".into()));
    let set = serde_json::to_value(&world.set).expect("an object is JSON");
    let applies = world.plan().steps.into_iter().any(|step| match step {
        Step::Apply(object) if object.kind.as_str() == "StatefulSet" => object.changes(Some(&set)),
        _ => false,
    });
    assert!(!applies, "nothing is to be written");
}

/// What the status says after a look: Ready, its reason and message.
fn ready(world: &World) -> (String, String, String) {
    let now = serde_saphyr::from_str::<Time>("2026-11-22T12:00:00Z").expect("a time");
    let (status, _) = cluster_status(world.observed(), &world.plan(), &PassOutcome::default(), now);
    assert_eq!(status.observed_generation, world.cluster.metadata.generation);
    let ready = find_condition(&status.conditions, READY).expect("it says so").clone();
    (ready.status, ready.reason, ready.message)
}

#[test]
fn a_cluster_is_ready_only_once_the_last_pod_runs_as_asked() {
    let not_yet = |world: &World, left: &str| {
        let (status, reason, message) = ready(world);
        assert_eq!((status.as_str(), reason.as_str()), ("False", "RestartingBrokers"), "{message}");
        assert!(message.ends_with(left), "{message}");
    };
    // A new generation that nothing was done about yet.
    let mut world = World::new(["new"; 3]);
    world.cluster.metadata.generation = Some(2);
    world.cluster.spec.config.insert("num.partitions".into(), 4.into());
    not_yet(&world, "; the StatefulSet is being applied");
    // Kubernetes hasn't seen what was applied, or has, and nothing was restarted yet.
    let mut world = World::new(["old"; 3]);
    world.set.metadata.generation = Some(3);
    not_yet(&world, "; Kubernetes has yet to look at the StatefulSet as it is now");
    not_yet(&World::new(["old"; 3]), "; 0 of 3 brokers run as asked");
    // Between two restarts all pods are ready.
    not_yet(&World::new(["old", "new", "old"]), "; 1 of 3 brokers run as asked");
    let mut world = World::new(["old", "new", "new"]);
    world.view.as_mut().expect("the brokers answer").brokers[1].fenced = true;
    not_yet(&world, "; 2 of 3 brokers run as asked; demo-broker-0 waits: broker 1 is out of service");
    assert_eq!(ready(&World::new(["new"; 3])).0, "True");
}
