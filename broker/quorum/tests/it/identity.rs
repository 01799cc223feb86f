//! A quorum has an identity: nobody follows another one, and nobody forms one beside it.

use std::time::Duration;

use ottla_control::proto::{self, quorum_client::QuorumClient};
use ottla_quorum::{QuorumConfig, SubmitError, Tuning, Voters};
use ottla_types::{BrokerId, DirectoryId, QuorumId};
use tonic::Code;

use crate::harness::{
    CLUSTER, Place, Running, all_equal, create, create_topic, in_service, live, places, poll,
    registered_again, start_all, voters_of,
};

/// A cluster that grew from one broker: that one alone votes.
pub fn grown(place: &Place, all: &[Place]) -> QuorumConfig {
    QuorumConfig {
        voter: place.id == BrokerId(0),
        others: all.iter().map(|place| place.address.to_string()).collect(),
        ..place.config(Voters::Static(vec![all[0].voter()]))
    }
}

/// The same, of a node that is told only of the first one.
fn alone(place: &Place, all: &[Place]) -> QuorumConfig {
    QuorumConfig { others: Vec::new(), ..grown(place, all) }
}

pub async fn grown_cluster() -> (Vec<Place>, Vec<Running>) {
    let places = places(3);
    let nodes = start_all(&places, |place| grown(place, &places)).await;
    in_service(&nodes, 3).await;
    create_topic(&nodes[0], "kept", 3).await;
    for node in &nodes {
        node.until("the topic", |image| image.topic("kept").is_some()).await;
    }
    (places, nodes)
}

/// Nothing can be changed through this node, as it has no active controller.
pub async fn is_without_controller(node: &Running) {
    let outcome = node.submit_within(create("lost", 1), Duration::from_millis(1_500)).await;
    assert!(matches!(outcome, Err(SubmitError::TimedOut(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sole_voter_that_lost_its_disk_forms_no_other_quorum() {
    let (mut places, mut nodes) = grown_cluster().await;
    let quorum = nodes[1].quorum.quorum_id();
    assert!(quorum.is_some() && nodes.iter().all(|node| node.quorum.quorum_id() == quorum));
    nodes.remove(0).crash().await;
    places[0].wipe();
    let empty = places[0].start(grown(&places[0], &places)).await;
    is_without_controller(&empty).await;
    assert_eq!((empty.quorum.active_controller(), empty.quorum.quorum_id()), (None, None));
    for node in &nodes {
        is_without_controller(node).await;
        assert!(node.image().topic("kept").is_some() && node.quorum.quorum_id() == quorum);
    }
    for node in nodes.into_iter().chain([empty]) {
        node.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_quorum_follows_no_other_one() {
    let (mut places, nodes) = grown_cluster().await;
    let quorum = nodes[1].quorum.quorum_id();
    for node in nodes {
        node.crash().await;
    }
    places[0].wipe();
    // Nobody is there who could tell it.
    let other = places[0].start(alone(&places[0], &places)).await;
    other.until("a broker in service", |image| live(image) == 1).await;
    let mut nodes = Vec::new();
    for place in &places[1..] {
        nodes.push(place.start(alone(place, &places)).await);
    }
    for node in nodes.iter().chain([&other]) {
        poll("the other quorum to be named", || node.quorum.trouble().filter(|t| t.contains("another one")))
            .await;
    }
    for node in &nodes {
        is_without_controller(node).await;
        assert_eq!(node.quorum.quorum_id(), quorum);
        assert!(node.quorum.broker_epoch().is_none(), "it registered with the other quorum");
    }
    assert_eq!(other.image().brokers.len(), 1);
    assert!(other.quorum.leads_beside_another().is_some(), "what it shows is not the cluster");
    assert!(nodes.iter().all(|node| node.quorum.leads_beside_another().is_none()));
    for node in nodes.into_iter().chain([other]) {
        node.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_that_lost_its_log_forms_no_quorum() {
    let (places, nodes) = grown_cluster().await;
    for node in nodes {
        node.crash().await;
    }
    let refuses = async |config: QuorumConfig| {
        let node = places[0].start(config).await;
        is_without_controller(&node).await;
        assert_eq!(node.quorum.active_controller(), None);
        node.crash().await;
    };
    std::fs::remove_dir_all(places[0].metadata_folder()).unwrap();
    refuses(alone(&places[0], &places)).await;
    // From before quorums had identities: its partitions show that there was one.
    std::fs::remove_file(places[0].dir.path().join("ottla-quorum")).unwrap();
    std::fs::remove_dir_all(places[0].metadata_folder()).unwrap();
    std::fs::create_dir(places[0].dir.path().join("kept-0")).unwrap();
    // Starts make the log's folder.
    for _ in 0..2 {
        refuses(QuorumConfig { formatted: true, ..alone(&places[0], &places) }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_was_cut_short_has_lost_nothing() {
    let place = Place::new(0);
    let (file, content) = ottla_quorum::NEW_FOLDER;
    std::fs::write(place.dir.path().join(file), content).unwrap();
    let voters = Voters::Static(vec![place.voter()]);
    let node = place.start(QuorumConfig { formatted: true, ..place.config(voters) }).await;
    node.until("a broker in service", |image| live(image) == 1).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_from_before_there_were_identities_are_of_one_quorum() {
    let (places, nodes) = grown_cluster().await;
    let before = nodes[0].image();
    for node in nodes {
        node.crash().await;
    }
    for place in &places {
        std::fs::remove_file(place.dir.path().join("ottla-quorum")).unwrap();
    }
    let nodes = start_all(&places, |place| QuorumConfig { formatted: true, ..grown(place, &places) }).await;
    registered_again(&nodes, &before).await;
    assert!(nodes.iter().all(|node| node.quorum.quorum_id() == Some(QuorumId(CLUSTER.0))));
    create_topic(&nodes[2], "more", 1).await;
    all_equal(&nodes).await;
    assert!(nodes[1].image().topic("kept").is_some());
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_does_not_wait_for_ever_for_brokers_that_are_not_there() {
    let places = places(3);
    let tuning = Tuning { others_patience: Duration::from_millis(300), ..Tuning::default() };
    let node = places[0].start(QuorumConfig { tuning, ..grown(&places[0], &places) }).await;
    node.until("a broker in service", |image| live(image) == 1).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_another_quorum_are_refused() {
    let places = places(3);
    let voters = voters_of(&places);
    let nodes = start_all(&places, |place| place.config(voters.clone())).await;
    in_service(&nodes, 3).await;
    let other = Some(proto::Lineage { id: QuorumId([7; 16]).to_string(), succeeds: Vec::new() });
    let mut client = QuorumClient::connect(format!("http://{}", places[1].address)).await.unwrap();
    let disk = DirectoryId::default().to_string();
    for kind in ["append", "vote", "snapshot", "canvass", "stand"] {
        let message = proto::RaftMessage {
            cluster_id: CLUSTER.to_string(),
            kind: kind.to_owned(),
            payload: b"{}".to_vec(),
            addressee: Some(proto::Identity { disk: disk.clone(), folder: disk.clone() }),
            quorum: other.clone(),
        };
        assert_eq!(client.raft(message).await.unwrap_err().code(), Code::FailedPrecondition, "{kind}");
    }
    let cluster_id = CLUSTER.to_string();
    let submit =
        proto::SubmitRequest { cluster_id: cluster_id.clone(), command: vec![], quorum: other.clone() };
    assert_eq!(client.submit(submit).await.unwrap_err().code(), Code::FailedPrecondition);
    let describe = proto::DescribeRequest { cluster_id: cluster_id.clone(), quorum: other.clone() };
    assert_eq!(client.describe(describe).await.unwrap_err().code(), Code::FailedPrecondition);
    let change =
        proto::SubmitVotersRequest { cluster_id: cluster_id.clone(), change: vec![], quorum: other.clone() };
    assert_eq!(client.submit_voters(change).await.unwrap_err().code(), Code::FailedPrecondition);
    let join = proto::JoinRequest { cluster_id, quorum: other, ..Default::default() };
    assert_eq!(client.join(join).await.unwrap_err().code(), Code::FailedPrecondition);
    for node in nodes {
        node.stop().await;
    }
}
