//! Restarts that go wrong: an eviction that was meant for another pod, and a setting that no broker can start
//! with.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{NAMESPACE, READY, World};
use crate::kube::{array, same, text};
use crate::manifest;
use crate::shell;

/// The pod that nobody may evict by another one's uid.
const POD: &str = "demo-broker-1";

/// The request that the operator sends, for the pod that had this name before: the API server refuses it. It
/// has counted that pod as gone by then, and lets no other one go for two minutes.
pub fn eviction_of_another_pod(world: &World) -> Result<()> {
    let kube = &world.kube;
    let uid = |pod: &Value| -> Result<String> { Ok(text(pod, "/metadata/uid")?.to_owned()) };
    let before = uid(&kube.get(NAMESPACE, &["pod", POD])?)?;
    let other = "00000000-0000-4000-8000-000000000000";
    let body = serde_json::to_string(&ottla_plan::eviction(NAMESPACE, POD, other))?;
    let answer = kube.try_post(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{POD}/eviction"), body)?;
    ensure!(!answer.status.success(), "another pod was evicted: {answer}");
    ensure!(answer.stderr.contains("UID in the precondition"), "it was refused for another reason: {answer}");
    let after = kube.get(NAMESPACE, &["pod", POD])?;
    ensure!(after["metadata"]["deletionTimestamp"].is_null(), "{POD} is going");
    same("the uid of the pod", uid(&after)?, before)
}

/// A cluster whose only broker can't start: a corrected spec is enough, though its budget is used up.
pub fn corrected_spec_heals(world: &World) -> Result<()> {
    let kube = &world.kube;
    let right = manifest::read("corrected.yaml")?;
    kube.apply(NAMESPACE, &right.replace("num.partitions: 2", "num.partitions: none"))?;
    shell::poll("the broker to crash", READY, || {
        let pod = kube.get(NAMESPACE, &["pod", "corrected-broker-0"])?;
        let crashed = array(&pod, "/status/containerStatuses").iter().any(|c| c["restartCount"] != 0);
        ensure!(crashed, "{}", pod["status"]);
        Ok(())
    })?;
    kube.apply(NAMESPACE, &right)?;
    kube.wait(NAMESPACE, &["kafkacluster/corrected"], "condition=Ready", READY)?;
    kube.kubectl(NAMESPACE, &["delete", "kafkacluster", "corrected", "--wait=false"])?;
    Ok(())
}
