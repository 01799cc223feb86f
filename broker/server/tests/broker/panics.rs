//! A panic in any part of a broker ends it with the reason, and nothing acknowledged is lost.

use ottla_server::start::RunError;
use ottla_wire::apis;
use ottla_wire::messages::*;

use crate::client::{PATIENCE, batch};
use crate::harness::TestBroker;

/// Has a part panic, and sees that the broker fails for that reason and has its record again after a start.
async fn check(task: &str) {
    let mut broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(client.produce("t", 0, &batch(&["a"])).await.1, 0);
    broker.server().quorum.tasks().plant(task);
    if task == "apply the metadata" {
        let topic =
            CreatableTopic { name: "u", num_partitions: 1, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        client.send::<apis::CreateTopics>(7, &request).await;
    }
    let failed = tokio::time::timeout(PATIENCE, broker.failed()).await.expect("the panic is told");
    assert!(matches!(&failed, RunError::Bug(bug) if bug.task == task && bug.reason == "planted"), "{failed}");
    let broker = broker.restart().await;
    assert_eq!(broker.connect().await.values_from("t", 0, 0).await, ["a"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_of_the_broker_ends_it() {
    for task in [
        "serve http",
        "serve the control listener",
        "follow the metadata",
        "apply the metadata",
        "host group coordinators",
        "follow the leaders",
        "propose changes of the ISR",
        "look for lagging followers",
        "repair damage",
        "look for damage",
        "save high watermarks",
        "keep house",
        "serve a listener",
        "serve a connection",
    ] {
        check(task).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_has_a_thread_of_its_own_and_a_panic_there_ends_the_broker() {
    const TASK: &str = "serve a large request";
    let mut broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    broker.server().quorum.tasks().plant(TASK);
    assert_eq!(client.produce("t", 0, &batch(&["a"])).await.1, 0, "a small one has none");
    let topic = |_| MetadataRequestTopic { name: Some("unknown"), ..Default::default() };
    let request = MetadataRequest { topics: Some((0..10_000).map(topic).collect()), ..Default::default() };
    client.send::<apis::Metadata>(9, &request).await;
    let failed = tokio::time::timeout(PATIENCE, broker.failed()).await.expect("the panic is told");
    assert!(matches!(&failed, RunError::Bug(bug) if bug.task == TASK && bug.reason == "planted"), "{failed}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_of_the_quorum_ends_the_broker() {
    for task in [
        "tell who leads",
        "watch the metadata's room",
        "stand for election",
        "hold the session",
        "fence the silent",
        "fence the gone",
        "tend the voters",
        "do the controller's chores",
        "keep the registration",
        "decide commands",
    ] {
        check(task).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_what_follows_a_leader_ends_the_follower_alone() {
    let leader = TestBroker::start(&[]).await;
    let servers = format!("controller.quorum.bootstrap.servers=127.0.0.1:{}", leader.control_port());
    let mut follower = TestBroker::start(&["node.id=2", "process.roles=broker", &servers]).await;
    let mut client = leader.connect().await;
    client.create_topic_on("t", &[1, 2], &[("min.insync.replicas", "1")]).await;
    assert_eq!(client.produce("t", 0, &batch(&["a"])).await.1, 0);
    follower.server().quorum.tasks().plant("follow a leader");
    let failed = tokio::time::timeout(PATIENCE, follower.failed()).await.expect("the panic is told");
    assert!(matches!(&failed, RunError::Bug(bug) if bug.task == "follow a leader"), "{failed}");
    follower.stop().await;
    assert_eq!(client.produce("t", 0, &batch(&["b"])).await.1, 1, "the leader goes on");
    leader.stop().await;
}
