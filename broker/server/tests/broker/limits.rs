//! Limits of connections, of idle time and of memory.

use std::time::Duration;

use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, PATIENCE, batch, fetch_request, produce_request};
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

/// A connection from this address of the machine itself.
async fn connect_from(broker: &TestBroker, last: u8) -> Client {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    Client::over(socket.connect(broker.address()).await.unwrap())
}

async fn is_served(client: &mut Client) -> bool {
    client.send::<apis::ApiVersions>(0, &ApiVersionsRequest::default()).await;
    client.receive(0).await.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_takes_all_connections_unless_it_may() {
    let broker = TestBroker::start(&["max.connections=8"]).await;
    let mut greedy = Vec::new();
    for number in 0..8 {
        let mut client = connect_from(&broker, 1).await;
        assert_eq!(is_served(&mut client).await, number < 6, "the connection number {number}");
        greedy.push(client);
    }
    let (mut second, mut third) = (connect_from(&broker, 2).await, connect_from(&broker, 3).await);
    assert!(is_served(&mut second).await && is_served(&mut third).await);
    broker.stop().await;

    let broker = TestBroker::start(&["max.connections=8", "max.connections.per.ip=8"]).await;
    let mut all = Vec::new();
    for _ in 0..8 {
        let mut client = connect_from(&broker, 1).await;
        assert!(is_served(&mut client).await);
        all.push(client);
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_brokers_have_connections_beyond_the_limit_and_clients_have_not() {
    let leader = TestBroker::start(&["max.connections=1"]).await;
    let mut client = leader.connect().await;
    assert!(is_served(&mut client).await);
    let servers = format!("controller.quorum.bootstrap.servers=127.0.0.1:{}", leader.control_port());
    let follower = TestBroker::start(&["node.id=2", "process.roles=broker", &servers]).await;
    assert!(!is_served(&mut leader.connect().await).await, "it isn't a broker");
    client.create_topic_on("t", &[1, 2], &[]).await;
    // It is acknowledged by both.
    assert_eq!(client.produce("t", 0, &batch(&["a"])).await, (ErrorCode::None, 0));
    follower.stop().await;
    leader.stop().await;
}

/// Whether the broker says over HTTP that it lives.
async fn says_it_lives(broker: &TestBroker, socket: &mut tokio::net::TcpStream) -> bool {
    let request = format!("GET /livez HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n", broker.http_port());
    let _ = socket.write_all(request.as_bytes()).await;
    socket.read(&mut [0; 1_000]).await.is_ok_and(|read| read > 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_takes_all_connections_for_health() {
    let broker = TestBroker::start(&[]).await;
    let port = broker.http_port();
    let mut open = Vec::new();
    loop {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        if !says_it_lives(&broker, &mut socket).await {
            break;
        }
        open.push(socket);
        assert!(open.len() <= 48, "the last quarter is for others");
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut other = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    assert!(says_it_lives(&broker, &mut other).await, "another address is served");
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

/// A connection that announces a request of `length` bytes and sends `sent` of them, the head of a produce
/// request.
async fn half_sent(broker: &TestBroker, length: u32, sent: usize) -> Client {
    let mut client = broker.connect().await;
    let head = [&length.to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 1, 255, 255, 0]].concat();
    client.socket.write_all(&head).await.unwrap();
    // What the broker doesn't take yet stays in the socket's buffers, so this may not end.
    let rest = vec![0; sent.saturating_sub(head.len() - 4)];
    let _ = tokio::time::timeout(Duration::from_millis(20), client.socket.write_all(&rest)).await;
    client
}

/// A producer of `bytes` is served.
async fn assert_served(broker: &TestBroker, bytes: usize) {
    let value = "x".repeat(bytes);
    let mut client = broker.connect().await;
    let produced = client.produce("t", 0, &batch(&[&value])).await;
    assert_eq!(produced.0, ErrorCode::None, "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_announced_takes_no_memory() {
    let broker = TestBroker::start(&[]).await;
    broker.connect().await.create_topic("t", 1, &[]).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(half_sent(&broker, 100 << 20, 100).await);
    }
    for bytes in [1, 100_000, 1_000_000] {
        assert_served(&broker, bytes).await;
    }
    assert_eq!(broker.server().limits.queued_bytes(), 0);
    assert!(!is_readable(&mut idle).await, "nobody had to go");
    broker.stop().await;
}

/// Whether any of these connections has been closed.
async fn is_readable(clients: &mut [Client]) -> bool {
    let mut byte = [0];
    clients.iter().any(|client| {
        !matches!(client.socket.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_leave_room_for_smaller_ones_and_go_when_their_like_waits() {
    let broker =
        TestBroker::start(&["socket.request.max.bytes=1000000", "queued.max.request.bytes=4000000"]).await;
    broker.connect().await.create_topic("t", 1, &[]).await;
    let mut stalled = Vec::new();
    for number in 0..40 {
        // Some stop just where they would need more.
        let sent = if number % 2 == 0 { 512 << 10 } else { 500_000 };
        stalled.push(half_sent(&broker, 1_000_000, sent).await);
    }
    // So much the largest may hold, and one of them beyond it.
    assert!(broker.server().limits.queued_bytes() <= 3_000_000);
    assert_served(&broker, 20_000).await;
    // It waits for those that stall, until they are closed for keeping it waiting.
    assert_served(&broker, 800_000).await;
    drop(stalled);
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

/// Sends a long poll and waits until the broker keeps `bytes` for those that wait.
async fn long_poll(broker: &TestBroker, is_kept: impl Fn(usize) -> bool) -> Client {
    let mut client = broker.connect().await;
    client.send::<apis::Fetch>(11, &FetchRequest { max_wait_ms: 60_000, ..fetch_request("t", 0, 0) }).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_kept(broker.server().limits.waiting.total()) {
        assert!(tokio::time::Instant::now() < deadline, "the poll is charged for");
        tokio::task::yield_now().await;
    }
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_for_which_there_is_no_room_to_wait_is_answered_at_once() {
    // A quarter is for requests that wait, and half of that for one address: room for one.
    let broker =
        TestBroker::start(&["socket.request.max.bytes=12000", "queued.max.request.bytes=12000"]).await;
    broker.connect().await.create_topic("t", 1, &[]).await;
    let mut waiting = long_poll(&broker, |bytes| bytes > 0).await;
    let mut other = broker.connect().await;
    let request = FetchRequest { max_wait_ms: 60_000, ..fetch_request("t", 0, 0) };
    let answer = other.call::<apis::Fetch>(11, &request).await;
    let response = answer.decode::<apis::Fetch>();
    assert!(response.throttle_time_ms > 0, "its client is asked for a pause");
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
    other.produce("t", 0, &batch(&["a"])).await;
    let woken = waiting.receive(11).await.unwrap();
    assert_eq!(woken.decode::<apis::Fetch>().throttle_time_ms, 0);
    let before = broker.server().limits.waiting.total();
    assert_eq!(before, 0, "who is answered waits no more");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_named_a_hundred_thousand_times_waits_once() {
    let broker = TestBroker::start(&[]).await;
    broker.connect().await.create_topic("t", 1, &[]).await;
    let waiting = long_poll(&broker, |bytes| bytes > 0).await;
    let once = broker.server().limits.waiting.total();
    let mut client = broker.connect().await;
    client.produce("t", 0, &batch(&["a"])).await;
    drop(waiting);
    let mut request = FetchRequest { max_wait_ms: 60_000, ..fetch_request("t", 0, 1) };
    let partition = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = vec![partition; 100_000];
    let mut greedy = broker.connect().await;
    greedy.send::<apis::Fetch>(11, &request).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while broker.server().limits.waiting.total() != once {
        assert!(tokio::time::Instant::now() < deadline, "it waits, and once");
        tokio::task::yield_now().await;
    }
    client.produce("t", 0, &batch(&["b"])).await;
    let answer = greedy.receive(11).await.unwrap();
    let response = answer.decode::<apis::Fetch>();
    assert_eq!(response.responses[0].partitions.len(), 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_named_twice_are_merged_or_refused_as_in_apache_kafka() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 2, &[]).await;

    let (first, last) = (batch(&["first"]), batch(&["last"]));
    let mut request = produce_request("t", 0, &first, -1);
    let again = produce_request("t", 0, &last, -1).topic_data.remove(0).partition_data;
    request.topic_data[0].partition_data.extend(again);
    let answer = client.call::<apis::Produce>(9, &request).await;
    let response = answer.decode::<apis::Produce>();
    assert_eq!(response.responses[0].partition_responses.len(), 1);
    assert_eq!(client.values_from("t", 0, 0).await, ["last"]);

    // The same in two entries of one topic.
    let mut request = produce_request("t", 1, &first, -1);
    request.topic_data.extend(produce_request("t", 1, &last, -1).topic_data);
    let answer = client.call::<apis::Produce>(9, &request).await;
    let response = answer.decode::<apis::Produce>();
    assert_eq!((response.responses.len(), response.responses[0].partition_responses.len()), (1, 1));
    assert_eq!(client.values_from("t", 1, 0).await, ["last"]);

    let asked =
        |partition_index| ListOffsetsPartition { partition_index, timestamp: -1, ..Default::default() };
    let topic = |partitions| ListOffsetsTopic { name: "t", partitions };
    let topics = vec![topic(vec![asked(0), asked(1)]), topic(vec![asked(0)])];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let answer = client.call::<apis::ListOffsets>(7, &request).await;
    let response = answer.decode::<apis::ListOffsets>();
    assert_eq!(response.topics.len(), 1);
    let codes: Vec<_> = response.topics[0]
        .partitions
        .iter()
        .map(|p| (p.partition_index, ErrorCode::from_wire(p.error_code)))
        .collect();
    assert_eq!(codes, [(0, ErrorCode::InvalidRequest), (1, ErrorCode::None)]);

    let folder = DescribableLogDirTopic { topic: "t", partitions: vec![1, 0, 1] };
    let request = DescribeLogDirsRequest { topics: Some(vec![folder.clone(), folder]) };
    let answer = client.call::<apis::DescribeLogDirs>(4, &request).await;
    let response = answer.decode::<apis::DescribeLogDirs>();
    let topics = &response.results[0].topics;
    let told: Vec<_> = topics.iter().flat_map(|t| &t.partitions).map(|p| p.partition_index).collect();
    assert_eq!((topics.len(), told), (1, vec![0, 1]));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_tells_each_topic_once_by_id_or_name_as_in_apache_kafka() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("kept", 1, &[]).await;
    let kept = client.topic_id("kept").await;
    let asked = MetadataRequestTopic { name: Some("kept"), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![asked; 3]), ..Default::default() };
    let answer = client.call::<apis::Metadata>(12, &request).await;
    assert_eq!(answer.decode::<apis::Metadata>().topics.len(), 1);
    // One topic under many ids, and ids beside names: only ids count. Before version 12 there are none.
    let asked = |name, topic_id| MetadataRequestTopic { name, topic_id };
    let other = |id| asked(Some("kept"), [id; 16]);
    let topics = vec![other(1), other(2), asked(None, kept), other(1), asked(Some("gone"), [0; 16])];
    let request = MetadataRequest { topics: Some(topics), ..Default::default() };
    let answer = client.call::<apis::Metadata>(12, &request).await;
    let response = answer.decode::<apis::Metadata>();
    let told: Vec<_> =
        response.topics.iter().map(|t| (t.name.as_deref(), t.topic_id, t.error_code)).collect();
    let unknown = ErrorCode::UnknownTopicId.code();
    assert_eq!(told, [(None, [1; 16], unknown), (None, [2; 16], unknown), (Some("kept"), kept, 0)]);
    let answer = client.call::<apis::Metadata>(11, &request).await;
    let response = answer.decode::<apis::Metadata>();
    assert_eq!((response.topics.len(), response.brokers.len()), (5, 0));
    assert!(
        response
            .topics
            .iter()
            .all(|topic| topic.error_code == ErrorCode::InvalidRequest.code() && topic.partitions.is_empty())
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_named_twice_are_told_once_or_refused_once_as_in_apache_kafka() {
    const REFUSED: i16 = ErrorCode::InvalidRequest.code();
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    for name in ["kept", "gone"] {
        client.create_topic(name, 1, &[]).await;
    }
    let (kept, gone) = (client.topic_id("kept").await, client.topic_id("gone").await);

    let new = |name| CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..Default::default() };
    let topics = vec![new("twice"), new("once"), new("twice"), new("twice")];
    let request = CreateTopicsRequest { topics, timeout_ms: 60_000, ..Default::default() };
    let answer = client.call::<apis::CreateTopics>(7, &request).await;
    let response = answer.decode::<apis::CreateTopics>();
    let told: Vec<_> = response.topics.iter().map(|topic| (&*topic.name, topic.error_code)).collect();
    assert_eq!(told, [("once", 0), ("twice", REFUSED)]);

    let grow = |name| CreatePartitionsTopic { name, count: 2, ..Default::default() };
    let topics = vec![grow("kept"), grow("once"), grow("kept")];
    let request = CreatePartitionsRequest { topics, timeout_ms: 60_000, validate_only: false };
    let answer = client.call::<apis::CreatePartitions>(3, &request).await;
    let response = answer.decode::<apis::CreatePartitions>();
    let told: Vec<_> = response.results.iter().map(|topic| (&*topic.name, topic.error_code)).collect();
    assert_eq!(told, [("once", 0), ("kept", REFUSED)]);

    let by_name = |name, topic_id| DeleteTopicState { name: Some(name), topic_id };
    let by_id = |topic_id| DeleteTopicState { name: None, topic_id };
    let topics = vec![
        by_name("kept", [0; 16]),
        by_id(kept),
        by_name("once", [0; 16]),
        by_name("once", [0; 16]),
        by_name("twice", gone),
        by_id([0; 16]),
        by_id(gone),
    ];
    let request = DeleteTopicsRequest { topics, timeout_ms: 60_000, ..Default::default() };
    let answer = client.call::<apis::DeleteTopics>(6, &request).await;
    let response = answer.decode::<apis::DeleteTopics>();
    let mut told: Vec<_> = response
        .responses
        .iter()
        .map(|t| (t.name.as_deref().unwrap_or_default(), t.topic_id, t.error_code))
        .collect();
    told.sort_unstable();
    let mut expected = [
        ("", [0; 16], REFUSED),
        ("gone", gone, 0),
        ("kept", kept, REFUSED),
        ("once", [0; 16], REFUSED),
        ("twice", gone, REFUSED),
    ];
    expected.sort_unstable();
    assert_eq!(told, expected);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_in_use_is_not_taken_for_a_newcomer() {
    let broker = TestBroker::start(&["max.incremental.fetch.session.cache.slots=1"]).await;
    let (mut first, mut second) = (broker.connect().await, broker.connect().await);
    first.create_topic("t", 1, &[]).await;
    let mut request = FetchRequest { session_epoch: 0, ..fetch_request("t", 0, 0) };
    let session = async |client: &mut Client, request: &FetchRequest<'_>| {
        let answer = client.call::<apis::Fetch>(11, request).await;
        let response = answer.decode::<apis::Fetch>();
        (ErrorCode::from_wire(response.error_code), response.session_id)
    };
    let (_, id) = session(&mut first, &request).await;
    assert_ne!(id, 0);
    assert_eq!(session(&mut second, &request).await, (ErrorCode::None, 0), "the newcomer gets none");
    (request.session_id, request.session_epoch) = (id, 1);
    assert_eq!(session(&mut first, &request).await, (ErrorCode::None, id));
    broker.stop().await;
}
