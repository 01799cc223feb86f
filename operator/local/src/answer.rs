//! Answers what is asked over the socket.

use ottla_api::{DeletionPolicy, Kind, Topic};
use ottla_control::proto::{ClusterView, DeleteTopicRequest};
use ottla_plan::{ClusterState, TopicAction, TopicObserved, plan_topic};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::control::{CALL_TIMEOUT, connect};
use crate::ports::Ports;
use crate::protocol::{BrokerSnapshot, ClusterSnapshot, PartitionSnapshot, Refusal, Reply, Request};
use crate::settings::{BROKERS_MAX, identified};
use crate::shared::{Shared, now};
use crate::status::bootstrap_servers;
use crate::supervisor::{Phase, ProcessState};
use crate::topics::plan_view;

/// Answers one request.
pub(crate) async fn answer(shared: &Shared, request: Request) -> Reply {
    let outcome = match request {
        Request::Apply { objects, dry_run } => apply(shared, &objects, dry_run),
        Request::Get { kind, name } => get(shared, &kind, name.as_deref()),
        Request::Cluster => Ok(Reply::Cluster { cluster: Box::new(snapshot(shared)) }),
        Request::Delete { kind, name } => delete(shared, &kind, &name).await,
    };
    outcome.unwrap_or_else(Reply::Refused)
}

fn refused(reason: impl ToString, remedy: impl ToString) -> Refusal {
    Refusal { reasons: vec![reason.to_string()], remedy: remedy.to_string(), invalid: false }
}

fn apply(shared: &Shared, objects: &[Value], dry_run: bool) -> Result<Reply, Refusal> {
    let mut state = shared.state();
    let before = state.resources.cluster().map_or(0, |cluster| cluster.spec.replicas);
    let changes = state.resources.check(objects, &now().0.to_string())?;
    check_brokers(shared.ports, before, changes.replicas())?;
    let results = changes.results();
    if dry_run {
        return Ok(Reply::Applied { results });
    }
    state.resources.commit(changes).map_err(|error| refused(&error, error.remedy()))?;
    if let Some(mut cluster) = state.resources.cluster() {
        cluster.status = Some(state.cluster_status.clone());
        state.cluster_status = identified(&cluster);
    }
    drop(state);
    shared.resources_changed();
    Ok(Reply::Applied { results })
}

/// Refuses brokers that couldn't be started here, before anything is changed.
pub(crate) fn check_brokers(ports: Ports, before: i32, after: Option<i32>) -> Result<(), Refusal> {
    let Some(after) = after else { return Ok(()) };
    if after > BROKERS_MAX {
        let reason = format!(
            "spec.replicas: {after} brokers are more than the {BROKERS_MAX} that one machine may run"
        );
        return Err(refused(reason, "ask for fewer, or use Kubernetes"));
    }
    if after > before {
        ports.check(before..after).map_err(|error| refused(&error, error.remedy()))?;
    }
    Ok(())
}

fn kind_named(kind: &str) -> Result<Kind, Refusal> {
    match kind {
        "KafkaCluster" => Ok(Kind::KafkaCluster),
        "Topic" => Ok(Kind::Topic),
        _ => Err(refused(format!("there is no kind {kind:?}"), "name KafkaCluster or Topic")),
    }
}

fn get(shared: &Shared, kind: &str, name: Option<&str>) -> Result<Reply, Refusal> {
    let kind = kind_named(kind)?;
    let state = shared.state();
    let mut objects: Vec<Value> = state.resources.of_kind(kind).cloned().collect();
    if let Some(name) = name {
        objects.retain(|object| object["metadata"]["name"] == name);
        if objects.is_empty() {
            let plural = if kind == Kind::Topic { "topics" } else { "clusters" };
            return Err(refused(
                format!("{kind} {name:?} was not found"),
                format!("`ottla get {plural}` lists them"),
            ));
        }
    }
    for object in &mut objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let status = match kind {
            Kind::KafkaCluster => json!(state.cluster_status),
            Kind::Topic => json!(state.topic_status.get(name).cloned().unwrap_or_default()),
        };
        object["status"] = status;
    }
    Ok(Reply::Objects { objects })
}

async fn delete(shared: &Shared, kind: &str, name: &str) -> Result<Reply, Refusal> {
    if kind_named(kind)? == Kind::KafkaCluster {
        let reason = format!("KafkaCluster {name} runs in this `ottla up` and can't be deleted under it");
        return Err(refused(
            reason,
            "stop `ottla up` with Ctrl-C; to delete its records, remove its data folder",
        ));
    }
    let topic = {
        let mut state = shared.state();
        let Some(mut topic) = state.resources.topic(name) else {
            let reason = format!("Topic {name:?} was not found");
            return Err(refused(reason, "`ottla get topics` lists them"));
        };
        topic.status = state.topic_status.get(name).cloned().or(topic.status);
        state.deleting.insert(name.to_owned());
        topic
    };
    let outcome = delete_topic(shared, topic).await;
    let mut state = shared.state();
    state.deleting.remove(name);
    let records = outcome?;
    state.resources.remove_topic(name).map_err(|error| refused(&error, error.remedy()))?;
    state.topic_status.remove(name);
    Ok(Reply::Deleted { records })
}

/// Does with the topic in the cluster what its policy says; tells what that was.
async fn delete_topic(shared: &Shared, mut topic: Topic) -> Result<String, Refusal> {
    let name = topic.topic_name().to_owned();
    let again = "see `ottla get brokers`, and try again once the brokers are ready";
    topic.metadata.deletion_timestamp = Some(now());
    let view = shared.view().map(plan_view);
    let cluster = view.as_ref().map_or(ClusterState::Unreachable("no broker answers"), ClusterState::Known);
    let plan =
        plan_topic(TopicObserved { topic: &topic, elder: None, spec: None, cluster, refusal: None }, now());
    let Some(TopicAction::Delete { name, expected_id }) = plan.action else {
        return match topic.spec.deletion_policy {
            DeletionPolicy::Retain => {
                Ok(format!("the topic {name} and its records stay (deletionPolicy: Retain)"))
            }
            DeletionPolicy::Delete if plan.finalizer => {
                Err(refused(format!("the topic {name} can't be deleted: no broker answers"), again))
            }
            DeletionPolicy::Delete => Ok(format!("there was no topic {name} in the cluster")),
        };
    };
    let ports: Vec<u16> = shared.state().processes.keys().map(|id| shared.ports.control(*id)).collect();
    let Some(mut client) = connect(&ports).await else {
        return Err(refused(format!("the topic {name} can't be deleted: no broker answers"), again));
    };
    let request = DeleteTopicRequest { name: name.clone(), expected_id };
    let outcome = timeout(CALL_TIMEOUT, client.delete_topic(request)).await;
    match outcome.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("the broker gave no answer"))) {
        Err(status) if status.code() != tonic::Code::NotFound => {
            Err(refused(format!("the topic {name} can't be deleted: {}", status.message()), again))
        }
        _ => Ok(format!("the topic {name} and its records are deleted (deletionPolicy: Delete)")),
    }
}

/// The cluster as it is just now.
pub(crate) fn snapshot(shared: &Shared) -> ClusterSnapshot {
    let view = shared.view();
    let state = shared.state();
    let mut cluster = ClusterSnapshot {
        name: state.resources.cluster().and_then(|cluster| cluster.metadata.name).unwrap_or_default(),
        cluster_id: state.cluster_status.cluster_id.clone(),
        bootstrap_servers: bootstrap_servers(shared.ports, &state.cluster_status),
        active_controller: view.as_ref().and_then(|view| view.active_controller),
        brokers: state
            .processes
            .iter()
            .map(|(id, process)| broker_snapshot(*id, &process.borrow(), shared.ports, view.as_ref()))
            .collect(),
        partitions: view.as_ref().map(partitions).unwrap_or_default(),
    };
    cluster.count_replicas();
    cluster
}

fn broker_snapshot(
    id: i32,
    process: &ProcessState,
    ports: Ports,
    view: Option<&ClusterView>,
) -> BrokerSnapshot {
    let known = view.and_then(|view| view.brokers.iter().find(|broker| broker.id == id));
    let state = match &process.phase {
        Phase::Pending => "Pending".to_owned(),
        Phase::NotReady(reason) => format!("NotReady ({reason})"),
        Phase::Ready if known.is_some_and(|broker| broker.fenced) => "Fenced".to_owned(),
        Phase::Ready if known.is_some_and(|broker| broker.draining) => "Draining".to_owned(),
        Phase::Ready => "Ready".to_owned(),
        Phase::BackOff(how) => format!("BackOff ({how})"),
        Phase::Stopped => "Stopped".to_owned(),
    };
    BrokerSnapshot {
        id,
        address: format!("127.0.0.1:{}", ports.kafka(id)),
        state,
        rack: known.map(|broker| broker.rack.clone()).filter(|rack| !rack.is_empty()),
        pid: process.pid,
        restarts: Some(process.restarts),
        ..Default::default()
    }
}

fn partitions(view: &ClusterView) -> Vec<PartitionSnapshot> {
    let mut all: Vec<PartitionSnapshot> = Vec::new();
    for topic in &view.topics {
        all.extend(topic.partitions.iter().map(|p| PartitionSnapshot {
            topic: topic.name.clone(),
            partition: p.index,
            leader: p.leader,
            leader_epoch: p.leader_epoch,
            replicas: p.replicas.clone(),
            isr: p.isr.clone(),
            elr: p.elr.clone(),
            adding: p.adding.clone(),
            removing: p.removing.clone(),
            unclean_election: p.unclean_election.clone(),
        }));
    }
    all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    all
}
