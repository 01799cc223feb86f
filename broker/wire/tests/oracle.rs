//! `kafka-protocol` as the oracle: every message in every version that we answer is written by us, read and
//! written again by it, and read again by us; bytes, values and field names must agree.

mod support;

use bytes::BytesMut;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use ottla_wire::codec::{Decoder, Encoder, Generate, Generator, Message};
use ottla_wire::{Api, ErrorCode, RequestHeader, ResponseHeader, apis, messages as ours};
use proptest::prelude::*;
use support::normal;

/// Random values per version of a message.
const CASES: u32 = 48;

fn encode<'a>(message: &impl Message<'a>, version: i16) -> bytes::Bytes {
    let mut encoder = Encoder::new();
    message.encode_body(&mut encoder, version).expect("a version that we have");
    encoder.finish().expect("a value that fits").bytes
}

/// Checks one random value in one version.
fn agree<'a, O, T>(bytes: &'a bytes::Bytes, value: &O, version: i16)
where
    O: Message<'a> + PartialEq + std::fmt::Debug,
    T: Decodable + Encodable + std::fmt::Debug,
{
    let mut left = bytes.clone();
    let read = T::decode(&mut left, version).expect("they read what we wrote");
    assert!(left.is_empty(), "they left {} bytes of version {version} of {value:?}", left.len());
    assert_eq!(normal(&format!("{value:?}")), normal(&format!("{read:?}")), "version {version}");

    let mut written = BytesMut::new();
    read.encode(&mut written, version).expect("they write what they read");
    assert_eq!(&written[..], &bytes[..], "version {version} of {value:?}");

    let mut decoder = Decoder::new(bytes);
    let again = O::decode_body(&mut decoder, version).expect("we read what they wrote");
    decoder.finish().expect("nothing is left");
    assert_eq!(&again, value, "version {version}");
}

macro_rules! oracle {
    ($($test:ident: $ours:ident is $theirs:ident;)*) => {$(
        #[test]
        fn $test() {
            let run = |seed: u64| {
                let first = <ours::$ours as Message>::VERSION_FIRST;
                let known = <theirs::$theirs as kafka_protocol::protocol::Message>::VERSIONS.max;
                for version in first..=<ours::$ours as Message>::VERSION_LAST.min(known) {
                    let context = <ours::$ours as Message>::context(version).expect("it is in the range");
                    let value = ours::$ours::generate(&mut Generator::new(seed), context);
                    let bytes = encode(&value, version);
                    agree::<ours::$ours, theirs::$theirs>(&bytes, &value, version);
                    let bytes = encode(&ours::$ours::default(), version);
                    agree::<ours::$ours, theirs::$theirs>(&bytes, &normalised_default(&bytes, version), version);
                }
            };
            let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
            proptest!(config, |(seed: u64)| run(seed));
        }
    )*};
}

/// The default as it reads back: a null that the version doesn't allow has become the empty value.
fn normalised_default<'a, O: Message<'a>>(bytes: &'a bytes::Bytes, version: i16) -> O {
    O::decode_body(&mut Decoder::new(bytes), version).expect("we read what we wrote")
}

oracle! {
    api_versions_request: ApiVersionsRequest is ApiVersionsRequest;
    api_versions_response: ApiVersionsResponse is ApiVersionsResponse;
    metadata_request: MetadataRequest is MetadataRequest;
    metadata_response: MetadataResponse is MetadataResponse;
    produce_request: ProduceRequest is ProduceRequest;
    produce_response: ProduceResponse is ProduceResponse;
    fetch_request: FetchRequest is FetchRequest;
    fetch_response: FetchResponse is FetchResponse;
    list_offsets_request: ListOffsetsRequest is ListOffsetsRequest;
    list_offsets_response: ListOffsetsResponse is ListOffsetsResponse;
    find_coordinator_request: FindCoordinatorRequest is FindCoordinatorRequest;
    find_coordinator_response: FindCoordinatorResponse is FindCoordinatorResponse;
    create_topics_request: CreateTopicsRequest is CreateTopicsRequest;
    create_topics_response: CreateTopicsResponse is CreateTopicsResponse;
    delete_topics_request: DeleteTopicsRequest is DeleteTopicsRequest;
    delete_topics_response: DeleteTopicsResponse is DeleteTopicsResponse;
    init_producer_id_request: InitProducerIdRequest is InitProducerIdRequest;
    init_producer_id_response: InitProducerIdResponse is InitProducerIdResponse;
    describe_configs_request: DescribeConfigsRequest is DescribeConfigsRequest;
    describe_configs_response: DescribeConfigsResponse is DescribeConfigsResponse;
    create_partitions_request: CreatePartitionsRequest is CreatePartitionsRequest;
    create_partitions_response: CreatePartitionsResponse is CreatePartitionsResponse;
    describe_cluster_request: DescribeClusterRequest is DescribeClusterRequest;
    describe_cluster_response: DescribeClusterResponse is DescribeClusterResponse;
    describe_topic_partitions_request: DescribeTopicPartitionsRequest is DescribeTopicPartitionsRequest;
    describe_topic_partitions_response: DescribeTopicPartitionsResponse is DescribeTopicPartitionsResponse;
    offset_for_leader_epoch_request: OffsetForLeaderEpochRequest is OffsetForLeaderEpochRequest;
    offset_for_leader_epoch_response: OffsetForLeaderEpochResponse is OffsetForLeaderEpochResponse;
    alter_configs_request: AlterConfigsRequest is AlterConfigsRequest;
    alter_configs_response: AlterConfigsResponse is AlterConfigsResponse;
    describe_log_dirs_request: DescribeLogDirsRequest is DescribeLogDirsRequest;
    describe_log_dirs_response: DescribeLogDirsResponse is DescribeLogDirsResponse;
    elect_leaders_request: ElectLeadersRequest is ElectLeadersRequest;
    elect_leaders_response: ElectLeadersResponse is ElectLeadersResponse;
    incremental_alter_configs_request: IncrementalAlterConfigsRequest is IncrementalAlterConfigsRequest;
    incremental_alter_configs_response: IncrementalAlterConfigsResponse is IncrementalAlterConfigsResponse;
    alter_partition_reassignments_request: AlterPartitionReassignmentsRequest is AlterPartitionReassignmentsRequest;
    alter_partition_reassignments_response: AlterPartitionReassignmentsResponse is AlterPartitionReassignmentsResponse;
    list_partition_reassignments_request: ListPartitionReassignmentsRequest is ListPartitionReassignmentsRequest;
    list_partition_reassignments_response: ListPartitionReassignmentsResponse is ListPartitionReassignmentsResponse;
    describe_quorum_request: DescribeQuorumRequest is DescribeQuorumRequest;
    describe_quorum_response: DescribeQuorumResponse is DescribeQuorumResponse;
    unregister_broker_request: UnregisterBrokerRequest is UnregisterBrokerRequest;
    unregister_broker_response: UnregisterBrokerResponse is UnregisterBrokerResponse;
    add_raft_voter_request: AddRaftVoterRequest is AddRaftVoterRequest;
    add_raft_voter_response: AddRaftVoterResponse is AddRaftVoterResponse;
    remove_raft_voter_request: RemoveRaftVoterRequest is RemoveRaftVoterRequest;
    remove_raft_voter_response: RemoveRaftVoterResponse is RemoveRaftVoterResponse;
}

/// The APIs of which we have a version that the oracle doesn't know yet, and the newest. What Apache Kafka
/// 4.3.1 writes in it stands in `kafka.rs`.
const NEWER: &[(&str, i16)] = &[("ListOffsets", 11), ("DescribeLogDirs", 5), ("AddRaftVoter", 1)];

/// Both sides of an API have the versions and headers that the oracle has.
macro_rules! versions {
    ($($api:ident: $request:ident, $response:ident;)*) => {
        #[test]
        fn versions_and_headers_agree() {
            $(
                let known = <theirs::$request as kafka_protocol::protocol::Message>::VERSIONS.max;
                for version in apis::$api::VERSIONS.take_while(|version| *version <= known) {
                    let request = apis::$api::request_header_version(version);
                    assert_eq!(request, theirs::$request::header_version(version), "{version}");
                    let response = apis::$api::response_header_version(version);
                    assert_eq!(response, theirs::$response::header_version(version), "{version}");
                    let header = RequestHeader {
                        api_key: apis::$api::KEY.code(), api_version: version, correlation_id: 77, client_id: Some("ü"),
                    };
                    headers_agree(header, request, response);
                }
                let range = <theirs::$request as kafka_protocol::protocol::Message>::VERSIONS;
                let newer = NEWER.iter().find(|(api, _)| *api == stringify!($api)).map(|(_, last)| *last);
                assert_eq!(apis::$api::VERSIONS, range.min..=newer.unwrap_or(range.max), stringify!($api));
                assert_eq!(apis::$api::KEY.code(), theirs::ApiKey::$api as i16);
            )*
        }
    };
}

versions! {
    ApiVersions: ApiVersionsRequest, ApiVersionsResponse;
    Metadata: MetadataRequest, MetadataResponse;
    Produce: ProduceRequest, ProduceResponse;
    Fetch: FetchRequest, FetchResponse;
    ListOffsets: ListOffsetsRequest, ListOffsetsResponse;
    FindCoordinator: FindCoordinatorRequest, FindCoordinatorResponse;
    CreateTopics: CreateTopicsRequest, CreateTopicsResponse;
    DeleteTopics: DeleteTopicsRequest, DeleteTopicsResponse;
    InitProducerId: InitProducerIdRequest, InitProducerIdResponse;
    DescribeConfigs: DescribeConfigsRequest, DescribeConfigsResponse;
    CreatePartitions: CreatePartitionsRequest, CreatePartitionsResponse;
    DescribeCluster: DescribeClusterRequest, DescribeClusterResponse;
    DescribeTopicPartitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    AlterConfigs: AlterConfigsRequest, AlterConfigsResponse;
    DescribeLogDirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
    ElectLeaders: ElectLeadersRequest, ElectLeadersResponse;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    AlterPartitionReassignments: AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
    ListPartitionReassignments: ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
    DescribeQuorum: DescribeQuorumRequest, DescribeQuorumResponse;
    UnregisterBroker: UnregisterBrokerRequest, UnregisterBrokerResponse;
    AddRaftVoter: AddRaftVoterRequest, AddRaftVoterResponse;
    RemoveRaftVoter: RemoveRaftVoterRequest, RemoveRaftVoterResponse;
}

fn headers_agree(header: RequestHeader<'_>, request_version: i16, response_version: i16) {
    let mut encoder = Encoder::new();
    header.encode(&mut encoder, request_version);
    let bytes = encoder.finish().expect("a header fits").bytes;
    assert_eq!(RequestHeader::decode(&mut Decoder::new(&bytes)), Ok(header));
    let read =
        theirs::RequestHeader::decode(&mut bytes.clone(), request_version).expect("they read our header");
    assert_eq!((read.request_api_key, read.correlation_id), (header.api_key, 77));
    let mut written = BytesMut::new();
    read.encode(&mut written, request_version).expect("they write what they read");
    assert_eq!(written, bytes);

    let mut encoder = Encoder::new();
    ResponseHeader { correlation_id: 77 }.encode(&mut encoder, response_version);
    let bytes = encoder.finish().expect("a header fits").bytes;
    let read =
        theirs::ResponseHeader::decode(&mut bytes.clone(), response_version).expect("they read our header");
    assert_eq!(read.correlation_id, 77);
    let again = ResponseHeader::decode(&mut Decoder::new(&bytes), response_version);
    assert_eq!(again, Ok(ResponseHeader { correlation_id: 77 }));
}

#[test]
fn error_codes_agree() {
    use kafka_protocol::error::ResponseError;
    for code in -1..=ErrorCode::ALL.len() as i16 {
        let theirs = match ResponseError::try_from_code(code) {
            Some(ResponseError::Unknown(_)) => None,
            other => Some(other.map_or((0, false), |error| (error.code(), error.is_retriable()))),
        };
        assert_eq!(ErrorCode::from_code(code).map(|error| (error.code(), error.is_retriable())), theirs);
    }
}

#[test]
fn api_keys_agree() {
    for code in 0..200 {
        let theirs = theirs::ApiKey::try_from(code).ok().map(|key| format!("{key:?}"));
        assert_eq!(ottla_wire::ApiKey::from_code(code).map(|key| key.name().to_owned()), theirs);
    }
}
