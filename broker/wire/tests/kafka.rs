//! Versions that the oracle doesn't know yet, against the bytes that Apache Kafka 4.3.1's own classes write
//! for the same values.

#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

use ottla_wire::codec::{Decoder, Encoder, Message};
use ottla_wire::messages::*;

#[track_caller]
fn check<'a, M: Message<'a> + PartialEq + std::fmt::Debug>(version: i16, bytes: &'a [u8], value: &M) {
    let mut encoder = Encoder::new();
    value.encode_body(&mut encoder, version).expect("a version that we have");
    assert_eq!(encoder.finish().expect("a value that fits").bytes, bytes);
    let mut decoder = Decoder::new(bytes);
    assert_eq!(&M::decode_body(&mut decoder, version).expect("we read what Kafka wrote"), value);
    decoder.finish().expect("nothing is left");
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn list_offsets_11() {
    let partition = ListOffsetsPartition {
        partition_index: 3,
        current_leader_epoch: 5,
        timestamp: TIMESTAMP_EARLIEST_PENDING_UPLOAD,
    };
    let topics = vec![ListOffsetsTopic { name: "t", partitions: vec![partition] }];
    let request = ListOffsetsRequest { replica_id: -1, isolation_level: 1, topics, timeout_ms: 7000 };
    check(11, &bytes("ffffffff01020274020000000300000005fffffffffffffffa000000001b5800"), &request);
    let partition = ListOffsetsPartitionResponse {
        partition_index: 3,
        error_code: 0,
        timestamp: 9,
        offset: 11,
        leader_epoch: 5,
    };
    let topics = vec![ListOffsetsTopicResponse { name: "t".into(), partitions: vec![partition] }];
    let response = ListOffsetsResponse { throttle_time_ms: 1, topics };
    let expected = "00000001020274020000000300000000000000000009000000000000000b00000005000000";
    check(11, &bytes(expected), &response);
}

#[test]
fn describe_log_dirs_5() {
    let topics = vec![DescribableLogDirTopic { topic: "t", partitions: vec![1, 2] }];
    let request = DescribeLogDirsRequest { topics: Some(topics) };
    check(5, &bytes("0202740300000001000000020000"), &request);
    let partition = DescribeLogDirsPartition {
        partition_index: 1,
        partition_size: 50,
        offset_lag: 2,
        is_future_key: false,
    };
    let result = DescribeLogDirsResult {
        error_code: 0,
        log_dir: "/d".into(),
        topics: vec![DescribeLogDirsTopic { name: "t".into(), partitions: vec![partition] }],
        total_bytes: 100,
        usable_bytes: 40,
        is_cordoned: true,
    };
    let response = DescribeLogDirsResponse { throttle_time_ms: 1, error_code: 0, results: vec![result] };
    let expected = "000000010000020000032f6402027402000000010000000000000032000000000000000200000000\
                    000000000000640000000000000028010000";
    check(5, &bytes(expected), &response);
}

#[test]
fn add_raft_voter_1() {
    let mut voter_directory_id = [0; 16];
    (voter_directory_id[7], voter_directory_id[15]) = (1, 2);
    let listener = QuorumListener { name: "C".into(), host: "h".into(), port: 9093 };
    let request = AddRaftVoterRequest {
        cluster_id: Some("c"),
        timeout_ms: 7000,
        voter_id: 3,
        voter_directory_id,
        listeners: vec![listener],
        ack_when_committed: false,
    };
    let expected = "026300001b58000000030000000000000001000000000000000202024302682385000000";
    check(1, &bytes(expected), &request);
    let response =
        AddRaftVoterResponse { throttle_time_ms: 1, error_code: 42, error_message: Some("m".into()) };
    check(1, &bytes("00000001002a026d00"), &response);
}

const TOPIC_ID: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];

#[test]
fn offset_commit_10() {
    let partition = OffsetCommitRequestPartition {
        partition_index: 3,
        committed_offset: 9,
        committed_leader_epoch: 7,
        committed_metadata: Some("x"),
    };
    let topic = OffsetCommitRequestTopic { name: "", topic_id: TOPIC_ID, partitions: vec![partition] };
    let request = OffsetCommitRequest {
        group_id: "g",
        generation_id_or_member_epoch: 5,
        member_id: "m",
        group_instance_id: Some("i"),
        retention_time_ms: -1,
        topics: vec![topic],
    };
    let expected = "026700000005026d0269020000000000000001000000000000000202000000030000000000000009\
                    000000070278000000";
    check(10, &bytes(expected), &request);
}

#[test]
fn offset_fetch_10() {
    let topic = OffsetFetchRequestTopic { name: "", topic_id: TOPIC_ID, partition_indexes: vec![3, 4] };
    let of_member = OffsetFetchRequestGroup {
        group_id: "g",
        member_id: Some("m"),
        member_epoch: 5,
        topics: Some(vec![topic]),
    };
    let all = OffsetFetchRequestGroup { group_id: "h", ..Default::default() };
    let request =
        OffsetFetchRequest { groups: vec![of_member, all], require_stable: true, ..Default::default() };
    let expected = "030267026d0000000502000000000000000100000000000000020300000003000000040000026800\
                    ffffffff00000100";
    check(10, &bytes(expected), &request);
}
