//! What administrators change and measure: settings of topics, data folders, and where epochs end.

use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};

use crate::client::{Client, batch};
use crate::describe::configs;
use crate::harness::TestBroker;

type Change<'a> = (&'a str, i8, Option<&'a str>);

fn of_topic<'a>(resource_name: &'a str, changes: &[Change<'a>]) -> IncrementalAlterConfigsResource<'a> {
    let change = |&(name, config_operation, value): &Change<'a>| IncrementalAlterConfig {
        name,
        config_operation,
        value,
    };
    let configs = changes.iter().map(change).collect();
    IncrementalAlterConfigsResource { resource_type: RESOURCE_TOPIC, resource_name, configs }
}

async fn change(
    client: &mut Client,
    resources: Vec<IncrementalAlterConfigsResource<'_>>,
    validate_only: bool,
) -> Vec<(ErrorCode, String)> {
    let request = IncrementalAlterConfigsRequest { resources, validate_only };
    let answer = client.call::<apis::IncrementalAlterConfigs>(1, &request).await;
    outcomes(&answer.decode::<apis::IncrementalAlterConfigs>().responses)
}

fn outcomes(responses: &[AlterConfigsResourceResponse<'_>]) -> Vec<(ErrorCode, String)> {
    let outcome = |response: &AlterConfigsResourceResponse<'_>| {
        let message = response.error_message.clone().unwrap_or_default().into_owned();
        (ErrorCode::from_wire(response.error_code), message)
    };
    responses.iter().map(outcome).collect()
}

/// The value of a topic's setting and where it comes from.
async fn setting(client: &mut Client, topic: &str, name: &str) -> (String, i8) {
    let (_, found) = configs(client, RESOURCE_TOPIC, topic).await;
    found.into_iter().find(|config| config.0 == name).map(|(_, value, source)| (value, source)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_topic_change_one_by_one_or_all_at_once() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[("segment.bytes", "20000")]).await;
    let set = ("retention.ms", CONFIG_SET, Some("5000"));
    let only_checked = change(&mut client, vec![of_topic("t", &[set])], true).await;
    assert_eq!(only_checked, [(ErrorCode::None, String::new())]);
    assert_eq!(setting(&mut client, "t", "retention.ms").await, ("604800000".to_owned(), 5));

    let append = ("cleanup.policy", CONFIG_APPEND, Some("compact"));
    let done = change(&mut client, vec![of_topic("t", &[set, append])], false).await;
    assert_eq!(done, [(ErrorCode::None, String::new())]);
    assert_eq!(setting(&mut client, "t", "retention.ms").await, ("5000".to_owned(), 1));
    assert_eq!(setting(&mut client, "t", "cleanup.policy").await, ("delete,compact".to_owned(), 1));
    assert_eq!(setting(&mut client, "t", "segment.bytes").await, ("20000".to_owned(), 1));

    // All at once: what isn't named goes back to its default.
    let configs = vec![NamedConfig { name: "retention.ms", value: Some("6000") }];
    let resource = AlterConfigsResource { resource_type: RESOURCE_TOPIC, resource_name: "t", configs };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = client.call::<apis::AlterConfigs>(2, &request).await;
    let done = outcomes(&answer.decode::<apis::AlterConfigs>().responses);
    assert_eq!(done, [(ErrorCode::None, String::new())]);
    assert_eq!(setting(&mut client, "t", "retention.ms").await, ("6000".to_owned(), 1));
    assert_eq!(setting(&mut client, "t", "segment.bytes").await.1, 5);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_change_is_refused_and_the_others_are_made() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    for topic in ["a", "b"] {
        client.create_topic(topic, 1, &[]).await;
    }
    let good = ("retention.ms", CONFIG_SET, Some("5000"));
    let refused = [
        (of_topic("a", &[("retention.ms", CONFIG_SET, Some("soon"))]), ErrorCode::InvalidConfig),
        (of_topic("a", &[("retention.ms", CONFIG_APPEND, Some("1"))]), ErrorCode::InvalidConfig),
        (of_topic("a", &[("no.such.key", CONFIG_SET, Some("1"))]), ErrorCode::InvalidConfig),
        (of_topic("a", &[("retention.ms", CONFIG_SET, None)]), ErrorCode::InvalidRequest),
        (of_topic("a", &[("retention.ms", 9, Some("1"))]), ErrorCode::InvalidRequest),
        (of_topic("a", &[good, good]), ErrorCode::InvalidRequest),
        (of_topic("none", &[good]), ErrorCode::UnknownTopicOrPartition),
        (
            IncrementalAlterConfigsResource { resource_type: 99, ..of_topic("a", &[good]) },
            ErrorCode::InvalidRequest,
        ),
    ];
    for (number, (wrong, expected)) in (5_000..).zip(refused) {
        let value = number.to_string();
        let right = of_topic("b", &[("retention.ms", CONFIG_SET, Some(&value))]);
        let done = change(&mut client, vec![wrong.clone(), right], false).await;
        assert_eq!((done[0].0, done[1].0), (expected, ErrorCode::None), "{wrong:?}: {done:?}");
        assert!(!done[0].1.is_empty(), "{wrong:?} is explained");
        assert_eq!(setting(&mut client, "b", "retention.ms").await.0, value);
    }
    let twice = change(&mut client, vec![of_topic("a", &[good]), of_topic("a", &[good])], false).await;
    assert_eq!([twice[0].0, twice[1].0], [ErrorCode::InvalidRequest; 2], "{twice:?}");
    assert_eq!(setting(&mut client, "a", "retention.ms").await.1, 5, "nothing of it was done");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_brokers_change_while_they_run() {
    const RATE: &str = "leader.replication.throttled.rate";
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    let of_broker = |resource_name, value| IncrementalAlterConfigsResource {
        resource_type: RESOURCE_BROKER,
        ..of_topic(resource_name, &[(RATE, CONFIG_SET, Some(value))])
    };
    let done = change(&mut client, vec![of_broker("", "1000"), of_broker("1", "2000")], false).await;
    assert_eq!(done, [(ErrorCode::None, String::new()), (ErrorCode::None, String::new())]);
    let expected = |value: &str, source| (RATE.to_owned(), value.to_owned(), source);
    assert_eq!(configs(&mut client, RESOURCE_BROKER, "").await.1, [expected("1000", 3)]);
    assert!(configs(&mut client, RESOURCE_BROKER, "1").await.1.contains(&expected("2000", 2)));
    let delete = [(RATE, CONFIG_DELETE, None)];
    let resource =
        IncrementalAlterConfigsResource { resource_type: RESOURCE_BROKER, ..of_topic("1", &delete) };
    assert_eq!(change(&mut client, vec![resource], false).await[0].0, ErrorCode::None);
    assert!(configs(&mut client, RESOURCE_BROKER, "1").await.1.contains(&expected("1000", 3)));
    for (wrong, expected) in [
        (of_broker("one", "1"), ErrorCode::InvalidRequest),
        (of_broker("7", "1"), ErrorCode::InvalidRequest),
        (of_broker("1", "fast"), ErrorCode::InvalidConfig),
    ] {
        let done = change(&mut client, vec![wrong], false).await;
        assert_eq!(done[0].0, expected, "{done:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_folder_is_told_with_its_volume_and_the_size_of_each_partition() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("a", 2, &[]).await;
    client.create_topic("b", 1, &[]).await;
    assert_eq!(client.produce("a", 1, &batch(&["x"])).await.0, ErrorCode::None);
    let mut dirs = async |topics: Option<Vec<DescribableLogDirTopic<'static>>>, version: i16| {
        let answer = client.call::<apis::DescribeLogDirs>(version, &DescribeLogDirsRequest { topics }).await;
        let response = answer.decode::<apis::DescribeLogDirs>();
        let [dir] = &response.results[..] else { panic!("one folder: {response:?}") };
        let sizes = dir.topics.iter().flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|p| (format!("{}-{}", topic.name, p.partition_index), p.partition_size > 0))
        });
        let told = (dir.log_dir.to_string(), dir.total_bytes, dir.usable_bytes);
        (told, sizes.collect::<Vec<_>>())
    };
    let ((path, total, usable), sizes) = dirs(None, 4).await;
    assert_eq!(path, broker.folder().join("data").to_str().unwrap());
    assert!(total > usable && usable > 0, "{usable} of {total} bytes");
    let expected = [("a-0", false), ("a-1", true), ("b-0", false)];
    assert_eq!(sizes, expected.map(|(name, has_bytes)| (name.to_owned(), has_bytes)));
    let some = vec![
        DescribableLogDirTopic { topic: "a", partitions: vec![1, 7] },
        DescribableLogDirTopic { topic: "none", partitions: vec![0] },
    ];
    assert_eq!(dirs(Some(some), 1).await, ((path, -1, -1), vec![("a-1".to_owned(), true)]));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_end_where_the_next_begins() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(client.produce("t", 0, &batch(&["a", "b"])).await.0, ErrorCode::None);
    let first = epoch_end(&mut client, 0, -1, 0).await;
    assert_eq!(first, (ErrorCode::None, 0, 2));
    // A restart is another leader epoch.
    let broker = broker.restart().await;
    let mut client = broker.connect().await;
    assert_eq!(client.produce("t", 0, &batch(&["c"])).await.0, ErrorCode::None);
    let now = client_epoch(&mut client).await;
    assert!(now > 0, "another epoch");
    assert_eq!(epoch_end(&mut client, 0, now, 0).await, (ErrorCode::None, 0, 2));
    assert_eq!(epoch_end(&mut client, 0, now, now).await, (ErrorCode::None, now, 3));
    assert_eq!(epoch_end(&mut client, 0, now, -1).await, (ErrorCode::None, -1, -1));
    assert_eq!(epoch_end(&mut client, 0, now, now + 1).await, (ErrorCode::None, -1, -1), "it is yet to come");
    assert_eq!(epoch_end(&mut client, 0, 0, 0).await.0, ErrorCode::FencedLeaderEpoch);
    assert_eq!(epoch_end(&mut client, 0, now + 1, 0).await.0, ErrorCode::UnknownLeaderEpoch);
    assert_eq!(epoch_end(&mut client, 1, -1, 0).await.0, ErrorCode::UnknownTopicOrPartition);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_older_than_the_log_is_not_taken_for_a_lost_one() {
    let broker = TestBroker::start(&["log.retention.check.interval.ms=50"]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[("segment.bytes", "2000"), ("retention.bytes", "3000")]).await;
    assert_eq!(client.produce("t", 0, &batch(&["a"])).await.0, ErrorCode::None);
    let broker = broker.restart().await;
    let mut client = broker.connect().await;
    let now = client_epoch(&mut client).await;
    let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
    loop {
        assert_eq!(client.produce("t", 0, &batch(&[&"x".repeat(200)])).await.0, ErrorCode::None);
        let (error, epoch, end) = epoch_end(&mut client, 0, now, 0).await;
        assert_eq!((error, epoch), (ErrorCode::None, 0));
        assert!(end > 0, "never -1: a consumer would start anew");
        if end > 1 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "old segments go");
    }
    broker.stop().await;
}

/// The leader epoch that clients are told.
async fn client_epoch(client: &mut Client) -> i32 {
    let topics = Some(vec![MetadataRequestTopic { name: Some("t"), ..Default::default() }]);
    let request = MetadataRequest { topics, ..Default::default() };
    let answer = client.call::<apis::Metadata>(9, &request).await;
    answer.decode::<apis::Metadata>().topics[0].partitions[0].leader_epoch
}

async fn epoch_end(
    client: &mut Client,
    partition: i32,
    current_leader_epoch: i32,
    leader_epoch: i32,
) -> (ErrorCode, i32, i64) {
    let asked = OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch };
    let topic = OffsetForLeaderTopic { topic: "t", partitions: vec![asked] };
    let request = OffsetForLeaderEpochRequest { replica_id: REPLICA_CONSUMER, topics: vec![topic] };
    let answer = client.call::<apis::OffsetForLeaderEpoch>(4, &request).await;
    let found = &answer.decode::<apis::OffsetForLeaderEpoch>().topics[0].partitions[0];
    (ErrorCode::from_wire(found.error_code), found.leader_epoch, found.end_offset)
}
