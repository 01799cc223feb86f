//! Resources deleted: what the policies keep stays, and the rest goes.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{NAMESPACE, READY, SOON, World, records};
use crate::kube::{Kube, same};
use crate::manifest;
use crate::shell;

/// The topic whose policy is Delete goes, the one that is retained stays with its records.
pub fn topics(world: &World) -> Result<()> {
    delete(world, &["topics.ottla.dev", "orders", "clicks"])?;
    let client = world.outside()?;
    client.wait_for_partitions("clicks", 0)?;
    client.wait_for_partitions(records::TOPIC, 9)?;
    records::all_is_there(world)
}

/// The pods and Services go, the volumes stay.
pub fn cluster_that_retains(world: &World) -> Result<()> {
    delete(world, &["kafkaclusters", "demo"])?;
    gone(world, "demo", "pods,services,statefulsets,configmaps,pdb,serviceaccounts")?;
    same("how many volumes of demo stay", count(world, "demo", "pvc")?, 3)
}

/// A cluster of the same name finds its records again; one with fewer brokers isn't begun.
pub fn cluster_again(world: &World) -> Result<()> {
    let kube = &world.kube;
    let cluster = manifest::read("cluster.yaml")?;
    kube.apply(NAMESPACE, &cluster.replace("replicas: 3", "replicas: 1"))?;
    let why = kube.wait_for_reason(NAMESPACE, "kafkacluster/demo", "FewerBrokersThanBefore", SOON)?;
    ensure!(why.contains("set spec.replicas to 3 or more"), "it says {why}");
    same("how many objects of demo there are", count(world, "demo", "pods,services,statefulsets")?, 0)?;
    kube.apply(NAMESPACE, &cluster)?;
    kube.wait(NAMESPACE, &["kafkacluster/demo"], "condition=Ready", READY)?;
    world.outside()?.wait_for_partitions(records::TOPIC, 9)?;
    records::all_is_there(world)
}

/// A listener that is no longer asked for loses its Services; where the policy is Delete, the volumes go too.
pub fn cluster_that_deletes(world: &World) -> Result<()> {
    let kube = &world.kube;
    let scratch = manifest::read("scratch.yaml")?;
    name_taken(kube, &scratch)?;
    kube.wait(NAMESPACE, &["kafkacluster/scratch"], "condition=Ready", READY)?;
    service_made_anew(kube)?;
    let fewer: String = scratch.split_inclusive('\n').filter(|line| !line.contains("passing")).collect();
    kube.apply(NAMESPACE, &fewer)?;
    kube.wait(NAMESPACE, &["service/scratch-passing-0"], "delete", SOON)?;
    same("how many volumes scratch has", count(world, "scratch", "pvc")?, 1)?;
    delete(world, &["kafkaclusters", "scratch"])?;
    gone(world, "scratch", "pods,services,statefulsets,configmaps,pdb,serviceaccounts,pvc")
}

/// A ServiceAccount that a person made under a broker's name is named, left alone, and outlives the cluster.
fn name_taken(kube: &Kube, scratch: &str) -> Result<()> {
    kube.kubectl(NAMESPACE, &["create", "serviceaccount", ACCOUNT])?;
    let before = kube.get(NAMESPACE, &["serviceaccount", ACCOUNT])?;
    kube.apply(NAMESPACE, scratch)?;
    let why = kube.wait_for_reason(NAMESPACE, "kafkacluster/scratch", "Conflict", SOON)?;
    ensure!(why.contains(&format!("the ServiceAccount {ACCOUNT} is there already")), "it says {why}");
    kube.kubectl(NAMESPACE, &["delete", "kafkacluster", "scratch", "--wait=true", "--timeout=30s"])?;
    gone_services(kube)?;
    same("the account", &kube.get(NAMESPACE, &["serviceaccount", ACCOUNT])?, &before)?;
    kube.kubectl(NAMESPACE, &["delete", "serviceaccount", ACCOUNT])?;
    kube.apply(NAMESPACE, scratch)?;
    Ok(())
}

const ACCOUNT: &str = "scratch-broker";

/// Waits until nothing is left of the cluster that met the hand-made account.
fn gone_services(kube: &Kube) -> Result<()> {
    shell::poll("the Services of scratch to go", SOON, || {
        let left = kube.list(NAMESPACE, &["services", "-l", "app.kubernetes.io/instance=scratch"])?;
        same("how many Services of scratch are left", left.len(), 0)
    })
}

/// A broker's Service that is deleted comes back with the port that clients know.
fn service_made_anew(kube: &Kube) -> Result<()> {
    let find = || -> Result<(Value, Value)> {
        let service = kube.get(NAMESPACE, &["service", "scratch-passing-0"])?;
        Ok((service["metadata"]["uid"].clone(), service["spec"]["ports"][0]["nodePort"].clone()))
    };
    let (old, port) = find()?;
    kube.kubectl(NAMESPACE, &["delete", "service", "scratch-passing-0"])?;
    shell::poll("the Service to come back", SOON, || {
        let (new, again) = find()?;
        ensure!(new != old, "it is still the old one");
        same("its port", &again, &port)
    })
}

/// A namespace with a cluster and a topic in it can be deleted as it is: nothing holds on to itself.
pub fn namespace(world: &World) -> Result<()> {
    let kube = &world.kube;
    kube.apply(NAMESPACE, &manifest::read("topic.yaml")?)?;
    let words = ["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=90s"];
    shell::run(&mut kube.command(NAMESPACE, &words), 2 * SOON)?.ok()?;
    shell::poll("the volumes to be removed from the nodes", SOON, || {
        for node in fs::read_dir(kube.bed.volumes())? {
            let volumes = node?.path();
            let left = fs::read_dir(&volumes)?.count();
            ensure!(left == 0, "{left} volumes are left in {}", volumes.display());
        }
        Ok(())
    })
}

fn delete(world: &World, words: &[&str]) -> Result<()> {
    let all: Vec<&str> = ["delete", "--wait=true", "--timeout=60s"].iter().chain(words).copied().collect();
    shell::run(&mut world.kube.command(NAMESPACE, &all), 2 * SOON)?.ok()?;
    Ok(())
}

fn count(world: &World, cluster: &str, kinds: &str) -> Result<usize> {
    Ok(world.kube.list(NAMESPACE, &[kinds, "-l", &format!("app.kubernetes.io/instance={cluster}")])?.len())
}

fn gone(world: &World, cluster: &str, kinds: &str) -> Result<()> {
    let label = format!("app.kubernetes.io/instance={cluster}");
    world.kube.wait(NAMESPACE, &[kinds, "-l", &label], "delete", SOON)?;
    same(&format!("how many objects of {cluster} are left"), count(world, cluster, kinds)?, 0)
}
