//! The records of `__consumer_offsets`: byte for byte as Apache Kafka 4.3.1's own classes write them, in
//! every version that it reads, cut off, absurd, and of types that aren't known.

use ottla_wire::codec::{Decoder, Encoder, Generate, Generator, Message};
use ottla_wire::group_records::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentKey,
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue,
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
    CurrentTopicPartitions, DecodedGroupRecord, GroupMetadataKey, GroupMetadataValue, GroupRecord,
    MEMBER_STATE_UNREVOKED_PARTITIONS, MemberMetadata, OffsetCommitKey, OffsetCommitValue, PartitionMetadata,
    TargetTopicPartitions, TopicMetadata,
};
use ottla_wire::{DecodeErrorKind, EncodeError, Uuid, with_group_records};

/// `0000000000000001 0000000000000002` in hexadecimal digits.
const TOPIC_ID: Uuid = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];

/// The bytes of hexadecimal digits; blanks stand between fields.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two hexadecimal digits"))
        .collect()
}

/// Checks that `key` and `value` are what we write for `record`, and are read as it.
#[track_caller]
fn written(record: GroupRecord<'_>, key: &str, value: &str) {
    let (key, value) = (bytes(key), bytes(value));
    let encoded = record.encode().expect("it fits");
    assert_eq!(encoded.key, key, "the key");
    assert_eq!(encoded.value.as_deref(), Some(value.as_slice()), "the value");
    assert_eq!(GroupRecord::decode(&key, Some(&value)), Ok(DecodedGroupRecord::Known(record)));
}

/// Checks that `key` and `value` are read as `record`.
#[track_caller]
fn read(key: &str, value: &str, record: &GroupRecord<'_>) {
    let (key, value) = (bytes(key), bytes(value));
    assert_eq!(GroupRecord::decode(&key, Some(&value)), Ok(DecodedGroupRecord::Known(record.clone())));
}

const OFFSET_KEY: &str = "0001 0001 67 0001 74 00000003";

fn offset(value: OffsetCommitValue<'_>) -> GroupRecord<'_> {
    GroupRecord::OffsetCommit(OffsetCommitKey { group: "g", topic: "t", partition: 3 }, Some(value))
}

fn offset_value() -> OffsetCommitValue<'static> {
    OffsetCommitValue {
        offset: 9,
        leader_epoch: 7,
        metadata: "x",
        commit_timestamp: 1000,
        expire_timestamp: -1,
        topic_id: TOPIC_ID,
    }
}

#[test]
fn offsets_are_written_as_kafka_writes_them() {
    let value =
        "0004 0000000000000009 00000007 02 78 00000000000003e8 01 00 10 0000000000000001 0000000000000002";
    written(offset(offset_value()), OFFSET_KEY, value);
    let value = "0004 0000000000000009 00000007 02 78 00000000000003e8 00";
    written(offset(OffsetCommitValue { topic_id: Uuid::default(), ..offset_value() }), OFFSET_KEY, value);
    // The one version with a time of its own, which costs it the leader epoch and the topic's id.
    let value = "0001 0000000000000009 0001 78 00000000000003e8 00000000000007d0";
    let expiring = OffsetCommitValue {
        leader_epoch: -1,
        topic_id: Uuid::default(),
        expire_timestamp: 2000,
        ..offset_value()
    };
    written(offset(expiring), OFFSET_KEY, value);
}

#[test]
fn offsets_are_read_in_older_versions() {
    let without_id = OffsetCommitValue { topic_id: Uuid::default(), ..offset_value() };
    let value = "0003 0000000000000009 00000007 0001 78 00000000000003e8";
    read(OFFSET_KEY, value, &offset(without_id.clone()));
    let without_epoch = offset(OffsetCommitValue { leader_epoch: -1, ..without_id });
    read(OFFSET_KEY, "0002 0000000000000009 0001 78 00000000000003e8", &without_epoch);
    read(OFFSET_KEY, "0000 0000000000000009 0001 78 00000000000003e8", &without_epoch);
    // The type that was the key's version 0.
    let legacy_key = "0000 0001 67 0001 74 00000003";
    read(legacy_key, "0000 0000000000000009 0001 78 00000000000003e8", &without_epoch);
    let key = without_epoch.encode().expect("it fits").key;
    assert_eq!(key, bytes(OFFSET_KEY), "it is written as type 1");
}

fn group_value() -> GroupMetadataValue<'static> {
    GroupMetadataValue {
        protocol_type: "consumer",
        generation: 4,
        protocol: Some("range"),
        leader: Some("m"),
        current_state_timestamp: 1000,
        members: vec![MemberMetadata {
            member_id: "m",
            group_instance_id: Some("i"),
            client_id: "c",
            client_host: "/h",
            rebalance_timeout: 300,
            session_timeout: 45,
            subscription: &[1, 2],
            assignment: &[3],
        }],
    }
}

fn group(value: GroupMetadataValue<'_>) -> GroupRecord<'_> {
    GroupRecord::GroupMetadata(GroupMetadataKey { group: "g" }, Some(value))
}

#[test]
fn classic_groups_are_written_as_kafka_writes_them() {
    let value = "0003 0008 636f6e73756d6572 00000004 0005 72616e6765 0001 6d 00000000000003e8 00000001 \
                 0001 6d 0001 69 0001 63 0002 2f68 0000012c 0000002d 00000002 0102 00000001 03";
    written(group(group_value()), "0002 0001 67", value);
    let empty = GroupMetadataValue { current_state_timestamp: 1000, ..Default::default() };
    let value = "0003 0000 00000000 ffff ffff 00000000000003e8 00000000";
    written(group(empty), "0002 0001 67", value);
}

#[test]
fn classic_groups_are_read_in_every_version() {
    let value = "0004 09 636f6e73756d6572 00000004 06 72616e6765 02 6d 00000000000003e8 02 \
                 02 6d 02 69 02 63 03 2f68 0000012c 0000002d 03 0102 02 03 00 00";
    read("0002 0001 67", value, &group(group_value()));
    let mut older = group_value();
    older.members[0].group_instance_id = None;
    let value = "0002 0008 636f6e73756d6572 00000004 0005 72616e6765 0001 6d 00000000000003e8 00000001 \
                 0001 6d 0001 63 0002 2f68 0000012c 0000002d 00000002 0102 00000001 03";
    read("0002 0001 67", value, &group(older.clone()));
    older.current_state_timestamp = -1;
    let value = "0001 0008 636f6e73756d6572 00000004 0005 72616e6765 0001 6d 00000001 \
                 0001 6d 0001 63 0002 2f68 0000012c 0000002d 00000002 0102 00000001 03";
    read("0002 0001 67", value, &group(older.clone()));
    older.members[0].rebalance_timeout = -1;
    let value = "0000 0008 636f6e73756d6572 00000004 0005 72616e6765 0001 6d 00000001 \
                 0001 6d 0001 63 0002 2f68 0000002d 00000002 0102 00000001 03";
    read("0002 0001 67", value, &group(older));
}

#[test]
fn consumer_groups_are_written_as_kafka_writes_them() {
    let with_hash = |metadata_hash| {
        let value = ConsumerGroupMetadataValue { epoch: 4, metadata_hash };
        GroupRecord::ConsumerGroupMetadata(ConsumerGroupMetadataKey { group_id: "g" }, Some(value))
    };
    written(with_hash(0x0102_0304_0506_0708), "0003 0001 67", "0000 00000004 01 00 08 0102030405060708");
    written(with_hash(0), "0003 0001 67", "0000 00000004 00");

    let topics = vec![TopicMetadata {
        topic_id: TOPIC_ID,
        topic_name: "t",
        num_partitions: 2,
        partition_metadata: vec![PartitionMetadata { partition: 1, racks: vec!["a", "b"] }],
    }];
    let record = GroupRecord::ConsumerGroupPartitionMetadata(
        ConsumerGroupPartitionMetadataKey { group_id: "g" },
        Some(ConsumerGroupPartitionMetadataValue { topics }),
    );
    let value =
        "0000 02 0000000000000001 0000000000000002 02 74 00000002 02 00000001 03 02 61 02 62 00 00 00";
    written(record, "0004 0001 67", value);

    let record = GroupRecord::ConsumerGroupRegularExpression(
        ConsumerGroupRegularExpressionKey { group_id: "g", regular_expression: "t.*" },
        Some(ConsumerGroupRegularExpressionValue { topics: vec!["t", "u"], version: 8, timestamp: 1000 }),
    );
    let value = "0000 03 02 74 02 75 0000000000000008 00000000000003e8 00";
    written(record, "0010 0001 67 0003 742e2a", value);
}

#[test]
fn members_are_written_as_kafka_writes_them() {
    let member = |classic_member_metadata| {
        let value = ConsumerGroupMemberMetadataValue {
            instance_id: Some("i"),
            rack_id: None,
            client_id: "c",
            client_host: "/h",
            subscribed_topic_names: vec!["t", "u"],
            subscribed_topic_regex: Some("t.*"),
            rebalance_timeout_ms: 300,
            server_assignor: Some("range"),
            classic_member_metadata,
        };
        let key = ConsumerGroupMemberMetadataKey { group_id: "g", member_id: "m" };
        GroupRecord::ConsumerGroupMemberMetadata(key, Some(value))
    };
    let before_tags = "0000 02 69 00 02 63 03 2f68 03 02 74 02 75 04 742e2a 0000012c 06 72616e6765";
    // Null is written; without the tag it is read as somebody who uses the classic protocol.
    written(member(None), "0005 0001 67 0001 6d", &format!("{before_tags} 01 00 01 00"));
    let untold = Some(ClassicMemberMetadata::default());
    written(member(untold), "0005 0001 67 0001 6d", &format!("{before_tags} 00"));
    let supported_protocols = vec![ClassicProtocol { name: "range", metadata: &[1, 2] }];
    let classic = ClassicMemberMetadata { session_timeout_ms: 45, supported_protocols };
    let tag = "01 00 11 01 0000002d 02 06 72616e6765 03 0102 00 00";
    written(member(Some(classic)), "0005 0001 67 0001 6d", &format!("{before_tags} {tag}"));
}

#[test]
fn assignments_are_written_as_kafka_writes_them() {
    let at = |assignment_timestamp| {
        GroupRecord::ConsumerGroupTargetAssignmentMetadata(
            ConsumerGroupTargetAssignmentMetadataKey { group_id: "g" },
            Some(ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: 4, assignment_timestamp }),
        )
    };
    written(at(1000), "0006 0001 67", "0000 00000004 01 00 08 00000000000003e8");
    written(at(0), "0006 0001 67", "0000 00000004 00");

    let topic_partitions = vec![TargetTopicPartitions { topic_id: TOPIC_ID, partitions: vec![1, 2] }];
    let record = GroupRecord::ConsumerGroupTargetAssignmentMember(
        ConsumerGroupTargetAssignmentMemberKey { group_id: "g", member_id: "m" },
        Some(ConsumerGroupTargetAssignmentMemberValue { topic_partitions }),
    );
    let value = "0000 02 0000000000000001 0000000000000002 03 00000001 00000002 00 00";
    written(record, "0007 0001 67 0001 6d", value);

    let topic = |partitions, assignment_epochs| {
        vec![CurrentTopicPartitions { topic_id: TOPIC_ID, partitions, assignment_epochs }]
    };
    let record = GroupRecord::ConsumerGroupCurrentMemberAssignment(
        ConsumerGroupCurrentMemberAssignmentKey { group_id: "g", member_id: "m" },
        Some(ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: 5,
            previous_member_epoch: 4,
            state: MEMBER_STATE_UNREVOKED_PARTITIONS,
            assigned_partitions: topic(vec![1, 2], Some(vec![3, 4])),
            partitions_pending_revocation: topic(vec![0], Some(vec![])),
        }),
    );
    let value = "0000 00000005 00000004 01 \
                 02 0000000000000001 0000000000000002 03 00000001 00000002 01 00 09 03 00000003 00000004 \
                 02 0000000000000001 0000000000000002 02 00000000 00 00";
    written(record, "0008 0001 67 0001 6d", value);
    let record = GroupRecord::ConsumerGroupCurrentMemberAssignment(
        ConsumerGroupCurrentMemberAssignmentKey { group_id: "g", member_id: "m" },
        Some(ConsumerGroupCurrentMemberAssignmentValue {
            assigned_partitions: topic(vec![], None),
            ..Default::default()
        }),
    );
    let value = "0000 00000000 00000000 00 02 0000000000000001 0000000000000002 01 01 00 01 00 01 00";
    written(record, "0008 0001 67 0001 6d", value);
}

/// A value or key of random fields in `version`, with that or its type before it.
fn generated<'a, M: Message<'a> + Generate<'a>>(seed: u64, prefix: i16, version: i16) -> (M, Vec<u8>) {
    let context = M::context(version).expect("a version of it");
    let message = M::generate(&mut Generator::new(seed), context);
    let mut encoder = Encoder::new();
    encoder.put(&prefix.to_be_bytes());
    message.encode_body(&mut encoder, version).expect("a version of it");
    let bytes = encoder.finish().expect("it fits").bytes.to_vec();
    (message, bytes)
}

/// Checks a record of each type, its value in each version, as it is read, cut off, and written again.
macro_rules! every_type {
    ($($module:ident: $name:ident = $number:literal ($key:ident, $value:ident $(<$lifetime:lifetime>)?);)*) => {
        $(mod $module {
            use super::*;
            use ottla_wire::group_records::{$key, $value};

            #[test]
            fn records_are_read_in_every_version_and_written_again() {
                for version in $value::VERSION_FIRST..=$value::VERSION_LAST {
                    for seed in 0..50 {
                        let (key, key_bytes) = generated::<$key<'_>>(seed, $number, 0);
                        let (value, value_bytes) = generated::<$value>(seed, version, version);
                        let record = GroupRecord::$name(key, Some(value));
                        assert_eq!(record.record_type(), $number);
                        reads_back(&key_bytes, &value_bytes, &record);
                    }
                }
            }

            #[test]
            fn every_cut_is_noticed() {
                for version in $value::VERSION_FIRST..=$value::VERSION_LAST {
                    let (_, key) = generated::<$key<'_>>(version as u64, $number, 0);
                    let (_, value) = generated::<$value>(version as u64, version, version);
                    check_cuts(&key, &value, stringify!($key), stringify!($value));
                }
            }

            #[test]
            fn a_version_that_kafka_lacks_is_an_error() {
                let (_, key) = generated::<$key<'_>>(1, $number, 0);
                for version in [i16::MIN, -1, $value::VERSION_LAST + 1, i16::MAX] {
                    let (_, mut value) = generated::<$value>(1, 0, 0);
                    value[..2].copy_from_slice(&version.to_be_bytes());
                    let error = GroupRecord::decode(&key, Some(&value)).expect_err("no such version");
                    let field = concat!(stringify!($value), ".version");
                    assert_eq!((error.kind, error.field), (DecodeErrorKind::Version(version), field));
                }
            }
        })*

        /// The numbers of all types.
        const TYPES: &[i16] = &[$($number),*];
    };
}

with_group_records! { every_type }

/// Checks that `key` and `value` are read as `record`, with bytes behind them too, and as a tombstone; and
/// that what is written for it is read as what was written: Kafka's version of it, with or without what that
/// lacks.
#[track_caller]
fn reads_back(key: &[u8], value: &[u8], record: &GroupRecord<'_>) {
    let known = Ok(DecodedGroupRecord::Known(record.clone()));
    assert_eq!(GroupRecord::decode(key, Some(value)), known);
    let longer = |bytes: &[u8]| [bytes, &[7, 7]].concat();
    assert_eq!(GroupRecord::decode(&longer(key), Some(&longer(value))), known);

    let first = record.encode().expect("it fits");
    assert_eq!(first.key, key, "a key has one form");
    let Ok(DecodedGroupRecord::Known(again)) = GroupRecord::decode(&first.key, first.value.as_deref()) else {
        panic!("we don't read what we wrote for {record:?}");
    };
    assert_eq!(again.encode(), Ok(first));

    let Ok(DecodedGroupRecord::Known(tombstone)) = GroupRecord::decode(key, None) else {
        panic!("no tombstone is read of {record:?}");
    };
    assert_eq!(tombstone.record_type(), record.record_type());
    let written = tombstone.encode().expect("it fits");
    assert_eq!((&written.key[..], written.value), (key, None));
}

#[track_caller]
fn check_cuts(key: &[u8], value: &[u8], key_name: &str, value_name: &str) {
    assert!(GroupRecord::decode(key, Some(value)).is_ok());
    for length in 0..key.len() {
        let error = GroupRecord::decode(&key[..length], Some(value)).expect_err("the key is cut off");
        let expected = if length < 2 { "GroupRecord" } else { key_name };
        assert_eq!(error.field.split('.').next(), Some(expected), "{length} bytes of {}", key.len());
    }
    for length in 0..value.len() {
        let error = GroupRecord::decode(key, Some(&value[..length])).expect_err("the value is cut off");
        assert!(!error.field.starts_with(key_name), "{error}");
        assert!(length > 2 || error.field.starts_with(value_name), "{error}");
    }
}

#[test]
fn a_type_that_is_not_known_is_told_not_refused() {
    for record_type in (i16::MIN..=i16::MAX).filter(|number| *number != 0 && !TYPES.contains(number)) {
        let key = record_type.to_be_bytes();
        for value in [None, Some(&b"anything"[..])] {
            let decoded = GroupRecord::decode(&key, value);
            assert_eq!(decoded, Ok(DecodedGroupRecord::Unknown { record_type }));
        }
    }
    let error = GroupRecord::decode(&[0], None).expect_err("half of a number");
    assert_eq!(
        (error.kind, error.field),
        (DecodeErrorKind::Truncated { needed: 2, remaining: 1 }, "GroupRecord.type")
    );
}

/// Checks that `value`, which ends with a count that can't be, is refused before anything is allocated for
/// it.
#[track_caller]
fn refuses_count(key: &str, value: &str, count: usize, field: &str) {
    let (key, mut value) = (bytes(key), bytes(value));
    let remaining = 8;
    value.extend([0; 8]);
    let error = GroupRecord::decode(&key, Some(&value)).expect_err("a count that can't be");
    assert_eq!((error.kind, error.field), (DecodeErrorKind::CountTooLarge { count, remaining }, field));
}

#[test]
fn a_count_beyond_the_value_allocates_nothing() {
    let plain = i32::MAX as usize;
    let value = "0003 0000 00000000 ffff ffff 00000000000003e8 7fffffff";
    refuses_count("0002 0001 67", value, plain, "GroupMetadataValue.members");
    let compact = u32::MAX as usize - 1;
    let value = "0004 01 00000000 00 00 00000000000003e8 ffffffff0f";
    refuses_count("0002 0001 67", value, compact, "GroupMetadataValue.members");
    let topics = "ConsumerGroupPartitionMetadataValue.topics";
    refuses_count("0004 0001 67", "0000 ffffffff0f", compact, topics);
    let names = "ConsumerGroupMemberMetadataValue.subscribed_topic_names";
    refuses_count("0005 0001 67 0001 6d", "0000 00 00 01 01 ffffffff0f", compact, names);
    let value = "0000 00 00 01 01 01 00 0000012c 00 01 00 12 01 0000002d ffffffff0f";
    let protocols = "ClassicMemberMetadata.supported_protocols";
    refuses_count("0005 0001 67 0001 6d", value, compact, protocols);
    let target = "ConsumerGroupTargetAssignmentMemberValue.topic_partitions";
    refuses_count("0007 0001 67 0001 6d", "0000 ffffffff0f", compact, target);
    let value = "0000 00000005 00000004 01 02 0000000000000001 0000000000000002 01 01 00 0d ffffffff0f";
    refuses_count("0008 0001 67 0001 6d", value, compact, "CurrentTopicPartitions.assignment_epochs");
    let expression = "ConsumerGroupRegularExpressionValue.topics";
    refuses_count("0010 0001 67 0001 6d", "0000 ffffffff0f", compact, expression);
}

#[test]
fn noise_is_refused_or_read_but_never_a_panic() {
    let mut generator = Generator::new(1);
    for _ in 0..2_000 {
        for record_type in TYPES {
            let mut noise =
                || -> Vec<u8> { (0..generator.below(60)).map(|_| generator.number() as u8 & 0x1f).collect() };
            let (key, value) = ([&record_type.to_be_bytes()[..], &noise()].concat(), noise());
            for version in 0..=4i16 {
                let value = [&version.to_be_bytes()[..], &value].concat();
                let _ = GroupRecord::decode(&key, Some(&value));
            }
        }
    }
}

#[test]
fn a_text_that_does_not_fit_is_an_error() {
    let long = "x".repeat(40_000);
    let value = GroupMetadataValue { protocol_type: &long, ..Default::default() };
    assert_eq!(group(value).encode(), Err(EncodeError::StringTooLong { length: 40_000 }));
    let key = GroupMetadataKey { group: &long };
    let tombstone = GroupRecord::GroupMetadata(key, None);
    assert_eq!(tombstone.encode(), Err(EncodeError::StringTooLong { length: 40_000 }));
}

#[test]
fn text_is_borrowed() {
    let (key, value) = (bytes(OFFSET_KEY), bytes("0003 0000000000000009 00000007 0001 78 00000000000003e8"));
    let Ok(DecodedGroupRecord::Known(GroupRecord::OffsetCommit(read_key, Some(read)))) =
        GroupRecord::decode(&key, Some(&value))
    else {
        panic!("it is an offset");
    };
    assert!(key.as_ptr_range().contains(&read_key.group.as_ptr()));
    assert!(value.as_ptr_range().contains(&read.metadata.as_ptr()));
    let mut decoder = Decoder::new(&value[2..]);
    OffsetCommitValue::skip_body(&mut decoder, 3).expect("it was read");
    assert_eq!((decoder.memory_bytes(), decoder.text_bytes()), (0, 1));
}
