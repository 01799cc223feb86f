//! Records sent and read from inside and outside, also while a broker's pod is deleted.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{NAMESPACE, READY, SOON, World};
use crate::kafka::{Records, client_deadline};
use crate::kube::{same, text};
use crate::manifest;

/// The topic's name in Kafka.
pub const TOPIC: &str = "orders_v1";

/// The pod that is deleted.
const POD: &str = "demo-broker-1";

/// What the pod sends.
fn from_inside() -> Records {
    Records::new("inside", 1000)
}

/// What this machine sends.
fn from_outside() -> Records {
    Records::new("outside", 1000)
}

/// What this machine sends while a pod is deleted.
fn meanwhile() -> Records {
    Records::new("meanwhile", 300)
}

/// A client in a pod.
pub fn inside(world: &World) -> Result<()> {
    let client = world.inside()?;
    client.send(TOPIC, &from_inside())?;
    let read = client.read(TOPIC)?;
    read.has_each_once(&from_inside())?;
    ensure!(read.partitions.len() > 3, "the records lie in few partitions: {:?}", read.partitions);
    Ok(())
}

/// A client outside of the cluster's network, through the ports of the nodes.
pub fn outside(world: &World) -> Result<()> {
    let client = world.outside()?;
    client.send(TOPIC, &from_outside())?;
    let read = client.read(TOPIC)?;
    read.has_each_once(&from_outside())?;
    read.has_each_once(&from_inside())
}

/// A broker's pod is deleted while a client sends: it is back with its volume, and nothing is lost or
/// doubled.
pub fn pod_deleted(world: &World) -> Result<()> {
    let kube = &world.kube;
    let uid = |pod: &str| -> Result<String> {
        Ok(text(&kube.get(NAMESPACE, &["pod", pod])?, "/metadata/uid")?.to_owned())
    };
    let before = uid(POD)?;
    let sending = world.outside()?.start_sending(TOPIC, &meanwhile(), Duration::from_millis(10))?;
    kube.kubectl(NAMESPACE, &["delete", "pod", POD, "--wait=true", "--timeout=30s"])?;
    sending.wait(client_deadline())?.ok()?;
    kube.wait(NAMESPACE, &[&format!("pod/{POD}")], "condition=Ready", READY)?;
    kube.wait(NAMESPACE, &["kafkacluster/demo"], "condition=Ready", READY)?;
    ensure!(uid(POD)? != before, "{POD} was not deleted");
    all_is_there(world)
}

/// All that was sent can be read, each once, from inside and from outside alike.
///
/// # Errors
/// Something is lost or doubled.
pub fn all_is_there(world: &World) -> Result<()> {
    // A pod that nobody looks after doesn't outlive its node's draining.
    world.kube.apply(NAMESPACE, &manifest::read("kcat.yaml")?)?;
    world.kube.wait(NAMESPACE, &["pod/kcat"], "condition=Ready", SOON)?;
    let (inside, outside) = (world.inside()?.read(TOPIC)?, world.outside()?.read(TOPIC)?);
    for read in [&inside, &outside] {
        for records in [from_inside(), from_outside(), meanwhile()] {
            read.has_each_once(&records)?;
        }
    }
    same("what is read outside", &outside.partitions, &inside.partitions)
}
