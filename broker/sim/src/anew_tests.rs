//! A log that begins anew, and a machine that goes down meanwhile: who has acknowledged its records may be
//! asked to lead.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::BatchBuilder;
use ottla_store::{Disk, PartitionLog, Store, StoreError, UpTo};
use ottla_types::{LeaderEpoch, Offset};

use crate::SimDisk;
use crate::test_support::open_with;

fn open(disk: &SimDisk) -> (Store, Arc<PartitionLog>) {
    open_with("t", 512, disk)
}

fn record() -> Bytes {
    let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(1_000, None, Some(&[7; 100]));
    batch.build().into()
}

fn append(store: &Store, log: &Arc<PartitionLog>, count: i64) {
    for _ in 0..count {
        log.append(&record(), LeaderEpoch(4), 1_000).unwrap();
    }
    store.commit_now().unwrap();
}

/// Twelve records in several segments, of which the first five are let go; some are in the journal alone.
fn filled(disk: &SimDisk) -> (Store, Arc<PartitionLog>) {
    let (store, log) = open(disk);
    append(&store, &log, 8);
    store.checkpoint().unwrap();
    log.advance_log_start(Offset(5));
    append(&store, &log, 4);
    (store, log)
}

type Act = fn(&Arc<PartitionLog>, Offset) -> Result<(), StoreError>;

/// Has a log end at `offset` without records, with a crash after so many operations of the disk. Returns
/// whether it came to that.
fn crashes(act: Act, offset: Offset, after: u64, seed: u64, power_loss: bool) -> bool {
    let disk = SimDisk::new(seed * 1_000 + after, None);
    let (store, log) = filled(&disk);
    disk.crash_after(after);
    let _ = act(&log, offset);
    let has_crashed = disk.has_crashed();
    disk.restart(power_loss);
    drop((store, log));
    let (store, log) = open(&disk);
    let context = format!("ended at {offset}, a crash after {after}, seed {seed}, power loss: {power_loss}");
    let (start, end) = (log.log_start_offset(), log.end_offset());
    let is_done = (start, end) == (offset, offset);
    assert!(is_done || end >= offset.min(Offset(12)), "{context}: {start} to {end}");
    assert!(has_crashed || is_done, "{context}: {start} to {end}");
    assert!(start <= offset.max(Offset(5)), "{context}: {start} to {end}");
    assert_eq!(log.damage(), [], "{context}");
    let names = disk.list(Path::new("/data/t-0")).unwrap().into_iter().map(|entry| entry.name);
    let segments = names.filter(|name| name.ends_with(".log")).count();
    assert!(segments == 1 || start < end, "{context}: {segments} segments without records");
    append(&store, &log, 3);
    store.checkpoint().unwrap();
    disk.restart(true);
    drop((store, log));
    let (_store, log) = open(&disk);
    assert_eq!((log.end_offset().0, log.damage()), (end.0 + 3, vec![]), "{context}");
    assert!(log.log_start_offset() <= end, "{context}: records that came later are let go");
    let mut at = log.log_start_offset();
    while at < log.end_offset() {
        at = log.read(at, 1 << 20, true, UpTo::Durable).unwrap().expect(&context).next_offset;
    }
    has_crashed
}

fn begin_anew_and_cut(log: &Arc<PartitionLog>, offset: Offset) -> Result<(), StoreError> {
    log.reset_to(offset)?;
    if log.append(&record(), LeaderEpoch(4), 1_000).is_ok() && log.sync().is_ok() {
        log.truncate_to(offset)?;
    }
    Ok(())
}

/// Counts the operations of the disk, with a crash after each.
fn crash_everywhere(act: Act, offset: i64) -> u64 {
    let mut operations = 0;
    for (seed, power_loss) in [(1, false)].into_iter().chain((1..7).map(|seed| (seed, true))) {
        operations = 0;
        while crashes(act, Offset(offset), operations, seed, power_loss) {
            operations += 1;
        }
    }
    operations
}

/// Before the log's start, at it, within the log and a segment, between two segments, at its end, and behind
/// it.
#[test]
fn a_log_that_begins_anew_never_ends_before_what_both_have() {
    for offset in [0, 3, 5, 7, 8, 12, 50] {
        assert!(crash_everywhere(|log, offset| log.reset_to(offset), offset) > 5, "anew at {offset}");
    }
}

#[test]
fn a_log_that_is_cut_where_it_begins_never_ends_before() {
    assert!(crash_everywhere(|log, offset| log.truncate_to(offset), 5) > 5);
    // Of a log that began anew the disk may say an earlier start.
    assert!(crash_everywhere(begin_anew_and_cut, 50) > 5);
}
