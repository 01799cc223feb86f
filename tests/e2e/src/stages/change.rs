//! Manifests edited and applied again take effect.

use anyhow::Result;
use serde_json::Value;

use super::{NAMESPACE, SOON, World, records};
use crate::kafka::Records;
use crate::kube::same;
use crate::manifest;

/// More partitions of one topic, and another topic.
pub fn partitions_and_a_topic(world: &World) -> Result<()> {
    let kube = &world.kube;
    kube.apply(NAMESPACE, &manifest::read("more.yaml")?)?;
    kube.wait(NAMESPACE, &["topic/orders"], "jsonpath={.status.partitions}=9", SOON)?;
    kube.wait(NAMESPACE, &["topic/orders", "topic/clicks"], "condition=Ready", SOON)?;
    let topic = kube.get(NAMESPACE, &["topics.ottla.dev", "orders"])?;
    same("observedGeneration", &topic["status"]["observedGeneration"], &topic["metadata"]["generation"])?;
    same("status.partitions", &topic["status"]["partitions"], &Value::from(9))?;
    let client = world.outside()?;
    client.wait_for_partitions(records::TOPIC, 9)?;
    client.wait_for_partitions("clicks", 3)?;
    let clicks = Records::new("clicks", 200);
    client.send("clicks", &clicks)?;
    world.inside()?.read("clicks")?.has_each_once(&clicks)?;
    records::all_is_there(world)
}
