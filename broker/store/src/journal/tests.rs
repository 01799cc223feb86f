//! The journal when it is full: what it still takes, and what it says of what it didn't take.

use std::sync::Arc;

use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

use super::Takes;
use crate::test_support::{batch, config};
use crate::{LogConfig, PartitionLog, Store, StoreConfig};

/// A store with one log, whose journal is full; nobody commits but the test.
fn full(dir: &std::path::Path) -> (Store, Arc<PartitionLog>) {
    let store = Store::open(StoreConfig { journal_file_bytes: 64 << 10, ..config(dir) }).unwrap();
    let topic = TopicName::new("orders").unwrap();
    let log =
        store.create_partition(topic, TopicId([2; 16]), PartitionIndex(0), LogConfig::default()).unwrap();
    let shared = Arc::clone(&log.shared);
    let append = || log.append(&batch(&[7; 16_000]), LeaderEpoch(3), 1_000).unwrap();
    // A new segment is synced itself, as its name is.
    append();
    log.sync().unwrap();
    for appends in 0.. {
        assert!(appends < 10, "four of them fill one of the two files");
        append();
        shared.commit_journal().unwrap();
        if shared.journal.open.lock().takes == Takes::ReleaseMarks {
            break;
        }
    }
    (store, log)
}

#[test]
fn a_full_journal_has_room_for_the_marks_that_release_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, log) = full(dir.path());
    assert!(log.durable_end_offset() < log.end_offset(), "the last one waits for its segment");
    assert!(store.inner.release_with_marks().unwrap(), "without a checkpoint");
    assert_eq!(log.durable_end_offset(), log.end_offset());
    let durable = log.append(&batch(b"more"), LeaderEpoch(3), 1_000).unwrap().last_offset;
    log.shared.commit_journal().unwrap();
    assert!(log.durable_end_offset() > durable, "it takes appends again");
}

#[test]
fn what_there_was_no_room_for_is_not_durable_by_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, log) = full(dir.path());
    let journal = &log.shared.journal;
    let mut state = log.state.lock();
    let lost = state.slot.newest;
    let mark = journal.mark_for_release(log.journal_key(), &mut state.slot, Offset(0)).unwrap();
    drop(state);
    log.shared.commit_journal().unwrap();
    assert!(mark > lost && journal.is_durable(mark));
    assert!(!journal.is_durable(lost));
}
