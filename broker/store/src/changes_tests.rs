//! What one log's change costs, and that it is known after any stop.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ottla_log::{
    CLEANER_OFFSET_FILE, JournalCut, JournalCuts, JournalVoid, LOG_START_FILE, RECOVERY_POINT_FILE,
    SEALED_OFFSETS_FILE, SealedOffsets, encode_cuts, encode_void, seal_change, unseal_changes,
};
use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use parking_lot::Mutex;

use crate::changes::Changes;
use crate::disk::Disk;
use crate::journal::{Ignore, JOURNAL_FOLDER, Journal};
use crate::test_support::{Act, P0, TOPIC, WatchedDisk, batch, open, open_watched};
use crate::{LogConfig, PartitionLog, RealDisk, Store, UpTo};

fn create(store: &Store, id: TopicId, index: PartitionIndex) -> Arc<PartitionLog> {
    let config = LogConfig { segment_bytes: 500, ..LogConfig::default() };
    store.create_partition(TopicName::new("t").unwrap(), id, index, config).unwrap()
}

fn append(log: &Arc<PartitionLog>, count: usize) {
    for _ in 0..count {
        log.append(&batch(&[7; 100]), LeaderEpoch(3), 1_000).unwrap();
    }
}

/// The bytes that are written, and the syncs, outside of the partition's own folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    bytes: usize,
    syncs: usize,
}

/// What it costs to let records go, to cut a log, to begin it anew and to make one whose name was another's,
/// where there are so many.
fn costs(count: i32) -> [Cost; 4] {
    let dir = tempfile::tempdir().unwrap();
    let cost = Arc::new(Mutex::new(Cost::default()));
    let counted = Arc::clone(&cost);
    let watch = move |path: &Path, act: Act| {
        let is_own = path.components().any(|part| part.as_os_str() == "t-0");
        match act {
            Act::Write(bytes) if !is_own => counted.lock().bytes += bytes,
            Act::Sync | Act::SyncDir if !is_own => counted.lock().syncs += 1,
            _ => {}
        }
        Ok(())
    };
    let store = open_watched(dir.path(), watch);
    let logs: Vec<_> = (0..count).map(|index| create(&store, TOPIC, PartitionIndex(index))).collect();
    for log in &logs {
        append(log, 10);
    }
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    for log in &logs[1..] {
        log.advance_log_start(Offset(4));
        log.truncate_to(Offset(9)).unwrap();
    }
    store.checkpoint().unwrap();
    let log = &logs[0];
    let measure = |act: &dyn Fn()| {
        act();
        *cost.lock() = Cost::default();
        act();
        *cost.lock()
    };
    let start = std::cell::Cell::new(0);
    let goes = measure(&|| {
        start.set(start.get() + 2);
        assert_eq!(log.advance_log_start(Offset(start.get())), 1);
    });
    let cut = measure(&|| log.truncate_to(Offset(log.end_offset().0 - 1)).unwrap());
    let anew = measure(&|| log.reset_to(Offset(100)).unwrap());
    let made = measure(&|| {
        store.put_aside(TOPIC, P0).unwrap();
        store.put_aside(TopicId([3; 16]), P0).unwrap();
        create(&store, TopicId([3; 16]), P0);
    });
    [goes, cut, anew, made]
}

#[test]
fn one_logs_change_costs_the_same_among_many() {
    let (few, many) = (costs(2), costs(60));
    for (few, many) in few.into_iter().zip(many) {
        assert_eq!(few.syncs, many.syncs);
        // The numbers of entries in the journal are longer.
        assert!(few.bytes > 0 && many.bytes <= few.bytes + 16, "{few:?}, {many:?}");
    }
}

/// The files of changes in the journal's folder.
fn change_files(dir: &Path, name: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join(JOURNAL_FOLDER)).unwrap().map(|file| file.unwrap().path());
    let is_one = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(name);
    let mut files: Vec<_> = files.filter(is_one).collect();
    files.sort();
    files
}

fn saved(store: &Store, log: &PartitionLog) -> Offset {
    store.inner.shared.saved_recovery_point(&log.topic_partition())
}

/// A log of twelve records, of which all is saved, that is cut to six and begins at three.
fn change(dir: &Path) -> Vec<u8> {
    let store = open(dir);
    let log = create(&store, TOPIC, P0);
    append(&log, 12);
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    assert_eq!(saved(&store, &log), Offset(12));
    log.advance_log_start(Offset(3));
    log.truncate_to(Offset(6)).unwrap();
    assert_eq!(saved(&store, &log), Offset(6));
    append(&log, 2);
    store.commit_now().unwrap();
    content(&log)
}

fn content(log: &PartitionLog) -> Vec<u8> {
    let (mut bytes, mut from) = (Vec::new(), log.log_start_offset());
    while let Some(slice) = log.read(from, 10_000, true, UpTo::Durable).unwrap() {
        bytes.extend_from_slice(&slice.to_bytes().unwrap());
        from = slice.next_offset;
    }
    bytes
}

#[test]
fn changes_are_known_after_a_crash_and_go_with_the_next_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = change(dir.path());
    for name in ["offsets.", "cuts."] {
        let files = change_files(dir.path(), name);
        let torn = [std::fs::read(&files[0]).unwrap(), b"5 forgotten t 0 0 0000".to_vec()].concat();
        std::fs::write(&files[0], torn).unwrap();
    }
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!((saved(&store, &log), log.log_start_offset()), (Offset(6), Offset(3)));
    assert_eq!((log.end_offset(), log.damage()), (Offset(8), vec![]));
    assert_eq!(content(&log), wanted);
    store.checkpoint().unwrap();
    assert_eq!(saved(&store, &log), Offset(8));
    // What comes next has its file, and nothing else has one.
    let files = change_files(dir.path(), "offsets.");
    assert_eq!(files.iter().map(|file| file.metadata().unwrap().len()).collect::<Vec<_>>(), [0]);
    store.close().unwrap();
    assert_eq!(change_files(dir.path(), ""), Vec::<PathBuf>::new());
}

#[test]
fn what_a_damaged_file_of_changes_has_said_is_not_made_up() {
    for name in ["offsets.", "cuts."] {
        let dir = tempfile::tempdir().unwrap();
        let wanted = change(dir.path());
        {
            // So that there is something behind it.
            let store = open(dir.path());
            let log = store.partition(TOPIC, P0).unwrap();
            log.truncate_to(Offset(7)).unwrap();
            log.truncate_to(Offset(6)).unwrap();
        }
        let file = change_files(dir.path(), name).pop().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        assert!(unseal_changes(&bytes).is_some_and(|changes| changes.len() >= 2), "{name}");
        let damaged: Vec<u8> = bytes.iter().map(|byte| if *byte == b'0' { b'O' } else { *byte }).collect();
        let half = bytes.len() / 2;
        std::fs::write(&file, [&damaged[..half], &bytes[half..]].concat()).unwrap();
        // What is in the segments is looked through then.
        for _ in 0..2 {
            let store = open(dir.path());
            let log = store.partition(TOPIC, P0).unwrap();
            assert_eq!((log.end_offset(), log.damage()), (Offset(6), vec![]), "{name}");
            assert!(
                wanted.ends_with(&content(&log)) || content(&log).ends_with(&wanted[..wanted.len() / 5 * 3])
            );
        }
    }
}

type Hook = Box<dyn FnOnce() + Send>;
/// What is done once, and never before it is there.
type Hooked = Arc<Mutex<Option<Hook>>>;

/// What a disk is watched by: the hook is called before the next act for which `is_moment`.
fn calling(
    hook: &Hooked,
    is_moment: fn(&Path, &Act) -> bool,
) -> impl Fn(&Path, Act) -> io::Result<()> + Send + Sync + 'static {
    let hook = Arc::clone(hook);
    move |path, act| {
        if is_moment(path, &act) {
            // Its lock isn't held while it runs, as that may come to such a moment itself.
            let hook = hook.lock().take();
            hook.into_iter().for_each(|hook| hook());
        }
        Ok(())
    }
}

/// While the files of all logs are being written, nobody can tell what they say: no change is left out as
/// known.
#[test]
fn a_change_during_a_checkpoint_is_written_whatever_was_said_before() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Hooked::default();
    let watch = calling(&hook, |path, act| {
        path.to_string_lossy().contains(RECOVERY_POINT_FILE) && matches!(act, Act::Write(_))
    });
    let store = open_watched(dir.path(), watch);
    let log = create(&store, TOPIC, P0);
    append(&log, 2);
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    append(&log, 10);
    store.commit_now().unwrap();
    let cut = Arc::clone(&log);
    *hook.lock() = Some(Box::new(move || cut.truncate_to(Offset(7)).unwrap()));
    store.checkpoint().unwrap();
    assert!(hook.lock().is_none(), "it was cut meanwhile");
    assert!(saved(&store, &log) <= Offset(7));
    drop((store, log));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!((log.end_offset(), log.damage()), (Offset(7), vec![]));
    assert!(saved(&store, &log) <= Offset(7));
}

/// Stock is taken of the logs that there were when the checkpoint began.
#[test]
fn a_log_start_that_was_raised_during_a_checkpoint_is_not_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = store.inner.logs();
    let log = create(&store, TOPIC, P0);
    append(&log, 12);
    store.commit_now().unwrap();
    assert!(log.advance_log_start(Offset(6)) > 0);
    store.inner.shared.save_offsets(&before).unwrap();
    let known = store.inner.shared.saved_start(&log.topic_partition());
    assert_eq!(known, Some(log.log_start_offset()));
    drop((store, log));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!(store.inner.shared.saved_start(&log.topic_partition()), known);
    // One that is gone isn't told of for ever.
    store.delete_partition(TOPIC, P0).unwrap();
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    assert!(!std::fs::read_to_string(dir.path().join(LOG_START_FILE)).unwrap().contains("t 0"));
}

/// A checkpoint comes while the files of a log that begins anew further on are removed: a crash then leaves
/// it where it ended.
#[test]
fn a_checkpoint_while_a_log_is_begun_anew_does_not_tell_where_it_is_to_begin() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Hooked::default();
    let watch = calling(&hook, |path, act| {
        path.extension().is_some_and(|extension| extension == "log") && matches!(act, Act::Remove)
    });
    let store = Arc::new(open_watched(dir.path(), watch));
    let log = create(&store, TOPIC, P0);
    append(&log, 12);
    store.commit_now().unwrap();
    let (saver, mine) = (Arc::clone(&store), Arc::clone(&log));
    let said = Arc::new(Mutex::new(None));
    let says = Arc::clone(&said);
    *hook.lock() = Some(Box::new(move || {
        saver.inner.shared.save_offsets(&[Arc::clone(&mine)]).unwrap();
        *says.lock() = Some(saver.inner.shared.saved_start(&mine.topic_partition()));
    }));
    log.reset_to(Offset(50)).unwrap();
    assert_eq!(*said.lock(), Some(Some(Offset(12))));
    store.checkpoint().unwrap();
    assert_eq!(store.inner.shared.saved_start(&log.topic_partition()), Some(Offset(50)));
}

/// Whatever lost the records up to there: those that come in their place stay.
#[test]
fn a_log_start_beyond_the_logs_end_lets_go_nothing_that_comes_later() {
    for is_clean in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store, TOPIC, P0);
        append(&log, 12);
        store.commit_now().unwrap();
        store.checkpoint().unwrap();
        if is_clean {
            store.close().unwrap();
        }
        drop((store, log));
        std::fs::remove_file(dir.path().join(SEALED_OFFSETS_FILE)).unwrap();
        std::fs::write(dir.path().join(LOG_START_FILE), "0\n1\nt 0 50\n").unwrap();
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        assert_eq!((log.log_start_offset(), log.end_offset()), (Offset(12), Offset(12)));
        append(&log, 3);
        store.commit_now().unwrap();
        store.checkpoint().unwrap();
        drop((store, log));
        let log = open(dir.path()).partition(TOPIC, P0).unwrap();
        assert_eq!((log.log_start_offset(), log.end_offset()), (Offset(12), Offset(15)));
    }
}

/// What lies below a log's start is deleted, and by its followers too: no flipped bit makes a start.
#[test]
fn a_flipped_bit_in_a_checkpoint_lets_go_of_nothing() {
    for is_clean in [false, true] {
        for file in [LOG_START_FILE, RECOVERY_POINT_FILE, SEALED_OFFSETS_FILE] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path());
            let log = create(&store, TOPIC, P0);
            append(&log, 12);
            store.commit_now().unwrap();
            log.advance_log_start(Offset(2));
            store.checkpoint().unwrap();
            if is_clean {
                store.close().unwrap();
            }
            drop((store, log));
            let path = dir.path().join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            let flipped = text.replace("t 0 2\n", "t 0 6\n").replace("t 0 12\n", "t 0 52\n");
            assert_ne!(flipped, text);
            std::fs::write(&path, flipped).unwrap();
            for _ in 0..2 {
                let store = open(dir.path());
                let log = store.partition(TOPIC, P0).unwrap();
                let bounds = (log.log_start_offset(), log.end_offset());
                assert_eq!((bounds, log.damage()), ((Offset(2), Offset(12)), vec![]), "{file}");
                assert!(log.read(Offset(2), 1, true, UpTo::Durable).unwrap().is_some());
                store.checkpoint().unwrap();
                let [sealed, start] = [SEALED_OFFSETS_FILE, LOG_START_FILE].map(|file| dir.path().join(file));
                let sealed = SealedOffsets::unseal(&std::fs::read_to_string(sealed).unwrap()).unwrap();
                assert_eq!(sealed.starts[&log.topic_partition()], Offset(2), "it is written anew");
                assert!(
                    std::fs::read_to_string(start).unwrap().ends_with("t 0 2\n") || file == LOG_START_FILE
                );
            }
        }
    }
}

/// A checkpoint comes while what the disk says of a log that is begun anew is taken back.
#[test]
fn a_checkpoint_while_a_log_is_begun_anew_does_not_bring_its_start_back() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Hooked::default();
    let watch =
        calling(&hook, |path, act| path.to_string_lossy().contains("/offsets.") && matches!(act, Act::Sync));
    let store = Arc::new(open_watched(dir.path(), watch));
    let log = create(&store, TOPIC, P0);
    append(&log, 12);
    store.commit_now().unwrap();
    log.advance_log_start(Offset(9));
    store.checkpoint().unwrap();
    // The checkpoint has the log as it is between the line and the cut: that one waits for the state.
    let (saver, mine) = (Arc::clone(&store), Arc::clone(&log));
    let (begun, begins) = mpsc::channel();
    *hook.lock() = Some(Box::new(move || {
        let (holds, held) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let state = mine.state.lock();
            holds.send(()).unwrap();
            saver.inner.shared.save_offsets(&[Arc::clone(&mine)]).unwrap();
            drop(state);
        });
        held.recv().unwrap();
        begun.send(thread).unwrap();
    }));
    log.reset_to(Offset(4)).unwrap();
    begins.recv().unwrap().join().unwrap();
    append(&log, 3);
    store.commit_now().unwrap();
    let started = store.inner.shared.saved_start(&log.topic_partition());
    assert!(started.is_none_or(|start| start <= Offset(4)), "{started:?}");
}

/// Each file of changes goes for good before a newer one does.
#[test]
fn older_changes_are_never_left_without_newer_ones() {
    let dir = tempfile::tempdir().unwrap();
    let unsynced: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
    let (removed, most) = (Arc::new(Mutex::new(0)), Arc::clone(&unsynced));
    let count = Arc::clone(&removed);
    let watch = move |path: &Path, act: Act| {
        let is_changes = path.parent().is_some_and(|folder| folder.ends_with(JOURNAL_FOLDER))
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("offsets."));
        match act {
            Act::Remove if is_changes => {
                let mut unsynced = most.lock();
                unsynced.push(path.to_owned());
                assert_eq!(unsynced.len(), 1, "a power loss may keep either of them: {unsynced:?}");
                *count.lock() += 1;
            }
            Act::SyncDir if path.ends_with(JOURNAL_FOLDER) => most.lock().clear(),
            _ => {}
        }
        Ok(())
    };
    for round in 0..3 {
        let store = open_watched(dir.path(), watch.clone());
        let log = create(&store, TOPIC, P0);
        append(&log, 12);
        store.commit_now().unwrap();
        assert!(log.advance_log_start(Offset(12 * round + 6)) > 0);
        assert_eq!(*removed.lock(), 0);
        // A file with a torn end isn't gone on with.
        let newest = change_files(dir.path(), "offsets.").pop().unwrap();
        let torn = [std::fs::read(&newest).unwrap(), b"5 forgotten t 0 0 0000".to_vec()].concat();
        std::fs::write(&newest, torn).unwrap();
    }
    assert_eq!(change_files(dir.path(), "offsets.").len(), 3);
    let store = open_watched(dir.path(), watch);
    store.checkpoint().unwrap();
    assert_eq!((*removed.lock(), unsynced.lock().len()), (3, 0));
}

#[test]
fn a_change_of_cuts_that_is_older_than_the_file_of_all_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let folder = dir.path().join(JOURNAL_FOLDER);
    let key = (TOPIC, P0);
    let cut = |number, end| JournalVoid::from(JournalCut { number, durable_to: Offset(end) });
    std::fs::write(folder.join("cuts"), encode_cuts(&JournalCuts::from([(key, cut(9, 4))]))).unwrap();
    std::fs::write(folder.join("cuts.7"), seal_change(0, &encode_void(key, cut(5, 30)))).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let open = || Journal::<()>::open(&disk, dir.path(), 1 << 20, false, Ignore::default()).unwrap().1;
    assert_eq!(open().cut_to(key), Some(Offset(4)));
    std::fs::write(folder.join("cuts.8"), seal_change(0, &encode_void(key, cut(10, 3)))).unwrap();
    assert_eq!(open().cut_to(key), Some(Offset(3)));
}

/// Long enough for a change that nothing holds up; one that waits as it should takes as long as this.
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn a_change_that_comes_while_an_empty_file_is_removed_is_not_removed_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Hooked::default();
    let watch = calling(&hook, |_, act| matches!(act, Act::Remove));
    let disk: Arc<dyn Disk> = Arc::new(WatchedDisk(Arc::new(watch)));
    let lines = |number: u64| std::fs::read(dir.path().join(format!("lines.{number}"))).unwrap_or_default();
    let changes = Arc::new(Changes::open(&disk, dir.path(), "lines.", true).unwrap().0);
    // Another, which isn't the empty one, stays.
    changes.append("a").unwrap();
    changes.begin_generation().unwrap();
    let appends = Arc::clone(&changes);
    let (tell, told) = mpsc::channel();
    let (begun, begins) = mpsc::channel();
    *hook.lock() = Some(Box::new(move || {
        let thread = std::thread::spawn(move || {
            appends.append("b").unwrap();
            tell.send(()).unwrap();
        });
        let _ = told.recv_timeout(A_WHILE);
        begun.send((thread, told)).unwrap();
    }));
    changes.remove_unused();
    let (thread, _told) = begins.recv().unwrap();
    thread.join().unwrap();
    let said: Vec<String> = (1..5)
        .flat_map(|number| {
            let file = lines(number);
            unseal_changes(&file).unwrap().into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(said, ["a", "b"]);
}

/// What the files say of how far a log is clean: that of the checksum, and Kafka's.
fn cleaned_on_disk(dir: &Path) -> (Vec<i64>, Option<String>) {
    let text = std::fs::read_to_string(dir.join(SEALED_OFFSETS_FILE)).unwrap();
    let sealed = SealedOffsets::unseal(&text).unwrap();
    let kafkas = std::fs::read_to_string(dir.join(CLEANER_OFFSET_FILE)).ok();
    (sealed.cleaned.values().map(|offset| offset.0).collect(), kafkas)
}

fn clean_to(log: &PartitionLog, offset: i64) {
    let _one = log.commit_lock.lock();
    log.set_cleaned_offset(Offset(offset));
}

#[test]
fn how_far_a_log_is_clean_is_known_after_any_stop_and_is_never_past_a_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, TOPIC, P0);
    append(&log, 12);
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    assert_eq!(
        (log.cleaned_offset(), cleaned_on_disk(dir.path())),
        (None, (vec![], Some("0\n0\n".to_owned())))
    );
    clean_to(&log, 9);
    drop((log, store));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!(log.cleaned_offset(), None, "no checkpoint has said it: that costs work");
    clean_to(&log, 9);
    store.checkpoint().unwrap();
    assert_eq!(cleaned_on_disk(dir.path()), (vec![9], Some("0\n1\nt 0 9\n".to_owned())));
    drop((log, store));
    // A cut behind it, one before it, and one to nothing: each is known at once.
    for (cut, cleaned) in [(10, 9), (6, 6)] {
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        log.truncate_to(Offset(cut)).unwrap();
        assert_eq!(log.cleaned_offset(), Some(Offset(cleaned)), "cut at {cut}");
        append(&log, 12 - cut as usize);
        store.commit_now().unwrap();
        drop((log, store));
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        assert_eq!((log.cleaned_offset(), log.end_offset()), (Some(Offset(cleaned)), Offset(12)));
    }
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    log.reset_to(Offset(3)).unwrap();
    assert_eq!(log.cleaned_offset(), Some(Offset(3)));
    append(&log, 3);
    store.commit_now().unwrap();
    store.close().unwrap();
    drop((log, store));
    let store = open(dir.path());
    assert_eq!(store.partition(TOPIC, P0).unwrap().cleaned_offset(), Some(Offset(3)));
    // Another topic of that name was never cleaned.
    store.delete_partition(TOPIC, P0).unwrap();
    let other = TopicId([9; 16]);
    let log = create(&store, other, P0);
    append(&log, 12);
    store.commit_now().unwrap();
    drop((log, store));
    let store = open(dir.path());
    assert_eq!(store.partition(other, P0).unwrap().cleaned_offset(), None);
    store.checkpoint().unwrap();
    assert_eq!(cleaned_on_disk(dir.path()), (vec![], Some("0\n0\n".to_owned())));
}

#[test]
fn records_that_come_in_the_place_of_lost_ones_are_not_clean() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, TOPIC, P0);
    append(&log, 12);
    store.commit_now().unwrap();
    clean_to(&log, 9);
    store.checkpoint().unwrap();
    store.close().unwrap();
    let folder = log.state.lock().folder.clone();
    drop((log, store));
    // Somebody removed all but the first segment, and what is said of recovery points and log starts.
    for file in std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|kind| kind == "log") && !file.ends_with("00000000000000000000.log") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let path = dir.path().join(SEALED_OFFSETS_FILE);
    let mut sealed = SealedOffsets::unseal(&std::fs::read_to_string(&path).unwrap()).unwrap();
    sealed.recovery_points.clear();
    std::fs::write(&path, sealed.seal()).unwrap();
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    let end = log.end_offset();
    assert!(end < Offset(9), "{end}");
    append(&log, 12);
    store.commit_now().unwrap();
    drop((log, store));
    let store = open(dir.path());
    assert_eq!(store.partition(TOPIC, P0).unwrap().cleaned_offset(), Some(end));
}
