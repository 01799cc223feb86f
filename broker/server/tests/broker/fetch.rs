//! Fetch: records as they came, limits, long polls, epochs, and incremental sessions.

use std::time::{Duration, Instant};

use ottla_types::{PartitionIndex, TopicId};
use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};

use crate::client::{Client, PATIENCE, base_offsets, batch, fetch_request, produce_request, values};
use crate::harness::TestBroker;

/// What came of one partition: error, high watermark, values.
type Got = (i32, ErrorCode, i64, Vec<String>);

async fn fetch(client: &mut Client, version: i16, request: &FetchRequest<'_>) -> (ErrorCode, i32, Vec<Got>) {
    let answer = client.call::<apis::Fetch>(version, request).await;
    let response = answer.decode::<apis::Fetch>();
    let one = |p: &PartitionData<'_>| {
        let error = ErrorCode::from_wire(p.error_code);
        (p.partition_index, error, p.high_watermark, values(p.records.bytes().unwrap_or_default()))
    };
    let got = response.responses.iter().flat_map(|topic| &topic.partitions).map(one).collect();
    (ErrorCode::from_wire(response.error_code), response.session_id, got)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_as_they_were_sent_in_every_version() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, &batch(&["a", "b"])).await;
    client.produce("t", 0, &batch(&["c"])).await;
    let topic_id = client.topic_id("t").await;
    for version in 4..=18 {
        let mut request = fetch_request("t", 0, 0);
        request.topics[0].topic_id = topic_id;
        let (error, _, got) = fetch(&mut client, version, &request).await;
        let expected = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        assert_eq!(
            (error, got),
            (ErrorCode::None, vec![(0, ErrorCode::None, 3, expected)]),
            "version {version}"
        );
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_but_the_first_batch_always_comes() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 2, &[]).await;
    let large = "x".repeat(10_000);
    for _ in 0..3 {
        client.produce("t", 0, &batch(&[&large])).await;
        client.produce("t", 1, &batch(&[&large])).await;
    }
    let bytes = async |client: &mut Client, max_bytes: i32, partition_max_bytes: i32| {
        let mut request = fetch_request("t", 0, 0);
        request.max_bytes = max_bytes;
        let mut second = request.topics[0].partitions[0].clone();
        second.partition = 1;
        request.topics[0].partitions.push(second);
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = partition_max_bytes;
        }
        let answer = client.call::<apis::Fetch>(11, &request).await;
        let response = answer.decode::<apis::Fetch>();
        let batches = |p: &PartitionData<'_>| base_offsets(p.records.bytes().unwrap()).len();
        response.responses[0].partitions.iter().map(batches).collect::<Vec<_>>()
    };
    assert_eq!(bytes(&mut client, i32::MAX, i32::MAX).await, [3, 3]);
    assert_eq!(bytes(&mut client, 1, i32::MAX).await, [1, 0]);
    assert_eq!(bytes(&mut client, i32::MAX, 1).await, [1, 0]);
    assert_eq!(bytes(&mut client, i32::MAX, 25_000).await, [2, 2]);
    assert_eq!(bytes(&mut client, 45_000, i32::MAX).await, [3, 1]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_ends_when_a_record_comes() {
    let broker = TestBroker::start(&[]).await;
    let (mut reader, mut writer) = (broker.connect().await, broker.connect().await);
    writer.create_topic("t", 2, &[]).await;
    let request = FetchRequest { max_wait_ms: 60_000, ..fetch_request("t", 1, 0) };
    let started = Instant::now();
    reader.send::<apis::Fetch>(11, &request).await;
    writer.produce("t", 0, &batch(&["elsewhere"])).await;
    writer.produce("t", 1, &batch(&["here"])).await;
    let answer = reader.receive(11).await.unwrap();
    let response = answer.decode::<apis::Fetch>();
    assert_eq!(values(response.responses[0].partitions[0].records.bytes().unwrap()), ["here"]);
    assert!(started.elapsed() < Duration::from_secs(60), "it did not wait for its time to be over");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_waits_for_as_many_bytes_as_it_says() {
    let broker = TestBroker::start(&[]).await;
    let (mut reader, mut writer) = (broker.connect().await, broker.connect().await);
    writer.create_topic("t", 1, &[]).await;
    let request = FetchRequest { max_wait_ms: 60_000, min_bytes: 25_000, ..fetch_request("t", 0, 0) };
    reader.send::<apis::Fetch>(11, &request).await;
    for _ in 0..3 {
        writer.produce("t", 0, &batch(&[&"x".repeat(10_000)])).await;
    }
    let answer = reader.receive(11).await.unwrap();
    let response = answer.decode::<apis::Fetch>();
    assert_eq!(values(response.responses[0].partitions[0].records.bytes().unwrap()).len(), 3);

    let empty = FetchRequest { max_wait_ms: 50, ..fetch_request("t", 0, 3) };
    assert_eq!(fetch(&mut reader, 11, &empty).await.2, [(0, ErrorCode::None, 3, vec![])], "its time is over");
    broker.stop().await;
}

/// Fetches with a wait that outlasts the test and a minimum that is never there; how many batches came of
/// each partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_that_is_woken_for_one_partition_looks_at_no_other() {
    const PARTITIONS: i32 = 100;
    const WOKEN: u64 = 6;
    let broker = TestBroker::start(&[]).await;
    let (mut producer, mut consumer) = (broker.connect().await, broker.connect().await);
    producer.create_topic("t", PARTITIONS, &[]).await;
    let mut request = fetch_request("t", 0, 0);
    (request.max_wait_ms, request.min_bytes) = (60_000, 100_000);
    let asked = request.topics[0].partitions[0].clone();
    request.topics[0].partitions =
        (0..PARTITIONS).map(|partition| FetchPartition { partition, ..asked.clone() }).collect();
    let looks = || broker.server().metrics.fetch_looks();
    let more_than = async |count: u64| {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while looks() <= count || broker.server().limits.waiting.total() == 0 {
            assert!(tokio::time::Instant::now() < deadline, "the fetch waits, and looks when it is woken");
            tokio::task::yield_now().await;
        }
    };
    consumer.send::<apis::Fetch>(11, &request).await;
    more_than(PARTITIONS as u64 - 1).await;
    for number in 0..WOKEN {
        let before = looks();
        producer.produce("t", if number % 2 == 0 { 7 } else { 3 }, &batch(&["a"])).await;
        more_than(before).await;
    }
    producer.produce("t", 7, &batch(&[&"b".repeat(100_000)])).await;
    let answer = consumer.receive(11).await.unwrap();
    let response = answer.decode::<apis::Fetch>();
    let records =
        |index: usize| values(response.responses[0].partitions[index].records.bytes().unwrap()).len();
    assert_eq!((records(3), records(7), records(8)), (3, 4, 0));
    // Once each, and for each that is woken once when it is, and perhaps once more if something comes at the
    // same moment.
    let most = PARTITIONS as u64 + 2 * (WOKEN + 1);
    assert!(looks() <= most, "{} looks for {WOKEN} wake-ups", looks());
    broker.stop().await;
}

/// Answers are sent in the order of their requests: what waits behind another one can't go on when it is
/// woken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_that_wait_behind_another_answer_hold_up_nobody() {
    let broker = TestBroker::start(&[]).await;
    let mut producer = broker.connect().await;
    producer.create_topic("idle", 1, &[]).await;
    producer.create_topic("t", 1, &[]).await;
    let waiting = |topic| FetchRequest { max_wait_ms: 60_000, min_bytes: 1, ..fetch_request(topic, 0, 0) };
    let mut parked = Vec::new();
    for _ in 0..3 {
        let mut client = broker.connect().await;
        client.send::<apis::Fetch>(11, &waiting("idle")).await;
        for _ in 0..20 {
            client.send::<apis::Fetch>(11, &waiting("t")).await;
        }
        parked.push(client);
    }
    let id = TopicId(producer.topic_id("t").await);
    let partition = broker.server().partitions.get(id, PartitionIndex(0)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while partition.purgatory.count() < 60 {
        assert!(Instant::now() < deadline, "{} wait", partition.purgatory.count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It waits for the last of its records, behind all that wait for the first one.
    let two = batch(&["a", "b"]);
    let request = ProduceRequest { timeout_ms: 600_000, ..produce_request("t", 0, &two, -1) };
    let answer = producer.call::<apis::Produce>(9, &request).await;
    let produced = &answer.decode::<apis::Produce>().responses[0].partition_responses[0];
    assert_eq!((produced.error_code, produced.base_offset), (0, 0));
    broker.stop().await;
}

async fn batches_at_once(client: &mut Client, request: &FetchRequest<'_>) -> Vec<usize> {
    let request = FetchRequest { max_wait_ms: 60_000, ..request.clone() };
    let answer = tokio::time::timeout(Duration::from_secs(40), client.call::<apis::Fetch>(11, &request));
    let answer = answer.await.expect("an answer before the wait is over");
    let response = answer.decode::<apis::Fetch>();
    let batches = |p: &PartitionData<'_>| base_offsets(p.records.bytes().unwrap()).len();
    response.responses[0].partitions.iter().map(batches).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_more_bytes_than_may_be_sent() {
    let broker = TestBroker::start(&["fetch.max.bytes=50000"]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 2, &[]).await;
    client.create_topic("rolled", 2, &[("segment.bytes", "25000")]).await;
    let large = "x".repeat(10_000);
    for topic in ["t", "rolled"] {
        for _ in 0..6 {
            client.produce(topic, 0, &batch(&[&large])).await;
        }
    }
    let request = |topic, limits: &[i32]| {
        let mut request = FetchRequest { min_bytes: i32::MAX, ..fetch_request(topic, 0, 0) };
        let first = request.topics[0].partitions.remove(0);
        for (partition, &partition_max_bytes) in (0..).zip(limits) {
            let asked = FetchPartition { partition, partition_max_bytes, ..first.clone() };
            request.topics[0].partitions.push(asked);
        }
        request
    };
    let mut at_once = async |request: &FetchRequest<'_>| batches_at_once(&mut client, request).await;
    assert_eq!(at_once(&request("t", &[i32::MAX])).await, [4], "the broker's limit");
    assert_eq!(at_once(&request("t", &[25_000])).await, [2], "the partition's limit");
    let asks_little = FetchRequest { max_bytes: 30_000, ..request("t", &[i32::MAX]) };
    assert_eq!(at_once(&asks_little).await, [2], "the request's limit");
    let none = FetchRequest { max_bytes: 0, ..request("t", &[i32::MAX]) };
    assert_eq!(at_once(&none).await, [1], "the first batch always comes");
    assert_eq!(at_once(&request("t", &[i32::MAX, i32::MAX])).await, [4, 0], "the other one has no room");
    assert_eq!(at_once(&request("rolled", &[i32::MAX])).await, [2], "an answer holds one file's");
    // The other partition might have more, so here the wait is what the client asked for.
    let short = FetchRequest { max_wait_ms: 50, ..request("t", &[25_000, 25_000]) };
    assert_eq!(fetch(&mut client, 11, &short).await.2[0].3.len(), 2);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_those_who_wait() {
    let broker = TestBroker::start(&[]).await;
    let mut reader = broker.connect().await;
    reader.create_topic("t", 1, &[]).await;
    reader.send::<apis::Fetch>(11, &FetchRequest { max_wait_ms: 60_000, ..fetch_request("t", 0, 0) }).await;
    let started = Instant::now();
    broker.stop().await;
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(reader.is_closed().await || started.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_and_epochs_that_do_not_fit_are_errors() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, &batch(&["a"])).await;
    let mut error = async |partition: i32, offset: i64, epoch: i32| {
        let mut request = FetchRequest { max_wait_ms: 60_000, ..fetch_request("t", partition, offset) };
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        fetch(&mut client, 11, &request).await.2[0].1
    };
    assert_eq!(error(0, 0, -1).await, ErrorCode::None);
    assert_eq!(error(0, 2, -1).await, ErrorCode::OffsetOutOfRange);
    assert_eq!(error(0, -1, -1).await, ErrorCode::OffsetOutOfRange);
    assert_eq!(error(0, 0, 1_000).await, ErrorCode::UnknownLeaderEpoch);
    assert_eq!(error(1, 0, -1).await, ErrorCode::UnknownTopicOrPartition);
    let mut by_id = fetch_request("", 0, 0);
    by_id.topics[0].topic_id = [9; 16];
    assert_eq!(fetch(&mut client, 13, &by_id).await.2[0].1, ErrorCode::UnknownTopicId);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_tells_only_what_is_new() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 2, &[]).await;
    let mut first = fetch_request("t", 0, 0);
    first.session_epoch = 0;
    let mut other = first.topics[0].partitions[0].clone();
    other.partition = 1;
    first.topics[0].partitions.push(other);
    let (_, session_id, got) = fetch(&mut client, 11, &first).await;
    assert!(session_id > 0 && got.len() == 2);

    let next = |epoch: i32| FetchRequest {
        session_id,
        session_epoch: epoch,
        topics: Vec::new(),
        ..fetch_request("t", 0, 0)
    };
    assert!(fetch(&mut client, 11, &next(1)).await.2.is_empty(), "nothing is new");
    client.produce("t", 1, &batch(&["a"])).await;
    let expected = vec![(1, ErrorCode::None, 1, vec!["a".to_owned()])];
    assert_eq!(fetch(&mut client, 11, &next(2)).await.2, expected);
    assert_eq!(fetch(&mut client, 11, &next(2)).await.0, ErrorCode::InvalidFetchSessionEpoch);

    let mut forget = next(3);
    forget.forgotten_topics_data =
        vec![ForgottenTopic { topic: "t", partitions: vec![1], ..Default::default() }];
    assert!(fetch(&mut client, 11, &forget).await.2.is_empty());
    let mut changed = next(4);
    changed.topics = fetch_request("t", 0, 7).topics;
    assert_eq!(fetch(&mut client, 11, &changed).await.2[0].1, ErrorCode::OffsetOutOfRange);

    assert!(fetch(&mut client, 11, &next(-1)).await.0 == ErrorCode::None, "ends the session");
    assert_eq!(fetch(&mut client, 11, &next(5)).await.0, ErrorCode::FetchSessionIdNotFound);
    broker.stop().await;
}
