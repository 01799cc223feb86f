//! What a store holds and remembers beside its records: open files, hints of where reads ended, who is told
//! of what. And what is let go, of logs of every shape.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{BatchBuilder, FileKind};
use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicName};
use parking_lot::Mutex;

use crate::each_failure_tests::{append, create, opened, records};
use crate::test_support::{TOPIC, batch, config};
use crate::tests::memory_disk::MemoryDisk;
use crate::{LogConfig, PartitionLog, Store, StoreConfig, UpTo};

/// Small segments, and an index entry for each second batch.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 500, index_interval_bytes: 300, ..LogConfig::default() }
}

#[test]
fn no_more_files_are_open_than_may_be_and_unused_ones_are_closed() {
    const FILES_MAX: usize = 16;
    let disk = MemoryDisk::default();
    let config = StoreConfig { open_files_max: FILES_MAX, ..config(Path::new("/data")) };
    let store = Store::open_on(disk.disk(), config).unwrap();
    let name = TopicName::new("t").unwrap();
    let make = |index| store.create_partition(name.clone(), TOPIC, PartitionIndex(index), small()).unwrap();
    let logs: Vec<Arc<PartitionLog>> = (0..40).map(make).collect();
    store.commit_now().unwrap();
    for round in 0..4 {
        for log in &logs {
            append(log, 3).unwrap();
            assert!(store.open_files() <= FILES_MAX, "{} are open", store.open_files());
        }
        // What is unsynced is held, and half of the limit is what may wait for a checkpoint.
        store.commit_now().unwrap();
        let unsynced = logs.iter().filter(|log| log.state.lock().is_unsynced()).count();
        assert!(unsynced <= FILES_MAX, "round {round}: {unsynced} logs hold files");
        for log in &logs {
            assert_eq!(records(log).len(), 3 * (round + 1));
            assert!(store.open_files() <= FILES_MAX, "{} are open", store.open_files());
        }
    }
    store.checkpoint().unwrap();
    let memory = store.memory();
    assert_eq!((memory.open_files, memory.open_files_max), (store.open_files(), FILES_MAX));
    // Whoever was used since the last time stays open once more.
    store.inner.shared.close_unused();
    records(&logs[7]);
    store.inner.shared.close_unused();
    let of_log = store.open_files();
    assert!((1..=FILES_MAX).contains(&of_log));
    store.inner.shared.close_unused();
    assert_eq!(store.open_files(), 0);
    // Nothing stays open of what is gone.
    records(&logs[7]);
    store.delete_partition(TOPIC, PartitionIndex(7)).unwrap();
    assert_eq!(store.open_files(), 0);
}

/// Reads of all kinds, with whatever hints those before have left, and without any.
fn hints_change_no_read(log: &PartitionLog, durable: Offset) {
    let (start, end) = (log.log_start_offset().0, log.end_offset().0);
    for from in start..end {
        for max_bytes in [0, 1, 170, 400, 900, 10_000] {
            for up_to in [UpTo::End, UpTo::Durable, UpTo::Offset(Offset(start.midpoint(durable.0)))] {
                let read = |at: i64| {
                    let slice = log.read(Offset(at), max_bytes, max_bytes % 2 == 0, up_to).unwrap();
                    slice.map(|slice| (slice.base_offset, slice.next_offset, slice.to_bytes().unwrap()))
                };
                let with_hints = read(from);
                let next = with_hints.as_ref().map_or(from, |read| read.1.0);
                let next_with_hints = read(next);
                log.state.lock().read_hints = Default::default();
                assert_eq!(with_hints, read(from), "from {from}, {max_bytes} bytes, {up_to:?}");
                log.state.lock().read_hints = Default::default();
                assert_eq!(next_with_hints, read(next), "from {next}, {max_bytes} bytes, {up_to:?}");
                if let Some((base, next, _)) = &with_hints {
                    assert!(base.0 <= from && from < next.0, "{from} isn't in {base}..{next}");
                    assert!(up_to == UpTo::End || *next <= durable, "{next} isn't durable");
                }
            }
        }
    }
}

#[test]
fn hints_of_earlier_reads_mislead_no_read() {
    let disk = MemoryDisk::default();
    let store = opened(&disk);
    let log = create(&store, TOPIC).unwrap();
    log.set_config(small());
    for cut in [11, 8, 6, 3, 0] {
        append(&log, 9).unwrap();
        store.commit_now().unwrap();
        let durable = log.durable_end_offset();
        append(&log, 2).unwrap();
        hints_change_no_read(&log, durable);
        // What was read stands in other places from now on.
        log.truncate_to(Offset(cut)).unwrap();
        append(&log, 1).unwrap();
        hints_change_no_read(&log, log.durable_end_offset());
        log.advance_log_start(Offset(cut.min(2)));
    }
    log.reset_to(Offset(100)).unwrap();
    append(&log, 3).unwrap();
    store.commit_now().unwrap();
    hints_change_no_read(&log, log.durable_end_offset());
}

#[test]
fn each_advance_of_the_durable_end_is_told_once() {
    let disk = MemoryDisk::default();
    let store = opened(&disk);
    let log = create(&store, TOPIC).unwrap();
    let heard: Arc<Mutex<Vec<Offset>>> = Arc::default();
    for _ in 0..2 {
        let hears = Arc::clone(&heard);
        log.add_durable_hook(Arc::new(move |offset| hears.lock().push(offset)));
    }
    let is_told = |expected: &[i64]| {
        let told = std::mem::take(&mut *heard.lock());
        let twice: Vec<Offset> = expected.iter().flat_map(|offset| [Offset(*offset); 2]).collect();
        assert_eq!(told, twice, "each hook is told once");
    };
    // The first commit makes the names durable, so it is in place; the others are the journal's.
    for end in [3, 6, 9] {
        append(&log, 3).unwrap();
        is_told(&[]);
        store.commit_now().unwrap();
        is_told(&[end]);
        store.commit_now().unwrap();
        store.checkpoint().unwrap();
        log.sync().unwrap();
        is_told(&[]);
    }
    // A cut takes it back without a word, and the way up is told again.
    log.truncate_to(Offset(5)).unwrap();
    is_told(&[]);
    append(&log, 1).unwrap();
    log.sync().unwrap();
    is_told(&[6]);
    log.append(&batch(&vec![1; 70_000]), LeaderEpoch(3), 1_000).unwrap();
    store.commit_now().unwrap();
    is_told(&[7]);
    let ack_durability = crate::AckDurability::Written;
    log.set_config(LogConfig { ack_durability, ..small() });
    append(&log, 2).unwrap();
    is_told(&[8, 9]);
    store.commit_now().unwrap();
    store.close().unwrap();
    is_told(&[]);
}

#[test]
fn each_damaged_range_is_told_once_until_it_is_repaired() {
    let disk = MemoryDisk::default();
    let store = opened(&disk);
    let log = create(&store, TOPIC).unwrap();
    append(&log, 9).unwrap();
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    let good = records(&log);
    let batch_bytes = good[&Offset(0)].len();
    let heard: Arc<Mutex<Vec<std::ops::Range<Offset>>>> = Arc::default();
    let hears = Arc::clone(&heard);
    log.add_damage_hook(Arc::new(move |range| hears.lock().push(range)));
    for offset in 0..9 {
        let at = log.state.lock().segment_of(Offset(offset));
        let base = log.state.lock().segments[at].base;
        let path = Path::new("/data/t-0").join(FileKind::Log.file_name(base));
        let position = (offset - base.0) as usize * batch_bytes;
        let range = Offset(offset)..Offset(offset + 1);
        for byte in [0, 8, 12, 16, 17, 23, 57, 80, batch_bytes - 1] {
            disk.change(&path, |content| content[position + byte] ^= 4);
            for _ in 0..2 {
                while !store.scrub_step(200).finished {}
                let _ = log.read(Offset(offset), 1, true, UpTo::Durable).unwrap_err();
            }
            assert_eq!(log.damage(), std::slice::from_ref(&range), "byte {byte} of {offset}");
            assert_eq!(std::mem::take(&mut *heard.lock()), std::slice::from_ref(&range), "byte {byte}");
            assert_eq!(log.repair(&good[&Offset(offset)]).unwrap(), range);
            assert_eq!((log.damage(), records(&log) == good), (vec![], true), "byte {byte} of {offset}");
        }
    }
}

/// Batches with these times in a log whose active segment is its last of `segments`.
fn timed(store: &Store, times: &[i64]) -> Arc<PartitionLog> {
    let log = create(store, TOPIC).unwrap();
    log.set_config(small());
    for time in times {
        let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
        let records: Bytes = builder.record(*time, None, Some(&[7; 100])).build().into();
        log.append(&records, LeaderEpoch(3), 1_000).unwrap();
    }
    store.commit_now().unwrap();
    log
}

/// Base, end, bytes and greatest time of each segment.
fn segments(log: &PartitionLog) -> Vec<(Offset, Offset, u64, Option<i64>)> {
    let state = log.state.lock();
    let of = |segment: &crate::segment::Segment| {
        let latest = segment.max_timestamp().map(|entry| entry.timestamp_ms);
        (segment.base, segment.end, segment.bytes, latest)
    };
    state.segments.iter().map(of).collect()
}

/// How many segments go, in the plainest words.
fn expected(
    before: &[(Offset, Offset, u64, Option<i64>)],
    config: &LogConfig,
    now_ms: i64,
    limit: Offset,
) -> usize {
    let mut left: u64 = before.iter().map(|segment| segment.2).sum();
    let mut count = 0;
    for (_, end, bytes, latest) in before {
        let is_too_much = config.retention_bytes.is_some_and(|most| left >= most + bytes);
        let is_too_old = config.retention_ms.is_some_and(|most| {
            // What has no time counts as written when it was.
            let time = latest.filter(|time| *time >= 0).unwrap_or(1_000);
            now_ms - time > most
        });
        if *bytes == 0 || *end > limit || !(is_too_much || is_too_old) {
            break;
        }
        (left, count) = (left - bytes, count + 1);
    }
    count
}

#[test]
fn what_goes_is_the_oldest_and_no_more_than_the_settings_say() {
    // Times that fall, that lie in the future, that are none, and logs of one record or none.
    let all: [&[i64]; 7] = [
        &[10, 20, 30, 40, 50, 60, 70, 80, 90, 100],
        &[100, 90, 80, 70, 60, 50, 40, 30, 20, 10],
        &[50, 3_000_000, 50, 50, 50, 50, 50, 50],
        &[-1, -1, -1, -1, -1, -1, -1],
        &[10, -1, 10, -1, 10, -1, 10, -1],
        &[10],
        &[],
    ];
    for times in all {
        let disk = MemoryDisk::default();
        drop(timed(&opened(&disk), times));
        for retention_bytes in [None, Some(0), Some(170), Some(500), Some(1_000), Some(1 << 40)] {
            for (retention_ms, now_ms) in
                [(None, 1 << 40), (Some(50), 100), (Some(1), 1_100), (Some(0), 1 << 40)]
            {
                for limit in 0..=times.len() as i64 {
                    let store = opened(&disk.after_kill());
                    let log = store.partition(TOPIC, crate::test_support::P0).unwrap();
                    let config = LogConfig { retention_bytes, retention_ms, ..small() };
                    log.set_config(config.clone());
                    while log.learn_age(now_ms, Offset(limit)) {}
                    let before = segments(&log);
                    let wanted = match before.iter().any(|segment| segment.3.is_none_or(|time| time < 0)) {
                        // How old its file is isn't known to this test.
                        true => None,
                        false => Some(expected(&before, &config, now_ms, Offset(limit))),
                    };
                    let count = log.enforce_retention(now_ms, Offset(limit));
                    let case = format!("{times:?}, {config:?}, limit {limit}: {before:?}");
                    assert_eq!(count, wanted.unwrap_or(count), "{case}");
                    check_what_is_left(&log, &before, count, Offset(limit), &case);
                    assert_eq!(log.enforce_retention(now_ms, Offset(limit)), 0, "again, {case}");
                }
            }
        }
    }
}

fn check_what_is_left(
    log: &PartitionLog,
    before: &[(Offset, Offset, u64, Option<i64>)],
    count: usize,
    limit: Offset,
    case: &str,
) {
    let after = segments(log);
    let start = before.get(count).map_or(log.end_offset(), |segment| segment.0);
    assert!(count == 0 || start <= limit, "{case}: {start} isn't committed");
    assert_eq!((log.log_start_offset(), log.end_offset()), (start, log.durable_end_offset()), "{case}");
    assert_eq!(after[0].0, start, "{case}");
    assert_eq!(records(log).len(), (log.end_offset().0 - start.0) as usize, "{case}");
}
