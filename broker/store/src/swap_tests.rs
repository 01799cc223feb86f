//! A new segment in the place of old ones: what stays as it was, what a failure at any point leaves, and what
//! else may happen to the log meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{BatchBuilder, Batches, FileKind, LOG_START_FILE, RECOVERY_POINT_FILE, SEALED_OFFSETS_FILE};
use ottla_types::{LeaderEpoch, Offset};

use crate::each_failure_tests::{Records, append, opened, records, template, try_to_open};
use crate::error::StoreError;
use crate::swap::{NewSegment, OldSegments, Swapped};
use crate::test_support::{P0, TOPIC};
use crate::tests::memory_disk::{FAULTS, Fault, MemoryDisk};
use crate::{LogConfig, PartitionLog, Store, UpTo};

/// What the segments are given in each batch instead of what they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Equal,
    Longer,
    Shorter,
}

impl Content {
    fn of(self, batch: &Bytes, offset: Offset) -> Bytes {
        let value = match self {
            Self::Equal => return batch.clone(),
            Self::Longer => vec![8; 150],
            Self::Shorter => vec![9; 10],
        };
        BatchBuilder::new(offset, LeaderEpoch(3)).record(1_000, None, Some(&value)).build().into()
    }
}

/// The segments at these places, as they are now.
fn old_segments(log: &PartitionLog, places: std::ops::Range<usize>) -> OldSegments {
    let state = log.state.lock();
    let segments = state.segments[places].iter();
    let segments = segments.map(|segment| (segment.base, segment.bytes, segment.end)).collect();
    OldSegments { segments, incarnation: state.incarnation }
}

fn begin(log: &PartitionLog, old: &OldSegments, content: Content) -> Result<NewSegment, StoreError> {
    let all = records(log);
    let mut new = log.begin_segment_beside(old.base())?.expect("the log is open");
    for (offset, batch) in all.range(old.base()..old.end()) {
        log.add_batch(&mut new, &content.of(batch, *offset)).unwrap();
    }
    Ok(new)
}

fn swap(log: &PartitionLog, content: Content) -> Result<Swapped, StoreError> {
    let old = old_segments(log, 1..3);
    let new = begin(log, &old, content)?;
    log.swap_in(new, &old)
}

/// The records once those segments have that content.
fn changed(before: &Records, log: &PartitionLog, content: Content) -> Records {
    let old = old_segments(log, 1..3);
    let mut after = before.clone();
    for (offset, batch) in after.range_mut(old.base()..old.end()) {
        *batch = content.of(batch, *offset);
    }
    after
}

/// A log of which two segments can be replaced.
fn log_of(disk: &MemoryDisk) -> (Store, Arc<PartitionLog>) {
    let store = opened(disk);
    let log = store.partition(TOPIC, P0).unwrap();
    log.set_config(LogConfig { segment_bytes: 500, index_interval_bytes: 100, ..LogConfig::default() });
    (store, log)
}

fn leftovers(disk: &MemoryDisk) -> Vec<String> {
    let names = disk.files().into_iter().map(|path| path.to_string_lossy().into_owned());
    names.filter(|name| name.contains(".cleaned") || name.contains(".swap")).collect()
}

fn is_done(swapped: &Result<Swapped, StoreError>) -> bool {
    matches!(swapped, Ok(Swapped::Done(_)))
}

#[test]
fn an_equal_segment_in_the_place_of_two_changes_nothing() {
    let disk = template();
    let (store, log) = log_of(&disk);
    let before = records(&log);
    let asked = |log: &PartitionLog| {
        let times = [0, 1_000, 1_001].map(|time| log.offset_for_timestamp(time).unwrap());
        let max = log.offset_for_max_timestamp().unwrap();
        let offsets = (log.log_start_offset(), log.end_offset(), log.durable_end_offset());
        (times, max, offsets, log.latest_epoch(), log.size_bytes())
    };
    let answers = asked(&log);
    let segments = log.state.lock().segments.len();
    let old = old_segments(&log, 1..3);
    let times =
        disk.disk().open(&log.state.lock().path(FileKind::Log, old.base()), crate::OpenMode::Existing);
    times.unwrap().set_modified_ms(70).unwrap();
    log.state.lock().segments[2].modified_ms = 70;
    assert!(is_done(&swap(&log, Content::Equal)));
    assert_eq!(log.state.lock().segments.len(), segments - 1);
    assert_eq!((records(&log), asked(&log)), (before.clone(), answers));
    assert_eq!((leftovers(&disk), log.damage()), (vec![], vec![]));
    append(&log, 3).unwrap();
    store.commit_now().unwrap();
    let before = records(&log);
    for next in [disk.after_kill(), disk.after_power_loss()] {
        let (_store, log) = log_of(&next);
        assert_eq!((records(&log), log.state.lock().segments[1].modified_ms), (before.clone(), 70));
    }
    store.close().unwrap();
    let (_store, log) = log_of(&disk.after_power_loss());
    assert_eq!((records(&log), log.damage()), (before, vec![]));
}

#[test]
fn an_act_that_fails_or_a_crash_leaves_all_that_is_old_or_all_that_is_new() {
    let template = template();
    for content in [Content::Equal, Content::Longer, Content::Shorter] {
        for fault in FAULTS {
            let mut ends = (0, 0);
            for others in 0.. {
                let disk = template.after_kill();
                let (store, said) = try_to_open(&disk);
                let store = store.unwrap();
                let log = store.partition(TOPIC, P0).unwrap();
                let (old, new) = (records(&log), changed(&records(&log), &log, content));
                disk.fail_after(fault, others);
                let swapped = swap_of_read(&log, &old, content);
                let befell = disk.befell();
                let case = format!("{content:?}, {fault:?}, {befell:?} (after {others} others), {swapped:?}");
                assert!(befell.is_some() || is_done(&swapped), "{case}");
                let failed = store.has_failed();
                assert_eq!(said.load(std::sync::atomic::Ordering::Acquire), u32::from(failed), "{case}");
                let is_old = |found: &Records| *found == old;
                if failed {
                    assert!(matches!(swapped, Err(StoreError::Failed)), "{case}");
                } else {
                    let expected = if is_done(&swapped) { &new } else { &old };
                    assert_eq!((&records(&log), log.damage()), (expected, vec![]), "{case}");
                }
                for next in [disk.after_kill(), disk.after_power_loss()] {
                    let found = records(&log_of(&next).1);
                    assert!(is_old(&found) || found == new, "{case}: a mixture");
                    assert!(!is_done(&swapped) || found == new, "{case}: it comes back");
                    assert!(failed || is_done(&swapped) || is_old(&found), "{case}: it wasn't done");
                    if is_old(&found) {
                        ends.0 += 1
                    } else {
                        ends.1 += 1
                    };
                    // As a process after that finds it.
                    for later in [next.after_kill(), next.after_power_loss()] {
                        let (store, log) = log_of(&later);
                        assert_eq!((&records(&log), log.damage()), (&found, vec![]), "{case}");
                        assert_eq!(leftovers(&later), Vec::<String>::new(), "{case}");
                        append(&log, 1).unwrap();
                        store.close().unwrap();
                    }
                }
                if !failed {
                    // It can be done later, or once more.
                    assert!(is_done(&swap(&log, Content::Equal)), "{case}");
                }
                if befell.is_none() {
                    assert!(others > 20 || fault != Fault::Broken, "{others}");
                    break;
                }
            }
            let is_told = fault == Fault::Broken && content != Content::Equal;
            assert!(!is_told || (ends.0 > 5 && ends.1 > 5), "{ends:?}");
        }
    }
}

/// As [`swap`], with what was read before the disk failed.
fn swap_of_read(log: &PartitionLog, all: &Records, content: Content) -> Result<Swapped, StoreError> {
    let old = old_segments(log, 1..3);
    let mut new = match log.begin_segment_beside(old.base()) {
        Ok(new) => new.expect("the log is open"),
        Err(error) => {
            log.discard(old.base());
            return Err(error);
        }
    };
    for (offset, batch) in all.range(old.base()..old.end()) {
        log.add_batch(&mut new, &content.of(batch, *offset)).unwrap();
    }
    log.swap_in(new, &old)
}

#[test]
fn who_reads_an_old_file_reads_on_and_nobody_looks_for_old_places_in_the_new_one() {
    for content in [Content::Longer, Content::Shorter] {
        let disk = template();
        let (store, log) = log_of(&disk);
        let old = records(&log);
        let new = changed(&old, &log, content);
        let from = old_segments(&log, 1..3).base();
        // Each read leaves a hint at which the next one begins, and opens files; the scrub stands in it.
        let slices: Vec<_> =
            old.keys().map(|offset| log.read(*offset, 1, true, UpTo::Durable).unwrap().unwrap()).collect();
        let view = log.view(from, UpTo::Durable).unwrap().unwrap();
        while !store.scrub_step(1).finished && log.damage().is_empty() {
            let stands = store.inner.scrub.lock();
            if format!("{stands:?}").contains(&format!("offset: {:?}", Offset(from.0 + 1))) {
                break;
            }
        }
        let segments = old_segments(&log, 1..3);
        let replacing = begin(&log, &segments, content).unwrap();
        // The newest hint is that of a place in the file that goes.
        let next = log.read(from, 1, true, UpTo::Durable).unwrap().unwrap().next_offset;
        assert!(is_done(&log.swap_in(replacing, &segments)));
        let read = log.read(next, 1, true, UpTo::Durable).unwrap().unwrap();
        assert_eq!(&read.to_bytes().unwrap(), &new[&next], "{content:?}");
        for (slice, batch) in slices.iter().zip(old.values()) {
            assert_eq!(&slice.to_bytes().unwrap(), batch, "{content:?}");
        }
        // A view from before reads the old file too, and what it finds there is no damage of the log.
        assert!(log.locate(&view, Offset(from.0 + 1)).is_ok());
        for _ in 0..2 {
            while !store.scrub_step(1).finished {}
            assert_eq!((&records(&log), log.damage()), (&new, vec![]), "{content:?}");
        }
    }
}

#[test]
fn a_log_that_changed_meanwhile_keeps_what_it_has() {
    type Change = fn(&Store, &Arc<PartitionLog>);
    let changes: [(&str, Change); 7] = [
        ("cut", |_, log| log.truncate_to(Offset(10)).unwrap()),
        ("cut within", |_, log| log.truncate_to(Offset(5)).unwrap()),
        ("begun anew", |_, log| log.reset_to(Offset(40)).unwrap()),
        ("let go", |_, log| assert_eq!(log.advance_log_start(Offset(5)), 2)),
        ("deleted", |store, _| store.delete_partition(TOPIC, P0).unwrap()),
        ("put aside", |store, _| drop(store.put_aside(TOPIC, P0).unwrap())),
        ("closed", |store, _| store.close().unwrap()),
    ];
    for (case, change) in changes {
        let disk = template();
        let (store, log) = log_of(&disk);
        let old = old_segments(&log, 1..3);
        let new = begin(&log, &old, Content::Longer).unwrap();
        change(&store, &log);
        let is_there = log.state.lock().is_open();
        let before = is_there.then(|| records(&log));
        assert_eq!(log.swap_in(new, &old).unwrap(), Swapped::LogChanged, "{case}");
        assert!(!store.has_failed());
        if let Some(before) = before {
            assert_eq!((records(&log), leftovers(&disk)), (before.clone(), vec![]), "{case}");
            let (_store, log) = log_of(&disk.after_kill());
            assert_eq!((records(&log), log.damage()), (before, vec![]), "{case}");
        }
    }
}

/// A topic's name may belong to another one before the old log's cleaner hears of it.
#[test]
fn a_deleted_log_touches_no_files_of_the_one_that_has_its_name() {
    let disk = template();
    let (store, log) = log_of(&disk);
    let old = old_segments(&log, 1..3);
    let new = begin(&log, &old, Content::Longer).unwrap();
    store.delete_partition(TOPIC, P0).unwrap();
    let other = crate::each_failure_tests::create(&store, ottla_types::TopicId([7; 16])).unwrap();
    append(&other, 12).unwrap();
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    let others = begin(&other, &old_segments(&other, 1..3), Content::Equal).unwrap();
    let before = leftovers(&disk);
    assert!(!before.is_empty() && log.begin_segment_beside(old.base()).unwrap().is_none());
    assert_eq!(log.swap_in(new, &old).unwrap(), Swapped::LogChanged);
    assert_eq!(leftovers(&disk), before);
    assert!(is_done(&other.swap_in(others, &old_segments(&other, 1..3))));
}

#[test]
fn nothing_is_replaced_before_a_checkpoint_says_that_it_is_on_disk() {
    let disk = template();
    let (store, log) = log_of(&disk);
    // Its last segments are known from the journal.
    append(&log, 6).unwrap();
    store.commit_now().unwrap();
    let places = log.state.lock().segments.len() - 3;
    let old = old_segments(&log, places..places + 2);
    assert_eq!(log.swap_in(begin(&log, &old, Content::Equal).unwrap(), &old).unwrap(), Swapped::NotYet);
    assert_eq!(leftovers(&disk), Vec::<String>::new());
    store.checkpoint().unwrap();
    let old = old_segments(&log, places..places + 2);
    assert!(is_done(&log.swap_in(begin(&log, &old, Content::Equal).unwrap(), &old)));
}

#[test]
fn nothing_is_replaced_where_damage_is_known() {
    for (place, is_known) in [(0, true), (1, true), (2, true), (3, false)] {
        let disk = template();
        let (store, log) = log_of(&disk);
        let old = old_segments(&log, 1..3);
        let new = begin(&log, &old, Content::Equal).unwrap();
        let (path, base) = {
            let state = log.state.lock();
            let base = state.segments[place].base;
            (state.path(FileKind::Log, base), base)
        };
        disk.change(&path, |content| content[70] ^= 1);
        while !store.scrub_step(1 << 20).finished {}
        assert_eq!(log.damage().first().map(|damage| damage.start), Some(base));
        // What finds it leaves the log's incarnation as it is.
        let swapped = log.swap_in(new, &old).unwrap();
        assert_eq!(swapped == Swapped::LogChanged, is_known, "segment {place}");
    }
}

/// With the last words on recovery points damaged, the journal's entries of the old files are met again.
#[test]
fn old_entries_of_the_journal_are_not_written_into_new_files() {
    for content in [Content::Longer, Content::Shorter] {
        let disk = template();
        let (store, log) = log_of(&disk);
        // A segment's first batch is synced with its name, the others go to the journal.
        for _ in 0..12 {
            append(&log, 1).unwrap();
            store.commit_now().unwrap();
        }
        store.checkpoint().unwrap();
        let places = log.state.lock().segments.len() - 3;
        let old = old_segments(&log, places..places + 2);
        let mut expected = records(&log);
        let new = begin(&log, &old, content).unwrap();
        for (offset, batch) in expected.range_mut(old.base()..old.end()) {
            *batch = content.of(batch, *offset);
        }
        assert!(is_done(&log.swap_in(new, &old)));
        assert_eq!(records(&log), expected);
        for next in [disk.after_kill(), disk.after_power_loss()] {
            for path in next.files() {
                let name = path.file_name().unwrap().to_str().unwrap();
                if [SEALED_OFFSETS_FILE, RECOVERY_POINT_FILE, LOG_START_FILE].contains(&name) {
                    next.change(&path, |content| content.fill(0));
                }
            }
            let (_store, log) = log_of(&next);
            assert_eq!((&records(&log), log.damage()), (&expected, vec![]), "{content:?}");
        }
    }
}

#[test]
fn several_swaps_follow_each_other() {
    let disk = template();
    let (store, log) = log_of(&disk);
    let before = records(&log);
    for round in 0..3 {
        let old = old_segments(&log, 0..2);
        assert!(is_done(&log.swap_in(begin(&log, &old, Content::Equal).unwrap(), &old)), "{round}");
        for next in [disk.after_kill(), disk.after_power_loss()] {
            assert_eq!(records(&log_of(&next).1), before, "{round}");
        }
    }
    let all: Vec<u8> = before.values().flatten().copied().collect();
    assert_eq!(Batches::new(&all).count(), before.len());
    assert!(!store.has_failed() && log.damage().is_empty());
}
