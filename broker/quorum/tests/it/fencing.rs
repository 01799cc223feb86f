//! Who is gone is fenced at once, who is silent after a while.

use std::time::{Duration, Instant};

use ottla_quorum::{QuorumConfig, Tuning};
use ottla_types::BrokerId;

use crate::harness::{Place, Running, leader_of, live, places, start_all, voters_of};

/// Longer than any test: silence fences nobody.
const FOREVER: Duration = Duration::from_secs(3_600);

async fn three(session: Duration) -> (Vec<Place>, Vec<Running>) {
    let places = places(3);
    let voters = voters_of(&places);
    let tuning = Tuning { broker_session: session, ..Tuning::default() };
    let nodes =
        start_all(&places, |place| QuorumConfig { tuning: tuning.clone(), ..place.config(voters.clone()) })
            .await;
    for node in &nodes {
        node.until("three brokers in service", |image| live(image) == 3).await;
    }
    (places, nodes)
}

fn is_fenced(image: &ottla_core::metadata::MetadataImage, id: BrokerId) -> bool {
    image.broker(id).is_some_and(|broker| broker.fenced)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_crashed_is_fenced_without_waiting_for_silence() {
    let (_places, mut nodes) = three(FOREVER).await;
    let leader = leader_of(&nodes).await;
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let id = nodes[victim].id;
    let survivor = nodes[other].id;
    nodes.remove(victim).crash().await;
    let crashed = Instant::now();
    let node = nodes.iter().find(|node| node.id == survivor).unwrap();
    node.until("the crashed broker to be fenced", |image| is_fenced(image, id)).await;
    println!("a crashed broker was fenced after {} ms", crashed.elapsed().as_millis());
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_active_controller_fences_the_one_that_crashed() {
    let (_places, mut nodes) = three(FOREVER).await;
    let leader = leader_of(&nodes).await;
    let id = nodes[leader].id;
    nodes.remove(leader).crash().await;
    let crashed = Instant::now();
    for node in &nodes {
        node.until("the crashed controller to be fenced", |image| is_fenced(image, id)).await;
    }
    println!("a crashed active controller was fenced after {} ms", crashed.elapsed().as_millis());
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_froze_is_fenced_by_its_silence() {
    let (_places, nodes) = three(Duration::from_secs(1)).await;
    let leader = leader_of(&nodes).await;
    let victim = (leader + 1) % 3;
    let id = nodes[victim].id;
    let frozen = nodes[victim].freeze();
    for node in nodes.iter().filter(|node| node.id != id) {
        node.until("the frozen broker to be fenced", |image| is_fenced(image, id)).await;
    }
    drop(frozen);
    for node in &nodes {
        node.until("the broker to be back in service", |image| live(image) == 3).await;
    }
    for node in nodes {
        node.stop().await;
    }
}
