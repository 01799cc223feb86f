//! What requests take while they are served, counted by the allocator: no more than what is charged for them.

#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

#[path = "../broker/client.rs"]
#[allow(dead_code, reason = "it is the other tests' too")]
mod client;
mod counted;
#[path = "../broker/harness.rs"]
#[allow(dead_code, reason = "it is the other tests' too")]
mod harness;
mod requests;

use ottla_server::handlers::{SERVED, Served};
use ottla_server::request::AnswerCost;
use ottla_wire::{Api, encode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use client::PATIENCE;
use harness::TestBroker;

#[global_allocator]
static ALLOCATOR: counted::Counted = counted::Counted;

/// Held by each test from its beginning to its end: the allocator counts what the whole process takes.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What a broker does beside, in bytes.
const BESIDE_BYTES: usize = 2 << 20;

/// A request as it is sent, its length before it.
struct Request {
    what: &'static str,
    frame: Vec<u8>,
    version: i16,
    served: &'static Served,
    /// What is charged for each byte of its answer, where that isn't bounded by the request's own length.
    answer_factor: usize,
}

fn request<A: Api>(what: &'static str, version: i16, request: &A::Request<'_>) -> Request {
    let encoded = encode_request::<A>(Default::default(), 1, Some("test"), version, request).unwrap();
    let served = SERVED.iter().find(|served| served.key == A::KEY).unwrap();
    Request { what, frame: encoded.bytes.to_vec(), version, served, answer_factor: 0 }
}

/// Sends a request and returns what was allocated at the most until its answer was here, and the answer's
/// length; none if the connection was closed instead.
async fn served(broker: &TestBroker, request: &Request) -> (usize, Option<usize>) {
    let mut client = broker.connect().await;
    let before = counted::begin();
    let answer = async {
        client.socket.write_all(&request.frame).await.ok()?;
        let mut length = [0; 4];
        client.socket.read_exact(&mut length).await.ok()?;
        let length = u32::from_be_bytes(length) as usize;
        let (mut piece, mut left) = (vec![0; 64 << 10], length);
        while left > 0 {
            let most = left.min(piece.len());
            left -= client.socket.read(&mut piece[..most]).await.ok().filter(|read| *read > 0)?;
        }
        Some(length)
    };
    let answered = tokio::time::timeout(PATIENCE, answer).await.expect("an answer, or the connection's end");
    (counted::most() - before, answered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_take_no_more_than_is_charged_for_them() {
    let _alone = ALONE.lock().await;
    let broker = TestBroker::start(&["delete.topic.enable=true", "auto.create.topics.enable=false"]).await;
    broker.connect().await.create_topic("t", 4, &[]).await;
    broker.connect().await.create_topic(&requests::longest_name(), 1, &[]).await;
    let mut complaints = Vec::new();
    for request in requests::all() {
        let (most, answered) = served(&broker, &request).await;
        let body = &request.frame[4..];
        let measured = (request.served.measure)(body, request.version, usize::MAX).unwrap();
        let cost = (measured.arrays + measured.texts) * request.served.cost_factor;
        // A frame's buffer may have grown to twice its size, and what was in it was copied.
        let allowed =
            cost + 3 * body.len() + request.answer_factor * answered.unwrap_or_default() + BESIDE_BYTES;
        let needed =
            most.saturating_sub(3 * body.len() + BESIDE_BYTES) / (measured.arrays + measured.texts).max(1);
        let line = format!(
            "{} of {} KiB: {} KiB of {} KiB (factor {} of {}), answered {answered:?}",
            request.what,
            body.len() >> 10,
            most >> 10,
            allowed >> 10,
            needed,
            request.served.cost_factor
        );
        println!("{line}");
        assert!(answered.is_some(), "{line}");
        if most > allowed {
            complaints.push(line);
        }
    }
    assert!(complaints.is_empty(), "more than was charged:\n{}", complaints.join("\n"));
    assert_eq!(broker.server().limits.queued_bytes(), 0, "all is given back");
    broker.stop().await;
}

/// Short requests with answers as long as there are partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_about_everything_take_no_more_than_is_charged_for_them() {
    const PARTITIONS: usize = 10_000;
    let _alone = ALONE.lock().await;
    let broker = TestBroker::start(&[]).await;
    broker.connect().await.create_topic("t", PARTITIONS as i32, &[]).await;
    let made = broker.server().image().version;
    broker.server().partitions.applied().wait_for(|applied| *applied >= made).await.unwrap();
    for request in requests::about_everything() {
        let AnswerCost::Topics { partition_bytes, .. } = request.served.answer else {
            panic!("{} is charged by the request alone", request.what);
        };
        let (most, answered) = served(&broker, &request).await;
        let allowed = PARTITIONS * partition_bytes + BESIDE_BYTES;
        let line =
            format!("{}: {} KiB of {} KiB, answered {answered:?}", request.what, most >> 10, allowed >> 10);
        println!("{line}");
        assert!(answered.is_some() && most <= allowed, "{line}");
    }
    assert_eq!(broker.server().limits.queued_bytes(), 0, "all is given back");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_would_take_more_than_one_may_is_refused_before_it_takes_anything() {
    let _alone = ALONE.lock().await;
    let broker =
        TestBroker::start(&["queued.max.request.bytes=8000000", "socket.request.max.bytes=8000000"]).await;
    for request in requests::too_large() {
        let (most, answered) = served(&broker, &request).await;
        assert_eq!(answered, None, "{}", request.what);
        let allowed = 3 * request.frame.len() + BESIDE_BYTES;
        assert!(most <= allowed, "{}: {} KiB of {} KiB", request.what, most >> 10, allowed >> 10);
    }
    broker.stop().await;
}
