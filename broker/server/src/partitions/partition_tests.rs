//! A leader that is sent batches again: after its log was damaged, and after its memory of them is gone.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::metadata::OFFSETS_TOPIC;
use ottla_core::partition::{AppendRefusal, Assignment, Committed, FetchVerdict, FollowerFetch};
use ottla_log::BatchBuilder;
use ottla_store::{Appended, LogConfig};
use ottla_types::{
    BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionEpoch, ProducerEpoch, ProducerId,
    TopicName,
};

use super::partition::Lists;
use super::test_support::{INDEX, LAG_MAX, TOPIC, create_log, led_by_the_first_of, open_store, replica_on};
use super::{AppendOrigin, Partition, ProduceError, ReadyList, RequiredAcks};

fn batch(sequence: i32) -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let producer = builder.producer(ProducerId(7), ProducerEpoch(0), sequence);
    producer.record(crate::clock::now_ms(), None, Some(b"value")).build().into()
}

fn append(
    partition: &Partition,
    records: &Bytes,
    acks: RequiredAcks,
) -> Result<(Appended, LeaderEpoch), ProduceError> {
    append_from(partition, records, AppendOrigin::Client(acks))
}

fn append_from(
    partition: &Partition,
    records: &Bytes,
    origin: AppendOrigin,
) -> Result<(Appended, LeaderEpoch), ProduceError> {
    partition.append(&partition.check(records, origin, usize::MAX)?, origin)
}

/// The leader is sent the second of a producer's batches again, which was damaged, and the snapshot of
/// producers is lost.
fn sent_again_to_one_of(replicas: i32) -> Result<(), ProduceError> {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path(), BrokerId(1));
    let log = create_log(&store);
    for sequence in 0..2 {
        log.append(&batch(sequence), LeaderEpoch(3), crate::clock::now_ms()).unwrap();
    }
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    drop((store, log));
    let (segment, snapshot) = ("t-0/00000000000000000000.log", "t-0/00000000000000000002.snapshot");
    let half = std::fs::read(dir.path().join(segment)).unwrap().len() / 2;
    let file = std::fs::File::options().write(true).open(dir.path().join(segment)).unwrap();
    file.set_len(half as u64).unwrap();
    std::fs::remove_file(dir.path().join(snapshot)).unwrap();
    let store = open_store(dir.path(), BrokerId(1));
    let log = store.partition(TOPIC, INDEX).unwrap();
    assert_eq!(log.damage(), [Offset(1)..Offset(2)]);
    let partition = Partition::new(BrokerId(1), log, Offset(2), LAG_MAX, Lists::default());
    partition.on_image(led_by_the_first_of(replicas), |_| Arc::<ReadyList>::default());
    append(&partition, &batch(1), RequiredAcks::AtMostLeader).map(drop)
}

#[test]
fn what_may_be_a_repetition_waits_until_a_peer_has_repaired_the_log() {
    assert!(matches!(sent_again_to_one_of(3), Err(ProduceError::UnderRepair)));
    // Nobody could repair it.
    sent_again_to_one_of(1).unwrap();
}

/// Clients take the answer to it for a success, so it has to wait for what a success waits for.
#[test]
fn what_was_appended_long_ago_is_no_success_before_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path(), BrokerId(1));
    let partition = replica_on(create_log(&store), BrokerId(1));
    partition.on_image(led_by_the_first_of(2), |_| Arc::<ReadyList>::default());
    for sequence in 0..7 {
        append(&partition, &batch(sequence), RequiredAcks::All).unwrap();
    }
    store.commit_now().unwrap();
    let again = append(&partition, &batch(0), RequiredAcks::All);
    let Err(ProduceError::AppendedBefore { last, epoch }) = again else { panic!("{again:?}") };
    assert_eq!((last, epoch), (Offset(1), LeaderEpoch(4)));
    assert_eq!(partition.committed(last, epoch), Committed::Waiting, "the follower hasn't got it");
    let alone = Assignment { partition_epoch: PartitionEpoch(2), ..led_by_the_first_of(1) };
    partition.on_image(alone, |_| Arc::<ReadyList>::default());
    assert_eq!(partition.committed(last, epoch), Committed::Yes);
}

#[test]
fn what_a_coordinator_decided_is_void_in_another_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path(), BrokerId(1));
    let name = TopicName::new(OFFSETS_TOPIC).unwrap();
    let log = store.create_partition(name, TOPIC, INDEX, LogConfig::default()).unwrap();
    let partition = replica_on(Arc::clone(&log), BrokerId(1));
    partition.on_image(led_by_the_first_of(1), |_| Arc::<ReadyList>::default());
    let of_epoch = |epoch| append_from(&partition, &batch(0), AppendOrigin::Coordinator(LeaderEpoch(epoch)));
    for other in [3, 5] {
        assert!(matches!(of_epoch(other), Err(ProduceError::Refused(AppendRefusal::NotLeader))));
    }
    for acks in [RequiredAcks::AtMostLeader, RequiredAcks::All] {
        let refused = append(&partition, &batch(0), acks);
        assert!(matches!(refused, Err(ProduceError::Internal)), "a client's records: {refused:?}");
    }
    assert_eq!(partition.offsets().log_end, Offset(0), "nothing is appended");
    of_epoch(4).unwrap();
    assert_eq!(partition.offsets().log_end, Offset(1));
}

/// Its records are as old as can be; what no follower has yet is not deleted, and no producer hears of a
/// success.
#[test]
fn retention_deletes_only_what_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path(), BrokerId(1));
    let config = LogConfig { segment_bytes: 100, retention_ms: Some(1_000), ..LogConfig::default() };
    let log = store.create_partition(TopicName::new("t").unwrap(), TOPIC, INDEX, config).unwrap();
    let partition = replica_on(Arc::clone(&log), BrokerId(1));
    partition.on_image(led_by_the_first_of(2), |_| Arc::<ReadyList>::default());
    let old = |value: &[u8]| -> Bytes {
        BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(1_000, None, Some(value)).build().into()
    };
    for value in [b"a", b"b", b"c", b"d"] {
        append(&partition, &old(value), RequiredAcks::All).unwrap();
    }
    store.commit_now().unwrap();
    let fetch = |offset| FollowerFetch {
        broker: BrokerId(2),
        broker_epoch: BrokerEpoch(1),
        directory: DirectoryId([1; 16]),
        leader_epoch: LeaderEpoch(4),
        fetch_offset: Offset(offset),
        last_epoch: Some(LeaderEpoch(4)).filter(|_| offset > 0),
    };
    let committed = |offset| partition.committed(Offset(offset), LeaderEpoch(4));
    let now_ms = crate::clock::now_ms();
    assert_eq!(partition.enforce_retention(now_ms), 0);
    assert_eq!((log.log_start_offset(), committed(0)), (Offset(0), Committed::Waiting));
    partition.on_fetch(&fetch(0)).unwrap();
    partition.on_fetch(&fetch(2)).unwrap();
    assert_eq!(partition.enforce_retention(now_ms), 2);
    assert_eq!((partition.offsets().log_start, partition.high_watermark()), (Offset(2), Offset(2)));
    assert_eq!((committed(1), committed(2)), (Committed::Yes, Committed::Waiting));
    // The follower goes on where it is.
    assert_eq!(partition.on_fetch(&fetch(2)), Ok(FetchVerdict::Read));
    partition.on_fetch(&fetch(4)).unwrap();
    assert_eq!((partition.enforce_retention(now_ms), log.log_start_offset()), (2, Offset(4)));
}
