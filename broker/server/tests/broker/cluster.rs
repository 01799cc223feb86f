//! What administrators ask of a cluster: elections, moves of partitions, voters, brokers that are forgotten.

use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};

use crate::client::Client;
use crate::harness::TestBroker;

/// The error code and words for one partition.
pub type Outcome = (ErrorCode, String);

fn outcome(code: i16, message: Option<&str>) -> Outcome {
    (ErrorCode::from_wire(code), message.unwrap_or_default().to_owned())
}

pub async fn elect(client: &mut Client, election_type: i8, partitions: Option<Vec<i32>>) -> Vec<Outcome> {
    let topic = |partitions| ElectLeadersTopic { topic: "t", partitions };
    let topic_partitions = partitions.map(|partitions| vec![topic(partitions)]);
    let request = ElectLeadersRequest { election_type, topic_partitions, ..Default::default() };
    let answer = client.call::<apis::ElectLeaders>(2, &request).await;
    let response = answer.decode::<apis::ElectLeaders>();
    let results = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
    results.map(|result| outcome(result.error_code, result.error_message.as_deref())).collect()
}

async fn reassign(
    client: &mut Client,
    partition_index: i32,
    replicas: Option<Vec<i32>>,
    allow_replication_factor_change: bool,
) -> Outcome {
    let partitions = vec![ReassignablePartition { partition_index, replicas }];
    let request = AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic { name: "t", partitions }],
        allow_replication_factor_change,
        ..Default::default()
    };
    let answer = client.call::<apis::AlterPartitionReassignments>(1, &request).await;
    let response = answer.decode::<apis::AlterPartitionReassignments>();
    assert_eq!(response.error_code, 0, "{response:?}");
    let result = &response.responses[0].partitions[0];
    outcome(result.error_code, result.error_message.as_deref())
}

/// The moves as `partition: replicas +adding -removing`.
async fn moves(client: &mut Client, of_partition: Option<i32>) -> Vec<String> {
    let topic = |index| ListPartitionReassignmentsTopic { name: "t", partition_indexes: vec![index] };
    let request = ListPartitionReassignmentsRequest {
        topics: of_partition.map(|index| vec![topic(index)]),
        ..Default::default()
    };
    let answer = client.call::<apis::ListPartitionReassignments>(0, &request).await;
    let response = answer.decode::<apis::ListPartitionReassignments>();
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let told = |p: &OngoingPartitionReassignment| {
        format!("{}: {:?} +{:?} -{:?}", p.partition_index, p.replicas, p.adding_replicas, p.removing_replicas)
    };
    partitions.map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_and_moves_that_make_no_sense_are_refused_with_the_reason() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 2, &[]).await;
    let not_needed = ErrorCode::ElectionNotNeeded;
    for kind in [ELECTION_PREFERRED, ELECTION_UNCLEAN] {
        let results = elect(&mut client, kind, Some(vec![0, 7])).await;
        let codes: Vec<ErrorCode> = results.iter().map(|result| result.0).collect();
        assert_eq!(codes, [not_needed, ErrorCode::UnknownTopicOrPartition], "{results:?}");
        assert_eq!(elect(&mut client, kind, None).await, [], "of all, only those that need it are told");
    }
    assert_eq!(elect(&mut client, 9, Some(vec![0])).await[0].0, ErrorCode::InvalidRequest);

    let unknown = reassign(&mut client, 7, None, true).await;
    assert_eq!(unknown.0, ErrorCode::UnknownTopicOrPartition, "{unknown:?}");
    let nothing = reassign(&mut client, 0, None, true).await;
    assert_eq!(nothing.0, ErrorCode::NoReassignmentInProgress, "{nothing:?}");
    let nobody = reassign(&mut client, 0, Some(vec![5]), true).await;
    assert_eq!(nobody.0, ErrorCode::InvalidReplicaAssignment, "{nobody:?}");
    let more = reassign(&mut client, 0, Some(vec![1, 2]), false).await;
    assert_eq!(more.0, ErrorCode::InvalidReplicationFactor, "{more:?}");
    assert_eq!(reassign(&mut client, 0, Some(vec![1]), true).await.0, ErrorCode::None, "it is so already");
    assert_eq!(moves(&mut client, None).await, [""; 0]);
    broker.stop().await;
}

/// A second broker, which follows the metadata of `broker`.
async fn second(broker: &TestBroker) -> TestBroker {
    let servers = format!("controller.quorum.bootstrap.servers=127.0.0.1:{}", broker.control_port());
    TestBroker::start(&["node.id=2", "process.roles=broker", &servers]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_listed_until_it_is_cancelled() {
    let broker = TestBroker::start(&["min.insync.replicas=1"]).await;
    // It is known and down, so that the move can't end by itself.
    second(&broker).await.stop().await;
    let mut client = broker.connect().await;
    client.create_topic("t", 2, &[]).await;
    assert_eq!(reassign(&mut client, 1, Some(vec![2]), true).await, outcome(0, None));
    assert_eq!(moves(&mut client, None).await, ["1: [2, 1] +[2] -[1]"]);
    assert_eq!(moves(&mut client, Some(1)).await, ["1: [2, 1] +[2] -[1]"]);
    assert_eq!(moves(&mut client, Some(0)).await, [""; 0]);
    let results = elect(&mut client, ELECTION_PREFERRED, Some(vec![1])).await;
    assert_eq!(results[0].0, ErrorCode::PreferredLeaderNotAvailable, "{results:?}");
    let unregistered = unregister(&mut client, 2).await;
    assert_eq!(unregistered.0, ErrorCode::InvalidRequest, "it holds a replica: {unregistered:?}");

    assert_eq!(reassign(&mut client, 1, None, true).await, outcome(0, None));
    assert_eq!(moves(&mut client, None).await, [""; 0]);
    assert_eq!(unregister(&mut client, 2).await, outcome(0, None));
    assert_eq!(unregister(&mut client, 2).await.0, ErrorCode::BrokerIdNotRegistered);
    assert_eq!(unregister(&mut client, 1).await.0, ErrorCode::InvalidRequest, "it lives");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_election_has_to_name_its_replica() {
    let broker = TestBroker::start(&[]).await;
    let other = second(&broker).await;
    let mut client = broker.connect().await;
    client.create_topic_on("t", &[2], &[]).await;
    other.stop().await;
    for asked in [Some(vec![0]), None] {
        let results = elect(&mut client, ELECTION_UNCLEAN, asked).await;
        assert_eq!(results[0].0, ErrorCode::PolicyViolation, "{results:?}");
        assert!(results[0].1.contains("ottla elect-leader t --partition 0 --unclean"), "{results:?}");
    }
    // Who may lead without an unclean election is told.
    let request = DescribeTopicPartitionsRequest { response_partition_limit: 9, ..Default::default() };
    let answer = client.call::<apis::DescribeTopicPartitions>(0, &request).await;
    let partition = &answer.decode::<apis::DescribeTopicPartitions>().topics[0].partitions[0];
    assert_eq!((partition.leader_id, partition.error_code), (-1, ErrorCode::LeaderNotAvailable.code()));
    let has_everything = partition.isr_nodes == [2] || partition.eligible_leader_replicas == Some(vec![2]);
    assert!(has_everything && partition.offline_replicas == [2], "{partition:?}");
    assert_eq!(partition.last_known_elr, Some(vec![2]), "who led last");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_names_the_quorums_one_partition_once_is_told_of_it() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    let topic = |topic_name, indexes: &[i32]| {
        let partition = |index: &i32| DescribeQuorumPartition { partition_index: *index };
        DescribeQuorumTopic { topic_name, partitions: indexes.iter().map(partition).collect() }
    };
    const METADATA: &str = "__cluster_metadata";
    let requests = [
        vec![topic(METADATA, &[0]), topic("t", &[0])],
        vec![topic(METADATA, &[0, 0])],
        vec![topic(METADATA, &[0, 1])],
        vec![topic("t", &[0])],
    ];
    for topics in requests {
        let request = DescribeQuorumRequest { topics };
        let answer = client.call::<apis::DescribeQuorum>(2, &request).await;
        let response = answer.decode::<apis::DescribeQuorum>();
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        assert!(
            partitions.all(|one| one.error_code == ErrorCode::UnknownTopicOrPartition.code()),
            "{response:?}"
        );
    }
    broker.stop().await;
}

async fn unregister(client: &mut Client, broker_id: i32) -> Outcome {
    let answer = client.call::<apis::UnregisterBroker>(0, &UnregisterBrokerRequest { broker_id }).await;
    let response = answer.decode::<apis::UnregisterBroker>();
    outcome(response.error_code, response.error_message.as_deref())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quorum_is_described_and_its_voters_change() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    let topic = |topic_name| DescribeQuorumTopic {
        topic_name,
        partitions: vec![DescribeQuorumPartition { partition_index: 0 }],
    };
    let request = DescribeQuorumRequest { topics: vec![topic("__cluster_metadata")] };
    for version in 0..=2 {
        let answer = client.call::<apis::DescribeQuorum>(version, &request).await;
        let response = answer.decode::<apis::DescribeQuorum>();
        let quorum = &response.topics[0].partitions[0];
        assert_eq!((quorum.error_code, quorum.leader_id, quorum.current_voters.len()), (0, 1, 1));
        assert!(quorum.high_watermark > 0 && quorum.leader_epoch > 0, "{quorum:?}");
        assert!(quorum.current_voters[0].log_end_offset >= quorum.high_watermark, "{quorum:?}");
        if version == 2 {
            let [node] = &response.nodes[..] else { panic!("one node: {response:?}") };
            let listener = &node.listeners[0];
            assert_eq!(
                (node.node_id, &*listener.host, listener.port),
                (1, "127.0.0.1", broker.control_port())
            );
            assert_eq!(listener.name, "CONTROLLER");
        }
    }
    for (voter_id, cluster_id, expected) in [
        (1, None, ErrorCode::DuplicateVoter),
        (2, None, ErrorCode::VoterNotFound),
        (2, Some("another"), ErrorCode::InconsistentClusterId),
    ] {
        let request = AddRaftVoterRequest { cluster_id, voter_id, timeout_ms: 5_000, ..Default::default() };
        let answer = client.call::<apis::AddRaftVoter>(0, &request).await;
        let response = answer.decode::<apis::AddRaftVoter>();
        assert_eq!(ErrorCode::from_wire(response.error_code), expected, "{response:?}");
    }
    let request = RemoveRaftVoterRequest { voter_id: 1, ..Default::default() };
    let answer = client.call::<apis::RemoveRaftVoter>(0, &request).await;
    let error = answer.decode::<apis::RemoveRaftVoter>().error_code;
    assert_eq!(error, ErrorCode::InvalidRequest.code(), "the last voter stays");
    broker.stop().await;
}
