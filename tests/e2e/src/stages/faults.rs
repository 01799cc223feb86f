//! What happens to pods, nodes and volumes, under load: no acknowledged record is lost or doubled, writes
//! resume while the fault lasts, and the cluster says what it lacks and heals.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{NAMESPACE, READY, SOON, World};
use crate::kube::{array, same, text};
use crate::load::Load;
use crate::shell;

/// Partitions of each topic under load.
const PARTITIONS: usize = 6;
/// How long writes may pause; what is promised is less, but two cores do all of this.
const RESUME: Duration = Duration::from_secs(60);
/// How long a node stays away: long enough that it must be done without, too short for Kubernetes to give it
/// up.
const AWAY: Duration = Duration::from_secs(15);

/// A broker's pod is deleted: it has time to hand its partitions over.
pub fn pod_deleted(world: &World) -> Result<()> {
    under_load(world, "pod-deleted", |load| {
        for broker in [0, 1] {
            let pod = format!("demo-broker-{broker}");
            load.fault();
            world.kube.kubectl(NAMESPACE, &["delete", "pod", &pod, "--wait=true", "--timeout=60s"])?;
            load.wait_for_writes(RESUME)?;
            healed(world, "pod-deleted")?;
        }
        Ok(())
    })
}

/// A broker's process is killed in its container, as the kernel does when memory runs out.
pub fn broker_killed(world: &World) -> Result<()> {
    under_load(world, "broker-killed", |load| {
        for broker in [1, 2] {
            let pod = world.kube.get(NAMESPACE, &["pod", &format!("demo-broker-{broker}")])?;
            let (uid, node) = (text(&pod, "/metadata/uid")?, node_of(&pod)?);
            load.fault();
            world.kube.bed.kill_in_pod(node, uid, "ottla-broker")?;
            load.wait_for_writes(RESUME)?;
            healed(world, "broker-killed")?;
        }
        Ok(())
    })
}

/// A node's cable is pulled: its broker is alive and alone.
pub fn node_cut(world: &World) -> Result<()> {
    under_load(world, "node-cut", |load| {
        let node = node_without_operator(world)?;
        load.fault();
        world.kube.bed.node("cut", node)?;
        let away = away(world, load, "node-cut");
        world.kube.bed.node("join", node)?;
        away?;
        healed(world, "node-cut")
    })
}

/// A node is switched off: kubelet, containers and all.
pub fn node_killed(world: &World) -> Result<()> {
    under_load(world, "node-killed", |load| {
        let node = node_without_operator(world)?;
        load.fault();
        world.kube.bed.node("kill", node)?;
        let away = away(world, load, "node-killed");
        world.kube.bed.node("start", node)?;
        away?;
        healed(world, "node-killed")
    })
}

/// A node is drained, and a second one at the same time isn't: the budget holds its broker back.
pub fn node_drained(world: &World) -> Result<()> {
    let kube = &world.kube;
    under_load(world, "node-drained", |load| {
        let (first, second) = ("node1", "node2");
        let drain = |node: &str, limit: &str| {
            let limit = format!("--timeout={limit}");
            let words = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", &limit];
            shell::run(&mut kube.command(NAMESPACE, &words), 2 * SOON)
        };
        load.fault();
        drain(first, "90s")?.ok()?;
        load.wait_for_writes(RESUME)?;
        let refused = drain(second, "10s")?;
        kube.kubectl(NAMESPACE, &["uncordon", second])?;
        let said = refused.to_string();
        load.wait_for_writes(RESUME)?;
        kube.kubectl(NAMESPACE, &["uncordon", first])?;
        ensure!(!refused.status.success() && said.contains("disruption budget"), "a second drain: {said}");
        kube.wait(super::OPERATOR, &["deployment/ottla"], "condition=Available", READY)?;
        healed(world, "node-drained")
    })
}

/// A volume is lost with all that was on it: the broker comes back empty, and gets its records from the
/// others.
pub fn volume_wiped(world: &World) -> Result<()> {
    let kube = &world.kube;
    let disk = || -> Result<String> {
        let cluster = kube.get(NAMESPACE, &["kafkacluster", "demo"])?;
        let broker = array(&cluster, "/status/brokers").iter().find(|b| b["pod"] == "demo-broker-2");
        Ok(text(broker.context("broker 2 is on record")?, "/directoryId")?.to_owned())
    };
    under_load(world, "volume-wiped", |load| {
        let before = disk()?;
        load.fault();
        kube.kubectl(NAMESPACE, &["delete", "pvc", "data-demo-broker-2", "--wait=false"])?;
        kube.kubectl(NAMESPACE, &["delete", "pod", "demo-broker-2", "--wait=true", "--timeout=60s"])?;
        load.wait_for_writes(RESUME)?;
        shell::poll("another disk of broker 2", READY, || {
            ensure!(disk()? != before, "it is still {before}");
            Ok(())
        })?;
        healed(world, "volume-wiped")?;
        let told = kube.list(NAMESPACE, &["events", "--field-selector", "reason=DiskReplaced"])?;
        ensure!(!told.is_empty(), "nobody was told of the new disk");
        Ok(())
    })
}

/// A changed setting: every pod is replaced, one after another, and never two at a time.
pub fn settings_rolled(world: &World) -> Result<()> {
    let kube = &world.kube;
    let uids = || -> Result<Vec<(String, bool)>> {
        let pods = super::cluster::broker_pods(kube)?;
        let pod = |pod: &Value| {
            let going = !pod["metadata"]["deletionTimestamp"].is_null();
            Ok((text(pod, "/metadata/uid")?.to_owned(), going))
        };
        pods.iter().map(pod).collect()
    };
    under_load(world, "settings-rolled", |load| {
        let before: Vec<String> = uids()?.into_iter().map(|(uid, _)| uid).collect();
        let change = r#"{"spec": {"config": {"num.partitions": 4}}}"#;
        kube.kubectl(NAMESPACE, &["patch", "kafkacluster", "demo", "--type=merge", "-p", change])?;
        let (mut begun, mut most, mut early) = (Vec::<String>::new(), 0, 0);
        shell::poll("all pods to be replaced", 3 * READY, || {
            // Whoever waits for Ready looks no further: it may not be there before the last pod is.
            let is_ready = ready_by_generation(world)?;
            let now = uids()?;
            early += usize::from(is_ready && now.iter().any(|(uid, _)| before.contains(uid)));
            for (uid, going) in &now {
                if *going && before.contains(uid) && !begun.contains(uid) {
                    load.fault();
                    begun.push(uid.clone());
                }
            }
            let going = now.iter().filter(|(_, going)| *going).count();
            most = most.max(going.max(before.len().saturating_sub(now.len())));
            let left = now.iter().filter(|(uid, _)| before.contains(uid)).count();
            ensure!(left == 0 && now.len() == before.len(), "{left} pods are as they were");
            Ok(())
        })?;
        healed(world, "settings-rolled")?;
        let told = kube.list(NAMESPACE, &["events", "--field-selector", "reason=RestartingBroker"])?;
        ensure!(told.len() >= before.len(), "{} restarts were told of", told.len());
        same("how often Ready came too early", early, 0)?;
        same("how many pods were away at a time", most, 1)
    })
}

/// Whether the cluster says that it is as its newest spec asks: what `kubectl wait` goes by.
fn ready_by_generation(world: &World) -> Result<bool> {
    let cluster = world.kube.get(NAMESPACE, &["kafkacluster", "demo"])?;
    let generation = &cluster["metadata"]["generation"];
    let all = array(&cluster, "/status/conditions");
    let is_ready =
        |c: &Value| c["type"] == "Ready" && c["status"] == "True" && c["observedGeneration"] == *generation;
    Ok(all.iter().any(is_ready))
}

/// A topic of one replica gets three, while records come in.
pub fn replicas_added(world: &World) -> Result<()> {
    let kube = &world.kube;
    let name = "replicas-added";
    under_load_of(world, name, "replicas: 1", |load| {
        load.fault();
        kube.apply(NAMESPACE, &topic(name, "replicas: 3"))?;
        kube.wait(NAMESPACE, &[&format!("topic/{name}")], "jsonpath={.status.replicas}=3", READY)?;
        healed(world, name)?;
        let topic = kube.get(NAMESPACE, &["topics.ottla.dev", name])?;
        for partition in array(&topic, "/status/assignments") {
            same("the replicas in sync", array(partition, "/isr").len(), 3)?;
        }
        load.wait_for_writes(RESUME)
    })
}

/// On a topic of three replicas.
fn under_load(world: &World, name: &str, act: impl FnOnce(&mut Load) -> Result<()>) -> Result<()> {
    under_load_of(world, name, "replicas: 3", act)
}

/// Makes a topic, sends and reads while `act` does its worst, and judges.
fn under_load_of(
    world: &World,
    name: &str,
    replicas: &str,
    act: impl FnOnce(&mut Load) -> Result<()>,
) -> Result<()> {
    let kube = &world.kube;
    kube.apply(NAMESPACE, &topic(name, replicas))?;
    kube.wait(NAMESPACE, &[&format!("topic/{name}")], "condition=Ready", READY)?;
    let cluster = kube.get(NAMESPACE, &["kafkacluster", "demo"])?;
    let bootstrap = text(&cluster, "/status/externalBootstrapServers")?;
    let mut load = Load::start(kube.bed, bootstrap, name, PARTITIONS)?;
    let acted = act(&mut load);
    // What the history says matters more than how the fault went.
    load.finish()?;
    acted?;
    kube.kubectl(NAMESPACE, &["delete", "topics.ottla.dev", name, "--timeout=60s"])?;
    Ok(())
}

fn topic(name: &str, replicas: &str) -> String {
    format!(
        "{{apiVersion: ottla.dev/v1alpha1, kind: Topic, metadata: {{name: {name}}}, spec: {{clusterRef: {{name: demo}}, partitions: {PARTITIONS}, {replicas}, deletionPolicy: Delete}}}}"
    )
}

/// While a node is away, writes go on, and the status says what is missing.
fn away(world: &World, load: &Load, name: &str) -> Result<()> {
    load.wait_for_writes(RESUME)?;
    shell::poll("the status to say so", SOON, || {
        let topic = world.kube.get(NAMESPACE, &["topics.ottla.dev", name])?;
        let lacking = topic["status"]["underReplicatedPartitions"].as_i64().unwrap_or_default();
        ensure!(lacking == PARTITIONS as i64, "{lacking} partitions are under-replicated");
        Ok(())
    })?;
    thread::sleep(AWAY);
    load.wait_for_writes(RESUME)
}

/// All brokers serve and every partition has all replicas in sync.
fn healed(world: &World, name: &str) -> Result<()> {
    let kube = &world.kube;
    shell::poll("the cluster to be whole again", 2 * READY, || {
        let cluster = kube.get(NAMESPACE, &["kafkacluster", "demo"])?;
        let says = |condition: &str, status: &str| {
            let all = array(&cluster, "/status/conditions");
            all.iter().any(|c| c["type"] == condition && c["status"] == status)
        };
        let short = &cluster["status"]["partitions"]["underReplicated"];
        ensure!(
            says("Ready", "True") && says("Progressing", "False") && *short == 0,
            "{}",
            cluster["status"]
        );
        Ok(())
    })?;
    kube.wait(NAMESPACE, &[&format!("topic/{name}")], "condition=Ready", SOON)
}

/// The number of a node with a broker and without the operator, which is to report what is missing.
fn node_without_operator(world: &World) -> Result<usize> {
    let operators = world.kube.list(super::OPERATOR, &["pods"])?;
    let taken: Vec<usize> = operators.iter().filter_map(|pod| node_of(pod).ok()).collect();
    let brokers = super::cluster::broker_pods(&world.kube)?;
    let mut nodes = brokers.iter().filter_map(|pod| node_of(pod).ok());
    nodes.find(|node| !taken.contains(node)).context("every node has an operator")
}

/// The number of the node that a pod is on.
fn node_of(pod: &Value) -> Result<usize> {
    let name = text(pod, "/spec/nodeName")?;
    match name.strip_prefix("node").and_then(|number| number.parse().ok()) {
        Some(number) => Ok(number),
        None => bail!("{name} is no node of the bed"),
    }
}
