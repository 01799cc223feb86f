//! A quorum that lost its voters' disks goes on from what another broker has, by an administrator's word.

use std::path::Path;

use ottla_control::proto::{self, recovery_client::RecoveryClient};
use ottla_core::metadata::MetadataImage;
use ottla_quorum::{QuorumConfig, Voters};
use ottla_types::{BrokerId, LeaderEpoch, PartitionIndex, QuorumId};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{
    CLUSTER, DEADLINE, Place, Running, all_equal, create_topic, in_service, leader_of, places, poll,
    registered_again, start_all, voters_of, within,
};
use crate::identity::{grown, grown_cluster, is_without_controller};

async fn client(place: &Place) -> RecoveryClient<Channel> {
    RecoveryClient::connect(format!("http://{}", place.address)).await.unwrap()
}

async fn copy(place: &Place) -> proto::MetadataCopy {
    let asked = client(place).await.describe_metadata(proto::DescribeMetadataRequest {}).await;
    asked.unwrap().into_inner()
}

/// Has the node at this place rebuild the quorum, as `seen`.
async fn recover(place: &Place, seen: &proto::MetadataCopy) -> Result<String, Status> {
    let request = proto::RecoverQuorumRequest {
        cluster_id: CLUSTER.to_string(),
        quorum: seen.quorum.clone(),
        last_term: seen.last_term,
        last_index: seen.last_index,
        beyond_term: seen.last_term,
        beyond_index: seen.last_index,
    };
    Ok(client(place).await.recover_quorum(request).await?.into_inner().quorum_id)
}

/// Starts a node again that says that it has to.
async fn start_again(node: Running, place: &Place, config: QuorumConfig) -> Running {
    within("a reason to start again", node.quorum.has_to_start_again()).await;
    node.crash().await;
    place.start(config).await
}

fn follows(node: &Running, quorum: &str) -> bool {
    node.quorum.quorum_id().is_some_and(|id| id.to_string() == quorum)
}

fn leader_epoch(image: &MetadataImage) -> LeaderEpoch {
    image.partition("kept", PartitionIndex(0)).unwrap().leader_epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metadata_goes_on_from_another_brokers_copy() {
    let (mut places, mut nodes) = grown_cluster().await;
    all_equal(&nodes).await;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while copy(&places[1]).await.applied_index != Some(copy(&places[1]).await.last_index) {
        assert!(tokio::time::Instant::now() < deadline, "all of its log becomes known to be committed");
    }
    let before = nodes[1].image();
    nodes.remove(0).crash().await;
    places[0].wipe();
    let empty = places[0].start(grown(&places[0], &places)).await;
    let seen = copy(&places[1]).await;
    assert!(seen.topics == 1 && !seen.votes, "{seen:?}");
    assert_eq!(copy(&places[0]).await.last_index, 0);
    let quorum = recover(&places[1], &seen).await.unwrap();
    let second = start_again(nodes.remove(0), &places[1], grown(&places[1], &places)).await;
    poll("an active controller", || second.quorum.active_controller().filter(|id| *id == BrokerId(1))).await;
    // Nobody says a word to the others.
    let third = start_again(nodes.remove(0), &places[2], grown(&places[2], &places)).await;
    let nodes = [empty, second, third];
    registered_again(&nodes, &before).await;
    all_equal(&nodes).await;
    assert!(nodes.iter().all(|node| follows(node, &quorum)));
    // It isn't left for the one that it was rebuilt from.
    let cluster_id = CLUSTER.to_string();
    let back = proto::FollowQuorumRequest { cluster_id, leaves: quorum.clone(), quorum: seen.quorum };
    let refused = client(&places[2]).await.follow_quorum(back).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    let after = nodes[0].image();
    assert_eq!(after.topic("kept").unwrap().id, before.topic("kept").unwrap().id);
    assert!(leader_epoch(&after).0 > leader_epoch(&before).0 + 1_000, "none is given out twice");
    assert!(after.version.0 > before.version.0 + 1_000);
    let is_new = |id: i32| after.broker(BrokerId(id)).unwrap().epoch.0 > before.next_broker_epoch.0 + 1_000;
    assert!((0..3).all(is_new));
    create_topic(&nodes[0], "afterwards", 1).await;
    // It is the same after a restart of all.
    for node in nodes {
        node.crash().await;
    }
    let nodes = start_all(&places, |place| grown(place, &places)).await;
    registered_again(&nodes, &after).await;
    create_topic(&nodes[2], "in-the-end", 1).await;
    assert!(nodes[2].image().topic("afterwards").is_some());
    for node in nodes {
        node.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_newer_metadata_follows_only_by_an_administrators_word() {
    let (mut places, mut nodes) = grown_cluster().await;
    nodes.pop().unwrap().crash().await;
    create_topic(&nodes[1], "late", 1).await;
    for node in nodes {
        node.crash().await;
    }
    places[0].wipe();
    let old = places[2].start(grown(&places[2], &places)).await;
    let quorum = recover(&places[2], &copy(&places[2]).await).await.unwrap();
    let old = start_again(old, &places[2], grown(&places[2], &places)).await;
    poll("an active controller", || old.quorum.active_controller().filter(|id| *id == BrokerId(2))).await;
    let newer = places[1].start(grown(&places[1], &places)).await;
    let told = poll("the reason why it doesn't follow", || {
        newer.quorum.trouble().filter(|trouble| trouble.contains("it carries ours on up to"))
    });
    let told = told.await;
    assert!(told.contains("ottla quorum recover"), "{told}");
    is_without_controller(&newer).await;
    assert!(!follows(&newer, &quorum));

    let follow = async |leaves: String| {
        let request = proto::FollowQuorumRequest {
            cluster_id: CLUSTER.to_string(),
            leaves,
            quorum: copy(&places[2]).await.quorum,
        };
        client(&places[1]).await.follow_quorum(request).await
    };
    assert_eq!(follow(quorum.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    let leaves = newer.quorum.quorum_id().unwrap().to_string();
    follow(leaves.clone()).await.unwrap();
    let newer = start_again(newer, &places[1], grown(&places[1], &places)).await;
    in_service(&[old, newer], 2).await;
    let kept = places[1].dir.path().join(format!("ottla-quorum-{leaves}.old"));
    assert!(kept.join("quorum-state").exists(), "the log with what is lost is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_that_lives_is_not_left_for_one_that_was_rebuilt_from_it() {
    let (places, nodes) = grown_cluster().await;
    all_equal(&nodes).await;
    let seen = copy(&places[1]).await;
    let ours = seen.quorum.unwrap();
    let ancestor = proto::Ancestor { id: ours.id.clone(), term: seen.last_term, index: seen.last_index };
    let follow = async |succeeds: Vec<proto::Ancestor>| {
        let id = "AAAAAAAAAAAAAAAAAAAAAQ".to_owned();
        let request = proto::FollowQuorumRequest {
            cluster_id: CLUSTER.to_string(),
            leaves: ours.id.clone(),
            quorum: Some(proto::Lineage { id, succeeds }),
        };
        client(&places[1]).await.follow_quorum(request).await
    };
    // As if a broker that is cut off had rebuilt it.
    let refused = follow(vec![ancestor]).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    create_topic(&nodes[1], "later", 1).await;
    // One that was formed beside another one is left though it lives.
    follow(vec![]).await.unwrap();
    within("a reason to start again", nodes[1].quorum.has_to_start_again()).await;
    for node in nodes {
        node.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lost_voters_of_three_are_made_up_for() {
    let mut places = places(3);
    let voters = voters_of(&places);
    let nodes = start_all(&places, |place| place.config(voters.clone())).await;
    in_service(&nodes, 3).await;
    create_topic(&nodes[0], "kept", 3).await;
    all_equal(&nodes).await;
    for node in nodes {
        node.crash().await;
    }
    places[0].wipe();
    places[1].wipe();
    let left = places[2].start(places[2].config(voters.clone())).await;
    is_without_controller(&left).await;
    // Nobody tells it what is committed, so it can't count the topics in its log.
    let seen = copy(&places[2]).await;
    assert!(seen.topics == 0 && seen.applied_index.unwrap() < seen.last_index, "{seen:?}");
    let quorum = recover(&places[2], &seen).await.unwrap();
    let left = start_again(left, &places[2], places[2].config(voters.clone())).await;
    let mut nodes = start_all(&places[..2], |place| place.config(voters.clone())).await;
    nodes.push(left);
    in_service(&nodes, 3).await;
    assert!(nodes.iter().all(|node| follows(node, &quorum) && node.image().topic("kept").is_some()));
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while nodes[0].describe().await.voters.len() < 3 {
        assert!(tokio::time::Instant::now() < deadline, "the others never vote again");
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_is_not_rebuilt_without_need_or_upon_something_else_than_was_seen() {
    let (places, mut nodes) = grown_cluster().await;
    let seen = copy(&places[1]).await;
    let refused = async |seen: &proto::MetadataCopy, code: Code| {
        assert_eq!(recover(&places[1], seen).await.unwrap_err().code(), code);
    };
    refused(&seen, Code::AlreadyExists).await;
    nodes.remove(0).crash().await;
    let seen = copy(&places[1]).await;
    let other = proto::MetadataCopy { last_index: seen.last_index - 1, ..seen.clone() };
    refused(&other, Code::FailedPrecondition).await;
    refused(&proto::MetadataCopy { quorum: None, ..seen }, Code::FailedPrecondition).await;
    for node in nodes {
        node.crash().await;
    }
}

/// Has the node at this place leave for another quorum, and returns that one's id.
async fn leave(place: &Place) -> String {
    let quorum = QuorumId([7; 16]).to_string();
    let request = proto::FollowQuorumRequest {
        cluster_id: CLUSTER.to_string(),
        leaves: copy(place).await.quorum.unwrap().id,
        quorum: Some(proto::Lineage { id: quorum.clone(), succeeds: Vec::new() }),
    };
    client(place).await.follow_quorum(request).await.unwrap();
    quorum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_is_not_rebuilt_while_a_majority_is_there_with_its_logs() {
    let places = places(3);
    let voters = voters_of(&places);
    let mut nodes = start_all(&places, |place| place.config(voters.clone())).await;
    in_service(&nodes, 3).await;
    let leader = leader_of(&nodes).await;
    // They answer and take no messages of the consensus any more, so that nobody is elected.
    let others: Vec<&Place> = places.iter().filter(|place| place.id != nodes[leader].id).collect();
    for place in &others {
        leave(place).await;
    }
    let place = &places[leader];
    let refusal = recover(place, &copy(place).await).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    assert!(refusal.message().contains("majority of the voters is there"), "{refusal}");
    let chosen = nodes.remove(leader);
    for node in nodes {
        node.crash().await;
    }
    let deadline = tokio::time::Instant::now() + DEADLINE;
    // It may still have begun something that nobody takes from it.
    while let Err(refusal) = recover(place, &copy(place).await).await {
        assert!(refusal.message().contains("look again"), "{refusal}");
        assert!(tokio::time::Instant::now() < deadline, "{refusal}");
    }
    let refusal = recover(place, &copy(place).await).await.unwrap_err();
    // An administrator must not take this for a quorum that lives.
    assert_eq!(refusal.code(), Code::Aborted, "{refusal}");
    assert!(refusal.message().contains("rebuilding"), "{refusal}");
    chosen.crash().await;
}

/// Has the node of this data folder, which isn't running, follow another quorum when it starts.
fn follow_at_the_next_start(dir: &Path, quorum: QuorumId, up_to: serde_json::Value) {
    let file = dir.join("ottla-quorum");
    let mut content: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let quorum = serde_json::json!({ "id": quorum, "succeeds": [] });
    content["next"] = serde_json::json!({ "Follow": { "quorum": quorum, "up_to": up_to } });
    std::fs::write(&file, serde_json::to_vec(&content).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_got_newer_metadata_before_it_left_stays() {
    let place = Place::new(0);
    let config = || place.config(Voters::Static(vec![place.voter()]));
    let node = place.start(config()).await;
    in_service(std::slice::from_ref(&node), 1).await;
    create_topic(&node, "late", 1).await;
    let (ours, end) = (node.quorum.quorum_id().unwrap(), copy(&place).await);
    node.crash().await;
    let other = QuorumId([7; 16]);
    let before = serde_json::json!({ "term": end.last_term, "index": end.last_index - 1 });
    follow_at_the_next_start(place.dir.path(), other, before);
    let node = place.start(config()).await;
    assert_eq!(node.quorum.quorum_id(), Some(ours));
    node.until("the topic", |image| image.topic("late").is_some()).await;
    let end = copy(&place).await;
    node.crash().await;
    // Nothing is left to be done.
    let node = place.start(config()).await;
    assert_eq!(node.quorum.quorum_id(), Some(ours));
    node.crash().await;
    // Its own election may have added to the log.
    let all = serde_json::json!({ "term": end.last_term + 100, "index": end.last_index });
    follow_at_the_next_start(place.dir.path(), other, all);
    let node = place.start(config()).await;
    assert_eq!(node.quorum.quorum_id(), Some(other));
    node.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_that_is_left_once_more_is_kept_under_another_name() {
    let place = Place::new(0);
    let config = || place.config(Voters::Static(vec![place.voter()]));
    let node = place.start(config()).await;
    in_service(std::slice::from_ref(&node), 1).await;
    create_topic(&node, "kept", 1).await;
    let ours = node.quorum.quorum_id().unwrap();
    node.crash().await;
    let kept = |end: &str| place.dir.path().join(format!("ottla-quorum-{ours}{end}"));
    for end in [".old", "-2.old"] {
        std::fs::create_dir(kept(end)).unwrap();
        std::fs::write(kept(end).join("quorum-state"), "from before").unwrap();
    }
    follow_at_the_next_start(place.dir.path(), QuorumId([7; 16]), serde_json::Value::Null);
    let node = place.start(config()).await;
    assert_eq!(node.quorum.quorum_id(), Some(QuorumId([7; 16])));
    assert!(kept("-3.old").join("quorum-state").exists());
    for end in [".old", "-2.old"] {
        assert_eq!(std::fs::read_to_string(kept(end).join("quorum-state")).unwrap(), "from before");
    }
    node.crash().await;
}
