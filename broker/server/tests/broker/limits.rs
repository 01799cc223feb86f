//! Limits of connections, of idle time and of memory.

use std::time::Duration;

use ottla_wire::apis;
use ottla_wire::messages::*;
use tokio::io::AsyncWriteExt;

use crate::client::{PATIENCE, batch, fetch_request, produce_request};
use crate::harness::TestBroker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let broker = TestBroker::start(&["max.connections=2"]).await;
    let mut first = broker.connect().await;
    let mut second = broker.connect().await;
    for client in [&mut first, &mut second] {
        client.call::<apis::ApiVersions>(0, &ApiVersionsRequest::default()).await;
    }
    assert!(broker.connect().await.is_closed().await);
    drop(first);
    // The place becomes free once the broker has seen the end of the first one.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut next = broker.connect().await;
        next.send::<apis::ApiVersions>(0, &ApiVersionsRequest::default()).await;
        if next.receive(0).await.is_some() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "a closed connection makes room");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_a_long_poll_makes_room() {
    let broker = TestBroker::start(&["max.connections=1"]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    client.send::<apis::Fetch>(11, &FetchRequest { max_wait_ms: 60_000, ..fetch_request("t", 0, 0) }).await;
    drop(client);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut next = broker.connect().await;
        next.send::<apis::ApiVersions>(0, &ApiVersionsRequest::default()).await;
        if next.receive(0).await.is_some() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the poll of a client that is gone ends");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed() {
    let broker = TestBroker::start(&["connections.max.idle.ms=2000"]).await;
    let mut client = broker.connect().await;
    client.call::<apis::ApiVersions>(0, &ApiVersionsRequest::default()).await;
    assert!(client.is_closed().await);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_while_others_hold_the_memory() {
    let broker =
        TestBroker::start(&["socket.request.max.bytes=100000", "queued.max.request.bytes=100000"]).await;
    let mut greedy = broker.connect().await;
    // It announces all the memory there is, and sends half of it.
    greedy.socket.write_all(&100_000u32.to_be_bytes()).await.unwrap();
    greedy.socket.write_all(&[0; 50_000]).await.unwrap();
    let mut other = broker.connect().await;
    let held = async {
        // Whichever comes first takes the memory; once the greedy one has it, the other waits.
        loop {
            other.send::<apis::ApiVersions>(0, &ApiVersionsRequest::default()).await;
            let answer = tokio::time::timeout(Duration::from_millis(300), other.receive(0)).await;
            if answer.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, held).await.expect("the other one has to wait at last");
    drop(greedy);
    assert!(other.receive(0).await.is_some(), "and goes on once the memory is free");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let broker = TestBroker::start(&["socket.request.max.bytes=20000"]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let fits = batch(&[&"x".repeat(19_000)]);
    assert_eq!(client.produce("t", 0, &fits).await.1, 0);
    let large = batch(&[&"x".repeat(20_000)]);
    client.send::<apis::Produce>(9, &produce_request("t", 0, &large, -1)).await;
    assert!(client.is_closed().await);
    broker.stop().await;
}
