//! A disk that fails, is full, or can't open files: what was durable stays, and what passes ends nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ottla_log::{BatchBuilder, unseal_changes};
use ottla_types::{LeaderEpoch, Offset, TopicId, TopicName};
use rustix::io::Errno;

use crate::changes::{Changes, Unsaved};
use crate::disk::Disk;
use crate::journal::JOURNAL_FOLDER;
use crate::test_support::{Act, P0, TOPIC, WatchedDisk, batch, open, open_watched};
use crate::{LogConfig, PartitionLog, Store};

fn error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw_os_error())
}

fn create(store: &Store, id: TopicId) -> Arc<PartitionLog> {
    let config = LogConfig { segment_bytes: 500, retention_ms: Some(1), ..LogConfig::default() };
    store.create_partition(TopicName::new("t").unwrap(), id, P0, config).unwrap()
}

/// A log of twelve records in several segments, which the journal has.
fn written(store: &Store) -> Arc<PartitionLog> {
    let log = create(store, TOPIC);
    for _ in 0..12 {
        log.append(&batch(&[7; 100]), LeaderEpoch(3), 1_000).unwrap();
    }
    store.commit_now().unwrap();
    log
}

/// The same, and the segments have them.
fn filled(store: &Store) -> Arc<PartitionLog> {
    let log = written(store);
    store.checkpoint().unwrap();
    log
}

#[test]
fn no_line_is_written_after_a_sync_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let is_failing = Arc::clone(&fails);
    let disk: Arc<dyn Disk> = Arc::new(WatchedDisk(Arc::new(move |_, act| {
        let refuses = matches!(act, Act::Sync) && is_failing.load(Ordering::Acquire);
        if refuses { Err(error(Errno::IO)) } else { Ok(()) }
    })));
    let (changes, _) = Changes::open(&disk, dir.path(), "lines.", true).unwrap();
    changes.append("a").unwrap();
    fails.store(true, Ordering::Release);
    assert!(matches!(changes.append("b"), Err(Unsaved::Fatal(_))));
    fails.store(false, Ordering::Release);
    let content = || std::fs::read(dir.path().join("lines.1")).unwrap();
    let before = content();
    // Whoever waits already goes on before the store has stopped.
    assert!(matches!(changes.append("c"), Err(Unsaved::Fatal(_))));
    assert!(matches!(changes.begin_generation(), Err(Unsaved::Fatal(_))));
    assert!(matches!(changes.remove_before(u64::MAX), Err(Unsaved::Fatal(_))));
    assert!(content() == before);
    assert_eq!(unseal_changes(&before).unwrap()[0], "a");
}

/// A store on a disk that has room for nothing from when the switch is on, but in files of changes for which
/// it was set aside.
fn filling(dir: &Path) -> (Store, Arc<AtomicBool>) {
    let is_full = Arc::new(AtomicBool::new(false));
    (filling_with(dir, &is_full, &Arc::default()), is_full)
}

/// The files for which room was set aside.
type Reserved = Arc<parking_lot::Mutex<std::collections::HashSet<PathBuf>>>;

fn filling_with(dir: &Path, is_full: &Arc<AtomicBool>, made: &Reserved) -> Store {
    let (full, made) = (Arc::clone(is_full), Arc::clone(made));
    let watch = move |path: &Path, act: Act| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_changes = name.starts_with("offsets.") || name.starts_with("cuts.");
        // A cut says there what it leaves.
        let is_epochs = name.starts_with("leader-epoch-checkpoint");
        match act {
            Act::Reserve if full.load(Ordering::Acquire) && !made.lock().contains(path) => {
                Err(error(Errno::NOSPC))
            }
            Act::Reserve => {
                made.lock().insert(path.to_owned());
                Ok(())
            }
            Act::Write(_) if full.load(Ordering::Acquire) => {
                let has_room = is_changes && !name.ends_with(".tmp") && made.lock().contains(path);
                if has_room || is_epochs { Ok(()) } else { Err(error(Errno::NOSPC)) }
            }
            _ => Ok(()),
        }
    };
    open_watched(dir, watch)
}

/// The room that was set aside by the process before is there for the next one.
#[test]
fn retention_makes_room_on_a_disk_that_is_full_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (is_full, made) = (Arc::new(AtomicBool::new(false)), Reserved::default());
    for is_used in [false, true] {
        is_full.store(false, Ordering::Release);
        let store = filling_with(dir.path(), &is_full, &made);
        let log = filled(&store);
        if is_used {
            assert!(log.advance_log_start(Offset(log.log_start_offset().0 + 5)) > 0);
        }
        let before = log.log_start_offset();
        drop((store, log));
        is_full.store(true, Ordering::Release);
        let store = filling_with(dir.path(), &is_full, &made);
        let log = store.partition(TOPIC, P0).unwrap();
        log.set_config(LogConfig { retention_bytes: Some(0), ..LogConfig::default() });
        assert!(log.enforce_retention(1_000, log.durable_end_offset()) > 0, "used: {is_used}");
        let start = log.log_start_offset();
        assert!(start > before && !store.has_failed());
        drop((store, log));
        assert_eq!(open(dir.path()).partition(TOPIC, P0).unwrap().log_start_offset(), start);
    }
}

#[test]
fn room_for_changes_is_set_aside_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().unwrap();
    let (store, is_full) = filling(dir.path());
    let log = written(&store);
    is_full.store(true, Ordering::Release);
    assert!(log.advance_log_start(Offset(6)) > 0);
}

#[test]
fn retention_makes_room_on_a_full_disk_after_checkpoints_too() {
    let dir = tempfile::tempdir().unwrap();
    let (store, is_full) = filling(dir.path());
    let log = filled(&store);
    // Changes go to the file, so that the next checkpoint begins one.
    assert!(log.advance_log_start(Offset(3)) > 0);
    log.append(&batch(&[7; 10]), LeaderEpoch(3), 1_000).unwrap();
    store.commit_now().unwrap();
    is_full.store(true, Ordering::Release);
    for _ in 0..2 {
        assert!(store.checkpoint().is_err());
    }
    assert!(log.enforce_retention(1 << 50, log.durable_end_offset()) > 0);
    assert!(!store.has_failed());
    let start = log.log_start_offset();
    is_full.store(false, Ordering::Release);
    store.checkpoint().unwrap();
    drop((store, log));
    assert_eq!(open(dir.path()).partition(TOPIC, P0).unwrap().log_start_offset(), start);
}

#[test]
fn releasing_the_journal_on_a_full_disk_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    drop((filled(&store), store));
    let (store, is_full) = filling(dir.path());
    let (log, journal) = (store.partition(TOPIC, P0).unwrap(), &store.inner.shared.journal);
    log.truncate_to(Offset(11)).unwrap();
    is_full.store(true, Ordering::Release);
    log.truncate_to(Offset(10)).unwrap();
    for _ in 0..2 {
        // The files of the process before go, and with them what the cuts made void. There is no room for
        // newer entries.
        store.commit_now().unwrap();
        journal.release(journal.boundary(), u64::MAX, |path| store.inner.shared.sync_dir(path)).unwrap();
    }
    assert!(!store.has_failed());
    is_full.store(false, Ordering::Release);
    log.append(&batch(&[7; 10]), LeaderEpoch(3), 1_000).unwrap();
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    drop((store, log));
    let log = open(dir.path()).partition(TOPIC, P0).unwrap();
    assert_eq!((log.end_offset(), log.damage()), (Offset(11), vec![]));
}

/// A store whose syncs of the journal's folder find too many files open as often as is said.
fn without_files(dir: &Path) -> (Store, Arc<AtomicU32>) {
    let refusals = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&refusals);
    let watch = move |path: &Path, act: Act| match (act, left.load(Ordering::Acquire)) {
        (Act::SyncDir, left_now @ 1..) if path.ends_with(JOURNAL_FOLDER) => {
            left.store(left_now - 1, Ordering::Release);
            Err(error(Errno::MFILE))
        }
        _ => Ok(()),
    };
    (open_watched(dir, watch), refusals)
}

#[test]
fn too_many_open_files_delay_a_file_of_changes_and_do_not_end_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (store, refusals) = without_files(dir.path());
    let log = written(&store);
    assert!(log.advance_log_start(Offset(4)) > 0);
    // Now there is something in the file of changes, and a checkpoint begins another.
    refusals.store(1, Ordering::Release);
    store.checkpoint().unwrap_err();
    assert_eq!(refusals.load(Ordering::Acquire), 0, "it came to that");
    assert!(!store.has_failed());
    assert!(log.advance_log_start(Offset(7)) > 0);
    store.checkpoint().unwrap();
}

#[test]
fn too_many_open_files_delay_the_release_of_the_journal_and_do_not_end_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = without_files(dir.path());
    drop((filled(&store), store));
    let (store, refusals) = without_files(dir.path());
    let journal = &store.inner.shared.journal;
    let old = || {
        let files =
            std::fs::read_dir(dir.path().join(JOURNAL_FOLDER)).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|kind| kind == "journal")).count()
    };
    let before = old();
    refusals.store(2, Ordering::Release);
    // It waits for them, and whoever commits meanwhile doesn't wait for it.
    let mut was_free = false;
    let sync_dir = |path: &Path| {
        was_free = store.inner.shared.commit_journal().is_ok();
        store.inner.shared.sync_dir(path)
    };
    journal.release(journal.boundary(), 0, sync_dir).unwrap();
    assert!(was_free && refusals.load(Ordering::Acquire) == 0);
    assert!(before > 0 && old() == 0);
    let again = |_: &Path| -> io::Result<()> { panic!("nothing is left to be synced") };
    journal.release(journal.boundary(), 0, again).unwrap();
}

/// Where it can't wait for that any longer, nothing is forgotten until the next time.
#[test]
fn names_that_could_not_be_synced_are_synced_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    drop(written(&open(dir.path())));
    let store = open(dir.path());
    let journal = &store.inner.shared.journal;
    for errno in [Errno::MFILE, Errno::NOSPC] {
        journal.release(journal.boundary(), 0, |_| Err(error(errno))).unwrap();
    }
    let mut is_synced = false;
    let sync_dir = |path: &Path| {
        is_synced = true;
        store.inner.shared.sync_dir(path)
    };
    journal.release(journal.boundary(), 0, sync_dir).unwrap();
    assert!(is_synced && !store.has_failed());
    journal.release(journal.boundary(), 0, |_| panic!("nothing is left to be synced")).unwrap();
}

#[test]
fn a_folder_that_could_not_be_put_aside_is_not_deleted_later() {
    let dir = tempfile::tempdir().unwrap();
    let refuses = Arc::new(AtomicBool::new(false));
    let is_refused = Arc::clone(&refuses);
    let watch = move |path: &Path, act: Act| {
        let is_folder = matches!(act, Act::Rename) && path.ends_with("t-0");
        if is_folder && is_refused.swap(false, Ordering::AcqRel) { Err(error(Errno::NOSPC)) } else { Ok(()) }
    };
    let store = open_watched(dir.path(), watch);
    let log = filled(&store);
    let (bytes, other) = (log.size_bytes(), TopicId([3; 16]));
    refuses.store(true, Ordering::Release);
    store.put_aside(TOPIC, P0).unwrap_err();
    create(&store, other);
    let size = |folder: PathBuf| -> u64 {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
        let logs = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
        logs.map(|file| file.metadata().unwrap().len()).sum()
    };
    let strays = || -> Vec<PathBuf> {
        let folders = std::fs::read_dir(dir.path()).unwrap().map(|folder| folder.unwrap().path());
        folders.filter(|path| path.to_string_lossy().ends_with("-stray")).collect()
    };
    assert_eq!(strays().into_iter().map(size).collect::<Vec<_>>(), [bytes]);
    // One that was to be deleted goes.
    store.partition(other, P0).unwrap().append(&batch(b"a"), LeaderEpoch(3), 1_000).unwrap();
    store.commit_now().unwrap();
    refuses.store(true, Ordering::Release);
    store.delete_partition(other, P0).unwrap_err();
    create(&store, TopicId([4; 16]));
    assert_eq!(strays().len(), 1);
    let folders = std::fs::read_dir(dir.path()).unwrap();
    assert!(!folders.into_iter().any(|one| one.unwrap().path().to_string_lossy().ends_with("-delete")));
}

#[test]
fn a_folder_that_can_not_be_listed_is_not_taken_for_none() {
    for errno in [Errno::MFILE, Errno::IO] {
        let dir = tempfile::tempdir().unwrap();
        let (renames, lists) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (refuses_rename, refuses_list) = (Arc::clone(&renames), Arc::clone(&lists));
        let watch = move |path: &Path, act: Act| {
            let refuses = match act {
                Act::Rename => &refuses_rename,
                Act::List => &refuses_list,
                _ => return Ok(()),
            };
            if path.ends_with("t-0") && refuses.swap(false, Ordering::AcqRel) {
                Err(error(errno))
            } else {
                Ok(())
            }
        };
        let store = open_watched(dir.path(), watch);
        filled(&store);
        renames.store(true, Ordering::Release);
        store.put_aside(TOPIC, P0).unwrap_err();
        let content = || {
            let files = std::fs::read_dir(dir.path().join("t-0")).unwrap().map(|file| file.unwrap().path());
            let mut files: Vec<_> = files.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
            files.sort();
            files
        };
        let before = content();
        lists.store(true, Ordering::Release);
        let name = TopicName::new("t").unwrap();
        store.create_partition(name, TopicId([3; 16]), P0, LogConfig::default()).unwrap_err();
        assert!(!lists.load(Ordering::Acquire), "it came to that");
        assert!(before == content() && before.len() > 4);
        assert_eq!(create(&store, TopicId([3; 16])).end_offset(), Offset(0));
    }
}

/// Refuses one opening of a file, or of a folder, of the first partition: the one that comes after so many.
struct Refusal(AtomicU32);

const NONE: u32 = u32::MAX;

impl Refusal {
    fn is_due(&self) -> bool {
        let left = self.0.load(Ordering::Acquire);
        self.0.store(
            if left == 0 { NONE } else { left.saturating_sub(u32::from(left != NONE)) },
            Ordering::Release,
        );
        left == 0
    }
}

fn refusing(dir: &Path) -> (Store, Arc<Refusal>) {
    let refusal = Arc::new(Refusal(AtomicU32::new(NONE)));
    let refuses = Arc::clone(&refusal);
    let watch = move |path: &Path, act: Act| {
        let opens = matches!(act, Act::Open | Act::List | Act::SyncDir);
        let is_own = path.components().any(|part| part.as_os_str() == "t-0");
        if opens && is_own && refuses.is_due() { Err(error(Errno::MFILE)) } else { Ok(()) }
    };
    (open_watched(dir, watch), refusal)
}

/// Refuses each opening that `act` needs in turn: it is done, or not at all and then the next time. Returns
/// how many there were.
fn none_ends_the_store(
    act: impl Fn(&Arc<PartitionLog>) -> bool,
    prepare: impl Fn(&Path, &Store),
    check: impl Fn(&PartitionLog, bool),
) -> u32 {
    for after in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (store, refusal) = refusing(dir.path());
        let log = filled(&store);
        prepare(dir.path(), &store);
        log.shared.close_files(log.key, None);
        refusal.0.store(after, Ordering::Release);
        let is_done = act(&log);
        assert!(!store.has_failed(), "{after}");
        if refusal.0.swap(NONE, Ordering::AcqRel) != NONE {
            assert!(is_done);
            return after;
        }
        check(&log, is_done);
        if !is_done {
            assert!(act(&log), "{after}");
            check(&log, true);
        }
        log.append(&batch(b"goes on"), LeaderEpoch(3), 1_000).unwrap();
        store.commit_now().unwrap();
        store.checkpoint().unwrap();
        let end = log.end_offset();
        drop((store, log));
        let log = open(dir.path()).partition(TOPIC, P0).unwrap();
        assert_eq!((log.end_offset(), log.damage()), (end, vec![]));
    }
    unreachable!("a number is found")
}

#[test]
fn too_many_open_files_delay_a_cut_and_do_not_end_the_store() {
    let check = |log: &PartitionLog, is_cut: bool| assert_eq!(log.end_offset().0 < 12, is_cut);
    // In a segment, and between two.
    for offset in [7, 6] {
        let cut = |log: &Arc<PartitionLog>| log.truncate_to(Offset(offset)).is_ok();
        assert!(none_ends_the_store(cut, |_, _| {}, check) > 4);
    }
    let anew = |log: &Arc<PartitionLog>| log.reset_to(Offset(5)).is_ok();
    assert!(none_ends_the_store(anew, |_, _| {}, check) > 2);
}

#[test]
fn too_many_open_files_delay_a_repair_and_do_not_end_the_store() {
    let harm = |dir: &Path, store: &Store| {
        let path = dir.join("t-0/00000000000000000000.log");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[80] ^= 1;
        std::fs::write(path, bytes).unwrap();
        while !store.scrub_step(1 << 20).finished {}
    };
    let repair = |log: &Arc<PartitionLog>| {
        let batch = BatchBuilder::new(Offset(0), LeaderEpoch(3)).record(1_000, None, Some(&[7; 100]));
        log.repair(&batch.build().into()).is_ok()
    };
    let check = |log: &PartitionLog, is_repaired: bool| assert_eq!(log.damage().is_empty(), is_repaired);
    assert!(none_ends_the_store(repair, harm, check) > 2);
}

#[test]
fn a_cut_for_whose_epochs_there_is_no_room_cuts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let is_full = Arc::new(AtomicBool::new(false));
    let full = Arc::clone(&is_full);
    let watch = move |path: &Path, act: Act| {
        let is_refused = path.ends_with("leader-epoch-checkpoint.tmp")
            && matches!(act, Act::Write(_))
            && full.load(Ordering::Acquire);
        if is_refused { Err(error(Errno::NOSPC)) } else { Ok(()) }
    };
    let store = open_watched(dir.path(), watch);
    let log = filled(&store);
    is_full.store(true, Ordering::Release);
    log.truncate_to(Offset(5)).unwrap_err();
    log.reset_to(Offset(50)).unwrap_err();
    assert_eq!((store.has_failed(), log.durable_end_offset()), (false, Offset(12)));
    log.append(&batch(b"goes on"), LeaderEpoch(3), 1_000).unwrap();
    is_full.store(false, Ordering::Release);
    log.truncate_to(Offset(5)).unwrap();
    assert_eq!(log.end_offset(), Offset(5));
}

#[test]
fn too_many_open_files_at_the_start_put_nothing_aside() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(&open(dir.path())));
    let refusals = AtomicU32::new(2);
    let watch = move |path: &Path, act: Act| {
        let opens = matches!(act, Act::Open) && path.ends_with("partition.metadata");
        let refuses = opens
            && refusals.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok();
        if refuses { Err(error(Errno::MFILE)) } else { Ok(()) }
    };
    let store = open_watched(dir.path(), watch);
    assert_eq!(store.partition(TOPIC, P0).map(|log| log.end_offset()), Some(Offset(12)));
}

#[test]
fn index_files_that_could_not_be_opened_are_synced_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let refuses = Arc::new(AtomicBool::new(false));
    let synced: Arc<parking_lot::Mutex<Vec<PathBuf>>> = Arc::default();
    let (is_refused, seen) = (Arc::clone(&refuses), Arc::clone(&synced));
    let watch = move |path: &Path, act: Act| {
        let is_index = path.extension().is_some_and(|kind| kind == "index");
        match act {
            // That of the first segment is open by then.
            Act::Open if is_index && !path.ends_with("00000000000000000000.index") => {
                if is_refused.swap(false, Ordering::AcqRel) { Err(error(Errno::MFILE)) } else { Ok(()) }
            }
            Act::Sync if is_index => {
                seen.lock().push(path.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    };
    let store = open_watched(dir.path(), watch);
    let log = written(&store);
    refuses.store(true, Ordering::Release);
    store.checkpoint().unwrap_err();
    assert!(!store.has_failed() && !refuses.load(Ordering::Acquire));
    synced.lock().clear();
    store.checkpoint().unwrap();
    let closed = log.state.lock().segments.len() - 1;
    let synced = synced.lock();
    assert!(closed >= 2 && synced.len() >= closed, "{synced:?}");
    assert!(synced[0].ends_with("00000000000000000000.index"), "{synced:?}");
}

/// Some file systems need room for the name of a file.
#[test]
fn old_segments_go_where_there_is_no_room_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let is_full = Arc::new(AtomicBool::new(false));
    let full = Arc::clone(&is_full);
    let watch = move |path: &Path, act: Act| {
        let is_new = matches!(act, Act::Open) && !path.exists();
        if is_new && full.load(Ordering::Acquire) { Err(error(Errno::NOSPC)) } else { Ok(()) }
    };
    let store = open_watched(dir.path(), watch);
    let log = filled(&store);
    is_full.store(true, Ordering::Release);
    let is_kept = log.enforce_retention(1 << 50, log.end_offset());
    assert!(is_kept > 0 && log.log_start_offset() < log.end_offset());
    is_full.store(false, Ordering::Release);
    assert_eq!(log.enforce_retention(1 << 50, log.end_offset()), 1);
    assert_eq!(log.log_start_offset(), log.end_offset());
}

/// The name of a file that isn't used as it has no room must not come back: the next process would go on with
/// it.
#[test]
fn a_file_of_changes_without_room_is_gone_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let acts: Arc<parking_lot::Mutex<Vec<String>>> = Arc::default();
    let (seen, is_full) = (Arc::clone(&acts), Arc::new(AtomicBool::new(false)));
    let full = Arc::clone(&is_full);
    let disk: Arc<dyn Disk> = Arc::new(WatchedDisk(Arc::new(move |_, act| {
        seen.lock().push(format!("{act:?}"));
        let is_refused = matches!(act, Act::Reserve) && full.load(Ordering::Acquire);
        if is_refused { Err(error(Errno::NOSPC)) } else { Ok(()) }
    })));
    let (changes, _) = Changes::open(&disk, dir.path(), "lines.", true).unwrap();
    changes.append("a").unwrap();
    is_full.store(true, Ordering::Release);
    assert!(matches!(changes.begin_generation(), Err(Unsaved::NotNow(_))));
    let acts = acts.lock();
    let removed = acts.iter().rposition(|act| act == "Remove").unwrap();
    assert!(acts[removed..].iter().any(|act| act == "SyncDir"));
}
