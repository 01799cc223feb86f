//! Who votes: with which log, how many, and who takes a lost one's place.

use std::collections::BTreeSet;
use std::time::Duration;

use ottla_control::proto::{self, quorum_client::QuorumClient};
use ottla_quorum::{QuorumConfig, QuorumDescription, SubmitError, Tuning, Voters, VotersError};
use ottla_types::{BrokerId, DirectoryId};
use tonic::Code;

use crate::harness::{
    CLUSTER, DEADLINE, Place, Running, all_equal, create, create_topic, in_service, leader_of, live, places,
    start_all, voters_of,
};

fn ids(ids: &[i32]) -> BTreeSet<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn voting(quorum: &QuorumDescription) -> BTreeSet<BrokerId> {
    quorum.voters.iter().map(|replica| replica.id).collect()
}

/// With a log so short that who comes late gets a snapshot.
fn short_log(place: &Place, voters: &Voters) -> QuorumConfig {
    let tuning = Tuning { snapshot_after_entries: 20, entries_kept: 5, ..Tuning::default() };
    QuorumConfig { tuning, ..place.config(voters.clone()) }
}

async fn three() -> (Vec<Place>, Vec<Running>) {
    let places = places(3);
    let voters = voters_of(&places);
    let nodes = start_all(&places, |place| short_log(place, &voters)).await;
    in_service(&nodes, 3).await;
    (places, nodes)
}

/// Waits until the quorum is as wanted, as the active controller sees it.
async fn until(node: &Running, what: &str, wanted: impl Fn(&QuorumDescription) -> bool) -> QuorumDescription {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let quorum = node.describe().await;
        if wanted(&quorum) {
            return quorum;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}: {quorum:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_without_its_log_learns_first_and_votes_again() {
    let (mut places, mut nodes) = three().await;
    let voters = voters_of(&places);
    for n in 0..40 {
        create_topic(&nodes[0], &format!("topic-{n}"), 1).await;
    }
    let leader = leader_of(&nodes).await;
    let lost = (leader + 1) % 3;
    nodes.remove(lost).crash().await;
    places[lost].wipe();
    let config = short_log(&places[lost], &voters);
    nodes.insert(lost, places[lost].start(config).await);
    let (id, disk) = (places[lost].id, places[lost].directory_id);
    let back = |quorum: &QuorumDescription| {
        voting(quorum) == ids(&[0, 1, 2])
            && quorum.voters.iter().any(|replica| replica.id == id && replica.directory_id == disk)
    };
    until(&nodes[leader], "the voter to vote again", back).await;
    for node in &nodes {
        node.until("three brokers in service", |image| live(image) == 3 && image.topics.len() == 40).await;
    }
    all_equal(&nodes).await;
    // It counts: one of the two others may be lost. First something is committed after the change.
    create_topic(&nodes[0], "in-between", 1).await;
    nodes.remove(leader).crash().await;
    create_topic(&nodes[0], "afterwards", 1).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_without_its_log_makes_no_majority() {
    let (mut places, mut nodes) = three().await;
    let voters = voters_of(&places);
    let leader = leader_of(&nodes).await;
    let (down, lost) = ((leader + 1) % 3, (leader + 2) % 3);
    let (leader_id, down_id, lost_id) = (places[leader].id, places[down].id, places[lost].id);
    for id in [down_id, lost_id] {
        let position = nodes.iter().position(|node| node.id == id).unwrap();
        nodes.remove(position).crash().await;
    }
    places[lost].wipe();
    let config = short_log(&places[lost], &voters);
    nodes.push(places[lost].start(config).await);
    // One voter with its log and one without are no majority of three, whatever they hear of each other.
    for node in &nodes {
        let outcome = node.submit_within(create("lost", 1), Duration::from_millis(1_000)).await;
        assert!(matches!(outcome, Err(SubmitError::TimedOut(_))), "{outcome:?}");
    }
    let config = short_log(&places[down], &voters);
    nodes.push(places[down].start(config).await);
    let node = nodes.iter().find(|node| node.id == leader_id).unwrap();
    until(node, "three voters", |quorum| {
        let disk =
            |r: &ottla_quorum::QuorumReplica| r.id == lost_id && r.directory_id == places[lost].directory_id;
        quorum.voters.len() == 3 && quorum.voters.iter().any(disk)
    })
    .await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_without_their_logs_never_form_another_quorum() {
    let (mut places, nodes) = three().await;
    let voters = voters_of(&places);
    create_topic(&nodes[0], "kept", 1).await;
    for node in nodes {
        node.crash().await;
    }
    let mut started = Vec::new();
    for place in &mut places[..2] {
        place.wipe();
        let config = short_log(place, &voters);
        started.push(place.start(config).await);
    }
    // A majority by number, with the lowest id among them, and all of them know of nothing.
    let nothing = |node: &Running| (node.quorum.active_controller(), node.image().brokers.len()) == (None, 0);
    for node in &started {
        let outcome = node.submit_within(create("lost", 1), Duration::from_millis(1_000)).await;
        assert!(matches!(outcome, Err(SubmitError::TimedOut(_))) && nothing(node), "{outcome:?}");
    }
    let config = short_log(&places[2], &voters);
    started.push(places[2].start(config).await);
    for node in &started {
        let outcome = node.submit_within(create("lost", 1), Duration::from_millis(1_000)).await;
        assert!(matches!(outcome, Err(SubmitError::TimedOut(_))), "{outcome:?}");
    }
    assert!(started[..2].iter().all(nothing));
    for node in started {
        node.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_for_a_log_that_is_gone_is_refused() {
    let (places, nodes) = three().await;
    let message = proto::RaftMessage {
        cluster_id: CLUSTER.to_string(),
        kind: "vote".to_owned(),
        payload: b"{}".to_vec(),
        addressee: Some(proto::Identity {
            disk: places[1].directory_id.to_string(),
            folder: DirectoryId([77; 16]).to_string(),
        }),
        quorum: None,
    };
    let mut client = QuorumClient::connect(format!("http://{}", places[1].address)).await.unwrap();
    assert_eq!(client.raft(message).await.unwrap_err().code(), Code::FailedPrecondition);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_with_the_id_of_one_that_lives_is_refused() {
    let (places, nodes) = three().await;
    let leader = leader_of(&nodes).await;
    let id = places[(leader + 1) % 3].id;
    let disk = DirectoryId([77; 16]).to_string();
    let request = proto::JoinRequest {
        cluster_id: CLUSTER.to_string(),
        node_id: id.0,
        control_address: "127.0.0.1:1".to_owned(),
        identity: Some(proto::Identity { disk: disk.clone(), folder: disk }),
        voter: true,
        quorum: None,
    };
    let mut client = QuorumClient::connect(format!("http://{}", places[leader].address)).await.unwrap();
    assert_eq!(client.join(request).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(voting(&nodes[leader].describe().await), ids(&[0, 1, 2]));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_change_from_one_to_three_to_five_and_back() {
    let places = places(5);
    let voters = Voters::Static(vec![places[0].voter()]);
    let config = |place: &Place| QuorumConfig { voter: place.id == BrokerId(0), ..short_log(place, &voters) };
    let mut nodes = start_all(&places, config).await;
    in_service(&nodes, 5).await;
    for wanted in [&[0, 1, 2][..], &[0, 1, 2, 3, 4], &[1, 2, 3]] {
        // From any node, the active controller's own vote included.
        nodes[4].set_voters(ids(wanted)).await.unwrap();
        let quorum = until(&nodes[4], "the voters", |quorum| voting(quorum) == ids(wanted)).await;
        assert_eq!(quorum.observers.len(), 5 - wanted.len());
        create_topic(&nodes[3], &format!("with-{}", wanted.len()), 1).await;
    }
    assert_ne!(nodes[4].describe().await.leader, BrokerId(0), "who votes no more leads no more");
    // A dead one is replaced.
    let dead = nodes.remove(2);
    assert_eq!(dead.id, BrokerId(2));
    dead.crash().await;
    nodes[0].set_voters(ids(&[1, 3, 4])).await.unwrap();
    create_topic(&nodes[0], "afterwards", 1).await;
    assert_eq!(nodes[0].set_voters(ids(&[1, 7])).await, Err(VotersError::Unknown(BrokerId(7))));
    all_equal(&nodes).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_grows_gets_its_voters_by_itself() {
    let places = places(5);
    let config = |place: &Place| match place.id {
        BrokerId(0) => short_log(place, &Voters::Static(vec![places[0].voter()])),
        _ => short_log(place, &Voters::Bootstrap(vec![places[0].address.to_string()])),
    };
    let mut nodes = Vec::new();
    for (place, votes) in places.iter().zip([1, 1, 3, 3, 5]) {
        nodes.push(place.start(config(place)).await);
        in_service(&nodes, nodes.len()).await;
        until(&nodes[0], "the voters", |quorum| quorum.voters.len() == votes).await;
    }
    // The one that all began with may be lost now, and another one.
    for node in nodes.drain(..2) {
        node.crash().await;
    }
    create_topic(&nodes[0], "afterwards", 1).await;
    let quorum = nodes[0].describe().await;
    assert_eq!(voting(&quorum), ids(&[0, 1, 2, 3, 4]), "only administrators take a vote away");
    nodes[0].set_voters(ids(&[2, 3, 4])).await.unwrap();
    create_topic(&nodes[0], "in-the-end", 1).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_comes_back_at_another_address_is_reached_there() {
    let mut places = places(3);
    let bootstrap =
        |places: &[Place]| Voters::Bootstrap(places.iter().map(|place| place.address.to_string()).collect());
    let voters = bootstrap(&places);
    let mut nodes = start_all(&places, |place| place.config(voters.clone())).await;
    in_service(&nodes, 3).await;
    let moved = (leader_of(&nodes).await + 1) % 3;
    nodes.remove(moved).crash().await;
    places[moved].address = Place::new(9).address;
    let node = places[moved].start(places[moved].config(bootstrap(&places))).await;
    create_topic(&nodes[0], "afterwards", 1).await;
    node.until("what was committed since", |image| image.topic("afterwards").is_some()).await;
    nodes.push(node);
    in_service(&nodes, 3).await;
    for node in nodes {
        node.stop().await;
    }
}
