//! Three voters: the same metadata everywhere, through the loss and return of the active controller.

use std::time::{Duration, Instant};

use ottla_core::metadata::MetadataImage;
use ottla_quorum::{QuorumConfig, Tuning, Voters};
use ottla_types::{BrokerId, PartitionIndex};

use crate::harness::{
    Place, all_equal, create_topic, in_service, leader_of, live, places, start_all, voters_of,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_survives_its_leader_and_takes_it_back() {
    let began = Instant::now();
    let mut places = places(3);
    let voters = voters_of(&places);
    let mut nodes = start_all(&places, |place| place.config(voters.clone())).await;
    in_service(&nodes, 3).await;
    println!("three brokers in service after {} ms", began.elapsed().as_millis());

    let position = leader_of(&nodes).await;
    let follower = (position + 1) % 3;
    create_topic(&nodes[follower], "orders", 6).await;
    all_equal(&nodes).await;
    let image = nodes[0].image();
    for id in 0..3 {
        let led = image.topic("orders").unwrap().partitions.iter().filter(|p| p.leader == Some(BrokerId(id)));
        assert_eq!(led.count(), 2, "leaders are spread");
    }

    let place = places.remove(position);
    nodes.remove(position).crash().await;
    let lost = Instant::now();
    create_topic(&nodes[0], "after-the-loss", 3).await;
    println!("a write succeeded {} ms after the loss of the active controller", lost.elapsed().as_millis());
    let image = nodes[1].until("the lost broker to be fenced", |image| live(image) == 2).await;
    println!("fenced {} ms after the loss", lost.elapsed().as_millis());
    let orders = image.topic("orders").unwrap();
    assert_eq!(
        orders.partitions.iter().filter(|p| p.leader.is_none()).count(),
        2,
        "its partitions are offline"
    );

    nodes.push(place.start(place.config(voters.clone())).await);
    for node in &nodes {
        node.until("the broker to be back", |image| live(image) == 3).await;
    }
    all_equal(&nodes).await;
    let image = nodes[2].image();
    assert!(image.topic("orders").unwrap().partitions.iter().all(|p| p.leader.is_some()));
    assert!(image.topic("after-the-loss").is_some());
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_all_have_crashed() {
    let places = places(3);
    let voters = voters_of(&places);
    let nodes = start_all(&places, |place| place.config(voters.clone())).await;
    nodes[1].until("three brokers in service", |image| live(image) == 3).await;
    create_topic(&nodes[1], "kept", 3).await;
    let before = nodes[1].image();
    for node in nodes {
        node.crash().await;
    }
    let nodes = start_all(&places, |place| place.config(voters.clone())).await;
    for node in &nodes {
        let again = |image: &MetadataImage| {
            live(image) == 3 && image.brokers.values().all(|broker| broker.epoch >= before.next_broker_epoch)
        };
        let back = node.until("all brokers to be back in service", again).await;
        let kept = back.topic("kept").unwrap();
        assert_eq!(kept.id, before.topic("kept").unwrap().id);
        assert!(kept.partitions.iter().all(|partition| partition.leader.is_some()));
    }
    create_topic(&nodes[2], "more", 1).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_know_only_addresses_agree_on_a_cluster_id() {
    let places = places(3);
    let voters = Voters::Bootstrap(places.iter().map(|place| place.address.to_string()).collect());
    let nodes =
        start_all(&places, |place| QuorumConfig { cluster_id: None, ..place.config(voters.clone()) }).await;
    in_service(&nodes, 3).await;
    all_equal(&nodes).await;
    assert!(!nodes[0].image().cluster_id.is_zero());
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_does_not_vote_follows_and_submits() {
    let places = places(2);
    let voters = Voters::Static(vec![places[0].voter()]);
    let nodes = start_all(&places, |place| QuorumConfig {
        voter: place.id == BrokerId(0),
        ..place.config(voters.clone())
    })
    .await;
    nodes[1].until("two brokers in service", |image| live(image) == 2).await;
    create_topic(&nodes[1], "from-the-learner", 2).await;
    let image = nodes[1].image();
    let leaders: Vec<_> = (0..2)
        .map(|index| image.partition("from-the-learner", PartitionIndex(index)).unwrap().leader)
        .collect();
    assert!(leaders.contains(&Some(BrokerId(0))) && leaders.contains(&Some(BrokerId(1))), "{leaders:?}");
    for node in nodes.into_iter().rev() {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_takes_longer_than_a_heartbeat_is_taken() {
    let places = places(3);
    let voters = voters_of(&places);
    // Less than an entry for thousands of partitions takes to be sent, read and written.
    let tuning = Tuning { raft_heartbeat: Duration::from_millis(5), ..Tuning::default() };
    let config = |place: &Place| QuorumConfig { tuning: tuning.clone(), ..place.config(voters.clone()) };
    let nodes = start_all(&places, config).await;
    in_service(&nodes, 3).await;
    create_topic(&nodes[0], "large", 10_000).await;
    all_equal(&nodes).await;
    for node in nodes {
        node.stop().await;
    }
}
