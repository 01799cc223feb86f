//! Records both ways, byte for byte as Apache Kafka 4.3.1 writes them; and batches of whole decisions.

use std::collections::VecDeque;
use std::sync::Arc;

use ottla_core::coordinator::{Append, Ticket};
use ottla_core::group::{
    Generation, GroupId, GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetAndMetadata,
    OffsetCommitKey, Record,
};
use ottla_log::{Batches, HEADER_BYTES, Records};
use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::codec::{FilledBatch, TooLarge, Unreadable, decode, encode, next_batch};

const TOPIC_ID: TopicId = TopicId([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);

/// The bytes of hexadecimal digits; blanks stand between fields.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[track_caller]
fn written(record: &Record, key: &str, value: Option<&str>) {
    let (key, value) = (bytes(key), value.map(bytes));
    let encoded = encode(record).unwrap();
    assert_eq!((encoded.key.to_vec(), encoded.value.map(Vec::from)), (key.clone(), value.clone()));
    assert_eq!(decode(Some(&key), value.as_deref()).unwrap(), *record);
}

#[track_caller]
fn read(key: &str, value: &str, record: &Record) {
    assert_eq!(decode(Some(&bytes(key)), Some(&bytes(value))).unwrap(), *record);
}

fn offset(value: Option<OffsetAndMetadata>) -> Record {
    let topic = TopicName::new("t").unwrap();
    let key = OffsetCommitKey { group: "g".into(), topic, partition: PartitionIndex(3) };
    Record::OffsetCommit { key, value }
}

fn offset_value() -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset: Offset(9),
        leader_epoch: Some(LeaderEpoch(7)),
        metadata: "x".into(),
        commit_timestamp_ms: 1_000,
        expire_timestamp_ms: None,
        topic_id: TOPIC_ID,
    }
}

fn group(value: Option<GroupMetadataValue>) -> Record {
    Record::GroupMetadata { key: GroupMetadataKey { group: "g".into() }, value }
}

fn group_value() -> GroupMetadataValue {
    GroupMetadataValue {
        protocol_type: "consumer".to_owned(),
        generation: Generation(4),
        protocol: Some("range".to_owned()),
        leader: Some("m".into()),
        current_state_timestamp_ms: Some(1_000),
        members: vec![MemberMetadata {
            member: "m".into(),
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: 300,
            session_timeout_ms: 45,
            subscription: Arc::from([1, 2]),
            assignment: Arc::from([3]),
        }],
    }
}

/// A committed offset of the group `g`.
pub fn offset_record() -> Record {
    offset(Some(offset_value()))
}

/// A generation of the group `g`.
pub fn group_record() -> Record {
    group(Some(group_value()))
}

const OFFSET_KEY: &str = "0001 0001 67 0001 74 00000003";
const GROUP_KEY: &str = "0002 0001 67";

#[test]
fn offsets_are_written_as_kafka_writes_them() {
    let value =
        "0004 0000000000000009 00000007 02 78 00000000000003e8 01 00 10 0000000000000001 0000000000000002";
    written(&offset(Some(offset_value())), OFFSET_KEY, Some(value));
    written(&offset(None), OFFSET_KEY, None);
    let nothing_known = OffsetAndMetadata { leader_epoch: None, topic_id: TopicId::ZERO, ..offset_value() };
    written(
        &offset(Some(nothing_known.clone())),
        OFFSET_KEY,
        Some("0004 0000000000000009 ffffffff 02 78 00000000000003e8 00"),
    );
    // The one version with a time of its own, which costs it the leader epoch and the topic's id.
    let value = "0001 0000000000000009 0001 78 00000000000003e8 00000000000007d0";
    let expiring = OffsetAndMetadata { expire_timestamp_ms: Some(2_000), ..nothing_known.clone() };
    written(&offset(Some(expiring)), OFFSET_KEY, Some(value));
    let more = OffsetAndMetadata { expire_timestamp_ms: Some(2_000), ..offset_value() };
    assert_eq!(encode(&offset(Some(more))).unwrap().value.unwrap(), bytes(value));
    // A key's version 0 is one of early Kafka.
    read("0000 0001 67 0001 74 00000003", "0000 0000000000000009 0001 78 00000000000003e8", &{
        offset(Some(nothing_known))
    });
}

#[test]
fn classic_groups_are_written_as_kafka_writes_them() {
    let value = "0003 0008 636f6e73756d6572 00000004 0005 72616e6765 0001 6d 00000000000003e8 00000001 \
                 0001 6d 0001 69 0001 63 0002 2f68 0000012c 0000002d 00000002 0102 00000001 03";
    written(&group(Some(group_value())), GROUP_KEY, Some(value));
    written(&group(None), GROUP_KEY, None);
    let empty = GroupMetadataValue {
        protocol_type: String::new(),
        generation: Generation(0),
        protocol: None,
        leader: None,
        current_state_timestamp_ms: Some(1_000),
        members: Vec::new(),
    };
    written(&group(Some(empty)), GROUP_KEY, Some("0003 0000 00000000 ffff ffff 00000000000003e8 00000000"));
    // The first version knows neither times nor instances, and a rebalance lasts as long as a session.
    let mut oldest = group_value();
    oldest.current_state_timestamp_ms = None;
    oldest.members[0].instance = None;
    oldest.members[0].rebalance_timeout_ms = 45;
    let value = "0000 0008 636f6e73756d6572 00000004 0005 72616e6765 0001 6d 00000001 \
                 0001 6d 0001 63 0002 2f68 0000002d 00000002 0102 00000001 03";
    read(GROUP_KEY, value, &group(Some(oldest)));
}

#[test]
fn times_that_no_record_holds_are_the_nearest_that_one_does() {
    let mut value = group_value();
    value.members[0].rebalance_timeout_ms = u64::MAX;
    let encoded = encode(&group(Some(value))).unwrap();
    let Record::GroupMetadata { value: Some(read), .. } =
        decode(Some(&encoded.key), encoded.value.as_deref()).unwrap()
    else {
        panic!("it is a group")
    };
    assert_eq!(read.members[0].rebalance_timeout_ms, i32::MAX as u64);
    let negative = "0002 0000 00000001 0001 70 0001 6d ffffffffffffffff 00000001 \
                    0001 6d 0001 63 0002 2f68 80000000 fffffff0 00000000 00000000";
    let read = decode(Some(&bytes(GROUP_KEY)), Some(&bytes(negative))).unwrap();
    let Record::GroupMetadata { value: Some(read), .. } = read else { panic!("it is a group") };
    assert_eq!((read.members[0].rebalance_timeout_ms, read.members[0].session_timeout_ms), (0, 0));
}

#[test]
fn what_is_no_record_of_a_classic_group_is_told_by_its_type() {
    let unread = |key: Option<&str>, value: &str| {
        decode(key.map(bytes).as_deref(), Some(&bytes(value))).map(drop).unwrap_err()
    };
    assert!(matches!(unread(Some("0063 00"), ""), Unreadable::Type(99)));
    assert!(matches!(unread(Some("0003 0001 67"), "0000 00000001 00"), Unreadable::Type(3)));
    assert!(matches!(unread(None, ""), Unreadable::NoKey));
    assert!(matches!(unread(Some("00"), ""), Unreadable::Malformed(_)));
    assert!(matches!(unread(Some(OFFSET_KEY), "0009 00"), Unreadable::Malformed(_)));
    let slashes = unread(
        Some("0001 0001 67 0001 2f 00000003"),
        "0004 0000000000000009 00000007 01 \
                     00000000000003e8 00",
    );
    assert!(matches!(slashes, Unreadable::Topic(_)), "{slashes}");
}

fn text() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["", "a", "größe", "鍵", "a longer text, with blanks in it"])
        .prop_map(ToOwned::to_owned)
}

fn blob() -> impl Strategy<Value = Arc<[u8]>> {
    vec(any::<u8>(), 0..40).prop_map(Arc::from)
}

fn offset_values() -> impl Strategy<Value = OffsetAndMetadata> {
    let id = any::<[u8; 16]>().prop_map(TopicId);
    (any::<i64>(), option::of(0..i32::MAX), text(), any::<i64>(), option::of(0..i64::MAX), id).prop_map(
        |(offset, epoch, metadata, commit_timestamp_ms, expire_timestamp_ms, topic_id)| {
            let keeps_all = expire_timestamp_ms.is_none();
            OffsetAndMetadata {
                offset: Offset(offset),
                leader_epoch: epoch.filter(|_| keeps_all).map(LeaderEpoch),
                metadata: metadata.into(),
                commit_timestamp_ms,
                expire_timestamp_ms,
                topic_id: if keeps_all { topic_id } else { TopicId::ZERO },
            }
        },
    )
}

fn members() -> impl Strategy<Value = MemberMetadata> {
    let times = (0..i32::MAX as u64, 0..i32::MAX as u64);
    (text(), option::of(text()), (text(), text()), times, blob(), blob()).prop_map(
        |(member, instance, (client_id, client_host), (rebalance, session), subscription, assignment)| {
            MemberMetadata {
                member: member.into(),
                instance: instance.map(Into::into),
                client_id: client_id.into(),
                client_host: client_host.into(),
                rebalance_timeout_ms: rebalance,
                session_timeout_ms: session,
                subscription,
                assignment,
            }
        },
    )
}

fn records() -> impl Strategy<Value = Record> {
    let of_offset = (text(), any::<i32>(), option::of(offset_values())).prop_map(|(group, index, value)| {
        let (topic, partition) = (TopicName::new("t.t").unwrap(), PartitionIndex(index));
        Record::OffsetCommit { key: OffsetCommitKey { group: group.into(), topic, partition }, value }
    });
    let value = (text(), any::<i32>(), option::of(text()), option::of(text()), option::of(0..i64::MAX));
    let value = (value, vec(members(), 0..4)).prop_map(
        |((protocol_type, generation, protocol, leader, current_state_timestamp_ms), members)| {
            let generation = Generation(generation);
            let leader = leader.map(Into::into);
            GroupMetadataValue {
                protocol_type,
                generation,
                protocol,
                leader,
                current_state_timestamp_ms,
                members,
            }
        },
    );
    let of_group = (text(), option::of(value)).prop_map(|(group, value)| Record::GroupMetadata {
        key: GroupMetadataKey { group: GroupId::from(group) },
        value,
    });
    prop_oneof![of_offset, of_group]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(record in records()) {
        let encoded = encode(&record).unwrap();
        prop_assert_eq!(decode(Some(&encoded.key), encoded.value.as_deref()).unwrap(), record);
    }

    #[test]
    fn no_bytes_are_too_absurd(key in vec(any::<u8>(), 0..20), value in option::of(vec(any::<u8>(), 0..80)), kind in 0_u8..18) {
        let key = [&[0, kind], &key[..]].concat();
        let _ = decode(Some(&key), value.as_deref());
    }

    /// Each batch holds whole decisions, in order, within its limit; and none is left out.
    #[test]
    fn decisions_are_never_parted(sizes in vec(vec(0_usize..400, 1..6), 0..30), bytes_max in 600_usize..3_000) {
        let decision = |(n, sizes): (usize, &Vec<usize>)| decided(n as u64, sizes);
        let mut appends: VecDeque<_> = sizes.iter().enumerate().map(decision).collect();
        let mut next = 0;
        while let Some(filled) = next_batch(&mut appends, bytes_max, 1_000) {
            match filled {
                Ok(FilledBatch { first, last, bytes }) => {
                    prop_assert_eq!(first, Ticket(next));
                    prop_assert!(bytes.len() <= bytes_max);
                    let expected = sizes[first.0 as usize..=last.0 as usize].iter().flatten().count();
                    prop_assert_eq!(read_batch(&bytes).len(), expected);
                    next = last.0 + 1;
                }
                Err(TooLarge(ticket)) => {
                    prop_assert_eq!(ticket, Ticket(next));
                    let least = sizes[next as usize].iter().sum::<usize>() + HEADER_BYTES;
                    prop_assert!(least + sizes[next as usize].len() * 100 > bytes_max, "it would fit");
                    next += 1;
                }
            }
        }
        prop_assert_eq!(next as usize, sizes.len());
    }
}

/// A decision with a record for each size, which its metadata has.
fn decided(ticket: u64, sizes: &[usize]) -> Append<Record> {
    let record = |bytes: &usize| {
        offset(Some(OffsetAndMetadata { metadata: "x".repeat(*bytes).into(), ..offset_value() }))
    };
    let records = sizes.iter().map(record).collect();
    Append { ticket: Ticket(ticket), epoch: LeaderEpoch(1), records }
}

fn read_batch(bytes: &[u8]) -> Vec<Record> {
    let (header, batch) = Batches::new(bytes).next().unwrap().unwrap();
    let records = Records::new(header, &batch[HEADER_BYTES..]).map(|record| record.unwrap());
    records.map(|record| decode(record.key, record.value).unwrap()).collect()
}

#[test]
fn many_share_a_batch_of_a_mebibyte_and_a_large_one_has_its_own() {
    let large = decided(3, &[3 << 20]);
    let mut appends: VecDeque<_> = [decided(1, &[700_000]), decided(2, &[300_000]), large].into();
    appends.push_back(decided(4, &[1]));
    appends.push_back(decided(5, &[9 << 20]));
    appends.push_back(decided(6, &[1]));
    let mut told = Vec::new();
    while let Some(filled) = next_batch(&mut appends, 8 << 20, 1_000) {
        told.push(filled.map(|filled| (filled.first.0, filled.last.0)));
    }
    assert_eq!(told, [Ok((1, 2)), Ok((3, 3)), Ok((4, 4)), Err(TooLarge(Ticket(5))), Ok((6, 6))]);
}

/// No version of a group's record that Kafka 4 writes holds such a text.
#[test]
fn a_text_that_no_record_holds_is_too_large() {
    let mut value = group_value();
    value.members[0].client_id = "c".repeat(40_000).into();
    let record = group(Some(value));
    let append = Append { ticket: Ticket(7), epoch: LeaderEpoch(1), records: vec![record] };
    let filled = next_batch(&mut [append].into(), 8 << 20, 1_000);
    assert_eq!(filled.map(|filled| filled.map(drop)), Some(Err(TooLarge(Ticket(7)))));
}
