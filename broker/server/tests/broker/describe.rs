//! What administrators and operators ask: configurations, the cluster, partitions page by page, health,
//! metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::harness::TestBroker;

/// The settings of a topic or broker: name, value and source.
pub async fn configs(
    client: &mut Client,
    resource_type: i8,
    name: &str,
) -> (ErrorCode, Vec<(String, String, i8)>) {
    let resource = DescribeConfigsResource { resource_type, resource_name: name, ..Default::default() };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = client.call::<apis::DescribeConfigs>(4, &request).await;
    let result = &answer.decode::<apis::DescribeConfigs>().results[0];
    let one = |c: &DescribeConfigsResourceResult<'_>| {
        (c.name.to_string(), c.value.clone().unwrap_or_default().into_owned(), c.config_source)
    };
    (ErrorCode::from_wire(result.error_code), result.configs.iter().map(one).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_say_where_each_value_comes_from() {
    let broker = TestBroker::start(&["log.retention.hours=2"]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[("segment.bytes", "20000")]).await;
    let (error, found) = configs(&mut client, RESOURCE_TOPIC, "t").await;
    assert_eq!(error, ErrorCode::None);
    for expected in
        [("segment.bytes", "20000", 1), ("retention.ms", "7200000", 4), ("cleanup.policy", "delete", 5)]
    {
        let (name, value, source) = expected;
        assert!(found.contains(&(name.to_owned(), value.to_owned(), source)), "{expected:?} in {found:?}");
    }
    // The cluster's default is two replicas; the topic has one.
    let needed = ("min.insync.replicas".to_owned(), "1".to_owned(), 5);
    assert!(found.contains(&needed), "{found:?}");
    let (error, found) = configs(&mut client, RESOURCE_BROKER, "1").await;
    assert_eq!(error, ErrorCode::None);
    assert!(found.contains(&("log.retention.hours".to_owned(), "2".to_owned(), 4)), "{found:?}");
    assert_eq!(configs(&mut client, RESOURCE_TOPIC, "no").await.0, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(configs(&mut client, RESOURCE_BROKER, "2").await.0, ErrorCode::InvalidRequest);
    assert_eq!(configs(&mut client, 99, "x").await.0, ErrorCode::InvalidRequest);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_described_page_by_page() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("a", 3, &[]).await;
    client.create_topic("b", 2, &[]).await;
    let mut request = DescribeTopicPartitionsRequest { response_partition_limit: 2, ..Default::default() };
    let mut pages = Vec::new();
    loop {
        let answer = client.call::<apis::DescribeTopicPartitions>(0, &request).await;
        let response = answer.decode::<apis::DescribeTopicPartitions>();
        let page = response.topics.iter().flat_map(|topic| {
            let name = topic.name.as_deref().unwrap();
            topic.partitions.iter().map(move |p| format!("{name}-{}", p.partition_index))
        });
        pages.push(page.collect::<Vec<_>>().join(" "));
        let Some(cursor) = response.next_cursor else { break };
        let topic_name = cursor.topic_name.into_owned().into();
        request.cursor = Some(Cursor { topic_name, partition_index: cursor.partition_index });
    }
    assert_eq!(pages, ["a-0 a-1", "a-2 b-0", "b-1"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_described_with_its_brokers() {
    let broker = TestBroker::start(&["broker.rack=r1"]).await;
    let mut client = broker.connect().await;
    let answer = client.call::<apis::DescribeCluster>(1, &DescribeClusterRequest::default()).await;
    let response = answer.decode::<apis::DescribeCluster>();
    assert_eq!((response.error_code, response.cluster_id.len(), response.controller_id), (0, 22, 1));
    assert_eq!(response.brokers[0].rack.as_deref(), Some("r1"));
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let answer = client.call::<apis::DescribeCluster>(1, &controllers).await;
    let error = answer.decode::<apis::DescribeCluster>().error_code;
    assert_eq!(error, ErrorCode::UnsupportedEndpointType.code());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_listener_tells_its_own_addresses() {
    let two = "listeners=IN://127.0.0.1:0,OUT://127.0.0.1:0,CONTROLLER://127.0.0.1:0";
    let told = "advertised.listeners=IN://inside:1111,OUT://outside:2222";
    let broker = TestBroker::start(&[two, told]).await;
    let mut hosts = Vec::new();
    for listener in 0..2 {
        let mut client = Client::connect(broker.address_of(listener)).await;
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let answer = client.call::<apis::Metadata>(9, &request).await;
        let response = answer.decode::<apis::Metadata>();
        hosts.push((response.brokers[0].host.to_string(), response.brokers[0].port));
    }
    assert_eq!(hosts, [("inside".to_owned(), 1111), ("outside".to_owned(), 2222)]);
    broker.stop().await;
}

/// What the HTTP listener answers to `request`.
pub async fn http(broker: &TestBroker, request: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", broker.http_port())).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Nobody is to be sent elsewhere because a topic is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_stays_ready_while_it_opens_a_new_topics_partitions() {
    let broker = TestBroker::start(&[]).await;
    let (server, is_made) = (Arc::clone(broker.server()), Arc::new(AtomicBool::new(false)));
    let looking = {
        let (server, is_made) = (Arc::clone(&server), Arc::clone(&is_made));
        std::thread::spawn(move || {
            let mut looks_while_opening = 0;
            while !is_made.load(Ordering::Relaxed) {
                let is_opening = *server.partitions.applied().borrow() < server.image().version;
                let health = server.health();
                assert!(health.ready, "{}", health.reason);
                looks_while_opening += usize::from(is_opening);
            }
            looks_while_opening
        })
    };
    broker.connect().await.create_topic("large", 3_000, &[]).await;
    let made = server.image().version;
    server.partitions.applied().wait_for(|applied| *applied >= made).await.unwrap();
    is_made.store(true, Ordering::Relaxed);
    assert!(looking.join().unwrap() > 0, "it was looked at while partitions were opened");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_metrics_and_the_log_level_are_served_over_http() {
    let broker = TestBroker::start(&[]).await;
    broker.connect().await.create_topic("t", 3, &[]).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(http(&broker, &get("/livez")).await.starts_with("HTTP/1.1 200"));
    assert!(http(&broker, &get("/readyz")).await.starts_with("HTTP/1.1 200"));
    let metrics = http(&broker, &get("/metrics")).await;
    assert!(metrics.contains("ottla_partitions{ack_durability=\"synced\"} 3"), "{metrics}");
    assert!(metrics.contains("ottla_requests_total{api=\"CreateTopics\"} 1"), "{metrics}");
    let put = |filter: &str| {
        let length = filter.len();
        format!(
            "PUT /loglevel HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{filter}"
        )
    };
    assert!(http(&broker, &put("loud")).await.starts_with("HTTP/1.1 400"));
    broker.stop().await;
}
