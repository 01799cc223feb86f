//! When nothing is to be done, nothing is done: not on a second look, and not by a new operator.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use super::{NAMESPACE, OPERATOR, READY, RELEASE, SOON, World};
use crate::audit::{Audit, Call};
use crate::kube::{same, text};
use crate::shell;

/// A KafkaCluster and a Topic that are looked at again, without a change of what they ask: no write.
pub fn writes_nothing(world: &World) -> Result<()> {
    let audit = Audit::new(&world.kube, OPERATOR, RELEASE);
    settle(&audit)?;
    let (before, seen) = (versions(world)?, audit.calls()?.len());
    for object in ["kafkacluster/demo", "topic/orders"] {
        world.kube.kubectl(NAMESPACE, &["annotate", object, "example.org/look=again", "--overwrite"])?;
    }
    lease_renewed_twice(&audit, seen)?;
    expect_no_write(&audit.calls()?[seen..])?;
    let mut after = versions(world)?;
    for annotated in ["KafkaCluster/demo", "Topic/orders"] {
        let (key, version) = (annotated.to_owned(), before.get(annotated).cloned().unwrap_or_default());
        after.insert(key, version);
    }
    expect_same(&before, &after)
}

/// A field that the operator applied gets another value by hand: it is put right.
pub fn mends_what_hands_change(world: &World) -> Result<()> {
    let kube = &world.kube;
    for (object, patch) in [
        ("pdb/demo-broker", r#"{"spec": {"maxUnavailable": 3}}"#),
        ("statefulset/demo-broker", r#"{"spec": {"revisionHistoryLimit": 9}}"#),
    ] {
        let spec = || kube.kubectl(NAMESPACE, &["get", object, "-o", "jsonpath={.spec}"]);
        let before = spec()?;
        kube.kubectl(NAMESPACE, &["patch", object, "--type=merge", "-p", patch])?;
        shell::poll("the operator to put it right", SOON, || {
            let now = spec()?;
            ensure!(now == before, "{object} is {now}");
            Ok(())
        })?;
    }
    kube.wait(NAMESPACE, &["kafkacluster/demo"], "condition=Ready", READY)
}

/// The chart brings another broker image: it is on offer, and restarts nobody unasked.
pub fn operator_upgraded(world: &World) -> Result<()> {
    let kube = &world.kube;
    let available = || -> Result<String> {
        let cluster = kube.get(NAMESPACE, &["kafkacluster", "demo"])?;
        Ok(cluster["status"]["imageAvailable"].as_str().unwrap_or_default().to_owned())
    };
    let offers = |end: &str| {
        shell::poll("the status to say what is on offer", SOON, || {
            let available = available()?;
            ensure!(available.ends_with(end) && available.is_empty() == end.is_empty(), "{available:?}");
            Ok(())
        })
    };
    let generation = || {
        kube.kubectl(
            NAMESPACE,
            &["get", "statefulset", "demo-broker", "-o", "jsonpath={.metadata.generation}"],
        )
    };
    let before = generation()?;
    let upgrade = ["upgrade", RELEASE, "charts/ottla", "-n", OPERATOR, "--wait", "--timeout", "60s"];
    kube.helm(&[upgrade.as_slice(), &["--set", "broker.image.tag=next"]].concat(), 2 * SOON)?;
    offers(":next")?;
    kube.wait(NAMESPACE, &["kafkacluster/demo"], "condition=Ready", READY)?;
    same("the generation of the StatefulSet", generation()?, before)?;
    // Without any value on the command line, Helm would go on with those of the release before.
    kube.helm(&[upgrade.as_slice(), &["--reset-values"]].concat(), 2 * SOON)?;
    offers("")
}

/// The operator's pod is deleted: the next one takes over, and changes nothing.
pub fn operator_restarted(world: &World) -> Result<()> {
    let kube = &world.kube;
    let audit = Audit::new(kube, OPERATOR, RELEASE);
    settle(&audit)?;
    let (before, seen) = (versions(world)?, audit.calls()?.len());
    kube.kubectl(OPERATOR, &["delete", "pods", "--all", "--wait=true", "--timeout=30s"])?;
    kube.wait(OPERATOR, &[&format!("deployment/{RELEASE}")], "condition=Available", READY)?;
    let lists_clusters =
        |call: &Call| call.permission.verb == "list" && call.permission.resource == "kafkaclusters";
    shell::poll("the new operator to look", SOON, || {
        ensure!(audit.calls()?[seen..].iter().any(lists_clusters), "it hasn't listed the clusters");
        Ok(())
    })?;
    lease_renewed_twice(&audit, audit.calls()?.len())?;
    expect_no_write(&audit.calls()?[seen..])?;
    expect_same(&before, &versions(world)?)
}

/// Writes that are no change: the Lease that says who works, and events that tell people.
fn is_change(call: &Call) -> bool {
    call.writes() && !["leases", "events"].contains(&call.permission.resource.as_str())
}

fn expect_no_write(calls: &[Call]) -> Result<()> {
    let writes: Vec<String> = calls.iter().filter(|c| is_change(c)).map(Call::to_string).collect();
    ensure!(writes.is_empty(), "the operator wrote though nothing was to be done: {}", writes.join(", "));
    Ok(())
}

/// Waits until the operator has renewed its Lease twice without another write: it has come to rest.
fn settle(audit: &Audit) -> Result<()> {
    shell::poll("the operator to come to rest", SOON, || {
        let calls = audit.calls()?;
        let writes: Vec<&Call> = calls.iter().filter(|c| c.writes()).rev().take(2).collect();
        ensure!(writes.len() == 2 && !writes.iter().any(|c| is_change(c)), "it last wrote {writes:?}");
        Ok(())
    })
}

/// The operator's own clock: the two calls that it makes when there is nothing else.
fn lease_renewed_twice(audit: &Audit, seen: usize) -> Result<()> {
    shell::poll("the operator to renew its Lease twice", SOON, || {
        let calls = audit.calls()?;
        let renewed =
            calls[seen..].iter().filter(|c| c.writes() && c.permission.resource == "leases").count();
        ensure!(renewed >= 2, "it renewed it {renewed} times");
        Ok(())
    })
}

/// The resourceVersion of all that the operator makes or reports on.
fn versions(world: &World) -> Result<BTreeMap<String, String>> {
    let kinds =
        "kafkaclusters,topics.ottla.dev,statefulsets,services,configmaps,serviceaccounts,pdb,pods,pvc";
    let mut versions = BTreeMap::new();
    for object in world.kube.list(NAMESPACE, &[kinds])? {
        let key = format!("{}/{}", text(&object, "/kind")?, text(&object, "/metadata/name")?);
        versions.insert(key, text(&object, "/metadata/resourceVersion")?.to_owned());
    }
    ensure!(versions.len() > 10, "only {} objects are there", versions.len());
    Ok(versions)
}

fn expect_same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Result<()> {
    let changed: Vec<&String> =
        before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key)).collect();
    if !changed.is_empty() {
        bail!("changed though nothing was to be done: {changed:?}");
    }
    Ok(())
}
