//! Full disks: a node waits for room, and others go on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use ottla_control::proto::{self, quorum_client::QuorumClient};
use ottla_core::metadata::Reply;
use ottla_quorum::{QuorumConfig, SubmitError, Tuning};
use ottla_sim::SimDisk;
use ottla_store::Disk;
use tonic::Code;

use crate::harness::{
    Place, Running, all_equal, create, create_topic, in_service, leader_of, places, poll, start_all,
    voters_of, within,
};

/// How long a command may take that may have to wait for room.
const SHORT: Duration = Duration::from_secs(3);

/// Partitions of a topic whose entry in the log is large.
const MANY: i32 = 500;

fn small_segments() -> Tuning {
    Tuning { log_segment_bytes: 64 << 10, ..Tuning::default() }
}

fn on_a_sim_disk(place: &mut Place) -> SimDisk {
    let disk = SimDisk::new(1, None);
    place.disk = Arc::new(disk.clone());
    disk
}

/// Fills the disk of a node, the active controller, until its metadata waits for room. The topic that waits.
async fn fill(node: &Running, disk: &SimDisk) -> String {
    disk.set_bytes_max(Some(0));
    create_topic(node, "in-allocated-space", 1).await;
    let mut number = 0;
    loop {
        assert!(number < 100, "the disk is never full");
        let name = format!("large-{number}");
        match node.submit_within(create(&name, MANY), SHORT).await {
            Ok(reply) => {
                assert!(matches!(&reply, Reply::TopicsCreated(created) if created[0].is_ok()), "{reply:?}");
                number += 1;
            }
            Err(SubmitError::TimedOut(_)) => return name,
            Err(other) => panic!("{other}"),
        }
    }
}

/// A single node that waits for room, where it listens, its disk, and the topic that waits.
async fn alone_on_a_full_disk() -> (Running, SocketAddr, SimDisk, String) {
    let mut places = places(1);
    let disk = on_a_sim_disk(&mut places[0]);
    let voters = voters_of(&places);
    let mut nodes =
        start_all(&places, |place| QuorumConfig { tuning: small_segments(), ..place.config(voters.clone()) })
            .await;
    in_service(&nodes, 1).await;
    let node = nodes.remove(0);
    let waits = fill(&node, &disk).await;
    (node, places[0].address, disk, waits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_waits_until_there_is_room() {
    let (node, _, disk, waits) = alone_on_a_full_disk().await;
    assert!(node.quorum.failed().now_or_never().is_none(), "a full disk is no failure");
    assert!(node.image().topic("in-allocated-space").is_some());
    disk.set_bytes_max(None);
    node.until("the topic that waited", |image| image.topic(&waits).is_some()).await;
    create_topic(&node, "afterwards", 1).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_for_room_can_be_stopped() {
    let (node, ..) = alone_on_a_full_disk().await;
    within("the node to stop", node.stop()).await;
}

/// The log has room of its own, and purging it can wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_waits_for_room_holds_nothing_up() {
    let mut places = places(1);
    let disk = on_a_sim_disk(&mut places[0]);
    let tuning = Tuning { snapshot_after_entries: 10, entries_kept: 5, ..Tuning::default() };
    let voters = voters_of(&places);
    let config = |place: &Place| QuorumConfig { tuning: tuning.clone(), ..place.config(voters.clone()) };
    let nodes = start_all(&places, config).await;
    in_service(&nodes, 1).await;
    disk.set_bytes_max(Some(0));
    for number in 0..40 {
        create_topic(&nodes[0], &format!("small-{number}"), 1).await;
    }
    let has_snapshot = || {
        let names = disk.list(&places[0].metadata_folder()).unwrap();
        names.iter().any(|entry| entry.name.ends_with(".checkpoint")).then_some(())
    };
    assert!(has_snapshot().is_none(), "it had room");
    disk.set_bytes_max(None);
    poll("the snapshot that waited", has_snapshot).await;
    for node in nodes {
        node.stop().await;
    }
}

/// It waits already: more would pile up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_for_room_refuses_more() {
    let (node, address, disk, _) = alone_on_a_full_disk().await;
    let mut client = QuorumClient::connect(format!("http://{address}")).await.unwrap();
    let known = client.identify(proto::IdentifyRequest::default()).await.unwrap().into_inner();
    let vote = proto::RaftMessage {
        cluster_id: known.cluster_id.clone(),
        kind: "vote".to_owned(),
        payload: b"no vote".to_vec(),
        addressee: known.identity,
        quorum: known.quorum.clone(),
    };
    let command = serde_json::to_vec(&create("more", 1)).unwrap();
    let submit = proto::SubmitRequest { cluster_id: known.cluster_id, command, quorum: known.quorum };
    let refused = client.raft(vote.clone()).await.unwrap_err();
    assert!(refused.message().contains("make room there"), "{refused}");
    let refused = within("an answer at once", client.submit(submit.clone())).await.unwrap_err();
    assert!(refused.message().contains("make room there"), "{refused}");

    disk.set_bytes_max(None);
    let taken = async {
        while client.submit(submit.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the command to be taken", taken).await;
    let refused = client.raft(vote).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_controller_takes_over_from_one_without_room() {
    let mut places = places(3);
    let disks: Vec<SimDisk> = places.iter_mut().map(on_a_sim_disk).collect();
    let voters = voters_of(&places);
    let nodes =
        start_all(&places, |place| QuorumConfig { tuning: small_segments(), ..place.config(voters.clone()) })
            .await;
    in_service(&nodes, 3).await;
    let full = leader_of(&nodes).await;
    // Others may have taken over before the last command is given up.
    let began = Instant::now();
    disks[full].set_bytes_max(Some(0));
    let others: Vec<&Running> = (0..3).filter(|at| *at != full).map(|at| &nodes[at]).collect();
    let mut number = 0;
    while others.iter().any(|node| node.quorum.active_controller() == Some(nodes[full].id)) {
        assert!(number < 100, "the disk is never full");
        let _ = others[0].submit_within(create(&format!("large-{number}"), MANY), SHORT).await;
        number += 1;
    }
    println!("another controller after {} ms and {number} topics", began.elapsed().as_millis());
    create_topic(others[1], "without-it", 1).await;
    assert!(nodes[full].image().topic("without-it").is_none(), "its disk isn't full");
    assert!(nodes[full].quorum.failed().now_or_never().is_none());
    disks[full].set_bytes_max(None);
    poll("the node to follow again", || nodes[full].image().topic("without-it").map(|_| ())).await;
    all_equal(&nodes).await;
    for node in nodes {
        within("the node to stop", node.stop()).await;
    }
}
