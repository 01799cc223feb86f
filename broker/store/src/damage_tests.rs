//! The journal and damage on the operating system's disk: what is restored, what is named, scrubbed and
//! repaired.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use ottla_log::{BatchBuilder, FileKind};
use ottla_types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicName};
use parking_lot::Mutex;

use crate::test_support::{Act, P0, TOPIC, batch, config, open, open_watched};
use crate::{AckDurability, LogConfig, PartitionLog, ReadError, RepairError, Store, StoreConfig, UpTo};

/// A partition whose names are durable, so that what follows may go to the journal.
pub(crate) fn create(store: &Store) -> Arc<PartitionLog> {
    let config = LogConfig { segment_bytes: 2_000, index_interval_bytes: 300, ..LogConfig::default() };
    let log = store.create_partition(TopicName::new("t").unwrap(), TOPIC, P0, config).unwrap();
    store.commit_now().unwrap();
    log
}

pub(crate) fn append(log: &Arc<PartitionLog>, count: usize) {
    for index in 0..count {
        log.append(&batch(&[index as u8; 100]), LeaderEpoch(3), 1_000).unwrap();
    }
}

pub(crate) fn all(log: &PartitionLog) -> Vec<u8> {
    let (mut bytes, mut from) = (Vec::new(), log.log_start_offset());
    while let Some(slice) = log.read(from, 10_000, true, UpTo::Durable).unwrap() {
        bytes.extend_from_slice(&slice.to_bytes().unwrap());
        from = slice.next_offset;
    }
    bytes
}

pub(crate) fn first_segment(dir: &Path) -> PathBuf {
    dir.join("t-0/00000000000000000000.log")
}

fn change(path: &Path, act: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    act(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_the_journal_has_is_restored_whatever_became_of_the_segments() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    append(&log, 30);
    store.commit_now().unwrap();
    assert!(log.state.lock().is_unsynced(), "the segments were not synced for that");
    let wanted = all(&log);
    drop((store, log));
    for file in std::fs::read_dir(dir.path().join("t-0")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "log") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!((log.end_offset(), all(&log) == wanted, log.damage()), (Offset(30), true, vec![]));
}

#[test]
fn large_appends_are_synced_in_place_and_small_ones_wait_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    log.append(&batch(&vec![1; 70_000]), LeaderEpoch(3), 1_000).unwrap();
    append(&log, 1);
    assert_eq!(log.durable_end_offset(), Offset(0));
    store.inner.shared.commit_journal().unwrap();
    assert_eq!(log.durable_end_offset(), Offset(0), "nothing of it is in the journal");
    store.commit_now().unwrap();
    assert_eq!(log.durable_end_offset(), Offset(2));
    append(&log, 1);
    store.inner.shared.commit_journal().unwrap();
    assert_eq!(log.durable_end_offset(), Offset(3));
}

#[test]
fn partitions_for_which_written_is_enough_are_not_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    log.set_config(LogConfig { ack_durability: AckDurability::Written, ..LogConfig::default() });
    append(&log, 3);
    assert_eq!(log.durable_end_offset(), Offset(3));
    store.inner.shared.commit_journal().unwrap();
    drop((store, log));
    std::fs::remove_file(first_segment(dir.path())).unwrap();
    let store = open(dir.path());
    assert_eq!(store.partition(TOPIC, P0).unwrap().end_offset(), Offset(0));
}

#[test]
fn a_clean_shutdown_leaves_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&create(&store), 3);
    store.commit_now().unwrap();
    assert!(std::fs::read_dir(dir.path().join("ottla-journal")).unwrap().count() > 0);
    store.close().unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("ottla-journal")).unwrap().count(), 0);
}

#[test]
fn durable_records_that_are_damaged_are_named_and_never_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    // In place, so that the journal can't restore them; it only knows how far they were durable.
    log.append(&batch(&vec![1; 70_000]), LeaderEpoch(3), 1_000).unwrap();
    store.checkpoint().unwrap();
    drop((store, log));
    change(&first_segment(dir.path()), |bytes| bytes.truncate(40_000));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!((log.end_offset(), log.damage()), (Offset(1), vec![Offset(0)..Offset(1)]));
    assert!(matches!(log.read(Offset(0), 100, true, UpTo::Durable), Err(ReadError::Corrupt { .. })));
    append(&log, 1);
    store.commit_now().unwrap();
    assert!(log.read(Offset(1), 100, true, UpTo::Durable).unwrap().is_some());
    log.repair(&batch(&vec![1; 70_000])).unwrap_err();
    let mut good = batch(&vec![1; 70_000]).to_vec();
    good[12..16].copy_from_slice(&3_i32.to_be_bytes());
    assert_eq!(log.repair(&good.into()).unwrap(), Offset(0)..Offset(1));
    assert_eq!((log.damage(), log.end_offset()), (vec![], Offset(2)));
    assert!(log.read(Offset(0), 100, true, UpTo::Durable).unwrap().is_some());
}

#[test]
fn the_scrub_finds_rot_and_a_peer_s_bytes_repair_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    append(&log, 30);
    store.checkpoint().unwrap();
    let wanted = all(&log);
    let peer: Vec<Bytes> =
        (3..5).map(|offset| log.read_bytes(Offset(offset), 1, UpTo::Durable).unwrap()).collect();
    let batch_bytes = peer[0].len();
    change(&first_segment(dir.path()), |bytes| bytes[3 * batch_bytes + 80] ^= 1);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    log.add_damage_hook(Arc::new(move |range| hears.lock().push(range)));
    assert!(log.read(Offset(3), 1, true, UpTo::Durable).unwrap().is_some(), "it was checked before");
    let (mut steps, mut damaged) = (0, Vec::new());
    loop {
        let report = store.scrub_step(1_000);
        damaged.extend(report.damaged);
        steps += 1;
        if report.finished {
            break;
        }
    }
    let range = Offset(3)..Offset(4);
    assert_eq!(damaged, [(TOPIC, P0, range.clone())]);
    assert_eq!((heard.lock().clone(), log.damage()), (vec![range.clone()], vec![range.clone()]));
    assert!(steps > 3, "{steps}");
    assert!(matches!(log.read(Offset(3), 1, true, UpTo::Durable), Err(ReadError::Corrupt { .. })));
    assert!(log.read(Offset(4), 1, true, UpTo::Durable).unwrap().is_some());
    let before = log.read(Offset(0), 10_000, true, UpTo::Durable).unwrap().unwrap();
    assert_eq!(before.next_offset, Offset(3), "a read ends before it");
    assert!(matches!(log.repair(&peer[1]), Err(RepairError::NotDamaged { .. })));
    let mut torn = peer[0].to_vec();
    torn[70] ^= 1;
    assert!(matches!(log.repair(&torn.into()), Err(RepairError::Batch(_))));
    let mut foreign = peer[0].to_vec();
    foreign[12..16].copy_from_slice(&9_i32.to_be_bytes());
    assert!(matches!(log.repair(&foreign.into()), Err(RepairError::Epoch { .. })));
    assert_eq!(log.repair(&peer[0]).unwrap(), range);
    assert!(log.damage().is_empty() && all(&log) == wanted);
    drop((store, log));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert!(log.damage().is_empty() && all(&log) == wanted);
}

#[test]
fn a_damaged_log_is_cut_before_the_damage_or_begun_again() {
    for offset in [1, 3, 4, 9] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store);
        append(&log, 12);
        store.checkpoint().unwrap();
        let batch_bytes = log.read_bytes(Offset(0), 1, UpTo::Durable).unwrap().len();
        // A length that leads astray.
        change(&first_segment(dir.path()), |bytes| bytes[3 * batch_bytes + 10] ^= 1);
        while !store.scrub_step(1 << 20).finished {}
        assert_eq!(log.damage(), vec![Offset(3)..Offset(4)]);
        log.truncate_to(Offset(offset)).unwrap();
        assert_eq!(log.end_offset(), Offset(offset));
        assert_eq!(log.damage().len(), usize::from(offset > 3), "cut to {offset}");
        append(&log, 1);
        store.commit_now().unwrap();
        assert!(log.read(Offset(offset), 1, true, UpTo::Durable).unwrap().is_some());
        log.reset_to(Offset(50)).unwrap();
        assert!(log.damage().is_empty());
        append(&log, 1);
        store.commit_now().unwrap();
        drop((store, log));
        let log = open(dir.path()).partition(TOPIC, P0).unwrap();
        assert_eq!((log.log_start_offset(), log.end_offset()), (Offset(50), Offset(51)));
    }
}

#[test]
fn a_partition_that_is_made_again_shows_nothing_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&create(&store), 5);
    store.commit_now().unwrap();
    store.delete_partition(TOPIC, P0).unwrap();
    let log = create(&store);
    append(&log, 1);
    store.commit_now().unwrap();
    drop((store, log));
    let log = open(dir.path()).partition(TOPIC, P0).unwrap();
    assert_eq!((log.end_offset(), log.damage()), (Offset(1), vec![]));
}

fn of_producer(sequence: i32) -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    builder.producer(ProducerId(7), ProducerEpoch(0), sequence).record(1_000, None, None).build().into()
}

#[test]
fn what_a_producer_has_written_is_not_known_until_damage_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    for sequence in 0..10 {
        log.append(&of_producer(sequence), LeaderEpoch(3), 1_000).unwrap();
    }
    store.checkpoint().unwrap();
    let batch_bytes = log.read_bytes(Offset(0), 1, UpTo::Durable).unwrap().len();
    let lost: Bytes = all(&log)[4 * batch_bytes..].to_vec().into();
    drop((store, log));
    change(&first_segment(dir.path()), |bytes| bytes.truncate(4 * batch_bytes));
    // Snapshots aren't synced, so a power loss may take them.
    std::fs::remove_file(dir.path().join("t-0/00000000000000000010.snapshot")).unwrap();
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!(log.damage(), vec![Offset(4)..Offset(10)]);
    // The last one again, the next one, what would follow on what is known, and what is known.
    let hidden = [9, 10, 4, 3].map(|sequence| log.hides_producer_of(&of_producer(sequence)));
    assert_eq!(hidden, [true, true, true, false]);
    assert!(!log.hides_producer_of(&batch(b"of nobody")));
    append(&log, 30);
    assert!(log.state.lock().snapshot_at.is_none(), "a snapshot would lack what is damaged");
    log.repair(&lost).unwrap();
    assert!(![9, 10, 4].into_iter().any(|sequence| log.hides_producer_of(&of_producer(sequence))));
    let again = log.append(&of_producer(9), LeaderEpoch(3), 1_000).unwrap();
    assert_eq!((again.duplicate, again.base_offset), (true, Offset(9)));
    assert!(!log.append(&of_producer(10), LeaderEpoch(3), 1_000).unwrap().duplicate);
}

const DAY_MS: i64 = 24 * 3_600_000;

#[test]
fn producers_of_old_records_are_forgotten_only_when_they_are_silent() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    // The records are of the year 1970, and three days pass.
    let heard_ms = 1_700_000_000_000;
    let append = |log: &Arc<PartitionLog>, sequence, now_ms| {
        log.append(&of_producer(sequence), LeaderEpoch(0), now_ms).map(|appended| appended.duplicate)
    };
    assert!(!append(&log, 0, heard_ms).unwrap());
    store.forget_silent_producers(heard_ms + DAY_MS - 1);
    assert!(append(&log, 0, heard_ms + DAY_MS - 1).unwrap(), "it is known, and heard again");
    store.forget_silent_producers(heard_ms + 2 * DAY_MS - 2);
    assert!(append(&log, 5, heard_ms).is_err(), "a sequence is missing");
    store.forget_silent_producers(heard_ms + 2 * DAY_MS - 1);
    assert!(append(&log, 5, heard_ms).is_ok(), "it may begin anywhere");
}

#[test]
fn a_restart_makes_no_producer_older_and_each_is_forgotten_some_day() {
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store);
        let heard_ms = 1_700_000_000_000;
        log.append(&of_producer(0), LeaderEpoch(0), heard_ms).unwrap();
        store.commit_now().unwrap();
        store.checkpoint().unwrap();
        // After the snapshot it is heard once more.
        let again_ms = heard_ms + DAY_MS / 2;
        assert!(log.append(&of_producer(0), LeaderEpoch(0), again_ms).unwrap().duplicate);
        if clean {
            store.close().unwrap();
        }
        drop((store, log));
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        let knows = |log: &PartitionLog| log.state.lock().producers.len() == 1;
        // After a crash nothing says when it was heard: the first sweep counts as that.
        let sweep_ms = again_ms + DAY_MS - 1;
        store.forget_silent_producers(sweep_ms);
        assert!(knows(&log), "clean: {clean}");
        log.truncate_to(Offset(0)).unwrap();
        log.append(&of_producer(0), LeaderEpoch(0), sweep_ms).unwrap();
        log.append(&of_producer(1), LeaderEpoch(0), sweep_ms).unwrap();
        log.truncate_to(Offset(1)).unwrap();
        store.forget_silent_producers(sweep_ms + DAY_MS - 1);
        assert!(knows(&log), "clean: {clean}, what is cut is read again");
        store.forget_silent_producers(sweep_ms + DAY_MS);
        assert!(!knows(&log), "clean: {clean}");
    }
}

#[test]
fn too_many_open_files_delay_a_commit_and_do_not_end_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let refusals = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&refusals);
    let watch = move |_: &Path, act: Act| match (act, left.load(Ordering::Acquire)) {
        (Act::SyncDir, left_now @ 1..) => {
            left.store(left_now - 1, Ordering::Release);
            Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()))
        }
        _ => Ok(()),
    };
    let store = open_watched(dir.path(), watch);
    let topic = TopicName::new("t").unwrap();
    let log = store.create_partition(topic, TOPIC, P0, LogConfig::default()).unwrap();
    append(&log, 1);
    refusals.store(3, Ordering::Release);
    store.commit_now().unwrap();
    assert_eq!((log.durable_end_offset(), store.has_failed()), (Offset(1), false));
}

#[test]
fn many_dirty_partitions_hold_few_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig { open_files_max: 16, ..config(dir.path()) }).unwrap();
    let topic = TopicName::new("t").unwrap();
    let logs: Vec<_> = (0..60)
        .map(|index| {
            let index = PartitionIndex(index);
            store.create_partition(topic.clone(), TOPIC, index, LogConfig::default()).unwrap()
        })
        .collect();
    store.commit_now().unwrap();
    for log in &logs {
        append(log, 1);
        store.commit_now().unwrap();
    }
    let held = logs.iter().filter(|log| log.state.lock().is_unsynced()).count();
    assert!(held <= 8, "{held} are held open");
    store.checkpoint().unwrap();
    assert!(!logs.iter().any(|log| log.state.lock().is_unsynced()));
}

#[test]
fn damage_is_repaired_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    for sequence in 0..30 {
        log.append(&of_producer(sequence), LeaderEpoch(3), 1_000).unwrap();
    }
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    let wanted = all(&log);
    drop((store, log));
    let mut whole = Bytes::new();
    change(&first_segment(dir.path()), |bytes| {
        whole = Bytes::copy_from_slice(bytes);
        bytes[..].fill(0);
    });
    let batch_bytes = of_producer(0).len();
    let count = whole.len() / batch_bytes;
    let piece = |from: usize, to: usize| whole.slice(from * batch_bytes..to * batch_bytes);
    let mut repaired = 0;
    for to in [2, 3, count - 2, count] {
        // After each piece the broker ends.
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        while !store.scrub_step(1 << 20).finished {}
        assert_eq!(log.damage(), [Offset(repaired as i64)..Offset(count as i64)]);
        let wrong = log.repair(&piece(repaired + 1, to)).unwrap_err();
        assert!(matches!(wrong, RepairError::NotDamaged { .. } | RepairError::Batch(_)), "{wrong}");
        let range = log.repair(&piece(repaired, to)).unwrap();
        assert_eq!(range, Offset(repaired as i64)..Offset(to as i64));
        let read = log.read(Offset(repaired as i64), 10_000, true, UpTo::Durable).unwrap().unwrap();
        assert_eq!(read.to_bytes().unwrap()[..batch_bytes], piece(repaired, to)[..batch_bytes]);
        append(&log, 1);
        store.commit_now().unwrap();
        assert_eq!(log.damage().is_empty(), to == count);
        repaired = to;
    }
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    while !store.scrub_step(1 << 20).finished {}
    assert_eq!(log.damage(), []);
    assert!(all(&log).starts_with(&wanted), "every byte is as it was");
    let again = log.append(&of_producer(29), LeaderEpoch(3), 1_000).unwrap();
    assert_eq!((again.duplicate, again.base_offset), (true, Offset(29)));
}

/// Whole segments are gone, at the end of the log or in its midst. The broker ends after any piece of any
/// size, and all is there again in segments of the usual size.
#[test]
fn a_gap_is_repaired_into_segments() {
    for (lost, piece) in [(1..4, 1), (1..4, 5), (1..4, 1_000), (1..5, 7), (2..3, 1), (0..1, 3), (0..5, 1_000)]
    {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store);
        append(&log, 50);
        store.commit_now().unwrap();
        store.checkpoint().unwrap();
        let wanted = all(&log);
        let bases: Vec<Offset> = log.state.lock().segments.iter().map(|segment| segment.base).collect();
        assert_eq!(bases.len(), 5, "{bases:?}");
        drop((store, log));
        for base in &bases[lost.clone()] {
            let path = dir.path().join("t-0").join(FileKind::Log.file_name(*base));
            // The first one stays, as an empty file: a log begins where its first segment does.
            if *base == Offset(0) { change(&path, Vec::clear) } else { std::fs::remove_file(path).unwrap() }
        }
        let batch_bytes = wanted.len() / 50;
        let mut pieces = 0;
        loop {
            let store = open(dir.path());
            let log = create(&store);
            while !store.scrub_step(1 << 20).finished {}
            let Some(range) = log.damage().first().cloned() else {
                assert_eq!(all(&log), wanted, "{lost:?}, {piece}");
                let state = log.state.lock();
                assert!(state.segments.iter().all(|segment| segment.bytes <= 2_000), "{lost:?}, {piece}");
                break;
            };
            let to = range.end.0.min(range.start.0 + piece) as usize;
            let given = &wanted[range.start.0 as usize * batch_bytes..to * batch_bytes];
            let repaired = log.repair(&Bytes::copy_from_slice(given)).unwrap();
            assert!(repaired.start == range.start && repaired.end > range.start, "{repaired:?} of {range:?}");
            append(&log, 1);
            log.truncate_to(Offset(50)).unwrap();
            assert_eq!(
                log.damage(),
                if repaired.end < range.end { vec![repaired.end..range.end] } else { vec![] }
            );
            pieces += 1;
        }
        assert!(pieces >= 1);
    }
}

/// What lies below a cut was acknowledged, so it stays, or goes on being named as damage until a peer's bytes
/// take its place.
#[test]
fn a_cut_within_damage_takes_nothing_below_it() {
    for is_first in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store);
        append(&log, 12);
        store.checkpoint().unwrap();
        let records = log.read_bytes(Offset(0), 10_000, UpTo::Durable).unwrap();
        let batch_bytes = log.read_bytes(Offset(0), 1, UpTo::Durable).unwrap().len();
        let from = if is_first { 0 } else { 3 };
        change(&first_segment(dir.path()), |bytes| {
            (from..6).for_each(|batch| bytes[batch * batch_bytes + 90] ^= 1);
        });
        while !store.scrub_step(1 << 20).finished {}
        let from_offset = Offset(from as i64);
        assert_eq!(log.damage(), [from_offset..Offset(6)]);
        log.truncate_to(Offset(5)).unwrap();
        assert_eq!((log.end_offset(), log.damage()), (Offset(5), vec![from_offset..Offset(5)]));
        append(&log, 3);
        store.commit_now().unwrap();
        assert!(log.read(Offset(5), 1, true, UpTo::Durable).unwrap().is_some());
        drop((store, log));
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        assert_eq!((log.end_offset(), log.damage()), (Offset(8), vec![from_offset..Offset(5)]));
        log.repair(&records.slice(from * batch_bytes..5 * batch_bytes)).unwrap();
        assert_eq!(log.damage(), []);
        assert_eq!(all(&log)[..5 * batch_bytes], records[..5 * batch_bytes]);
    }
}

/// Its checksum is right, but not the epoch that it was written in: that is no sign of health.
#[test]
fn records_of_a_foreign_epoch_are_not_whole_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    append(&log, 8);
    store.checkpoint().unwrap();
    let batch_bytes = log.read_bytes(Offset(0), 1, UpTo::Durable).unwrap().len();
    // No checksum covers it.
    change(&first_segment(dir.path()), |bytes| bytes[2 * batch_bytes + 15] ^= 1);
    while !store.scrub_step(1 << 20).finished {}
    let damage = log.damage();
    assert_eq!(damage, [Offset(2)..Offset(3)]);
    assert!(!log.look_again(&damage[0]));
    while !store.scrub_step(1 << 20).finished {}
    assert_eq!(log.damage(), damage);
    change(&first_segment(dir.path()), |bytes| bytes[2 * batch_bytes + 15] ^= 1);
    assert!(log.look_again(&damage[0]));
    assert_eq!(log.damage(), []);
}
