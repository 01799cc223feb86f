//! A KafkaCluster and a Topic applied: they get ready, and their columns say what a person wants to know.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{NAMESPACE, OPERATOR, READY, SOON, World};
use crate::kube::{Kube, array, same, text};
use crate::manifest;

/// Three brokers get ready.
pub fn three_brokers(world: &World) -> Result<()> {
    let kube = &world.kube;
    kube.apply(NAMESPACE, &manifest::read("cluster.yaml")?)?;
    kube.apply(NAMESPACE, &manifest::read("kcat.yaml")?)?;
    kube.wait(NAMESPACE, &["kafkacluster/demo"], "condition=Ready", READY)?;
    kube.wait(NAMESPACE, &["pod/kcat"], "condition=Ready", SOON)?;
    let cluster = kube.get(NAMESPACE, &["kafkacluster", "demo"])?;
    same("status.readyReplicas", &cluster["status"]["readyReplicas"], &Value::from(3))?;
    same(
        "status.observedGeneration",
        &cluster["status"]["observedGeneration"],
        &cluster["metadata"]["generation"],
    )?;
    let budgets = kube.list(NAMESPACE, &["pdb", "-l", "app.kubernetes.io/instance=demo"])?;
    same("how many PodDisruptionBudgets there are", budgets.len(), 1)
}

/// Every pod has the least rights, and every broker a node of its own.
pub fn pods_are_restricted_and_apart(world: &World) -> Result<()> {
    let brokers = broker_pods(&world.kube)?;
    let nodes: BTreeSet<&str> = brokers.iter().map(|p| text(p, "/spec/nodeName")).collect::<Result<_>>()?;
    same("how many nodes have a broker", nodes.len(), 3)?;
    let operators = world.kube.list(OPERATOR, &["pods"])?;
    ensure!(!operators.is_empty(), "the operator has no pod");
    for pod in brokers.iter().chain(&operators) {
        let name = text(pod, "/metadata/name")?;
        let of_pod = &pod["spec"]["securityContext"];
        for container in array(pod, "/spec/containers") {
            let own = &container["securityContext"];
            let says = |field: &str| if own[field].is_null() { &of_pod[field] } else { &own[field] };
            same(&format!("runAsNonRoot of {name}"), says("runAsNonRoot"), &Value::from(true))?;
            same(&format!("seccomp of {name}"), text(says("seccompProfile"), "/type")?, "RuntimeDefault")?;
            for (field, value) in [("readOnlyRootFilesystem", true), ("allowPrivilegeEscalation", false)] {
                same(&format!("{field} of {name}"), &own[field], &Value::from(value))?;
            }
            same(&format!("dropped of {name}"), &own["capabilities"]["drop"], &Value::from(vec!["ALL"]))?;
        }
    }
    Ok(())
}

/// A topic with several partitions gets ready; its partitions are led by all brokers.
pub fn topic(world: &World) -> Result<()> {
    let kube = &world.kube;
    kube.apply(NAMESPACE, &manifest::read("topic.yaml")?)?;
    kube.wait(NAMESPACE, &["topic/orders"], "condition=Ready", SOON)?;
    let topic = kube.get(NAMESPACE, &["topics.ottla.dev", "orders"])?;
    let assignments = array(&topic, "/status/assignments");
    same("how many assignments the status shows", assignments.len(), 6)?;
    let leaders: BTreeSet<i64> = world.outside()?.leaders("orders_v1")?.into_iter().collect();
    same("the leaders of orders_v1", leaders, BTreeSet::from([0, 1, 2]))
}

/// `kubectl get kafkaclusters,topics` says how many brokers serve, where to connect, and what each topic has.
pub fn columns(world: &World) -> Result<()> {
    let table = world.kube.kubectl(NAMESPACE, &["get", "kafkaclusters,topics"])?;
    print!("{table}");
    check_row(&table, "kafkacluster.ottla.dev/demo", &["3", "True", "9092"])?;
    check_row(&table, "topic.ottla.dev/orders", &["demo", "orders_v1", "6", "3", "0", "True"])?;
    let wide = world.kube.kubectl(NAMESPACE, &["get", "kafkaclusters", "-o", "wide"])?;
    check_row(&wide, "demo", &["100.66.0."])
}

fn check_row(table: &str, name: &str, shows: &[&str]) -> Result<()> {
    let Some(row) = table.lines().find(|line| line.starts_with(name)) else {
        bail!("no row of {name} in:\n{table}");
    };
    for word in shows {
        ensure!(row.split_whitespace().any(|cell| cell.contains(word)), "no {word:?} in the row {row:?}");
    }
    Ok(())
}

/// The pods of the cluster `demo`.
///
/// # Errors
/// They can't be listed.
pub fn broker_pods(kube: &Kube) -> Result<Vec<Value>> {
    kube.list(NAMESPACE, &["pods", "-l", "app.kubernetes.io/instance=demo"])
}
