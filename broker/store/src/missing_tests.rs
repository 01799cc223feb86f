//! Records that are missing: what a restart, retention and mending know of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ottla_log::{BatchBuilder, FileKind};
use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicName};

use crate::test_support::{Act, P0, TOPIC, open, open_watched};
use crate::{AppendError, LogConfig, PartitionLog, RepairError, Store, StoreError, UpTo};

fn create(store: &Store, segment_bytes: u32) -> Arc<PartitionLog> {
    let config = LogConfig { segment_bytes, index_interval_bytes: 300, ..LogConfig::default() };
    let log = store.create_partition(TopicName::new("t").unwrap(), TOPIC, P0, config).unwrap();
    store.commit_now().unwrap();
    log
}

fn of_producer(id: i64, sequence: i32) -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let builder = builder.producer(ProducerId(id), ProducerEpoch(0), sequence);
    builder.record(1_000, None, Some(&[7; 100])).build().into()
}

fn append(log: &Arc<PartitionLog>, sequences: std::ops::Range<i32>) {
    for sequence in sequences {
        log.append(&of_producer(7, sequence), LeaderEpoch(3), 1_000).unwrap();
    }
}

fn all(log: &PartitionLog) -> Bytes {
    let (mut bytes, mut from) = (Vec::new(), log.log_start_offset());
    while let Some(slice) = log.read(from, 1 << 20, true, UpTo::Durable).unwrap() {
        bytes.extend_from_slice(&slice.to_bytes().unwrap());
        from = slice.next_offset;
    }
    bytes.into()
}

fn segment(dir: &Path, base: Offset) -> PathBuf {
    dir.join("t-0").join(FileKind::Log.file_name(base))
}

fn change(path: &Path, act: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    act(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn without_snapshots(dir: &Path) {
    for file in std::fs::read_dir(dir.join("t-0")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "snapshot") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Where the records stand, and what a place in them is to become.
type Harm = fn(&mut Vec<u8>, usize);

/// What is missing behind the newest snapshot is missing after the next start too, when the segment lies below the
/// recovery point and isn't looked through.
#[test]
fn nothing_is_appended_to_a_store_that_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, 1 << 20);
    append(&log, 0..3);
    store.close().unwrap();
    let late = log.append(&of_producer(7, 3), LeaderEpoch(3), 1_000);
    assert!(matches!(late, Err(AppendError::Busy)), "{late:?}");
    drop((log, store));
    assert_eq!(open(dir.path()).partition(TOPIC, P0).unwrap().end_offset(), Offset(3));
}

#[test]
fn a_restart_knows_that_damage_hides_what_a_producer_has_written() {
    let harms: [(Harm, i64); 3] = [
        (|bytes, at| bytes.truncate(at), 10),
        (|bytes, at| bytes[at + 80] ^= 1, 5),
        // A header that leads astray.
        (|bytes, at| bytes[at + 26] ^= 1, 5),
    ];
    for (number, (harm, hidden_to)) in harms.into_iter().enumerate() {
        for piece in [0, 1] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path());
            let log = create(&store, 10 * of_producer(7, 0).len() as u32);
            append(&log, 0..10);
            store.checkpoint().unwrap();
            let batch_bytes = of_producer(7, 0).len();
            let whole = all(&log);
            drop((store, log));
            without_snapshots(dir.path());
            change(&segment(dir.path(), Offset(0)), |bytes| harm(bytes, 4 * batch_bytes));
            let store = open(dir.path());
            let log = store.partition(TOPIC, P0).unwrap();
            let damage = vec![Offset(4)..Offset(hidden_to)];
            assert_eq!(log.damage(), damage, "{number}");
            if piece > 0 && hidden_to > 5 {
                log.repair(&whole.slice(4 * batch_bytes..5 * batch_bytes)).unwrap();
            }
            let damage = log.damage();
            // Another segment, so that the damaged one is closed and known.
            for _ in 0..30 {
                log.append(&crate::test_support::batch(&[7; 100]), LeaderEpoch(3), 1_000).unwrap();
            }
            store.commit_now().unwrap();
            store.checkpoint().unwrap();
            drop((store, log));
            for _ in 0..2 {
                let store = open(dir.path());
                let log = store.partition(TOPIC, P0).unwrap();
                assert_eq!(log.damage(), damage, "{number}");
                assert!(log.hides_producer_of(&of_producer(8, 0)), "{number}");
                store.checkpoint().unwrap();
            }
        }
    }
}

#[test]
fn a_segment_of_which_nothing_is_left_hides_producers_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, 10 * of_producer(7, 0).len() as u32);
    append(&log, 0..30);
    store.checkpoint().unwrap();
    drop((store, log));
    without_snapshots(dir.path());
    change(&segment(dir.path(), Offset(10)), Vec::clear);
    for _ in 0..3 {
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        assert_eq!(log.damage(), [Offset(10)..Offset(20)]);
        assert!(log.hides_producer_of(&of_producer(8, 0)));
        store.checkpoint().unwrap();
    }
}

#[test]
fn damage_goes_with_the_records_that_are_let_go() {
    for segment_at in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let batch_bytes = of_producer(7, 0).len();
        let log = create(&store, 10 * batch_bytes as u32);
        append(&log, 0..30);
        store.checkpoint().unwrap();
        let whole = all(&log);
        drop((store, log));
        without_snapshots(dir.path());
        change(&segment(dir.path(), Offset(0)), |bytes| bytes[4 * batch_bytes + 80] ^= 1);
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        assert_eq!(log.damage(), [Offset(4)..Offset(5)]);
        assert!(log.hides_producer_of(&of_producer(8, 0)));
        let start = Offset(if segment_at { 10 } else { 6 });
        assert_eq!(log.advance_log_start(start), usize::from(segment_at));
        assert_eq!(log.damage(), []);
        assert!(!log.hides_producer_of(&of_producer(8, 0)));
        let given = log.repair(&whole.slice(4 * batch_bytes..5 * batch_bytes));
        assert!(matches!(given, Err(RepairError::NotDamaged { .. })), "{given:?}");
        assert!(!store.has_failed());
        store.checkpoint().unwrap();
        drop((store, log));
        without_snapshots(dir.path());
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        assert_eq!((log.log_start_offset(), log.damage()), (start, vec![]));
    }
}

#[test]
fn a_segment_is_read_again_once_however_many_places_are_mended() {
    const COUNT: usize = 400;
    let dir = tempfile::tempdir().unwrap();
    let batch_bytes = of_producer(7, 0).len();
    let read = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&read);
    let watch = move |path: &Path, act: Act| {
        if let Act::Read(bytes) = act
            && path.ends_with(FileKind::Log.file_name(Offset(0)))
        {
            let left = path.metadata().map_or(0, |metadata| metadata.len() as usize);
            counts.fetch_add(bytes.min(left), Ordering::Relaxed);
        }
        Ok(())
    };
    let store = open_watched(dir.path(), watch);
    let log = create(&store, (COUNT * batch_bytes) as u32);
    append(&log, 0..COUNT as i32 + 10);
    store.checkpoint().unwrap();
    let whole = all(&log);
    let places: Vec<usize> = (0..20).map(|place| 10 + place * 19).collect();
    let path = segment(dir.path(), Offset(0));
    change(&path, |bytes| places.iter().for_each(|at| bytes[at * batch_bytes + 80] ^= 1));
    while !store.scrub_step(1 << 20).finished {}
    assert_eq!(log.damage().len(), places.len());
    let before = read.load(Ordering::Relaxed);
    for at in &places {
        log.repair(&whole.slice(at * batch_bytes..(at + 1) * batch_bytes)).unwrap();
    }
    let bytes = read.load(Ordering::Relaxed) - before;
    assert!(bytes < 6 * COUNT * batch_bytes, "{bytes} of {}", COUNT * batch_bytes);
    let has_pending = log.state.lock().segments.iter().any(|segment| segment.has_pending_entries());
    assert!(!has_pending, "reads copy what is in memory");
    assert!(log.damage().is_empty() && all(&log) == whole);
    append(&log, COUNT as i32 + 10..COUNT as i32 + 12);
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    store.close().unwrap();
}

/// What the journal would repeat must not lie behind a segment's new end.
#[test]
fn a_segment_is_shortened_only_once_the_journal_does_not_repeat_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let batch_bytes = of_producer(7, 0).len();
    let log = create(&store, 20 * batch_bytes as u32);
    append(&log, 0..10);
    store.commit_now().unwrap();
    let whole = all(&log);
    // The disk loses it while the broker runs.
    change(&segment(dir.path(), Offset(0)), |bytes| bytes[5 * batch_bytes..].fill(0));
    while !store.scrub_step(1 << 20).finished {}
    assert_eq!(log.damage(), [Offset(5)..Offset(10)]);
    log.set_config(LogConfig { segment_bytes: 5 * batch_bytes as u32, ..LogConfig::default() });
    let lost = whole.slice(5 * batch_bytes..);
    let refused = log.repair(&lost).unwrap_err();
    assert!(matches!(refused, RepairError::Store(StoreError::Io { .. })), "{refused}");
    assert!(!store.has_failed());
    store.checkpoint().unwrap();
    log.repair(&lost).unwrap();
    assert!(log.damage().is_empty() && all(&log) == whole);
    drop((store, log));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert!(log.damage().is_empty() && all(&log) == whole);
}
