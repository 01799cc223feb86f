//! Each file of a data folder cut short at each length, and with each of its bits flipped: what is said of
//! that, and that no acknowledged record is gone or another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{
    BLOCK_BYTES, BatchBuilder, FileKind, LOG_START_FILE, LeaderEpochs, MetaProperties, PartitionMetadata,
};
use ottla_log::{RECOVERY_POINT_FILE, SEALED_OFFSETS_FILE};
use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};

use crate::each_failure_tests::{Records, create, opened, records, try_to_open};
use crate::test_support::{P0, TOPIC};
use crate::tests::memory_disk::MemoryDisk;
use crate::{PartitionLog, ReadError, Store, StoreError, UpTo};

/// Where the log begins and ends, and what the last checkpoint has seen.
const START: Offset = Offset(4);
const END: Offset = Offset(17);
const CHECKPOINT: Offset = Offset(12);

fn of_producer(sequence: i64) -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let value = format!("{sequence:080}");
    let builder = builder.producer(ProducerId(7), ProducerEpoch(0), sequence as i32);
    builder.record(1_000 + sequence, None, Some(value.as_bytes())).build().into()
}

fn append(store: &Store, log: &Arc<PartitionLog>, epoch: i32, count: i64) {
    for _ in 0..count {
        log.append(&of_producer(log.end_offset().0), LeaderEpoch(epoch), 1_000).unwrap();
    }
    store.commit_now().unwrap();
}

/// How the last process ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ended {
    Closed,
    Killed,
    PowerLoss,
}

/// A log that has been through everything: a checkpoint, a cut, oldest records that went, and records that
/// only the journal has.
fn template(ended: Ended) -> (MemoryDisk, Records) {
    let disk = MemoryDisk::default();
    let store = opened(&disk);
    let log = create(&store, TOPIC).unwrap();
    append(&store, &log, 3, 6);
    append(&store, &log, 5, CHECKPOINT.0 - 6);
    store.checkpoint().unwrap();
    assert!(log.advance_log_start(START) > 0);
    append(&store, &log, 6, 6);
    log.truncate_to(Offset(14)).unwrap();
    append(&store, &log, 7, 3);
    assert_eq!((log.log_start_offset(), log.durable_end_offset()), (START, END));
    let records = records(&log);
    let disk = match ended {
        Ended::Closed => {
            store.close().unwrap();
            disk.after_power_loss()
        }
        Ended::Killed => disk.after_kill(),
        Ended::PowerLoss => disk.after_power_loss(),
    };
    (disk, records)
}

/// The files with such a name.
fn named(disk: &MemoryDisk, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    disk.files().into_iter().filter(|path| is_wanted(&name(path))).collect()
}

/// One way in which a file is broken.
#[derive(Clone, Copy, Debug)]
enum Broken {
    /// It is so short.
    Short(usize),
    /// This bit of this byte is another.
    Flipped(usize, u8),
}

impl Broken {
    /// All ways for a file of so many bytes.
    fn all(bytes: usize) -> impl Iterator<Item = Self> {
        (0..bytes).map(Self::Short).chain(Self::flips(bytes))
    }

    fn flips(bytes: usize) -> impl Iterator<Item = Self> {
        (0..bytes).flat_map(|at| (0..8).map(move |bit| Self::Flipped(at, bit)))
    }

    fn apply(self, disk: &MemoryDisk, path: &Path) {
        disk.change(path, |content| match self {
            Self::Short(bytes) => content.truncate(bytes),
            Self::Flipped(at, bit) => content[at] ^= 1 << bit,
        });
    }
}

/// The log is as it was, whichever of its offsets one begins at.
fn check_all(store: &Store, expected: &Records, case: &str) -> Arc<PartitionLog> {
    let log = store.partition(TOPIC, P0).unwrap_or_else(|| panic!("{case}: the log is gone"));
    assert_eq!((log.end_offset(), log.damage()), (END, vec![]), "{case}");
    assert!(log.log_start_offset() <= START, "{case}: records before {} are gone", log.log_start_offset());
    for (offset, bytes) in expected {
        let there = log.read(*offset, 1, true, UpTo::Durable).unwrap().unwrap();
        assert_eq!(there.to_bytes().unwrap(), bytes, "{case}: another record at {offset}");
    }
    log
}

/// Breaks each of the files in each way, and opens the folder.
fn each_way(
    ended: Ended,
    is_wanted: impl Fn(&str) -> bool,
    ways: impl Fn(&[u8]) -> Vec<Broken>,
    check: impl Fn(&MemoryDisk, Result<Store, StoreError>, &Records, &str),
) {
    let (template, records) = template(ended);
    let files = named(&template, is_wanted);
    assert!(!files.is_empty(), "there is none: {:?}", template.files());
    for path in files {
        for way in ways(&template.content(&path)) {
            let disk = template.after_kill();
            way.apply(&disk, &path);
            let case = format!("{ended:?}, {}: {way:?}", path.display());
            check(&disk, try_to_open(&disk).0, &records, &case);
        }
    }
}

fn in_all_ways(content: &[u8]) -> Vec<Broken> {
    Broken::all(content.len()).collect()
}

#[test]
fn whose_folder_it_is_is_known_or_the_folder_is_refused_as_it_is() {
    let check = |disk: &MemoryDisk, opened_now: Result<Store, StoreError>, all: &Records, case: &str| {
        match opened_now {
            Ok(store) => drop(check_all(&store, all, case)),
            Err(StoreError::CorruptMeta { path, .. }) => assert!(path.ends_with(MetaProperties::FILE)),
            Err(StoreError::ForeignCluster { .. } | StoreError::ForeignNode { .. }) => {}
            Err(error) => panic!("{case}: {error}"),
        }
        // Whoever mends it has lost nothing.
        let good = template(Ended::Killed).0.content(&Path::new("/data").join(MetaProperties::FILE));
        disk.change(&Path::new("/data").join(MetaProperties::FILE), |content| *content = good);
        check_all(&opened(disk), all, case);
    };
    each_way(Ended::Killed, |name| name == MetaProperties::FILE, in_all_ways, check);
}

/// No checksum guards it, so a flipped bit may make another topic of it. What is in the folder stays all the
/// same.
#[test]
fn whose_records_they_are_is_known_whatever_became_of_the_file_that_says_it() {
    for ended in [Ended::Closed, Ended::Killed, Ended::PowerLoss] {
        let check = |disk: &MemoryDisk, opened: Result<Store, StoreError>, all: &Records, case: &str| {
            check_all(&opened.unwrap(), all, case);
            let file = &named(disk, |name| name == PartitionMetadata::FILE)[0];
            let text = String::from_utf8(disk.content(file)).unwrap();
            assert_eq!(PartitionMetadata::decode(&text).unwrap().topic_id, TOPIC, "{case}: it isn't mended");
        };
        each_way(ended, |name| name == PartitionMetadata::FILE, in_all_ways, check);
    }
}

/// A disk on which nothing but the folder itself says whose it is, and that file holds `content`.
fn without_other_identity(template: &MemoryDisk, content: &[u8]) -> MemoryDisk {
    let disk = template.after_kill();
    disk.change(&named(&disk, |name| name == SEALED_OFFSETS_FILE)[0], |bytes| bytes[3] ^= 1);
    write_identity(&disk, content);
    disk
}

fn write_identity(disk: &MemoryDisk, content: &[u8]) {
    disk.change(&named(disk, |name| name == PartitionMetadata::FILE)[0], |bytes| *bytes = content.to_owned());
}

fn logs(disk: &MemoryDisk) -> Vec<(PathBuf, Vec<u8>)> {
    named(disk, |name| name.ends_with(".log"))
        .into_iter()
        .map(|path| (path.clone(), disk.content(&path)))
        .collect()
}

/// Then nothing else says it: nobody is shown what is in the folder, nothing takes its place, and whoever
/// puts the file back has lost nothing.
#[test]
fn records_that_nobody_knows_the_topic_of_stay_where_they_are() {
    let (template, all) = template(Ended::Closed);
    let good = PartitionMetadata { topic_id: TOPIC }.encode();
    for damaged in [vec![b'x'; good.len()], vec![0; good.len()], Vec::new()] {
        let case = format!("{damaged:?}");
        let mut disk = without_other_identity(&template, &damaged);
        let before = logs(&disk);
        for is_power_lost in [false, true] {
            let store = opened(&disk);
            assert_eq!(store.partitions(), [], "{case}");
            let refused = |store: &Store| {
                let error = create(store, TOPIC).unwrap_err();
                assert!(matches!(&error, StoreError::NoIdentity { .. }), "{case}: {error}");
            };
            refused(&store);
            store.checkpoint().unwrap();
            // What the folder says now counts with the next start.
            write_identity(&disk, good.as_bytes());
            refused(&store);
            write_identity(&disk, &damaged);
            store.checkpoint().unwrap();
            disk = if is_power_lost { disk.after_power_loss() } else { disk.after_kill() };
        }
        assert_eq!(logs(&disk), before, "{case}");
        write_identity(&disk, good.as_bytes());
        let log = check_all(&opened(&disk), &all, &case);
        assert_eq!(log.log_start_offset(), START, "{case}: what was let go comes back");
    }
}

/// Where others have the records, the folder is moved away, and its name is free: what was known of the old
/// log is true of no new one, whether anything was known or not.
#[test]
fn a_name_whose_nameless_records_were_moved_away_can_be_had_again() {
    let (template, _) = template(Ended::Closed);
    for is_known in [true, false] {
        let disk = without_other_identity(&template, &[b'x'; 50]);
        if !is_known {
            for file in [RECOVERY_POINT_FILE, LOG_START_FILE] {
                disk.change(&Path::new("/data").join(file), Vec::clear);
            }
        }
        let store = opened(&disk);
        create(&store, TOPIC).unwrap_err();
        store.checkpoint().unwrap();
        crate::disk::Disk::rename(&disk, Path::new("/data/t-0"), Path::new("/data/moved")).unwrap();
        let log = create(&store, TOPIC).unwrap();
        assert_eq!((log.log_start_offset(), log.end_offset()), (Offset(0), Offset(0)));
        for offsets in [2, 4] {
            append(&store, &log, 3, 2);
            store.checkpoint().unwrap();
            let saved = store.inner.shared.saved_recovery_point(&log.topic_partition());
            assert_eq!((saved, log.end_offset()), (Offset(offsets), Offset(offsets)), "known: {is_known}");
        }
        let log = opened(&disk.after_power_loss()).partition(TOPIC, P0).unwrap();
        assert_eq!((log.log_start_offset(), log.end_offset()), (Offset(0), Offset(4)));
    }
}

/// The journal names a topic that no folder is of. What is left of the damaged file says whether it is that
/// one's; if it doesn't, nothing is opened, as the journal's records would be gone by the next start.
#[test]
fn records_that_only_the_journal_knows_the_topic_of_are_not_lost() {
    let good = PartitionMetadata { topic_id: TOPIC }.encode().into_bytes();
    for ended in [Ended::Killed, Ended::PowerLoss] {
        let (template, all) = template(ended);
        for way in Broken::flips(good.len()).chain([Broken::Short(good.len() - 4)]) {
            let disk = without_other_identity(&template, &good);
            way.apply(&disk, &named(&disk, |name| name == PartitionMetadata::FILE)[0]);
            check_all(&opened(&disk), &all, &format!("{ended:?}, {way:?}"));
            let text =
                String::from_utf8(disk.content(&named(&disk, |name| name == PartitionMetadata::FILE)[0]));
            assert_eq!(PartitionMetadata::decode(&text.unwrap()).unwrap().topic_id, TOPIC, "it isn't healed");
        }
        let disk = without_other_identity(&template, &vec![b'x'; good.len()]);
        let before = logs(&disk);
        for _ in 0..2 {
            let error = try_to_open(&disk).0.unwrap_err();
            assert!(error.to_string().contains(&TOPIC.to_string()), "{error}");
        }
        assert_eq!(logs(&disk), before);
        write_identity(&disk, &good);
        check_all(&opened(&disk), &all, &format!("{ended:?}, put back"));
    }
}

const OTHER: TopicId = TopicId([9; 16]);

fn of_topic(topic_id: TopicId) -> Vec<u8> {
    PartitionMetadata { topic_id }.encode().into_bytes()
}

/// Somebody moved it there, or the file: nothing is done to it, and what is known of the right one stays
/// known.
#[test]
fn another_topics_folder_under_a_known_name_stays_as_it_is() {
    let (closed, all) = template(Ended::Closed);
    let mut disk = closed.after_kill();
    write_identity(&disk, &of_topic(OTHER));
    let before = logs(&disk);
    for _ in 0..3 {
        let store = opened(&disk);
        assert_eq!(store.partitions(), []);
        for topic_id in [TOPIC, OTHER] {
            let error = create(&store, topic_id).unwrap_err();
            assert!(matches!(&error, StoreError::NoIdentity { .. }), "{error}");
        }
        store.checkpoint().unwrap();
        disk = disk.after_power_loss();
    }
    assert_eq!(logs(&disk), before);
    write_identity(&disk, &of_topic(TOPIC));
    assert_eq!(check_all(&opened(&disk), &all, "put back").log_start_offset(), START);
    // The journal has more of the right one.
    let (killed, all) = template(Ended::Killed);
    let disk = killed.after_kill();
    write_identity(&disk, &of_topic(OTHER));
    let error = try_to_open(&disk).0.unwrap_err().to_string();
    assert!(error.contains(&TOPIC.to_string()) && error.contains(&OTHER.to_string()), "{error}");
    write_identity(&disk, &of_topic(TOPIC));
    assert_eq!(check_all(&opened(&disk), &all, "put back").log_start_offset(), START);
}

/// One of them would be filled with the other's records.
#[test]
fn two_folders_of_one_partition_are_refused() {
    let (template, all) = template(Ended::Killed);
    let disk = template.after_kill();
    let store = opened(&disk);
    let name = ottla_types::TopicName::new("u").unwrap();
    let other = store.create_partition(name, OTHER, P0, crate::LogConfig::default()).unwrap();
    append(&store, &other, 3, 2);
    let disk = without_other_identity(&disk, &of_topic(TOPIC));
    let path = Path::new("/data/u-0").join(PartitionMetadata::FILE);
    disk.change(&path, |bytes| *bytes = of_topic(TOPIC));
    let before = logs(&disk);
    let error = try_to_open(&disk).0.unwrap_err();
    assert!(
        matches!(&error, StoreError::SamePartition { known, other, is_sure: false, .. } if known < other),
        "{error}"
    );
    assert_eq!(logs(&disk), before);
    disk.change(&path, |bytes| *bytes = of_topic(OTHER));
    check_all(&opened(&disk), &all, "put back");
}

/// Nothing was written to it since it was found offline, so the journal's entries of topics that are gone by
/// now aren't its own.
#[test]
fn a_partition_that_was_offline_before_keeps_no_store_from_opening() {
    let (template, all) = template(Ended::Closed);
    let disk = without_other_identity(&template, &[b'x'; 50]);
    let store = opened(&disk);
    let name = ottla_types::TopicName::new("u").unwrap();
    let other = store.create_partition(name, OTHER, P0, crate::LogConfig::default()).unwrap();
    append(&store, &other, 3, 2);
    store.delete_partition(OTHER, P0).unwrap();
    let disk = disk.after_kill();
    let store = opened(&disk);
    assert_eq!(store.partitions(), []);
    store.checkpoint().unwrap();
    let disk = disk.after_kill();
    write_identity(&disk, &of_topic(TOPIC));
    let store = opened(&disk);
    let log = check_all(&store, &all, "put back");
    assert_eq!(log.log_start_offset(), START);
    // From now on something is added, and the file is lost once more.
    append(&store, &log, 7, 1);
    let disk = disk.after_kill();
    write_identity(&disk, &[b'x'; 50]);
    let text = |disk: &MemoryDisk| {
        String::from_utf8(disk.content(&named(disk, |name| name == PartitionMetadata::FILE)[0])).unwrap()
    };
    assert_eq!(opened(&disk).partition(TOPIC, P0).unwrap().end_offset(), Offset(END.0 + 1));
    assert_eq!(PartitionMetadata::decode(&text(&disk)).unwrap().topic_id, TOPIC);
}

/// It was moved from its own name: what the journal has of it must not be lost before it is moved back.
#[test]
fn a_folder_that_was_moved_under_another_known_name_keeps_what_the_journal_has_of_it() {
    let (template, all) = template(Ended::PowerLoss);
    let disk = template.after_kill();
    let store = opened(&disk);
    let name = ottla_types::TopicName::new("u").unwrap();
    store.create_partition(name, OTHER, P0, crate::LogConfig::default()).unwrap();
    store.checkpoint().unwrap();
    let log = store.partition(TOPIC, P0).unwrap();
    append(&store, &log, 7, 1);
    let disk = disk.after_power_loss();
    let moved =
        |from: &str, to: &str| crate::disk::Disk::rename(&disk, Path::new(from), Path::new(to)).unwrap();
    moved("/data/u-0", "/data/aside");
    moved("/data/t-0", "/data/u-0");
    let error = try_to_open(&disk).0.unwrap_err();
    let StoreError::NoIdentity { candidates, .. } = &error else { panic!("{error}") };
    assert!(candidates.contains(&TOPIC), "{error}");
    // A start without it would lose what the journal has of it.
    assert!(error.to_string().contains("back to its own name"), "{error}");
    moved("/data/u-0", "/data/t-0");
    moved("/data/aside", "/data/u-0");
    let log = opened(&disk).partition(TOPIC, P0).unwrap();
    assert_eq!((log.end_offset(), log.damage()), (Offset(END.0 + 1), vec![]));
    assert!(records(&log).len() > all.len() && log.log_start_offset() == START);
}

/// Its offsets are worth as much as records: consumers have committed them.
#[test]
fn an_empty_log_that_nobody_knows_the_topic_of_keeps_its_offsets() {
    let disk = MemoryDisk::default();
    let store = opened(&disk);
    let log = create(&store, TOPIC).unwrap();
    append(&store, &log, 3, 3);
    log.reset_to(Offset(50)).unwrap();
    store.close().unwrap();
    let mut disk = without_other_identity(&disk, &[b'x'; 50]);
    for _ in 0..2 {
        let store = opened(&disk);
        create(&store, TOPIC).unwrap_err();
        store.checkpoint().unwrap();
        disk = disk.after_power_loss();
    }
    write_identity(&disk, &of_topic(TOPIC));
    let log = opened(&disk).partition(TOPIC, P0).unwrap();
    assert_eq!((log.log_start_offset(), log.end_offset()), (Offset(50), Offset(50)));
}

#[test]
fn offset_checkpoints_cost_no_record() {
    let files = [SEALED_OFFSETS_FILE, RECOVERY_POINT_FILE, LOG_START_FILE];
    for ended in [Ended::Closed, Ended::Killed, Ended::PowerLoss] {
        let check = |_: &MemoryDisk, opened: Result<Store, StoreError>, all: &Records, case: &str| {
            let log = check_all(&opened.unwrap(), all, case);
            assert_eq!(log.log_start_offset(), START, "{case}: what was let go comes back");
        };
        each_way(ended, |name| files.contains(&name), in_all_ways, check);
    }
}

/// Then Kafka's files are all there is, and one of them is cut short or gone.
#[test]
fn a_checkpoint_file_of_kafkas_that_is_cut_short_costs_no_record() {
    let files = [RECOVERY_POINT_FILE, LOG_START_FILE];
    for ended in [Ended::Closed, Ended::Killed, Ended::PowerLoss] {
        let (template, all) = template(ended);
        for name in files {
            let path = Path::new("/data").join(name);
            for bytes in 0..template.content(&path).len() {
                let disk = template.after_kill();
                disk.change(&Path::new("/data").join(SEALED_OFFSETS_FILE), Vec::clear);
                disk.change(&path, |content| content.truncate(bytes));
                check_all(&opened(&disk), &all, &format!("{ended:?}, {name} of {bytes} bytes"));
            }
        }
    }
}

/// Each line is there twice: one flipped bit changes nothing, nor does a second line that is torn.
#[test]
fn files_of_changes_say_the_same_with_one_bit_flipped() {
    let is_changes = |name: &str| name.starts_with("offsets.") || name.starts_with("cuts.");
    let ways = |content: &[u8]| {
        let text = std::str::from_utf8(content).unwrap();
        let last = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        (last..content.len()).map(Broken::Short).chain(Broken::flips(content.len())).collect()
    };
    for ended in [Ended::Killed, Ended::PowerLoss] {
        let check = |_: &MemoryDisk, opened: Result<Store, StoreError>, all: &Records, case: &str| {
            let log = check_all(&opened.unwrap(), all, case);
            assert_eq!(log.log_start_offset(), START, "{case}: what was let go comes back");
        };
        each_way(ended, is_changes, ways, check);
    }
}

#[test]
fn indexes_mislead_no_read() {
    let is_index = |name: &str| name.ends_with(".index") || name.ends_with(".timeindex");
    for ended in [Ended::Closed, Ended::Killed] {
        let check = |_: &MemoryDisk, opened: Result<Store, StoreError>, all: &Records, case: &str| {
            let log = check_all(&opened.unwrap(), all, case);
            assert_eq!(log.log_start_offset(), START, "{case}");
            if case.contains(".index") {
                for offset in START.0..END.0 {
                    let found = log.offset_for_timestamp(1_000 + offset).unwrap().unwrap();
                    assert_eq!(found.offset, Offset(offset), "{case}: by time");
                }
            }
        };
        each_way(ended, is_index, in_all_ways, check);
    }
}

/// A snapshot is guarded by a checksum, and what it says the log says again.
#[test]
fn snapshots_make_no_producer_unknown() {
    let is_snapshot = |name: &str| matches!(FileKind::parse(name), Some((FileKind::Snapshot, _)));
    for ended in [Ended::Closed, Ended::Killed, Ended::PowerLoss] {
        let check = |_: &MemoryDisk, opened: Result<Store, StoreError>, all: &Records, case: &str| {
            let log = check_all(&opened.unwrap(), all, case);
            let again = log.append(&of_producer(END.0 - 1), LeaderEpoch(7), 1_000).unwrap();
            assert_eq!((again.duplicate, again.base_offset), (true, Offset(END.0 - 1)), "{case}");
            assert!(log.append(&of_producer(END.0 + 1), LeaderEpoch(7), 1_000).is_err(), "{case}: a gap");
            assert!(!log.append(&of_producer(END.0), LeaderEpoch(7), 1_000).unwrap().duplicate, "{case}");
        };
        each_way(ended, is_snapshot, in_all_ways, check);
    }
}

/// No checksum guards the epochs' file either, nor a batch's epoch: where the two say something else, the
/// records are named as damage rather than shown, and a file that says nothing is made again.
#[test]
fn epochs_that_are_wrong_show_no_other_record() {
    for ended in [Ended::Closed, Ended::Killed, Ended::PowerLoss] {
        let check = |_: &MemoryDisk, opened: Result<Store, StoreError>, all: &Records, case: &str| {
            let store = opened.unwrap_or_else(|error| panic!("{case}: {error}"));
            let log = store.partition(TOPIC, P0).unwrap();
            assert_eq!((log.log_start_offset(), log.end_offset()), (START, END), "{case}");
            for (offset, bytes) in all {
                match log.read(*offset, 1, true, UpTo::Durable) {
                    Ok(slice) => assert_eq!(slice.unwrap().to_bytes().unwrap(), bytes, "{case}"),
                    Err(ReadError::Corrupt { .. }) => {
                        assert!(log.damage().iter().any(|range| range.contains(offset)), "{case}: {offset}");
                    }
                    Err(error) => panic!("{case}: {error}"),
                }
            }
            let is_gone = case.ends_with("Short(0)");
            assert!(!is_gone || log.latest_epoch() == Some(LeaderEpoch(7)), "{case}: made again");
            assert!(!is_gone || log.damage().is_empty(), "{case}");
        };
        each_way(ended, |name| name == LeaderEpochs::FILE, in_all_ways, check);
    }
}

/// Of the journal each seventh byte has a bit flipped: its files are large, as room for groups is made
/// beforehand.
fn in_the_journal(content: &[u8]) -> Vec<Broken> {
    let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let flips = (0..used).step_by(7).map(|at| Broken::Flipped(at, (at % 8) as u8));
    flips.chain((0..=used).step_by(197).map(Broken::Short)).collect()
}

/// While the page cache has the segments, the journal may be what it is.
#[test]
fn a_journal_that_is_broken_costs_no_record_that_is_in_its_segment() {
    let check = |_: &MemoryDisk, opened: Result<Store, StoreError>, all: &Records, case: &str| {
        check_all(&opened.unwrap(), all, case);
    };
    each_way(Ended::Killed, |name| name.ends_with(".journal"), in_the_journal, check);
}

/// When it is all there is, what is lost with it is named, or was the last; nothing else takes its place, and
/// what the checkpoint has seen is there.
#[test]
fn what_is_lost_with_the_journal_is_named_or_the_end() {
    let check = |_: &MemoryDisk, opened: Result<Store, StoreError>, all: &Records, case: &str| {
        let store = opened.unwrap_or_else(|error| panic!("{case}: {error}"));
        let log = store.partition(TOPIC, P0).unwrap();
        let end = log.end_offset();
        assert!(CHECKPOINT <= end && end <= END, "{case}: ends at {end}");
        // Groups that follow say how far it went.
        let place = case.rsplit_once("Flipped(").and_then(|(_, place)| place.split(',').next()?.parse().ok());
        let is_followed = place.is_some_and(|place: usize| place < BLOCK_BYTES);
        assert!(!is_followed || end == END, "{case}: ends at {end}, and the groups behind are whole");
        for (offset, bytes) in all.iter().take_while(|(offset, _)| **offset < end) {
            match log.read(*offset, 1, true, UpTo::Durable) {
                Ok(slice) => assert_eq!(slice.unwrap().to_bytes().unwrap(), bytes, "{case}"),
                Err(ReadError::Corrupt { .. }) => {
                    assert!(*offset >= CHECKPOINT, "{case}: {offset} doesn't need the journal");
                    assert!(log.damage().iter().any(|range| range.contains(offset)), "{case}: {offset}");
                }
                Err(error) => panic!("{case}: {error}"),
            }
        }
    };
    each_way(Ended::PowerLoss, |name| name.ends_with(".journal"), in_the_journal, check);
}

/// What the mark of a clean shutdown says is of no matter, only that it is there; without it nothing is
/// missing.
#[test]
fn the_mark_of_a_clean_shutdown_may_hold_anything_or_be_gone() {
    let check = |_: &MemoryDisk, opened: Result<Store, StoreError>, all: &Records, case: &str| {
        assert_eq!(check_all(&opened.unwrap(), all, case).log_start_offset(), START, "{case}");
    };
    each_way(Ended::Closed, |name| name == crate::meta::CLEAN_FILE, in_all_ways, check);
    let (disk, all) = template(Ended::Closed);
    crate::disk::Disk::remove_file(&disk, &Path::new("/data").join(crate::meta::CLEAN_FILE)).unwrap();
    check_all(&opened(&disk), &all, "gone");
}
