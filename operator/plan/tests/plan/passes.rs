//! Passes through a plan: which steps are tried, in which order, and the status that comes of them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use ottla_api::{KafkaClusterStatus, OperationState, READY, find_condition};
use ottla_plan::{CONFLICT, ClusterPlan, Pass, PassOutcome, STEP_FAILED, Step, cluster_status};

use crate::restarts::{World, crash_loops};

const RESTART: &str = "restart demo-broker-1 for changed settings, then 2 more";

/// A cluster whose plan has steps of all kinds that can be tried: nothing is on record yet, a Service is no
/// longer asked for, and all pods were made from an older StatefulSet.
fn world() -> World {
    let mut world = World::new(["old"; 3]);
    let gone = "{metadata: {name: demo-gone-bootstrap, uid: s}, spec: {}}";
    world.services = vec![serde_saphyr::from_str(gone).expect("a Service")];
    world
}

/// Goes through a plan. The step with this name fails, if there is one; what holds up the restart, if
/// anything does.
fn pass(
    plan: &ClusterPlan,
    fails: Option<(&str, &'static str)>,
    holds: Option<&str>,
) -> (Vec<String>, PassOutcome) {
    let mut pass = Pass::new(plan);
    let mut tried = Vec::new();
    while let Some(step) = pass.next_step() {
        tried.push(step.name());
        match (fails, step, holds) {
            (Some((name, reason)), step, _) if step.name() == name => {
                pass.failed(step, "refused".into(), reason)
            }
            (_, Step::Restart(_), Some(by)) => pass.restart_held_up(by.to_owned()),
            (_, Step::Restart(_), None) => pass.restart_begun(),
            _ => {}
        }
    }
    (tried, pass.end())
}

fn names(plan: &ClusterPlan) -> Vec<String> {
    plan.steps.iter().map(Step::name).collect()
}

fn status(world: &World, plan: &ClusterPlan, outcome: &PassOutcome) -> (KafkaClusterStatus, Vec<String>) {
    let now = serde_saphyr::from_str::<Time>("2026-11-22T12:00:00Z").expect("a time");
    let (status, events) = cluster_status(world.observed(), plan, outcome, now);
    (status, events.into_iter().map(|event| event.reason).collect())
}

fn ready(status: &KafkaClusterStatus) -> String {
    let ready = find_condition(&status.conditions, READY).expect("it says so");
    format!("{} {}: {}", ready.status, ready.reason, ready.message)
}

#[test]
fn every_step_is_tried_in_the_order_of_the_plan() {
    let plan = world().plan();
    let expected = [
        "record who is who",
        "apply ServiceAccount demo-broker",
        "apply Service demo-brokers",
        "apply Service demo-bootstrap",
        "apply PodDisruptionBudget demo-broker",
        "apply ConfigMap demo-broker-config",
        "apply StatefulSet demo-broker",
        "delete Service demo-gone-bootstrap",
        RESTART,
    ];
    assert_eq!(names(&plan), expected);
    assert_eq!(pass(&plan, None, None).0, expected);
}

#[test]
fn a_step_that_fails_leaves_steps_out_and_never_moves_one() {
    let set = "apply StatefulSet demo-broker";
    for (fails, reason, left_out) in [
        ("apply ServiceAccount demo-broker", STEP_FAILED, vec![RESTART]),
        ("apply ServiceAccount demo-broker", CONFLICT, vec![set, RESTART]),
        ("apply Service demo-brokers", STEP_FAILED, vec![RESTART]),
        ("apply Service demo-bootstrap", CONFLICT, vec![set, RESTART]),
        ("apply PodDisruptionBudget demo-broker", STEP_FAILED, vec![RESTART]),
        ("apply ConfigMap demo-broker-config", STEP_FAILED, vec![set, RESTART]),
        (set, STEP_FAILED, vec![RESTART]),
        ("delete Service demo-gone-bootstrap", STEP_FAILED, vec![RESTART]),
        (RESTART, STEP_FAILED, vec![]),
    ] {
        let plan = world().plan();
        let (tried, outcome) = pass(&plan, Some((fails, reason)), None);
        let mut expected = names(&plan);
        expected.retain(|name| !left_out.contains(&name.as_str()));
        assert_eq!(tried, expected, "{fails}: {reason}");
        assert_eq!(outcome.failures.len(), 1);
    }
}

#[test]
fn a_pod_that_is_not_ready_is_restarted_though_a_step_failed_that_its_settings_have_no_part_in() {
    let mut world = world();
    crash_loops(&mut world.pods[2], false);
    let plan = world.plan();
    let last = |fails| pass(&plan, Some((fails, STEP_FAILED)), None).0.pop().unwrap_or_default();
    let restart = "restart demo-broker-2 for changed settings, then 2 more";
    assert_eq!(last("apply PodDisruptionBudget demo-broker"), restart);
    assert_eq!(last("apply Service demo-brokers"), restart);
    for fails in ["apply ConfigMap demo-broker-config", "apply StatefulSet demo-broker"] {
        assert_eq!(last(fails), "delete Service demo-gone-bootstrap", "{fails}");
    }
}

#[test]
fn a_step_that_waits_is_never_tried() {
    let mut world = world();
    crash_loops(&mut world.pods[2], false);
    world.pods[2].metadata.labels = Some([("controller-revision-hash".into(), "new".into())].into());
    let plan = world.plan();
    assert_eq!(
        plan.restart().and_then(|next| next.blocked_by.as_deref()),
        Some("demo-broker-2 is not ready")
    );
    let (tried, outcome) = pass(&plan, None, None);
    assert_eq!(tried, names(&plan)[..plan.steps.len() - 1]);
    assert_eq!(outcome, PassOutcome::default());
    world.services.clear();
    world.cluster.spec = serde_saphyr::from_str(
        "{listeners: [{name: internal, port: 9092, type: internal}, {name: external, port: 9094, type: nodeport}]}",
    )
    .expect("a spec");
    let plan = world.plan();
    assert!(
        plan.to_string().ends_with(
            "wait: write the brokers' configuration: the Service demo-external-0 has no node port yet\n"
        ),
        "{plan}"
    );
    assert_eq!(pass(&plan, None, None).0, names(&plan)[..plan.steps.len() - 1]);
}

#[test]
fn the_record_is_the_first_step_as_long_as_it_is_new() {
    let records = |world: &World| {
        let steps = world.plan().steps;
        assert!(!steps[1..].contains(&Step::Record), "{steps:?}");
        steps[0] == Step::Record
    };
    let mut world = world();
    assert!(records(&world));
    world.cluster.status = Some(status(&world, &world.plan(), &PassOutcome::default()).0);
    assert!(!records(&world));
    // What is observed of a broker is no part of it.
    world.pods.clear();
    assert!(!records(&world));
    world.cluster.spec.replicas = 4;
    assert!(records(&world), "a broker is new");
    world.cluster.spec.replicas = 3;
    world.cluster.spec.image = Some("other:2".into());
    assert!(records(&world), "the image is");
}

#[test]
fn the_status_of_a_pass_comes_from_one_computation() {
    let mut world = world();
    let plan = world.plan();
    // What goes on record first is what the status says at the end, if all goes well: it isn't written twice.
    let (first, _) = status(&world, &plan, &PassOutcome::default());
    let (_, begun) = pass(&plan, None, None);
    let (last, told) = status(&world, &plan, &begun);
    assert_eq!(first, last);
    assert_eq!(told, ["RestartingBrokers", "RestartingBroker"]);
    // Nor in the next pass that finds things as they were.
    world.cluster.status = Some(last.clone());
    let plan = world.plan();
    assert_eq!(status(&world, &plan, &PassOutcome::default()), (last, vec![]));
    // What held up the restart is said of the operation and in the condition.
    let (_, held_up) = pass(&plan, None, Some("the budget needs 3"));
    let (said, told) = status(&world, &plan, &held_up);
    assert_eq!(said.operations[0].name, RESTART);
    assert_eq!(said.operations[0].blocked_by.as_deref(), Some("the budget needs 3"));
    let expected = "0 of 3 brokers run as asked; demo-broker-1 waits: the budget needs 3";
    assert!(ready(&said).ends_with(expected), "{}", ready(&said));
    assert_eq!(told, [""; 0], "nothing was restarted, and Ready has the same reason");
    // A step that failed, too.
    let (_, failed) = pass(&plan, Some((RESTART, STEP_FAILED)), None);
    let (said, told) = status(&world, &plan, &failed);
    let states: Vec<_> = said.operations.iter().map(|operation| operation.state).collect();
    assert_eq!(states, [OperationState::Waiting, OperationState::Failed]);
    assert_eq!(ready(&said), format!("False StepFailed: {RESTART}: refused"));
    assert_eq!(told, ["StepFailed"]);
    // The plan is the same all along: what came of it stands beside it.
    assert_eq!(plan, world.plan());
}
