//! Who is gone is fenced at once, who is silent after a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ottla_quorum::{QuorumConfig, Tuning};
use ottla_types::BrokerId;
use tokio::net::TcpListener;

use crate::harness::{Place, Running, in_service, leader_of, places, start_all, voters_of, within};

/// Longer than any test: silence fences nobody.
const FOREVER: Duration = Duration::from_secs(3_600);

async fn three(session: Duration) -> (Vec<Place>, Vec<Running>) {
    let places = places(3);
    let voters = voters_of(&places);
    let tuning = Tuning { broker_session: session, ..Tuning::default() };
    let nodes =
        start_all(&places, |place| QuorumConfig { tuning: tuning.clone(), ..place.config(voters.clone()) })
            .await;
    in_service(&nodes, 3).await;
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

/// The kernel closes a dying process's port when it comes to it: after threads that are busy with the disk,
/// for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_port_outlives_its_stream_is_fenced_once_the_port_closes() {
    let places = places(3);
    let voters = voters_of(&places);
    let mut ports = HashMap::new();
    for place in &places {
        ports.insert(place.id, TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let tuning = Tuning { broker_session: FOREVER, ..Tuning::default() };
    let config = |place: &Place| {
        let control_address = ports[&place.id].local_addr().unwrap().to_string();
        QuorumConfig { tuning: tuning.clone(), control_address, ..place.config(voters.clone()) }
    };
    let mut nodes = start_all(&places, config).await;
    in_service(&nodes, 3).await;
    let victim = (leader_of(&nodes).await + 1) % 3;
    let crashed = nodes.remove(victim);
    let (id, port) = (crashed.id, ports.remove(&crashed.id).unwrap());
    crashed.crash().await;
    for _ in 0..20 {
        within("somebody to ask whether it is gone", port.accept()).await.unwrap();
    }
    assert!(nodes.iter().all(|node| !is_fenced(&node.image(), id)), "it may be alive");
    drop(port);
    for node in &nodes {
        node.until("the crashed broker to be fenced", |image| is_fenced(image, id)).await;
    }
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
    in_service(&nodes, 3).await;
    for node in nodes {
        node.stop().await;
    }
}
