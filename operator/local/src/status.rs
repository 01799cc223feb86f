//! The KafkaCluster's status, from its processes and from what the brokers say of each other.

use std::collections::BTreeMap;

use ottla_api::{KafkaClusterStatus, ListenerStatus, PROGRESSING, READY, condition, set_condition};
use ottla_control::proto::ClusterView;

use crate::ports::Ports;
use crate::shared::{Shared, now};
use crate::supervisor::Phase;

/// Brings the cluster's status up to date; tells whether every broker that is asked for serves.
pub(crate) fn observe_cluster(shared: &Shared) -> bool {
    let view = shared.view();
    let mut state = shared.state();
    let Some(cluster) = state.resources.cluster() else { return false };
    let mut status = state.cluster_status.clone();
    for broker in &mut status.brokers {
        let runs =
            state.processes.get(&broker.id).is_some_and(|process| process.borrow().phase == Phase::Ready);
        broker.ready = runs && view.as_ref().is_some_and(|view| is_active(view, broker.id));
    }
    status.observed_generation = cluster.metadata.generation;
    status.replicas = i32::try_from(state.processes.len()).unwrap_or(i32::MAX);
    status.bootstrap_servers = Some(bootstrap_servers(shared.ports, &status));
    status.listeners = cluster.spec.internal_listener().map_or_else(Vec::new, |listener| {
        vec![ListenerStatus {
            name: listener.name.clone(),
            bootstrap_servers: bootstrap_servers(shared.ports, &status),
        }]
    });
    let reasons = state.processes.iter().filter_map(|(id, process)| match &process.borrow().phase {
        Phase::NotReady(why) | Phase::BackOff(why) => Some((*id, why.clone())),
        Phase::Pending | Phase::Ready | Phase::Stopped => None,
    });
    let reasons = reasons.collect();
    let all_serve = conclude(&mut status, cluster.spec.replicas, cluster.metadata.generation, &reasons);
    state.cluster_status = status;
    all_serve
}

/// What a client is given as bootstrap.servers.
pub(crate) fn bootstrap_servers(ports: Ports, status: &KafkaClusterStatus) -> String {
    let addresses = status.brokers.iter().map(|broker| format!("127.0.0.1:{}", ports.kafka(broker.id)));
    addresses.collect::<Vec<_>>().join(",")
}

fn is_active(view: &ClusterView, id: i32) -> bool {
    view.brokers.iter().any(|broker| broker.id == id && !broker.fenced && !broker.in_controlled_shutdown)
}

/// Counts who serves and sets the conditions by it; `reasons` say why processes aren't ready.
fn conclude(
    status: &mut KafkaClusterStatus,
    wanted: i32,
    generation: Option<i64>,
    reasons: &BTreeMap<i32, String>,
) -> bool {
    let ready: Vec<i32> =
        status.brokers.iter().filter(|broker| broker.ready).map(|broker| broker.id).collect();
    status.ready_replicas = i32::try_from(ready.len()).unwrap_or(i32::MAX);
    let all_serve = status.ready_replicas >= wanted;
    let (reason, message) = if all_serve {
        ("AllBrokersReady", format!("{wanted} of {wanted} brokers serve"))
    } else {
        let missing = (0..wanted).filter(|id| !ready.contains(id)).map(|id| match reasons.get(&id) {
            Some(why) => format!("{id} ({why})"),
            None => id.to_string(),
        });
        let missing = missing.collect::<Vec<_>>().join(", ");
        (
            "BrokersNotReady",
            format!("{} of {wanted} brokers serve; not ready: {missing}", status.ready_replicas),
        )
    };
    for (kind, holds) in [(READY, all_serve), (PROGRESSING, !all_serve)] {
        set_condition(&mut status.conditions, condition(kind, holds, reason, &message, generation, now()));
    }
    all_serve
}

#[cfg(test)]
mod tests {
    use ottla_api::{BrokerStatus, find_condition};

    use super::*;

    #[test]
    fn a_cluster_is_ready_once_all_brokers_serve() {
        let broker = |id, ready| BrokerStatus { id, ready, ..Default::default() };
        let mut status =
            KafkaClusterStatus { brokers: vec![broker(0, true), broker(1, false)], ..Default::default() };
        let why = BTreeMap::from([(1, "exit code 1: log.retention.ms is no number".to_owned())]);
        assert!(!conclude(&mut status, 2, Some(1), &why));
        let ready = find_condition(&status.conditions, READY).unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.message.as_str()),
            ("False", "1 of 2 brokers serve; not ready: 1 (exit code 1: log.retention.ms is no number)")
        );
        status.brokers[1].ready = true;
        assert!(conclude(&mut status, 2, Some(1), &BTreeMap::new()));
        assert_eq!(find_condition(&status.conditions, PROGRESSING).unwrap().status, "False");
    }
}
