//! What clients are told while a leader is lost and its successor not known yet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ottla_server::broker::Doubts;
use ottla_wire::messages::MetadataRequest;
use ottla_wire::{ErrorCode, apis};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::client::batch;
use crate::cluster::elect;
use crate::replication::{PATIENCE, TestCluster, view_of};

/// The first of these brokers takes the second, a leader, for lost.
fn doubt(cluster: &TestCluster, at: i32, leader: i32) -> &Doubts {
    let server = cluster.broker(at).server();
    let epoch = server.image().broker(leader.into()).expect("it is registered").epoch;
    server.doubts.lose(leader.into(), epoch, Instant::now());
    &server.doubts
}

/// A client that lost a leader asks another broker, which has lost it too and doesn't know its successor yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_just_lost_is_told_as_none() {
    let (cluster, leader) = TestCluster::start_with_topic().await;
    // Acknowledged by all: then each follower's stream is there, and no new one ends the doubt.
    cluster.produce("t", "a").await;
    let mut told = Vec::new();
    // A doubt ends after two seconds, which may pass before a slow machine answers.
    while told.len() < 20 && !told.contains(&-1) {
        doubt(&cluster, 1, leader);
        told.push(cluster.view("t").await.0);
    }
    assert!(told.contains(&-1), "{told:?}");
    cluster.broker(1).server().doubts.reach(leader.into());
    assert_eq!(cluster.view("t").await.0, leader);
    cluster.end().await;
}

/// Before that it waits for a moment: for word of the successor, or for the leader itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_waits_for_a_doubt_to_end() {
    let (cluster, leader) = TestCluster::start_with_topic().await;
    let mut told = Vec::new();
    // On a slow machine a wait may be over before the doubt is.
    while told.len() < 20 && !told.contains(&leader) {
        let doubts = doubt(&cluster, 1, leader);
        let end = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            doubts.reach(leader.into());
        };
        told.push(tokio::join!(cluster.view("t"), end).0.0);
    }
    assert!(told.contains(&leader), "{told:?}");
    cluster.end().await;
}

/// It may ask before this broker's own stream from the leader has ended, which gets a moment to come to
/// light.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_an_old_connection_takes_a_moment() {
    let (cluster, leader) = TestCluster::start_with_topic().await;
    let mut client = cluster.client(1).await;
    // The broker may accept it late; once it has answered, the connection grows old there as it does here.
    view_of(&mut client, "t").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(view_of(&mut client, "t").await.0, leader);
        quickest = quickest.min(asked.elapsed());
    }
    assert!(quickest >= Duration::from_millis(15), "{quickest:?}");
    cluster.end().await;
}

/// librdkafka gives up a broker that it isn't told of, and with it the partitions that just went to another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_just_went_away_is_still_told_of() {
    let mut cluster = TestCluster::start(&[]).await;
    cluster.create_topic("t", &[]).await;
    let mut told = Vec::new();
    // On a slow machine it may have gone long ago when the answer is made.
    while told.len() < 5 && !told.contains(&vec![1, 2, 3]) {
        let leader = cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
        let stopped = cluster.stop(leader).await;
        cluster.wait("t", "another leader", |view| view.0 > 0 && view.0 != leader).await;
        let mut client = cluster.client(if leader == 1 { 2 } else { 1 }).await;
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let answer = client.call::<apis::Metadata>(12, &request).await;
        let brokers = answer.decode::<apis::Metadata>().brokers;
        told.push(brokers.iter().map(|broker| broker.node_id).collect::<Vec<_>>());
        cluster.start_again(stopped).await;
    }
    assert!(told.contains(&vec![1, 2, 3]), "{told:?}");
    cluster.end().await;
}

/// A client may hear of a new leader before that leader itself does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_word_that_its_broker_leads() {
    let mut cluster = TestCluster::start(&[]).await;
    cluster.create_topic("t", &[]).await;
    let mut answers = Vec::new();
    // On a slow machine the wait may be over before the election is, or the election before the write.
    for _ in 0..20 {
        let preferred = cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
        let stopped = cluster.stop(preferred).await;
        cluster.start_again(stopped).await;
        let other = cluster.wait("t", "all in sync again", |view| view.1 == [1, 2, 3]).await;
        if other == preferred {
            continue;
        }
        let (mut writer, mut administrator) = (cluster.client(preferred).await, cluster.client(other).await);
        doubt(&cluster, preferred, other);
        let records = batch(&["early"]);
        let elected = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            elect(&mut administrator, 0, Some(vec![0])).await
        };
        let ((error, _), _) = tokio::join!(writer.produce("t", 0, &records), elected);
        answers.push(error);
        if error == ErrorCode::None {
            break;
        }
    }
    assert!(answers.contains(&ErrorCode::None), "{answers:?}");
    cluster.end().await;
}

/// The way to a broker, which is closed when this is dropped: the listener and all connections.
struct Door(AbortHandle);

impl Door {
    fn open(listener: TcpListener, to: SocketAddr) -> Self {
        let all = async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut far = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        };
        Self(tokio::spawn(all).abort_handle())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_stream_ends_is_in_doubt() {
    let mut listeners = HashMap::new();
    for id in 1..=3 {
        listeners.insert(id, TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let advertised = |id: i32| format!("PLAINTEXT://{}", listeners[&id].local_addr().unwrap());
    let cluster =
        TestCluster::start_with(|id| vec![format!("advertised.listeners={}", advertised(id))]).await;
    let mut doors: HashMap<i32, Door> = listeners
        .into_iter()
        .map(|(id, listener)| (id, Door::open(listener, cluster.broker(id).address())))
        .collect();
    cluster.create_topic("t", &[]).await;
    // Acknowledged by all: then each follower's stream is there.
    cluster.produce("t", "a").await;
    let leader = cluster.wait("t", "all in sync", |view| view.1 == [1, 2, 3]).await;
    let follower = cluster.broker(if leader == 1 { 2 } else { 1 }).server();
    let doubted = || follower.doubts.now(&follower.image(), Instant::now());
    assert_eq!(doubted(), []);
    doors.remove(&leader);
    let deadline = Instant::now() + PATIENCE;
    while doubted() != [leader.into()] {
        assert!(Instant::now() < deadline, "the leader isn't in doubt");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.end().await;
}
