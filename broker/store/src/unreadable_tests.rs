//! What the disk can't read, for a moment or for good: it is damage, it is never a log's end, and one sector
//! is not a whole broker.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ottla_log::{BatchBuilder, FileKind, LeaderEpochs};
use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicName};
use parking_lot::Mutex;
use rustix::io::Errno;

use crate::damage_tests::{all, append, create, first_segment};
use crate::test_support::{Act, P0, TOPIC, WatchedDisk, batch, config, open, open_watched};
use crate::{LogConfig, ReadError, Store, UpTo};

/// A store on a disk with a bad sector in the first segment, as long as the switch is on.
fn with_a_bad_sector(dir: &Path, is_on: bool) -> (Store, Arc<AtomicBool>) {
    let is_bad = Arc::new(AtomicBool::new(is_on));
    let bad = Arc::clone(&is_bad);
    let watch = move |path: &Path, act: Act| {
        let is_place = path.ends_with("t-0/00000000000000000000.log");
        match act {
            // To write it again repairs it, as the disk puts it elsewhere then.
            Act::Write(_) if is_place => bad.store(false, Ordering::Release),
            Act::Read(_) if is_place && bad.load(Ordering::Acquire) => {
                return Err(io::Error::from_raw_os_error(Errno::IO.raw_os_error()));
            }
            _ => {}
        }
        Ok(())
    };
    (open_watched(dir, watch), is_bad)
}

fn of_producer(sequence: i32) -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let builder = builder.producer(ProducerId(7), ProducerEpoch(0), sequence);
    builder.record(1_000, None, Some(&[2; 50])).build().into()
}

fn three_records() -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    (0..3).fold(builder, |builder, _| builder.record(1_000, None, Some(&[2; 50]))).build().into()
}

#[test]
fn what_the_disk_can_not_read_is_damage_and_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    append(&log, 30);
    store.commit_now().unwrap();
    let next = log.read(Offset(0), 10_000, true, UpTo::Durable).unwrap().unwrap().next_offset;
    let records = log.read_bytes(Offset(0), 10_000, UpTo::Durable).unwrap();
    store.close().unwrap();
    drop((store, log));
    let (store, is_bad) = with_a_bad_sector(dir.path(), false);
    let log = store.partition(TOPIC, P0).unwrap();
    let found: Arc<Mutex<Vec<_>>> = Arc::default();
    let told = Arc::clone(&found);
    log.add_damage_hook(Arc::new(move |offsets| told.lock().push(offsets)));
    is_bad.store(true, Ordering::Release);
    let read = log.read(Offset(1), 10_000, true, UpTo::Durable);
    assert!(matches!(read, Err(ReadError::Corrupt { .. })), "{read:?}");
    assert_eq!(log.damage(), [Offset(0)..next]);
    assert_eq!(*found.lock(), [Offset(0)..next]);
    // The rest is served, and looked through.
    assert!(log.read(next, 10_000, true, UpTo::Durable).unwrap().is_some());
    assert!(store.scrub_step(1 << 30).finished);
    log.repair(&records).unwrap();
    assert_eq!((log.damage(), store.has_failed()), (vec![], false));
    assert_eq!(log.read_bytes(Offset(0), 10_000, UpTo::Durable).unwrap(), records);
    // A volume that was away for a while costs nobody's bytes.
    is_bad.store(true, Ordering::Release);
    assert!(store.scrub_step(1 << 30).damaged.len() == 1 && log.damage() == [Offset(0)..next]);
    is_bad.store(false, Ordering::Release);
    assert!(store.scrub_step(1 << 30).damaged.is_empty() && log.damage().is_empty());
    assert_eq!(log.read_bytes(Offset(0), 10_000, UpTo::Durable).unwrap(), records);
}

/// What can't be read may be what was acknowledged: nothing is cut for that.
#[test]
fn a_log_whose_end_can_not_be_read_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let name = TopicName::new("t").unwrap();
    let log = store.create_partition(name, TOPIC, P0, LogConfig::default()).unwrap();
    // Too large for the journal: what it says of that isn't on disk yet.
    log.append(&batch(&[7; 100_000]), LeaderEpoch(3), 1_000).unwrap();
    log.sync().unwrap();
    drop((store, log));
    let bytes = std::fs::metadata(first_segment(dir.path())).unwrap().len();
    let watch = |path: &Path, act: Act| {
        let is_place = path.ends_with("t-0/00000000000000000000.log") && matches!(act, Act::Read(_));
        if is_place { Err(io::Error::from_raw_os_error(Errno::IO.raw_os_error())) } else { Ok(()) }
    };
    let disk = Arc::new(WatchedDisk(Arc::new(watch)));
    Store::open_on(disk, config(dir.path())).unwrap_err();
    assert_eq!(std::fs::metadata(first_segment(dir.path())).unwrap().len(), bytes);
    assert_eq!(open(dir.path()).partition(TOPIC, P0).unwrap().end_offset(), Offset(1));
}

/// A disk that had but a moment of weakness costs nothing: neither a cut nor a peer's bytes are needed.
#[test]
fn a_cut_within_what_can_be_read_again_is_made_at_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&open(dir.path())));
    let (store, is_bad) = with_a_bad_sector(dir.path(), false);
    let log = store.partition(TOPIC, P0).unwrap();
    log.append(&batch(&[1; 100]), LeaderEpoch(3), 1_000).unwrap();
    log.append(&three_records(), LeaderEpoch(3), 1_000).unwrap();
    append(&log, 3);
    store.checkpoint().unwrap();
    let records = all(&log);
    let bytes = std::fs::metadata(first_segment(dir.path())).unwrap().len();
    is_bad.store(true, Ordering::Release);
    // It isn't known yet: nothing is cut before it has been looked at twice.
    log.truncate_to(Offset(3)).unwrap_err();
    assert_eq!((log.end_offset(), log.damage()), (Offset(7), vec![Offset(0)..Offset(7)]));
    assert_eq!(std::fs::metadata(first_segment(dir.path())).unwrap().len(), bytes);
    is_bad.store(false, Ordering::Release);
    log.truncate_to(Offset(3)).unwrap();
    assert_eq!((log.end_offset(), log.damage()), (Offset(1), vec![Offset(0)..Offset(1)]));
    assert!(log.look_again(&(Offset(0)..Offset(1))));
    assert_eq!((log.damage(), store.has_failed()), (vec![], false));
    assert!(records.starts_with(&all(&log)) && !all(&log).is_empty());
}

/// One sector is not a whole broker: what is known to be durable is damage where it can't be read, at a start
/// and whenever a log is read again.
#[test]
fn a_bad_sector_among_durable_records_keeps_no_store_from_opening() {
    for is_clean in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store);
        append(&log, 8);
        store.checkpoint().unwrap();
        let records = all(&log);
        if is_clean {
            store.close().unwrap();
        }
        drop((store, log));
        let bytes = std::fs::metadata(first_segment(dir.path())).unwrap().len();
        let (store, is_bad) = with_a_bad_sector(dir.path(), true);
        let log = store.partition(TOPIC, P0).unwrap();
        assert_eq!((log.end_offset(), log.damage()), (Offset(8), vec![Offset(0)..Offset(8)]));
        assert!(!log.look_again(&(Offset(0)..Offset(8))));
        append(&log, 2);
        store.commit_now().unwrap();
        log.truncate_to(Offset(9)).unwrap();
        assert!(log.read(Offset(8), 1, true, UpTo::Durable).unwrap().is_some());
        assert_eq!((log.damage(), store.has_failed()), (vec![Offset(0)..Offset(8)], false));
        assert_eq!(std::fs::metadata(first_segment(dir.path())).unwrap().len(), bytes);
        // It passes: the records are there, and what they say of producers is known again. However short
        // segments are to be by now, this one is left as it is.
        log.set_config(LogConfig { segment_bytes: 300, ..LogConfig::default() });
        is_bad.store(false, Ordering::Release);
        assert!(log.look_again(&(Offset(0)..Offset(8))));
        assert_eq!((log.damage(), store.has_failed()), (vec![], false));
        assert_eq!(all(&log)[..records.len()], records);
        assert_eq!(std::fs::metadata(first_segment(dir.path())).unwrap().len(), bytes);
    }
}

/// What a log knows of its epochs it needn't read again: their file and a batch that says them may both be
/// damaged by then. The file is written anew.
#[test]
fn epochs_that_nobody_can_read_any_more_end_no_store_that_knows_them() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&open(dir.path())));
    let (store, is_bad) = with_a_bad_sector(dir.path(), false);
    let log = store.partition(TOPIC, P0).unwrap();
    log.set_config(LogConfig { segment_bytes: 2_000, ..LogConfig::default() });
    for epoch in [3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 7] {
        log.append(&batch(&[1; 100]), LeaderEpoch(epoch), 1_000).unwrap();
    }
    store.checkpoint().unwrap();
    let (last, records) = (Offset(15), all(&log));
    let good = log.read_bytes(last, 10_000, UpTo::Durable).unwrap();
    let epochs_file = dir.path().join("t-0").join(LeaderEpochs::FILE);
    let epochs = std::fs::read(&epochs_file).unwrap();
    std::fs::write(&epochs_file, "nothing").unwrap();
    let active = std::fs::read_dir(dir.path().join("t-0")).unwrap().map(|entry| entry.unwrap().path());
    let active = active.filter(|path| path.extension().is_some_and(|kind| kind == "log")).max().unwrap();
    assert_ne!(active, first_segment(dir.path()));
    let mut bytes = std::fs::read(&active).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&active, bytes).unwrap();
    assert!(store.scrub_step(1 << 30).finished);
    assert_eq!(log.damage(), [last..Offset(16)]);
    // The log's end is repaired, for which all of it is read again.
    is_bad.store(true, Ordering::Release);
    log.repair(&good).unwrap();
    assert!(!store.has_failed());
    store.checkpoint().unwrap();
    assert_eq!(std::fs::read(&epochs_file).unwrap(), epochs);
    is_bad.store(false, Ordering::Release);
    for damage in log.damage() {
        assert!(log.look_again(&damage));
    }
    assert_eq!((all(&log), log.latest_epoch()), (records, Some(LeaderEpoch(7))));
}

/// It may be of records that were cut: others may have taken their offsets by the time that it can be read.
#[test]
fn a_snapshot_past_the_logs_end_goes_though_it_can_not_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store);
    log.append(&of_producer(0), LeaderEpoch(3), 1_000).unwrap();
    store.close().unwrap();
    drop((store, log));
    let snapshot = |offset| dir.path().join("t-0").join(FileKind::Snapshot.file_name(Offset(offset)));
    std::fs::copy(snapshot(1), snapshot(20)).unwrap();
    let watch = |path: &Path, act: Act| {
        let is_snapshot = path.extension().is_some_and(|kind| kind == "snapshot");
        let is_read = is_snapshot && matches!(act, Act::Read(_));
        if is_read { Err(io::Error::from_raw_os_error(Errno::IO.raw_os_error())) } else { Ok(()) }
    };
    let store = open_watched(dir.path(), watch);
    assert_eq!(store.partition(TOPIC, P0).unwrap().end_offset(), Offset(1));
    assert_eq!((snapshot(1).exists(), snapshot(20).exists()), (true, false));
}
