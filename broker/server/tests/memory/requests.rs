//! Requests that become as large as they can, or whose answers do, for their length.

use ottla_wire::apis;
use ottla_wire::messages::*;

use super::{Request, request};
use crate::client::{fetch_request, produce_request};

/// So many of what a request may name many of.
const MANY: usize = 20_000;
/// The same of topics to be created.
const FEW: usize = 8_000;

/// Short names, each another one, of `count` topics or settings.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:x}")).collect()
}

/// A name that is longer where it is told as text, as it isn't one.
fn long_name() -> String {
    "\u{1}".repeat(30_000)
}

/// The longest that a topic may have.
pub fn longest_name() -> String {
    "t".repeat(249)
}

fn numbers() -> std::ops::Range<i32> {
    0..MANY as i32
}

/// All of them.
pub fn all() -> Vec<Request> {
    [records(), topics(), configs(), cluster()].into_iter().flatten().collect()
}

fn records() -> Vec<Request> {
    let names = names(MANY);
    let empty = |name| TopicProduceData { name, ..Default::default() };
    let topics = ProduceRequest { acks: -1, topic_data: vec![empty(""); MANY], ..Default::default() };
    let mut partitions = produce_request("t", 0, b"x", -1);
    let one = partitions.topic_data[0].partition_data[0].clone();
    partitions.topic_data[0].partition_data =
        numbers().map(|index| PartitionProduceData { index, ..one.clone() }).collect();
    let unknown = ProduceRequest {
        acks: 1,
        topic_data: names
            .iter()
            .map(|name| TopicProduceData { name, partition_data: vec![one.clone()], ..Default::default() })
            .collect(),
        ..Default::default()
    };
    let mut fetch = fetch_request("t", 0, 0);
    let asked = fetch.topics[0].partitions[0].clone();
    fetch.topics[0].partitions =
        numbers().map(|partition| FetchPartition { partition, ..asked.clone() }).collect();
    let session = FetchRequest { session_epoch: 0, ..fetch.clone() };
    let fetch_topics = names
        .iter()
        .map(|topic| FetchTopic { topic, partitions: vec![asked.clone()], ..Default::default() })
        .collect();
    let fetch_topics = FetchRequest { session_epoch: 0, topics: fetch_topics, ..Default::default() };
    let list = numbers().map(|partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: -1,
        ..Default::default()
    });
    let list = ListOffsetsTopic { name: "t", partitions: list.collect() };
    let list = ListOffsetsRequest { replica_id: -1, topics: vec![list], ..Default::default() };
    let epochs = numbers().map(|partition| OffsetForLeaderPartition { partition, ..Default::default() });
    let epochs = OffsetForLeaderTopic { topic: "t", partitions: epochs.collect() };
    let epochs = OffsetForLeaderEpochRequest { topics: vec![epochs], ..Default::default() };
    vec![
        request::<apis::Produce>("Produce of nothing to many topics", 9, &topics),
        request::<apis::Produce>("Produce to many partitions", 9, &partitions),
        request::<apis::Produce>("Produce to many unknown topics", 9, &unknown),
        request::<apis::Fetch>("Fetch of many partitions", 11, &fetch),
        request::<apis::Fetch>("Fetch of many partitions in a session", 11, &session),
        request::<apis::Fetch>("Fetch of many topics in a session", 12, &fetch_topics),
        request::<apis::ListOffsets>("ListOffsets of many partitions", 7, &list),
        request::<apis::OffsetForLeaderEpoch>("OffsetForLeaderEpoch of many partitions", 4, &epochs),
    ]
}

fn topics() -> Vec<Request> {
    let (names, long) = (names(MANY), long_name());
    let ids = numbers().map(|number| {
        let mut topic_id = [7; 16];
        topic_id[..4].copy_from_slice(&number.to_be_bytes());
        MetadataRequestTopic { topic_id, name: None }
    });
    let by_id = MetadataRequest { topics: Some(ids.collect()), ..Default::default() };
    let by_name = names.iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() });
    let by_name = MetadataRequest { topics: Some(by_name.collect()), ..Default::default() };
    let same = MetadataRequestTopic { name: Some("t"), ..Default::default() };
    let same = MetadataRequest { topics: Some(vec![same; 10 * MANY]), ..Default::default() };
    let new = |name, num_partitions| CreatableTopic {
        name,
        num_partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let create = |topics| CreateTopicsRequest { topics, timeout_ms: 30_000, validate_only: true };
    let valid = create(names[..2_000].iter().map(|name| new(name, 1)).collect());
    let invalid = create(names[..FEW].iter().map(|name| new(name, 0)).collect());
    let unnamed = create(vec![new("", 1); FEW]);
    let long_names: Vec<String> = (0..20).map(|number| format!("{long}{number}")).collect();
    let badly_named = create(long_names.iter().map(|name| new(name, 1)).collect());
    let deleted = |name| DeleteTopicState { name: Some(name), ..Default::default() };
    let delete = |topics| DeleteTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() };
    let unknown = delete(names.iter().map(|name| deleted(name.as_str())).collect());
    let long_unknown = delete(long_names.iter().map(|name| deleted(name.as_str())).collect());
    let grow = names.iter().map(|name| CreatePartitionsTopic { name, count: 3, ..Default::default() });
    let grow = CreatePartitionsRequest { topics: grow.collect(), timeout_ms: 30_000, validate_only: true };
    let described = names.iter().map(|name| TopicRequest { name });
    let described = DescribeTopicPartitionsRequest { topics: described.collect(), ..Default::default() };
    vec![
        request::<apis::Metadata>("Metadata of many ids", 12, &by_id),
        request::<apis::Metadata>("Metadata of many names", 12, &by_name),
        request::<apis::Metadata>("Metadata of one name, many times", 12, &same),
        request::<apis::CreateTopics>("CreateTopics of many", 7, &valid),
        request::<apis::CreateTopics>("CreateTopics of many without partitions", 7, &invalid),
        request::<apis::CreateTopics>("CreateTopics without a name, many times", 7, &unnamed),
        request::<apis::CreateTopics>("CreateTopics with long names", 7, &badly_named),
        request::<apis::DeleteTopics>("DeleteTopics of many", 6, &unknown),
        request::<apis::DeleteTopics>("DeleteTopics with long names", 6, &long_unknown),
        request::<apis::CreatePartitions>("CreatePartitions of many", 3, &grow),
        request::<apis::DescribeTopicPartitions>("DescribeTopicPartitions of many", 0, &described),
    ]
}

fn configs() -> Vec<Request> {
    let (names, long) = (names(MANY), long_name());
    let asked = |resource_type, resource_name| DescribeConfigsResource {
        resource_type,
        resource_name,
        configuration_keys: None,
    };
    let describe =
        |resources| DescribeConfigsRequest { resources, include_synonyms: true, include_documentation: true };
    let unknown = describe(names.iter().map(|name| asked(RESOURCE_TOPIC, name.as_str())).collect());
    let broker = describe(vec![asked(RESOURCE_BROKER, "1"); 50]);
    let topic = describe(vec![asked(RESOURCE_TOPIC, "t"); 300]);
    let keys = names.iter().map(String::as_str).collect();
    let keys = describe(vec![DescribeConfigsResource {
        configuration_keys: Some(keys),
        ..asked(RESOURCE_TOPIC, "t")
    }]);
    let set = |name| IncrementalAlterConfig { name, value: Some(""), ..Default::default() };
    let alter = |resource_name, configs| IncrementalAlterConfigsResource {
        resource_type: RESOURCE_TOPIC,
        resource_name,
        configs,
    };
    let incremental = |resources| IncrementalAlterConfigsRequest { resources, validate_only: true };
    let many_keys = incremental(vec![alter("t", names.iter().map(|name| set(name.as_str())).collect())]);
    let many_topics = incremental(names.iter().map(|name| alter(name.as_str(), Vec::new())).collect());
    let same_topic = incremental(vec![alter("t", Vec::new()); MANY]);
    let long_key = incremental(vec![alter("t", vec![set(&long)]), alter(&long, vec![set("retention.ms")])]);
    let replaced = |resource_name| AlterConfigsResource {
        resource_type: RESOURCE_TOPIC,
        resource_name,
        configs: Vec::new(),
    };
    let replace = AlterConfigsRequest {
        resources: names.iter().map(|name| replaced(name.as_str())).collect(),
        validate_only: true,
    };
    vec![
        request::<apis::DescribeConfigs>("DescribeConfigs of many", 4, &unknown),
        request::<apis::DescribeConfigs>("DescribeConfigs with many keys", 4, &keys),
        answered_at_length(request::<apis::DescribeConfigs>(
            "DescribeConfigs of a broker, many times",
            4,
            &broker,
        )),
        answered_at_length(request::<apis::DescribeConfigs>(
            "DescribeConfigs of a topic, many times",
            4,
            &topic,
        )),
        request::<apis::IncrementalAlterConfigs>("IncrementalAlterConfigs of many keys", 1, &many_keys),
        request::<apis::IncrementalAlterConfigs>("IncrementalAlterConfigs of many topics", 1, &many_topics),
        request::<apis::IncrementalAlterConfigs>(
            "IncrementalAlterConfigs of a topic, many times",
            1,
            &same_topic,
        ),
        request::<apis::IncrementalAlterConfigs>("IncrementalAlterConfigs with long names", 1, &long_key),
        request::<apis::AlterConfigs>("AlterConfigs of many", 2, &replace),
    ]
}

/// A request of which the answer's length is estimated from what there is, and charged as such.
fn answered_at_length(request: Request) -> Request {
    Request { answer_factor: 6, ..request }
}

fn cluster() -> Vec<Request> {
    let (names, long) = (names(MANY), long_name());
    let elect = |topic, partitions| {
        let topic_partitions = Some(vec![ElectLeadersTopic { topic, partitions }]);
        ElectLeadersRequest { election_type: ELECTION_PREFERRED, topic_partitions, timeout_ms: 30_000 }
    };
    let unknown_elections = elect(&long, numbers().collect());
    let longest = longest_name();
    let same_election = elect(&longest, vec![0; MANY]);
    let unclean = ElectLeadersRequest { election_type: ELECTION_UNCLEAN, ..same_election.clone() };
    let moved = |name, partitions| {
        let topics = vec![ReassignableTopic { name, partitions }];
        AlterPartitionReassignmentsRequest { topics, timeout_ms: 30_000, ..Default::default() }
    };
    let partition = |partition_index, replicas| ReassignablePartition { partition_index, replicas };
    let unknown_moves = moved(&long, numbers().map(|index| partition(index, None)).collect());
    let moves = moved(&longest, vec![partition(0, Some(vec![1, 2, 3])); MANY]);
    let moving = ListPartitionReassignmentsTopic { name: "t", partition_indexes: numbers().collect() };
    let moving = ListPartitionReassignmentsRequest { topics: Some(vec![moving]), ..Default::default() };
    let quorum = vec![DescribeQuorumPartition { partition_index: 0 }; MANY];
    let quorum = DescribeQuorumTopic { topic_name: "__cluster_metadata", partitions: quorum };
    let quorum = DescribeQuorumRequest { topics: vec![quorum] };
    let folders = vec![DescribableLogDirTopic { topic: "t", partitions: vec![0; MANY] }];
    let folders = DescribeLogDirsRequest { topics: Some(folders) };
    let keys = names.iter().map(String::as_str).collect();
    let groups = FindCoordinatorRequest { coordinator_keys: keys, ..Default::default() };
    let listener = QuorumListener { name: "CONTROLLER".into(), host: "h".into(), port: 1 };
    let voter = AddRaftVoterRequest {
        voter_id: 9,
        listeners: vec![listener; MANY],
        timeout_ms: 10,
        ..Default::default()
    };
    vec![
        request::<apis::ElectLeaders>("ElectLeaders of many unknown ones", 2, &unknown_elections),
        request::<apis::ElectLeaders>("ElectLeaders of one, many times", 2, &same_election),
        request::<apis::ElectLeaders>("ElectLeaders of one, uncleanly, many times", 2, &unclean),
        request::<apis::AlterPartitionReassignments>(
            "AlterPartitionReassignments of many unknown ones",
            0,
            &unknown_moves,
        ),
        request::<apis::AlterPartitionReassignments>(
            "AlterPartitionReassignments of one, many times",
            0,
            &moves,
        ),
        request::<apis::ListPartitionReassignments>("ListPartitionReassignments of many", 0, &moving),
        request::<apis::DescribeQuorum>("DescribeQuorum, many times", 2, &quorum),
        request::<apis::DescribeLogDirs>("DescribeLogDirs of one, many times", 4, &folders),
        request::<apis::FindCoordinator>("FindCoordinator of many", 4, &groups),
        request::<apis::AddRaftVoter>("AddRaftVoter with many listeners", 1, &voter),
    ]
}

/// Requests that mean everything, with a word or without.
pub fn about_everything() -> Vec<Request> {
    let elections = ElectLeadersRequest { timeout_ms: 30_000, ..Default::default() };
    let named = MetadataRequestTopic { name: Some("t"), ..Default::default() };
    let named = MetadataRequest { topics: Some(vec![named]), ..Default::default() };
    vec![
        request::<apis::Metadata>("Metadata of all", 12, &MetadataRequest::default()),
        request::<apis::Metadata>("Metadata of the largest topic", 12, &named),
        request::<apis::DescribeLogDirs>("DescribeLogDirs of all", 4, &DescribeLogDirsRequest::default()),
        request::<apis::ElectLeaders>("ElectLeaders of all", 2, &elections),
        request::<apis::ListPartitionReassignments>(
            "ListPartitionReassignments of all",
            0,
            &ListPartitionReassignmentsRequest::default(),
        ),
    ]
}

/// Requests that are within the limit of their length, and would take more than one may.
pub fn too_large() -> Vec<Request> {
    const MOST: usize = 100_000;
    let mut fetch = fetch_request("t", 0, 0);
    let asked = fetch.topics[0].partitions[0].clone();
    fetch.topics[0].partitions =
        (0..MOST as i32).map(|partition| FetchPartition { partition, ..asked.clone() }).collect();
    let produce =
        ProduceRequest { topic_data: vec![TopicProduceData::default(); MOST], ..Default::default() };
    let metadata = vec![MetadataRequestTopic { name: Some("t"), ..Default::default() }; MOST];
    let metadata = MetadataRequest { topics: Some(metadata), ..Default::default() };
    let names: Vec<String> = (0..MOST).map(|number| format!("{number:x}")).collect();
    let described = DescribeConfigsResource { resource_type: RESOURCE_TOPIC, ..Default::default() };
    let described =
        names.iter().map(|name| DescribeConfigsResource { resource_name: name, ..described.clone() });
    let described = DescribeConfigsRequest { resources: described.collect(), ..Default::default() };
    let elect = vec![ElectLeadersTopic { topic: "t", partitions: vec![0; MOST] }];
    let elect = ElectLeadersRequest { topic_partitions: Some(elect), ..Default::default() };
    vec![
        request::<apis::Fetch>("Fetch", 11, &fetch),
        request::<apis::Produce>("Produce", 9, &produce),
        request::<apis::Metadata>("Metadata", 9, &metadata),
        request::<apis::DescribeConfigs>("DescribeConfigs", 4, &described),
        request::<apis::ElectLeaders>("ElectLeaders", 2, &elect),
    ]
}
