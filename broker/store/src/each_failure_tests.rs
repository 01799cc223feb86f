//! Each act of the disk fails in turn, in each way, while a store does what it does: afterwards it works or
//! has failed, says so once, and what was acknowledged is there for the next process, be it after a power
//! loss.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use ottla_log::STRAY_SUFFIX;
use ottla_types::{LeaderEpoch, Offset, TopicId, TopicName};

use crate::meta::CLEAN_FILE;
use crate::test_support::{P0, TOPIC, batch, config};
use crate::tests::memory_disk::{FAULTS, Fault, MemoryDisk};
use crate::{AppendError, LogConfig, PartitionLog, Store, StoreConfig, StoreError, UpTo};

const DIR: &str = "/data";
/// What is acknowledged before anything fails.
const ACKNOWLEDGED: i64 = 15;

/// The batches of a log, by their offsets.
pub(crate) type Records = BTreeMap<Offset, Bytes>;

/// A store in memory that is committed by hand, and how often it said that it has failed.
pub(crate) fn try_to_open(disk: &MemoryDisk) -> (Result<Store, StoreError>, Arc<AtomicU32>) {
    let said: Arc<AtomicU32> = Arc::default();
    let says = Arc::clone(&said);
    let on_fatal: crate::FatalHook = Arc::new(move |_| _ = says.fetch_add(1, Ordering::AcqRel));
    // As small as a group takes, so that files are released and used again, too.
    let journal_file_bytes = 64 << 10;
    let config = StoreConfig { on_fatal, journal_file_bytes, ..config(Path::new(DIR)) };
    (Store::open_on(disk.disk(), config), said)
}

pub(crate) fn opened(disk: &MemoryDisk) -> Store {
    try_to_open(disk).0.unwrap()
}

pub(crate) fn create(store: &Store, id: TopicId) -> Result<Arc<PartitionLog>, StoreError> {
    let config = LogConfig { segment_bytes: 500, index_interval_bytes: 100, ..LogConfig::default() };
    store.create_partition(TopicName::new("t").unwrap(), id, P0, config)
}

pub(crate) fn append(log: &Arc<PartitionLog>, count: i64) -> Result<(), AppendError> {
    for _ in 0..count {
        let value = format!("{:0100}", log.end_offset());
        log.append(&batch(value.as_bytes()), LeaderEpoch(3), 1_000)?;
    }
    Ok(())
}

/// All that is durable of a log.
pub(crate) fn records(log: &PartitionLog) -> Records {
    let (mut records, mut at) = (Records::new(), log.log_start_offset());
    while let Some(slice) = log.read(at, 1, true, UpTo::Durable).unwrap() {
        records.insert(slice.base_offset, slice.to_bytes().unwrap());
        at = slice.next_offset;
    }
    assert_eq!(at, log.durable_end_offset(), "nothing is missing in between");
    records
}

/// A log of several segments: a checkpoint has seen most of it, the rest is in the journal.
pub(crate) fn template() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let store = opened(&disk);
    let log = create(&store, TOPIC).unwrap();
    append(&log, 12).unwrap();
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    append(&log, ACKNOWLEDGED - 12).unwrap();
    store.commit_now().unwrap();
    assert_eq!(log.durable_end_offset(), Offset(ACKNOWLEDGED));
    disk.after_power_loss()
}

/// What is done while the disk fails, and what has to be left of the log, whether it could be done or not.
struct Plan<'a> {
    act: &'a dyn Fn(&Store, &Arc<PartitionLog>) -> bool,
    /// These records stay.
    kept: std::ops::Range<i64>,
    /// Whether the store can't go on after it, as with a close.
    ends_it: bool,
    /// Whether the log may be gone altogether.
    may_go: bool,
    /// How many of the disk's acts there are at the least, or the test has lost its way.
    acts_min: u32,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        let kept = 0..ACKNOWLEDGED;
        Self { act: &|_, _| true, kept, ends_it: false, may_go: false, acts_min: 1 }
    }
}

/// The log as the next process finds it.
fn check_next_process(disk: &MemoryDisk, acknowledged: &Records, plan: &Plan<'_>, case: &str) {
    let store = opened(disk);
    let Some(log) = store.partition(TOPIC, P0) else {
        assert!(plan.may_go, "{case}: the log is gone");
        return;
    };
    assert_eq!(log.damage(), [], "{case}");
    let (found, start, end) = (records(&log), log.log_start_offset(), log.end_offset());
    assert!(end >= Offset(plan.kept.end), "{case}: acknowledged up to {}, there up to {end}", plan.kept.end);
    let (first, last) = (Offset(plan.kept.start), Offset(plan.kept.end));
    assert!(first >= last || start <= first, "{case}: begins at {start}");
    for (offset, bytes) in acknowledged {
        match found.get(offset) {
            Some(there) => assert_eq!(there, bytes, "{case}: another record at {offset}"),
            None => assert!(!(first..last).contains(offset), "{case}: no record at {offset}"),
        }
    }
    // And it goes on from there.
    append(&log, 2).unwrap();
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    assert_eq!(log.durable_end_offset(), Offset(end.0 + 2), "{case}");
    store.close().unwrap();
}

/// What works after a passing failure, or is refused for good.
fn check_this_process(
    disk: &MemoryDisk,
    store: &Store,
    plan: &Plan<'_>,
    (log, said): (&Arc<PartitionLog>, u32),
    case: &str,
) {
    assert_eq!(said, u32::from(store.has_failed()), "{case}: who opened it is told once");
    if store.has_failed() {
        let before = log.durable_end_offset();
        let refused = log.append(&batch(b"refused"), LeaderEpoch(3), 1_000);
        assert!(matches!(refused, Err(AppendError::Failed | AppendError::Deleted)), "{case}: {refused:?}");
        assert!(store.commit_now().is_err() && store.checkpoint().is_err(), "{case}: it goes on");
        let _ = store.close();
        let is_marked = disk.files().iter().any(|path| path.ends_with(CLEAN_FILE));
        assert!(!is_marked, "{case}: it leaves the mark of a clean shutdown");
        assert_eq!(log.durable_end_offset(), before, "{case}: acknowledged after the failure");
        return;
    }
    if plan.ends_it {
        return;
    }
    // A moment of weakness of the disk may have been taken for damage, until someone looks again.
    for damaged in log.damage() {
        assert!(log.look_again(&damaged), "{case}: {damaged:?} is whole");
    }
    assert_eq!(log.damage(), [], "{case}");
    assert!((plan.act)(store, log), "{case}: it can't be done later either");
    if let Some(log) = store.partition(TOPIC, P0) {
        append(&log, 1).unwrap();
        store.commit_now().unwrap();
        store.checkpoint().unwrap();
        assert_eq!(log.durable_end_offset(), log.end_offset(), "{case}");
    }
}

/// Fails each act of the disk that the plan takes in turn, until there is none more.
fn each_act_may_fail(plan: &Plan<'_>) {
    let template = template();
    let acknowledged = records(&opened(&template.after_kill()).partition(TOPIC, P0).unwrap());
    assert_eq!(acknowledged.len(), ACKNOWLEDGED as usize);
    for fault in FAULTS {
        for others in 0.. {
            let disk = template.after_kill();
            let (store, said) = try_to_open(&disk);
            let store = store.unwrap();
            let log = store.partition(TOPIC, P0).unwrap();
            log.set_config(LogConfig {
                segment_bytes: 500,
                index_interval_bytes: 100,
                ..LogConfig::default()
            });
            disk.fail_after(fault, others);
            let is_done = (plan.act)(&store, &log);
            let Some(befell) = disk.befell() else {
                assert!(is_done, "nothing failed, and it isn't done");
                assert!(others >= if fault == Fault::Broken { plan.acts_min } else { 0 }, "{others}");
                break;
            };
            let case = format!("{fault:?}, {befell} (after {others} others)");
            let crashed = [disk.after_kill(), disk.after_power_loss()];
            let said = said.load(Ordering::Acquire);
            check_this_process(&disk, &store, plan, (&log, said), &case);
            drop((store, log));
            for (next, how) in crashed.into_iter().zip(["killed", "power loss"]) {
                check_next_process(&next, &acknowledged, plan, &format!("{case}, {how}"));
            }
        }
    }
}

/// Whose it is can't be read: nobody is shown what is in the folder, and all of it stays.
fn check_put_aside(before: &MemoryDisk, disk: &MemoryDisk, case: &str) {
    assert!(case.contains("partition.metadata"), "{case}: the log is gone");
    let logs = |disk: &MemoryDisk| -> Vec<Vec<u8>> {
        let files =
            disk.files().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "log"));
        files.map(|path| disk.content(&path)).collect()
    };
    assert_eq!(logs(disk), logs(before), "{case}");
    assert!(disk.files().iter().any(|path| path.to_string_lossy().contains(STRAY_SUFFIX)), "{case}");
}

#[test]
fn while_it_is_opened() {
    let template = template();
    let acknowledged = records(&opened(&template.after_kill()).partition(TOPIC, P0).unwrap());
    for fault in FAULTS {
        for others in 0.. {
            let disk = template.after_kill();
            disk.fail_after(fault, others);
            let (store, _) = try_to_open(&disk);
            let Some(befell) = disk.befell() else {
                assert!(store.is_ok() && (fault != Fault::Broken || others > 25), "{others}");
                break;
            };
            let case = format!("{fault:?}, {befell} (after {others} others), opened: {}", store.is_ok());
            if let Ok(store) = &store {
                let Some(log) = store.partition(TOPIC, P0) else {
                    check_put_aside(&template, &disk, &case);
                    continue;
                };
                assert_eq!(log.end_offset(), Offset(ACKNOWLEDGED), "{case}");
            }
            drop(store);
            for next in [disk.after_kill(), disk.after_power_loss()] {
                check_next_process(&next, &acknowledged, &Plan::default(), &case);
            }
        }
    }
}

#[test]
fn while_records_are_appended_and_made_durable() {
    let act = |store: &Store, log: &Arc<PartitionLog>| append(log, 5).is_ok() && store.commit_now().is_ok();
    each_act_may_fail(&Plan { act: &act, acts_min: 6, ..Plan::default() });
}

/// What was acknowledged while the disk failed counts too.
#[test]
fn what_is_acknowledged_while_the_disk_fails_is_there() {
    let template = template();
    for fault in FAULTS {
        for others in 0.. {
            let disk = template.after_kill();
            let store = opened(&disk);
            let log = store.partition(TOPIC, P0).unwrap();
            disk.fail_after(fault, others);
            for round in 0..4 {
                // Small ones go by the journal, large ones by a sync of their own; refusals are no matter.
                let value = vec![7; if round % 2 == 0 { 10 } else { 40_000 }];
                let _ = log.append(&batch(&value), LeaderEpoch(3), 1_000);
                let _ = store.commit_now();
            }
            let is_over = disk.befell().is_none();
            let (acknowledged, failed) = (log.durable_end_offset(), store.has_failed());
            assert!(failed || acknowledged >= Offset(ACKNOWLEDGED + 3), "{fault:?} after {others}");
            let before: Records = records(&log);
            drop((store, log));
            for next in [disk.after_kill(), disk.after_power_loss()] {
                let log = opened(&next).partition(TOPIC, P0).unwrap();
                assert!(
                    log.end_offset() >= acknowledged,
                    "{fault:?} after {others}: {acknowledged} was told"
                );
                let found = records(&log);
                assert!(before.iter().all(|(offset, bytes)| found.get(offset) == Some(bytes)));
            }
            if is_over {
                assert!(fault != Fault::Broken || others > 10, "{others}");
                break;
            }
        }
    }
}

#[test]
fn while_a_checkpoint_is_written() {
    let act = |store: &Store, log: &Arc<PartitionLog>| append(log, 1).is_ok() && store.checkpoint().is_ok();
    each_act_may_fail(&Plan { act: &act, acts_min: 20, ..Plan::default() });
}

#[test]
fn while_a_log_is_cut() {
    for cut in [14, 12, 7, 6, 1, 0] {
        let act = move |_: &Store, log: &Arc<PartitionLog>| log.truncate_to(Offset(cut)).is_ok();
        each_act_may_fail(&Plan { act: &act, kept: 0..cut, acts_min: 10, ..Plan::default() });
    }
}

#[test]
fn while_a_log_is_begun_anew() {
    for start in [3, ACKNOWLEDGED, 50] {
        let act = move |_: &Store, log: &Arc<PartitionLog>| log.reset_to(Offset(start)).is_ok();
        // Nothing has to stay, but it ends no earlier than there, or than it did.
        let end = start.min(ACKNOWLEDGED);
        each_act_may_fail(&Plan { act: &act, kept: end..end, acts_min: 10, ..Plan::default() });
    }
}

#[test]
fn while_the_oldest_records_go() {
    for start in [1, 6, 13] {
        let act = move |_: &Store, log: &Arc<PartitionLog>| {
            log.advance_log_start(Offset(start));
            log.log_start_offset() == Offset(start)
        };
        let acts_min = if start == 1 { 0 } else { 5 };
        each_act_may_fail(&Plan { act: &act, kept: start..ACKNOWLEDGED, acts_min, ..Plan::default() });
    }
}

#[test]
fn while_a_partition_is_deleted() {
    let act = |store: &Store, _: &Arc<PartitionLog>| {
        let is_done = store.delete_partition(TOPIC, P0).is_ok();
        assert!(store.partition(TOPIC, P0).is_none(), "it is gone all the same");
        is_done
    };
    each_act_may_fail(&Plan { act: &act, may_go: true, acts_min: 4, ..Plan::default() });
}

#[test]
fn while_a_store_is_closed() {
    let act = |store: &Store, _: &Arc<PartitionLog>| store.close().is_ok();
    each_act_may_fail(&Plan { act: &act, ends_it: true, acts_min: 20, ..Plan::default() });
}
