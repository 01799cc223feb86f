//! What a start makes of a folder in which segments were being replaced, for each place where that may have
//! stopped: folders made by hand.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_log::{BatchBuilder, BatchHeader, FileKind, SegmentSwap, SwappedFile, cleaned_name, swap_name};
use ottla_types::{LeaderEpoch, Offset};

use crate::OpenMode;
use crate::each_failure_tests::{Records, append, create, opened, records, try_to_open};
use crate::test_support::{P0, TOPIC};
use crate::tests::memory_disk::MemoryDisk;

const FOLDER: &str = "/data/t-0";

/// The segments of the log: so many records each.
const STEP: i64 = 2;
const LAST: i64 = 10;

/// What is replaced: three of its five closed segments.
const FROM: i64 = 2;
const TO: i64 = 8;

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

fn log_name(base: i64) -> String {
    FileKind::Log.file_name(Offset(base))
}

/// Makes a file, durably.
fn put(disk: &MemoryDisk, name: &str, content: &[u8]) {
    let disk = disk.disk();
    let file = disk.open(&path(name), OpenMode::CreateIfMissing).unwrap();
    file.truncate(0).unwrap();
    file.write_at(0, &[content]).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new(FOLDER)).unwrap();
}

fn rename(disk: &MemoryDisk, from: &str, to: &str) {
    disk.disk().rename(&path(from), &path(to)).unwrap();
    disk.disk().sync_dir(Path::new(FOLDER)).unwrap();
}

fn remove(disk: &MemoryDisk, name: &str) {
    disk.disk().remove_file(&path(name)).unwrap();
    disk.disk().sync_dir(Path::new(FOLDER)).unwrap();
}

/// A log that wasn't closed, all of it synced, and its records.
fn old_log() -> (MemoryDisk, Records) {
    let disk = MemoryDisk::default();
    let store = opened(&disk);
    let log = create(&store, TOPIC).unwrap();
    append(&log, LAST + 1).unwrap();
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    let bases: Vec<_> = log.state.lock().segments.iter().map(|segment| segment.base.0).collect();
    assert_eq!(bases, (0..=LAST).step_by(STEP as usize).collect::<Vec<_>>());
    (disk.after_kill(), records(&log))
}

/// The batches of another file for the same offsets, two records each, and all records with them.
fn new_log(old: &Records) -> (Vec<u8>, Records) {
    let (mut all, mut file) = (old.clone(), Vec::new());
    all.retain(|offset, _| !(FROM..TO).contains(&offset.0));
    for base in (FROM..TO).step_by(2) {
        let batch = BatchBuilder::new(Offset(base), LeaderEpoch(3));
        let batch = batch.record(1_000, None, Some(b"new")).record(1_000, None, Some(b"newer")).build();
        file.extend_from_slice(&batch);
        all.insert(Offset(base), Bytes::from(batch));
    }
    (file, all)
}

fn swap_of(file: &[u8]) -> SegmentSwap {
    let file = SwappedFile { base: Offset(FROM), bytes: file.len() as u64, crc: crc32c::crc32c(file) };
    SegmentSwap { files: vec![file], end: Offset(TO) }
}

struct Case {
    disk: MemoryDisk,
    old: Records,
    new: Records,
    file: Vec<u8>,
}

impl Case {
    /// All of a swap is made ready.
    fn ready() -> Self {
        let (disk, old) = old_log();
        let (file, new) = new_log(&old);
        put(&disk, &cleaned_name(FileKind::Log, Offset(FROM)), &file);
        // Whoever believes them finds no batch where they say.
        put(&disk, &cleaned_name(FileKind::Index, Offset(FROM)), &[0, 0, 0, 1, 0, 0, 0, 7]);
        put(&disk, &cleaned_name(FileKind::TimeIndex, Offset(FROM)), &[0; 12]);
        Self { disk, old, new, file }
    }

    /// As far as it can't be taken back.
    fn committed() -> Self {
        let case = Self::ready();
        put(&case.disk, &swap_name(Offset(FROM)), swap_of(&case.file).encode().as_bytes());
        case
    }

    /// All new files have their names.
    fn in_place() -> Self {
        let case = Self::committed();
        for kind in [FileKind::Index, FileKind::TimeIndex, FileKind::Log] {
            case.put_in_place(kind);
        }
        case
    }

    fn put_in_place(&self, kind: FileKind) {
        rename(&self.disk, &cleaned_name(kind, Offset(FROM)), &kind.file_name(Offset(FROM)));
    }

    fn remove_segment(&self, base: i64) {
        for kind in [FileKind::Log, FileKind::Index, FileKind::TimeIndex] {
            let _ = self.disk.disk().remove_file(&path(&kind.file_name(Offset(base))));
        }
        self.disk.disk().sync_dir(Path::new(FOLDER)).unwrap();
    }

    fn damage_swap(&self) {
        self.disk.change(&path(&swap_name(Offset(FROM))), |content| content.fill(0));
    }

    #[track_caller]
    fn becomes_new(&self, case: &str) {
        self.becomes(&self.new, &[0, FROM, TO, LAST], case);
    }

    #[track_caller]
    fn stays_old(&self, case: &str) {
        let bases: Vec<_> = (0..=LAST).step_by(STEP as usize).collect();
        self.becomes(&self.old, &bases, case);
    }

    /// The next processes find these records, in these segments, and nothing else; and so do those after.
    #[track_caller]
    fn becomes(&self, expected: &Records, segments: &[i64], case: &str) {
        let mut disks = vec![self.disk.after_kill(), self.disk.after_power_loss()];
        for round in 0..2 {
            for disk in std::mem::take(&mut disks) {
                let store = opened(&disk);
                let log = store.partition(TOPIC, P0).unwrap();
                assert_eq!(log.damage(), [], "{case}");
                assert_eq!(&records(&log), expected, "{case}, start {round}");
                let names = disk.files();
                let names = names.iter().filter_map(|path| path.strip_prefix(FOLDER).ok()?.to_str());
                let names: Vec<_> = names.collect();
                let bases = segments.iter().map(|base| log_name(*base));
                let logs = names.iter().filter(|name| name.ends_with(".log"));
                assert!(logs.map(|name| (*name).to_owned()).eq(bases), "{case}: {names:?}");
                let left = names.iter().find(|name| name.ends_with(".cleaned") || name.contains(".swap"));
                assert_eq!(left, None, "{case}");
                disks.extend([disk.after_kill(), disk.after_power_loss()]);
                if round == 1 {
                    append(&log, 3).unwrap();
                    store.commit_now().unwrap();
                    store.checkpoint().unwrap();
                    store.close().unwrap();
                }
            }
        }
    }
}

#[test]
fn before_its_swap_file_is_there_a_swap_never_was() {
    Case::ready().stays_old("half made");
    let case = Case::ready();
    put(&case.disk, &format!("{}.tmp", swap_name(Offset(FROM))), swap_of(&case.file).encode().as_bytes());
    case.stays_old("a swap file without its name");
    let case = Case::ready();
    remove(&case.disk, &cleaned_name(FileKind::Log, Offset(FROM)));
    case.stays_old("not all is there");
}

#[test]
fn once_its_swap_file_is_there_a_swap_is_completed() {
    Case::committed().becomes_new("nothing has its name yet");
    let kinds = [FileKind::Index, FileKind::TimeIndex, FileKind::Log];
    for renamed in 0..8 {
        let case = Case::committed();
        for (at, kind) in kinds.into_iter().enumerate().filter(|(at, _)| renamed & (1 << at) != 0) {
            let _ = at;
            case.put_in_place(kind);
        }
        case.becomes_new(&format!("new names {renamed:b}"));
    }
    for removed in 0..4 {
        let case = Case::in_place();
        for (_, base) in [4, 6].into_iter().enumerate().filter(|(at, _)| removed & (1 << at) != 0) {
            case.remove_segment(base);
        }
        case.becomes_new(&format!("removed {removed:b}"));
        remove(&case.disk, &swap_name(Offset(FROM)));
        if removed == 3 {
            case.becomes_new("all but the indexes");
        }
    }
}

/// A start may stop in it as well.
#[test]
fn a_swap_is_completed_however_often_that_fails() {
    for fault in crate::tests::memory_disk::FAULTS {
        for others in 0.. {
            let case = Case::committed();
            case.disk.fail_after(fault, others);
            let (store, _) = try_to_open(&case.disk);
            let befell = case.disk.befell();
            drop(store);
            case.becomes_new(&format!("{fault:?} {befell:?} after {others}"));
            if befell.is_none() {
                assert!(others > 8 || fault != crate::tests::memory_disk::Fault::Broken, "{others}");
                break;
            }
        }
    }
}

#[test]
fn a_swap_file_that_cannot_be_read_can_be_done_without() {
    for renamed in [&[][..], &[FileKind::Index], &[FileKind::Index, FileKind::TimeIndex]] {
        let case = Case::committed();
        renamed.iter().for_each(|kind| case.put_in_place(*kind));
        case.damage_swap();
        case.stays_old("all old segments are there");
    }
    for removed in [&[][..], &[4], &[6], &[4, 6]] {
        let case = Case::in_place();
        removed.iter().for_each(|base| case.remove_segment(*base));
        case.damage_swap();
        case.becomes_new(&format!("the new segment is whole, {removed:?} are gone"));
    }
}

#[test]
fn a_new_file_that_is_damaged_before_it_has_its_name_is_let_go() {
    let case = Case::committed();
    case.put_in_place(FileKind::Index);
    case.disk.change(&path(&cleaned_name(FileKind::Log, Offset(FROM))), |content| content[70] ^= 1);
    case.stays_old("all old segments are there");
}

#[test]
fn what_no_swap_leaves_is_left_alone() {
    let damage = |content: &mut Vec<u8>| content[70] ^= 1;
    for is_read in [true, false] {
        let case = Case::in_place();
        case.disk.change(&path(&log_name(FROM)), damage);
        if !is_read {
            case.damage_swap();
        }
        let before: Vec<_> = case.disk.files();
        let error = try_to_open(&case.disk).0.unwrap_err().to_string();
        assert!(error.contains("00000000000000000002.swap") && error.contains("put the folder"), "{error}");
        assert_eq!(case.disk.files(), before, "nothing is removed");
    }
    // Nothing old is left: it is damage like any other.
    let case = Case::in_place();
    case.remove_segment(4);
    case.remove_segment(6);
    case.disk.change(&path(&log_name(FROM)), damage);
    let store = opened(&case.disk);
    let log = store.partition(TOPIC, P0).unwrap();
    let first = BatchHeader::new(&case.file).unwrap();
    assert_eq!(log.damage(), [first.base_offset()..first.next_offset()]);
    assert_eq!(log.end_offset(), Offset(LAST + 1));
}
