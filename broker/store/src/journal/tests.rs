//! The journal when it is full: what it still takes, and what it says of what it didn't take.

use std::sync::Arc;

use ottla_log::{BatchBuilder, Batches, FileKind, LOG_START_FILE, RECOVERY_POINT_FILE, SEALED_OFFSETS_FILE};
use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

use super::Takes;
use crate::test_support::{P0, TOPIC, batch, config};
use crate::{LogConfig, PartitionLog, Store, StoreConfig, UpTo};

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

/// The other files' bytes are of the same lengths here, so that only what is void keeps them apart.
#[test]
fn entries_of_segments_that_were_replaced_are_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(config(dir.path())).unwrap();
    let store = open();
    let topic = TopicName::new("orders").unwrap();
    let settings = LogConfig { segment_bytes: 200, ..LogConfig::default() };
    let log = store.create_partition(topic, TOPIC, P0, settings).unwrap();
    let append = |value: &[u8]| log.append(&batch(value), LeaderEpoch(3), 1_000).unwrap();
    // Each second one begins a segment, and is synced in place with its name; the others go to the journal.
    for value in [b"a", b"b", b"c", b"d", b"e", b"f", b"g"] {
        append(value);
        store.commit_now().unwrap();
    }
    store.checkpoint().unwrap();
    let below = log.state.lock().segments.last().unwrap().base;
    log.shared.settle(log.journal_key(), below).unwrap();
    append(b"tail");
    store.commit_now().unwrap();
    let (folder, end) = (log.state.lock().folder.clone(), log.end_offset());
    let tail = log.read_bytes(Offset(end.0 - 1), 1, UpTo::End).unwrap();
    let (mut others, mut batches, mut bases) = (Vec::new(), Vec::new(), Vec::new());
    for segment in &log.state.lock().segments {
        bases.push(segment.base);
    }
    for at in bases.iter().take_while(|base| **base < below) {
        let path = folder.join(FileKind::Log.file_name(*at));
        let mut content = Vec::new();
        for parsed in Batches::new(&std::fs::read(&path).unwrap()) {
            let header = parsed.unwrap().0;
            let other =
                BatchBuilder::new(header.base_offset(), LeaderEpoch(3)).record(1_000, None, Some(b"-"));
            batches.push((header.base_offset(), other.build()));
            content.extend_from_slice(&batches.last().unwrap().1);
        }
        assert_eq!(content.len() as u64, std::fs::metadata(&path).unwrap().len());
        others.push((path, content));
    }
    assert!(others.len() > 1 && end > below);
    drop((log, store));
    for (path, content) in &others {
        std::fs::write(path, content).unwrap();
    }
    // The tail never reached the disk but in the journal, and nothing is known of recovery points.
    let active = folder.join(FileKind::Log.file_name(below));
    std::fs::write(active, b"").unwrap();
    for name in [SEALED_OFFSETS_FILE, RECOVERY_POINT_FILE, LOG_START_FILE] {
        std::fs::write(dir.path().join(name), b"damaged").unwrap();
    }
    for _ in 0..2 {
        let store = open();
        let log = store.partition(TOPIC, P0).unwrap();
        assert_eq!((log.end_offset(), log.damage()), (end, vec![]));
        for (offset, other) in &batches {
            assert_eq!(&log.read_bytes(*offset, 1, UpTo::Durable).unwrap()[..], &other[..], "at {offset}");
        }
        assert_eq!(log.read_bytes(Offset(end.0 - 1), 1, UpTo::Durable).unwrap(), tail);
    }
}
