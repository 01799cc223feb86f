//! Places in files that outlive the log that they were told of: what is read there later is what was there,
//! or nothing.

use std::sync::Arc;

use bytes::Bytes;
use ottla_log::BatchBuilder;
use ottla_types::{LeaderEpoch, Offset, TopicId, TopicName};

use crate::test_support::{P0, TOPIC, open};
use crate::{LogConfig, PartitionLog, ReadSlice, Store, UpTo};

/// Two batches of one record fit in a segment.
fn create(store: &Store, id: TopicId) -> Arc<PartitionLog> {
    let config = LogConfig { segment_bytes: 170, index_interval_bytes: 1, ..LogConfig::default() };
    store.create_partition(TopicName::new("t").unwrap(), id, P0, config).unwrap()
}

/// Batches of one record each, that say their leader's epoch and all have the same length.
fn append(store: &Store, log: &Arc<PartitionLog>, epoch: i32, count: i64) {
    for _ in 0..count {
        let value = format!("epoch {epoch} at {:03}", log.end_offset());
        let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(1, None, Some(value.as_bytes()));
        let batch: Bytes = batch.build().into();
        log.append(&batch, LeaderEpoch(epoch), 1).unwrap();
    }
    store.commit_now().unwrap();
}

/// The places of all batches, one by one, and what is there.
fn places(log: &PartitionLog) -> Vec<(ReadSlice, Bytes)> {
    let (mut all, mut at) = (Vec::new(), log.log_start_offset());
    while let Some(slice) = log.read(at, 1, true, UpTo::End).unwrap() {
        at = slice.next_offset;
        let bytes = slice.to_bytes().unwrap();
        all.push((slice, bytes));
    }
    all
}

/// How many of the places still hold what they did; the others hold nothing.
fn check(places: &[(ReadSlice, Bytes)]) -> usize {
    let held = places.iter().filter(|(slice, expected)| match slice.to_bytes() {
        Ok(bytes) => {
            assert_eq!(bytes, *expected, "{slice:?} holds something else");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
            false
        }
    });
    held.count()
}

#[test]
fn what_was_cut_is_never_another_record() {
    // At and within segments, all of the log, and cuts of what came after a cut.
    for cuts in [&[7][..], &[6], &[1], &[0], &[7, 7], &[7, 6], &[5, 4], &[5, 5, 3], &[3, 3, 2, 2, 0]] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store, TOPIC);
        append(&store, &log, 1, 9);
        let mut told = places(&log);
        for (epoch, cut) in (2..).zip(cuts) {
            log.truncate_to(Offset(*cut)).unwrap();
            check(&told);
            append(&store, &log, epoch, 9 - cut);
            check(&told);
            let now = places(&log);
            assert_eq!((now.len(), check(&now)), (9, 9), "cuts {cuts:?}");
            told.extend(now);
        }
        drop((store, log));
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        let now = places(&log);
        assert_eq!(now.len(), 9);
        assert!(now.iter().all(|(_, bytes)| ottla_log::check_batch(bytes).is_ok()));
    }
}

#[test]
fn a_log_that_begins_anew_in_the_same_place_is_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, TOPIC);
    append(&store, &log, 1, 5);
    let told = places(&log);
    log.reset_to(Offset(0)).unwrap();
    append(&store, &log, 2, 5);
    assert_eq!(check(&told), 5, "whoever has a file that is removed still has it");
    assert_eq!(check(&places(&log)), 5);
}

#[test]
fn a_topic_of_the_same_name_is_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, TOPIC);
    append(&store, &log, 1, 3);
    let told = places(&log);
    store.delete_partition(TOPIC, P0).unwrap();
    let other = create(&store, TopicId([3; 16]));
    append(&store, &other, 2, 3);
    assert_eq!((check(&told), check(&places(&other))), (3, 3));
}

#[test]
fn what_is_let_go_stays_for_those_who_were_told_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, TOPIC);
    append(&store, &log, 1, 6);
    let told = places(&log);
    assert!(log.advance_log_start(Offset(5)) > 0);
    append(&store, &log, 1, 6);
    assert_eq!(check(&told), 6);
}

/// A peer's records take the place of damaged ones at the log's end, which is cut again later.
#[test]
fn a_repair_does_not_forget_that_a_segment_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, TOPIC);
    append(&store, &log, 1, 4);
    let told = places(&log);
    let good = told[0].1.clone();
    log.truncate_to(Offset(1)).unwrap();
    let file = std::fs::File::options().write(true).open(dir.path().join("t-0/00000000000000000000.log"));
    std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), b"x", good.len() as u64 - 1).unwrap();
    while !store.scrub_step(1 << 20).finished {}
    assert_eq!(log.damage(), [Offset(0)..Offset(1)]);
    log.repair(&good).unwrap();
    append(&store, &log, 2, 3);
    check(&told);
}
