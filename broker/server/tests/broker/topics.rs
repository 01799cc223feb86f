//! Topics: created, grown, deleted, found in the metadata, and what is refused.

use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};

use crate::client::{Client, batch, produce_request};
use crate::harness::TestBroker;

async fn create(client: &mut Client, topic: CreatableTopic<'_>) -> (ErrorCode, String) {
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer = client.call::<apis::CreateTopics>(7, &request).await;
    let topic = &answer.decode::<apis::CreateTopics>().topics[0];
    (ErrorCode::from_wire(topic.error_code), topic.error_message.clone().unwrap_or_default().into_owned())
}

fn new_topic(name: &str, partitions: i32, replication_factor: i16) -> CreatableTopic<'_> {
    CreatableTopic { name, num_partitions: partitions, replication_factor, ..Default::default() }
}

/// Asks for topics by name; returns each one's error and number of partitions.
async fn metadata(
    client: &mut Client,
    names: Option<&[&str]>,
    create: bool,
) -> Vec<(String, ErrorCode, usize)> {
    let named = |name: &&'static str| MetadataRequestTopic { name: Some(name), ..Default::default() };
    let names: Option<Vec<&'static str>> =
        names.map(|names| names.iter().map(|name| &*name.to_string().leak()).collect());
    let topics = names.as_ref().map(|names| names.iter().map(named).collect());
    let request = MetadataRequest { topics, allow_auto_topic_creation: create, ..Default::default() };
    let answer = client.call::<apis::Metadata>(12, &request).await;
    let response = answer.decode::<apis::Metadata>();
    let topic = |topic: &MetadataResponseTopic<'_>| {
        let name = topic.name.clone().unwrap_or_default().into_owned();
        (name, ErrorCode::from_wire(topic.error_code), topic.partitions.len())
    };
    response.topics.iter().map(topic).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_created_grown_and_deleted() {
    let broker = TestBroker::start(&["num.partitions=2"]).await;
    let mut client = broker.connect().await;
    assert_eq!(create(&mut client, new_topic("a", 3, 1)).await.0, ErrorCode::None);
    assert_eq!(create(&mut client, new_topic("b", -1, -1)).await.0, ErrorCode::None);
    assert_eq!(create(&mut client, new_topic("a", 3, 1)).await.0, ErrorCode::TopicAlreadyExists);
    let grown = CreatePartitionsTopic { name: "a", count: 5, ..Default::default() };
    let request = CreatePartitionsRequest { topics: vec![grown], timeout_ms: 10_000, ..Default::default() };
    let answer = client.call::<apis::CreatePartitions>(3, &request).await;
    assert_eq!(answer.decode::<apis::CreatePartitions>().results[0].error_code, 0);
    let all = metadata(&mut client, None, false).await;
    assert_eq!(all, [("a".to_owned(), ErrorCode::None, 5), ("b".to_owned(), ErrorCode::None, 2)]);

    assert_eq!(client.produce("a", 4, &batch(&["x"])).await, (ErrorCode::None, 0));
    let by_name = DeleteTopicState { name: Some("a"), ..Default::default() };
    let by_id = DeleteTopicState { name: None, topic_id: client.topic_id("b").await };
    let unknown = DeleteTopicState { name: Some("c"), ..Default::default() };
    let topics = vec![by_name, by_id, unknown];
    let request = DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    let answer = client.call::<apis::DeleteTopics>(6, &request).await;
    let errors: Vec<_> =
        answer.decode::<apis::DeleteTopics>().responses.iter().map(|r| r.error_code).collect();
    assert_eq!(errors, [0, 0, ErrorCode::UnknownTopicOrPartition.code()]);
    assert!(metadata(&mut client, None, false).await.is_empty());
    assert!(!broker.folder().join("data/a-4").exists(), "its files are gone");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_cannot_be_are_refused_with_a_reason() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    let (error, message) = create(&mut client, new_topic("a", 1, 3)).await;
    assert_eq!(error, ErrorCode::InvalidReplicationFactor);
    assert!(message.contains('1'), "{message}");
    assert_eq!(create(&mut client, new_topic("a b", 1, 1)).await.0, ErrorCode::InvalidTopicException);
    assert_eq!(create(&mut client, new_topic("a", 0, 1)).await.0, ErrorCode::InvalidPartitions);
    let config = NamedConfig { name: "retention.ms", value: Some("soon") };
    let topic = CreatableTopic { configs: vec![config], ..new_topic("a", 1, 1) };
    let (error, message) = create(&mut client, topic).await;
    assert_eq!(error, ErrorCode::InvalidConfig);
    assert!(message.contains("retention.ms"), "{message}");
    assert!(metadata(&mut client, None, false).await.is_empty());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_created_for_who_asks_only_if_that_is_enabled() {
    let broker = TestBroker::start(&["num.partitions=2"]).await;
    let mut client = broker.connect().await;
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(metadata(&mut client, Some(&["new"]), false).await, [("new".to_owned(), unknown, 0)]);
    let created = metadata(&mut client, Some(&["new", "a b"]), true).await;
    assert_eq!(created[0], ("new".to_owned(), ErrorCode::None, 2));
    assert_eq!(created[1].1, ErrorCode::InvalidTopicException);
    assert_eq!(client.produce("new", 1, &batch(&["x"])).await, (ErrorCode::None, 0), "it is served at once");
    broker.stop().await;

    let strict = TestBroker::start(&["auto.create.topics.enable=false"]).await;
    let mut client = strict.connect().await;
    assert_eq!(metadata(&mut client, Some(&["new"]), true).await, [("new".to_owned(), unknown, 0)]);
    strict.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_found_by_its_id() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let id = client.topic_id("t").await;
    let asked = [id, [9; 16]].map(|topic_id| MetadataRequestTopic { topic_id, name: None });
    let request = MetadataRequest { topics: Some(asked.to_vec()), ..Default::default() };
    let answer = client.call::<apis::Metadata>(12, &request).await;
    let response = answer.decode::<apis::Metadata>();
    assert_eq!(response.topics[0].name.as_deref(), Some("t"));
    assert_eq!(response.topics[1].error_code, ErrorCode::UnknownTopicId.code());
    assert_eq!((response.brokers.len(), response.brokers[0].port), (1, i32::from(broker.address().port())));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_stay_if_deletion_is_disabled() {
    let broker = TestBroker::start(&["delete.topic.enable=false"]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let request = DeleteTopicsRequest { topic_names: vec!["t"], timeout_ms: 10_000, ..Default::default() };
    for (version, error) in [(5, ErrorCode::TopicDeletionDisabled), (1, ErrorCode::InvalidRequest)] {
        let answer = client.call::<apis::DeleteTopics>(version, &request).await;
        assert_eq!(answer.decode::<apis::DeleteTopics>().responses[0].error_code, error.code());
    }
    assert_eq!(metadata(&mut client, None, false).await.len(), 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_created_again_shows_no_old_records() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    for _ in 0..5 {
        client.create_topic("t", 1, &[]).await;
        assert_eq!(client.produce("t", 0, &batch(&["x"])).await, (ErrorCode::None, 0));
        let topics = vec![DeleteTopicState { name: Some("t"), ..Default::default() }];
        let request = DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
        client.call::<apis::DeleteTopics>(6, &request).await;
    }
    broker.stop().await;
}

/// What Metadata and DescribeTopicPartitions tell of a topic: its error, and whether it is internal.
async fn is_internal(client: &mut Client, name: &str) -> [(ErrorCode, bool); 2] {
    let topics = Some(vec![MetadataRequestTopic { name: Some(name), ..Default::default() }]);
    let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
    let answer = client.call::<apis::Metadata>(12, &request).await;
    let metadata = &answer.decode::<apis::Metadata>().topics[0];
    let metadata = (ErrorCode::from_wire(metadata.error_code), metadata.is_internal);
    let request =
        DescribeTopicPartitionsRequest { topics: vec![TopicRequest { name }], ..Default::default() };
    let answer = client.call::<apis::DescribeTopicPartitions>(0, &request).await;
    let described = &answer.decode::<apis::DescribeTopicPartitions>().topics[0];
    [metadata, (ErrorCode::from_wire(described.error_code), described.is_internal)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_topics_are_told_and_clients_write_nothing_to_them() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    let unknown = ErrorCode::UnknownTopicOrPartition;
    for name in ["__consumer_offsets", "__transaction_state", "__share_group_state"] {
        assert_eq!(is_internal(&mut client, name).await, [(unknown, true); 2], "{name} isn't there yet");
        client.create_topic(name, 2, &[]).await;
        assert_eq!(is_internal(&mut client, name).await, [(ErrorCode::None, true); 2], "{name}");
        for acks in [1, -1] {
            let records = batch(&["x"]);
            let answer = client.call::<apis::Produce>(9, &produce_request(name, 1, &records, acks)).await;
            let code = answer.decode::<apis::Produce>().responses[0].partition_responses[0].error_code;
            assert_eq!(ErrorCode::from_wire(code), ErrorCode::InvalidTopicException, "{name}");
        }
        assert!(client.values_from(name, 1, 0).await.is_empty(), "it can be read");
    }
    assert_eq!(is_internal(&mut client, "__own").await, [(unknown, false); 2]);
    client.create_topic("__own", 1, &[]).await;
    assert_eq!(is_internal(&mut client, "__own").await, [(ErrorCode::None, false); 2]);
    assert_eq!(client.produce("__own", 0, &batch(&["x"])).await, (ErrorCode::None, 0));

    let grown = CreatePartitionsTopic { name: "__consumer_offsets", count: 5, ..Default::default() };
    let request = CreatePartitionsRequest { topics: vec![grown], timeout_ms: 10_000, ..Default::default() };
    let answer = client.call::<apis::CreatePartitions>(3, &request).await;
    let result = &answer.decode::<apis::CreatePartitions>().results[0];
    assert_eq!(result.error_code, ErrorCode::InvalidPartitions.code(), "{:?}", result.error_message);
    let collides = create(&mut client, new_topic("__consumer.offsets", 1, 1)).await;
    assert_eq!(collides.0, ErrorCode::InvalidTopicException, "{}", collides.1);
    let metadata = create(&mut client, new_topic("__cluster_metadata", 1, 1)).await;
    assert_eq!(metadata.0, ErrorCode::InvalidRequest, "{}", metadata.1);
    // As in Apache Kafka.
    let topics = vec![DeleteTopicState { name: Some("__consumer_offsets"), ..Default::default() }];
    let request = DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    let answer = client.call::<apis::DeleteTopics>(6, &request).await;
    assert_eq!(answer.decode::<apis::DeleteTopics>().responses[0].error_code, 0);
    broker.stop().await;
}

/// Partitions, replicas and settings of `__consumer_offsets`, as this broker knows it.
fn offsets_topic(broker: &TestBroker) -> (usize, usize, Vec<String>) {
    let image = broker.server().image();
    let topic = image.topic("__consumer_offsets").expect("it is there");
    let config = topic.config.iter().map(|(name, value)| format!("{name}={value}"));
    (topic.partitions.len(), topic.partitions[0].replicas.len(), config.collect())
}

const OFFSETS_CONFIG: [&str; 3] =
    ["cleanup.policy=compact", "compression.type=producer", "segment.bytes=104857600"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_of_groups_is_created_for_who_asks_with_its_own_settings() {
    let broker = TestBroker::start(&["num.partitions=2"]).await;
    let mut client = broker.connect().await;
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let names = ["__consumer_offsets", "__share_group_state", "__transaction_state", "own"];
    let found = metadata(&mut client, Some(&names), true).await;
    let found: Vec<_> = found.into_iter().map(|(_, error, partitions)| (error, partitions)).collect();
    assert_eq!(found, [(ErrorCode::None, 50), (unknown, 0), (unknown, 0), (ErrorCode::None, 2)]);
    let (partitions, replicas, config) = offsets_topic(&broker);
    assert_eq!((partitions, replicas), (50, 1), "a broker alone has groups");
    assert_eq!(config, OFFSETS_CONFIG);
    assert!(broker.folder().join("data/__consumer_offsets-49").exists(), "it is served at once");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_of_groups_is_created_on_first_use_whatever_is_enabled() {
    let settings = ["auto.create.topics.enable=false", "offsets.topic.num.partitions=3"];
    let broker = TestBroker::start(&[&settings[..], &["offsets.topic.segment.bytes=1048576"]].concat()).await;
    let mut client = broker.connect().await;
    let asked = metadata(&mut client, Some(&["__consumer_offsets"]), true).await;
    assert_eq!(asked[0].1, ErrorCode::UnknownTopicOrPartition, "not for who asks for it by name");
    assert!(ottla_server::handlers::create_offsets_topic(broker.server()).await);
    let (partitions, _, config) = offsets_topic(&broker);
    assert_eq!((partitions, config.last().unwrap().as_str()), (3, "segment.bytes=1048576"));
    let id = client.topic_id("__consumer_offsets").await;
    assert!(ottla_server::handlers::create_offsets_topic(broker.server()).await);
    assert_eq!(client.topic_id("__consumer_offsets").await, id, "it stays as it is");
    broker.stop().await;

    let many = TestBroker::start(&["offsets.topic.replication.factor=3"]).await;
    assert!(!ottla_server::handlers::create_offsets_topic(many.server()).await, "there is one broker");
    many.stop().await;
}
