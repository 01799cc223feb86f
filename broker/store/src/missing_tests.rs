//! Records that are missing: what a restart, retention and a repair know of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ottla_log::{BatchBuilder, FileKind};
use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId, TopicName};

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

#[test]
fn nothing_is_changed_in_a_store_that_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let batch_bytes = of_producer(7, 0).len();
    let log = create(&store, 4 * batch_bytes as u32);
    append(&log, 0..10);
    store.commit_now().unwrap();
    let whole = all(&log);
    change(&segment(dir.path(), Offset(0)), |bytes| bytes[80] ^= 1);
    while !store.scrub_step(1 << 20).finished {}
    assert_eq!(log.damage(), [Offset(0)..Offset(1)]);
    store.close().unwrap();
    let is_closed =
        |done: Result<(), StoreError>| assert!(matches!(done, Err(StoreError::Closed)), "{done:?}");
    is_closed(log.truncate_to(Offset(1)));
    is_closed(log.reset_to(Offset(50)));
    is_closed(store.delete_partition(TOPIC, P0));
    let repaired = log.repair(&whole.slice(..batch_bytes));
    assert!(matches!(repaired, Err(RepairError::Store(StoreError::Closed))), "{repaired:?}");
    log.set_config(LogConfig { retention_bytes: Some(0), ..LogConfig::default() });
    assert_eq!((log.advance_log_start(Offset(4)), log.enforce_retention(1 << 50, Offset(10))), (0, 0));
    let made =
        store.create_partition(TopicName::new("u").unwrap(), TopicId([3; 16]), P0, LogConfig::default());
    is_closed(made.map(drop));
    let late = log.append(&of_producer(7, 10), LeaderEpoch(3), 1_000);
    assert!(matches!(late, Err(AppendError::Busy)), "{late:?}");
    drop((log, store));
    let log = open(dir.path()).partition(TOPIC, P0).unwrap();
    assert_eq!((log.log_start_offset(), log.end_offset()), (Offset(0), Offset(10)));
}

/// What is missing behind the newest snapshot is missing after the next start too, when the segment lies
/// below the recovery point and isn't looked through.
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
fn a_segment_is_read_again_once_however_many_places_are_repaired() {
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
    assert!(matches!(refused, RepairError::NotYet), "{refused}");
    assert!(!store.has_failed() && store.inner.shared.is_checkpoint_due());
    store.checkpoint().unwrap();
    log.repair(&lost).unwrap();
    assert!(log.damage().is_empty() && all(&log) == whole);
    drop((store, log));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert!(log.damage().is_empty() && all(&log) == whole);
}

/// Reads that come from before the log's start step over what is damaged there, and nobody is told of it.
#[test]
fn damage_below_the_logs_start_is_stepped_over_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let batch_bytes = of_producer(7, 0).len();
    // So few index entries that the way to the log's start leads past the damage.
    let config = LogConfig {
        segment_bytes: 10 * batch_bytes as u32,
        index_interval_bytes: 4_096,
        ..LogConfig::default()
    };
    let log = store.create_partition(TopicName::new("t").unwrap(), TOPIC, P0, config).unwrap();
    append(&log, 0..30);
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    let scrub = |store: &Store| store.scrub_step(1 << 20);
    change(&segment(dir.path(), Offset(0)), |bytes| bytes[4 * batch_bytes..5 * batch_bytes].fill(0));
    assert_eq!(scrub(&store).damaged, [(TOPIC, P0, Offset(4)..Offset(5))]);
    assert_eq!(log.advance_log_start(Offset(5)), 0);
    store.checkpoint().unwrap();
    let check = |store: &Store, log: &PartitionLog| {
        let found = log.offset_for_timestamp(0).unwrap().unwrap();
        assert_eq!((found.offset, log.damage()), (Offset(5), vec![]));
        for _ in 0..2 {
            let report = scrub(store);
            assert_eq!((report.damaged, report.finished), (vec![], true));
        }
        assert_eq!(log.state.lock().damaged.len(), 1, "its place is known");
    };
    check(&store, &log);
    drop((store, log));
    // Not even the next process, which has to come upon it first.
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    check(&store, &log);
    assert_eq!(log.advance_log_start(Offset(10)), 1);
    assert!(log.state.lock().damaged.is_empty(), "its segment is gone");
}

fn of_three(sequence: i32) -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let mut builder = builder.producer(ProducerId(7), ProducerEpoch(0), sequence);
    for _ in 0..3 {
        builder.push(1_000, None, Some(&[7; 100]), &[]);
    }
    builder.build().into()
}

/// Peers don't have any more what comes before the log's start. What is left of the damage is repaired
/// without.
#[test]
fn damage_that_the_logs_start_lies_in_is_repaired_from_there_on() {
    let within: Harm = |bytes, batch| (4..8).for_each(|at| bytes[at * batch + 80] ^= 1);
    let to_the_end: Harm = |bytes, batch| bytes[4 * batch..].fill(0);
    let all_of_it: Harm = |bytes, _| bytes.fill(0);
    // Of ten batches of three records: how many a segment takes, what becomes of the first, and what is
    // missed then.
    for (per_segment, harm, damaged, piece) in [
        (10, within, 4..8, 10),
        (20, within, 4..8, 10),
        (10, to_the_end, 4..10, 10),
        (10, to_the_end, 4..10, 1),
        (20, to_the_end, 4..10, 1),
        (10, all_of_it, 0..10, 2),
    ] {
        for start in [18, 19, 20] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path());
            let batch_bytes = of_three(0).len();
            let log = create(&store, per_segment * batch_bytes as u32);
            let count = if per_segment == 10 { 20 } else { 10 };
            for sequence in 0..count {
                log.append(&of_three(3 * sequence), LeaderEpoch(3), 1_000).unwrap();
            }
            store.commit_now().unwrap();
            store.checkpoint().unwrap();
            let whole = all(&log);
            change(&segment(dir.path(), Offset(0)), |bytes| harm(bytes, batch_bytes));
            while !store.scrub_step(1 << 20).finished {}
            let records = Offset(3 * damaged.start)..Offset(3 * damaged.end);
            assert_eq!(log.damage(), std::slice::from_ref(&records));
            log.advance_log_start(Offset(start));
            assert_eq!(log.damage(), [Offset(start)..records.end]);
            let given =
                |from: i64, to: i64| whole.slice(from as usize * batch_bytes..to as usize * batch_bytes);
            let after = log.repair(&given(7, damaged.end));
            assert!(matches!(after, Err(RepairError::NotDamaged { .. })), "{after:?}");
            let mut next = 6;
            while next < damaged.end {
                let to = damaged.end.min(next + piece);
                let repaired = log.repair(&given(next, to)).unwrap();
                assert_eq!(repaired, Offset((3 * next).max(start))..Offset(3 * to));
                next = to;
            }
            let check = |log: &PartitionLog| {
                assert_eq!((log.log_start_offset(), log.damage()), (Offset(start), vec![]));
                assert!(all(log) == whole.slice(6 * batch_bytes..), "{per_segment}, {damaged:?}, {start}");
            };
            check(&log);
            while !store.scrub_step(1 << 20).finished {}
            check(&log);
            store.checkpoint().unwrap();
            drop((store, log));
            let store = open(dir.path());
            while !store.scrub_step(1 << 20).finished {}
            check(&store.partition(TOPIC, P0).unwrap());
        }
    }
}

#[test]
fn damage_that_a_cut_comes_upon_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let batch_bytes = of_producer(7, 0).len();
    let log = create(&store, 1 << 20);
    append(&log, 0..10);
    store.checkpoint().unwrap();
    let heard = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    log.add_damage_hook(Arc::new(move |range| hears.lock().push(range)));
    without_snapshots(dir.path());
    change(&segment(dir.path(), Offset(0)), |bytes| bytes[2 * batch_bytes + 80] ^= 1);
    log.truncate_to(Offset(8)).unwrap();
    let range = Offset(2)..Offset(3);
    assert_eq!((heard.lock().clone(), log.damage()), (vec![range.clone()], vec![range.clone()]));
    // Once is enough.
    log.truncate_to(Offset(7)).unwrap();
    assert_eq!((heard.lock().len(), log.damage()), (1, vec![range]));
}
