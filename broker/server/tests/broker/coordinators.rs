//! Group coordinators of running brokers, as what serves clients asks them: there are no such APIs yet.

use std::time::Instant;

use ottla_core::coordinator::Unavailable;
use ottla_core::group::{Generation, OffsetCommit, OffsetFetch, OffsetToCommit, Reply, Request};
use ottla_types::{Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

use crate::harness::TestBroker;
use crate::replication::{PATIENCE, TestCluster};

const TOPIC: &str = "__consumer_offsets";

fn commit(offset: i64) -> Request {
    let one = OffsetToCommit {
        topic: TopicName::new("t").unwrap(),
        topic_id: TopicId([3; 16]),
        partition: PartitionIndex(0),
        offset: Offset(offset),
        leader_epoch: None,
        metadata: None,
    };
    Request::OffsetCommit(OffsetCommit {
        group: "g".into(),
        member: None,
        instance: None,
        generation: Generation(-1),
        retention_ms: None,
        offsets: vec![one],
    })
}

fn fetch() -> Request {
    let partition = TopicPartition { topic: TopicName::new("t").unwrap(), partition: PartitionIndex(0) };
    let partitions = Some(vec![partition]);
    Request::OffsetFetch(OffsetFetch {
        group: "g".into(),
        partitions,
        require_stable: true,
        granted_bytes: usize::MAX,
    })
}

/// Asks until the coordinator is there.
async fn ask(broker: &TestBroker, request: impl Fn() -> Request) -> Reply {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = broker.server().coordinators.ask(PartitionIndex(0), request(), 100, Box::new(()));
        let reply = tokio::time::timeout(PATIENCE, asked.answer()).await.expect("it is answered").unwrap();
        let is_there = matches!(&reply, Reply::OffsetCommit(Ok(_)) | Reply::OffsetFetch(Ok(_)));
        if is_there || Instant::now() > deadline {
            return reply;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn committed(broker: &TestBroker) -> Option<i64> {
    let Reply::OffsetFetch(Ok(fetched)) = ask(broker, fetch).await else { panic!("it never serves") };
    fetched[0].committed.as_ref().map(|committed| committed.offset.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_has_its_groups_offsets_again_after_a_restart() {
    let broker = TestBroker::start(&[]).await;
    let asked = broker.server().coordinators.ask(PartitionIndex(0), fetch(), 100, Box::new(()));
    assert_eq!(asked.answer().await, Some(Reply::OffsetFetch(Err(Unavailable::NotCoordinator))));
    broker.connect().await.create_topic(TOPIC, 1, &[("cleanup.policy", "compact")]).await;
    assert_eq!(committed(&broker).await, None);
    assert_eq!(ask(&broker, || commit(7)).await, Reply::OffsetCommit(Ok(vec![Ok(())])));
    let broker = broker.restart().await;
    assert_eq!(committed(&broker).await, Some(7));
    assert_eq!(ask(&broker, || commit(8)).await, Reply::OffsetCommit(Ok(vec![Ok(())])));
    assert_eq!(committed(&broker).await, Some(8));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_outlives_its_coordinator() {
    let mut cluster = TestCluster::start(&["min.insync.replicas=2"]).await;
    cluster.create_topic(TOPIC, &[("cleanup.policy", "compact")]).await;
    let mut leader = cluster.wait(TOPIC, "all in sync", |view| view.1 == [1, 2, 3]).await;
    for offset in 0..3 {
        let told = ask(cluster.broker(leader), || commit(offset)).await;
        assert_eq!(told, Reply::OffsetCommit(Ok(vec![Ok(())])));
        let stopped = cluster.stop(leader).await;
        let next = cluster.wait(TOPIC, "another leader", |view| view.0 > 0 && view.0 != leader).await;
        assert_eq!(committed(cluster.broker(next)).await, Some(offset));
        cluster.start_again(stopped).await;
        cluster.wait(TOPIC, "all in sync", |view| view.1.len() == 3).await;
        leader = cluster.wait(TOPIC, "a leader", |view| view.0 > 0).await;
    }
    cluster.end().await;
}
