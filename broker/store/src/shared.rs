//! What all partitions of a store share: the disk, the open files, the state "failed", the list of dirty
//! partitions.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ottla_log::{FileKind, JournalKey, OffsetChange};
use ottla_types::{Offset, TopicPartition};
use parking_lot::{Condvar, Mutex};

use crate::changes::Unsaved;
use crate::config::{FatalHook, StoreBug};
use crate::disk::{Disk, DiskFile, OpenMode, is_out_of_files};
use crate::error::{FatalError, StoreError};
use crate::held::HeldFile;
use crate::journal::{GroupLog, Journal};
use crate::offsets::{OffsetFiles, SavedLog};

/// What may be written between two checkpoints: a recovery looks at the headers of that much.
const CHECKPOINT_BYTES: u64 = 512 << 20;

/// How long one waits for files to be closed elsewhere, and how often. Others may have them open:
/// connections.
const OUT_OF_FILES_WAIT: Duration = Duration::from_millis(20);
const OUT_OF_FILES_WAITS_MAX: u32 = 3_000;

/// One file of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileKey {
    pub(crate) partition: u64,
    pub(crate) base: Offset,
    pub(crate) kind: FileKind,
}

#[derive(Default)]
struct OpenFiles {
    /// In order, so that those of one partition are found among all.
    files: BTreeMap<FileKey, (Arc<dyn DiskFile>, u64)>,
    clock: u64,
    /// The clock when files were last closed for not being used.
    swept: u64,
}

/// What the thread for upkeep is asked to do.
#[derive(Default)]
struct Upkeep {
    stop: bool,
    wanted: bool,
}

/// What a store holds in memory beyond what each partition takes, and what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreMemory {
    /// The bytes of the journal's group that is being filled. As many again may be on their way to the disk.
    pub journal_bytes: usize,
    /// Their limit.
    pub journal_bytes_max: usize,
    /// The files that are held open, beyond those with unsynced bytes.
    pub open_files: usize,
    /// Their limit.
    pub open_files_max: usize,
}

/// What the logs `L` of a store share, and all that is known of them here.
pub(crate) struct Shared<L> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    open_files: Mutex<OpenFiles>,
    open_files_max: usize,
    failed: AtomicBool,
    on_fatal: FatalHook,
    next_key: AtomicU64,
    dirty: Mutex<Vec<Arc<L>>>,
    wake: Condvar,
    pub(crate) journal: Journal<L>,
    held: Arc<AtomicUsize>,
    /// Bytes written since the last checkpoint.
    bytes_since_checkpoint: AtomicU64,
    upkeep: Mutex<Upkeep>,
    upkeep_wake: Condvar,
    pub(crate) bug: Option<StoreBug>,
    /// Names that were made in the data folder, and how many of them are synced.
    root_changes: AtomicU64,
    root_changes_on_disk: Mutex<u64>,
    /// What the disk says of recovery points and log starts.
    offsets: OffsetFiles,
}

impl<L: GroupLog + SavedLog> Shared<L> {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        (journal, offsets): (Journal<L>, OffsetFiles),
        open_files_max: usize,
        on_fatal: FatalHook,
        bug: Option<StoreBug>,
    ) -> Self {
        Self {
            disk,
            dir,
            journal,
            held: Arc::default(),
            bytes_since_checkpoint: AtomicU64::new(0),
            upkeep: Mutex::default(),
            upkeep_wake: Condvar::new(),
            bug,
            open_files: Mutex::default(),
            open_files_max: open_files_max.max(8),
            failed: AtomicBool::new(false),
            on_fatal,
            next_key: AtomicU64::new(0),
            dirty: Mutex::default(),
            wake: Condvar::new(),
            root_changes: AtomicU64::new(0),
            root_changes_on_disk: Mutex::new(0),
            offsets,
        }
    }

    /// Writes both checkpoint files, where something has changed.
    pub(crate) fn save_offsets(&self, logs: &[Arc<L>]) -> Result<(), StoreError> {
        self.offsets.save(logs).map_err(|error| self.unsaved(error))
    }

    /// Removes what was made ready for changes: there won't be any.
    pub(crate) fn end_offset_changes(&self) {
        self.offsets.end_changes();
    }

    /// What the disk says of a partition's recovery point, at the least.
    pub(crate) fn saved_recovery_point(&self, name: &TopicPartition) -> Offset {
        self.offsets.get(name).recovery_point.unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn saved_start(&self, name: &TopicPartition) -> Option<Offset> {
        self.offsets.get(name).start
    }

    /// Writes the log start of a partition, before what lies below it is removed.
    pub(crate) fn raise_log_start(&self, name: &TopicPartition, start: Offset) -> Result<(), StoreError> {
        self.change_offsets(name, OffsetChange::Start(start))
    }

    /// Takes what the disk says of a partition back to `lowered` where it is past it.
    pub(crate) fn lower_offsets(&self, name: &TopicPartition, lowered: Offset) -> Result<(), StoreError> {
        self.change_offsets(name, OffsetChange::Lowered(lowered))
    }

    /// What the disk says of an older topic's partition isn't true of this one's.
    pub(crate) fn forget_offsets(&self, name: &TopicPartition) -> Result<(), StoreError> {
        self.change_offsets(name, OffsetChange::Forgotten)
    }

    /// Has the checkpoints go on saying what they say of a partition that can't be opened.
    pub(crate) fn keep_offsets(&self, name: TopicPartition) {
        self.offsets.keep(name);
    }

    /// Whether there are any.
    pub(crate) fn keeps_offsets(&self) -> bool {
        self.offsets.keeps_any()
    }

    /// Whether that is so, and nothing took the partition's place.
    pub(crate) fn is_kept(&self, name: &TopicPartition) -> bool {
        self.offsets.is_kept(name)
    }

    fn change_offsets(&self, name: &TopicPartition, change: OffsetChange) -> Result<(), StoreError> {
        self.offsets.change(name, change).map_err(|error| self.unsaved(error))?;
        if self.offsets.has_many_changes() {
            // It writes all that they say.
            self.want_checkpoint();
        }
        Ok(())
    }

    /// Has the thread for upkeep write recovery points soon.
    pub(crate) fn want_checkpoint(&self) {
        self.count_written(CHECKPOINT_BYTES);
    }

    /// Makes the entries so far of a log in the journal void; see [`Journal::begin_cut`].
    pub(crate) fn begin_cut(&self, key: JournalKey, durable_to: Offset) -> Result<(), StoreError> {
        self.journal.begin_cut(key, durable_to).map_err(|error| self.unsaved(error))
    }

    /// Makes the entries of segments void that are about to be replaced; see [`Journal::settle`].
    pub(crate) fn settle(&self, key: JournalKey, below: Offset) -> Result<(), StoreError> {
        self.journal.settle(key, below).map_err(|error| self.unsaved(error))
    }

    /// Makes the entries of a partition void that was deleted; see [`Journal::cut_gone`].
    pub(crate) fn cut_gone(&self, key: JournalKey, newest: u64) -> Result<(), StoreError> {
        self.journal.cut_gone(key, newest).map_err(|error| self.unsaved(error))
    }

    fn unsaved(&self, error: Unsaved) -> StoreError {
        match error {
            Unsaved::NotNow(error) => error,
            Unsaved::Fatal(error) => {
                self.fail(&error);
                StoreError::Failed
            }
        }
    }

    pub(crate) fn next_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Stops all writing for good and tells the broker, once.
    pub(crate) fn fail(&self, error: &FatalError) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "disk error, the store stops");
            (self.on_fatal)(error);
        }
        self.wake_all();
    }

    /// The error of whoever wants to write after that.
    pub(crate) fn failed_before(&self) -> FatalError {
        let reason = "the store stopped after a disk error".to_owned();
        FatalError { action: "sync", path: self.dir.clone(), reason }
    }

    /// Holds a file with unsynced bytes, and says whether too many are held: then it has to be synced soon.
    pub(crate) fn hold(&self, file: &Arc<dyn DiskFile>) -> (HeldFile, bool) {
        let (held, count) = HeldFile::new(file, &self.held);
        (held, count > self.open_files_max / 2)
    }

    /// Adds to what a recovery would have to look through.
    pub(crate) fn count_written(&self, bytes: u64) {
        let before = self.bytes_since_checkpoint.fetch_add(bytes, Ordering::Relaxed);
        if before < CHECKPOINT_BYTES && before + bytes >= CHECKPOINT_BYTES {
            self.want_upkeep();
        }
    }

    /// Whether so much was written that a checkpoint is due.
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        self.bytes_since_checkpoint.load(Ordering::Relaxed) >= CHECKPOINT_BYTES
    }

    /// A checkpoint begins.
    pub(crate) fn checkpoint_begins(&self) {
        self.bytes_since_checkpoint.store(0, Ordering::Relaxed);
    }

    /// Wakes the thread for upkeep.
    pub(crate) fn want_upkeep(&self) {
        self.upkeep.lock().wanted = true;
        self.upkeep_wake.notify_all();
    }

    /// Ends the thread for upkeep.
    pub(crate) fn stop_upkeep(&self) {
        self.upkeep.lock().stop = true;
        self.upkeep_wake.notify_all();
    }

    /// Waits until something is wanted or `interval` has passed. Returns whether something is wanted; `None`
    /// at the end.
    pub(crate) fn wait_upkeep(&self, interval: Duration) -> Option<bool> {
        let mut upkeep = self.upkeep.lock();
        while !upkeep.stop && !upkeep.wanted {
            if self.upkeep_wake.wait_for(&mut upkeep, interval).timed_out() {
                break;
            }
        }
        (!upkeep.stop).then_some(std::mem::take(&mut upkeep.wanted))
    }

    /// Writes and syncs the journal's group and tells its partitions.
    ///
    /// # Errors
    /// The store has failed then, now or before.
    pub(crate) fn commit_journal(&self) -> Result<(), FatalError> {
        if self.has_failed() {
            return Err(self.failed_before());
        }
        let flushed = self.journal.flush().inspect_err(|error| self.fail(error))?;
        for member in &flushed.members {
            member.log.group_ended(member, flushed.durable);
        }
        drop(flushed.told);
        if self.journal.wants_release() || self.journal.wants_spare() {
            self.want_upkeep();
        }
        Ok(())
    }

    /// Makes the names in a folder durable, however many files are open.
    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.patiently(path, || self.disk.sync_dir(path))
    }

    /// Does what needs a file to be opened. Too many open files pass: those that are only kept open are
    /// closed.
    pub(crate) fn patiently<T>(&self, path: &Path, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let mut waits = 0;
        loop {
            match act() {
                Err(error) if is_out_of_files(&error) && waits < OUT_OF_FILES_WAITS_MAX => {
                    self.open_files.lock().files.clear();
                    if waits == 0 {
                        tracing::warn!(path = %path.display(), "too many open files, waiting for some to be closed");
                    }
                    if waits > 0 {
                        std::thread::sleep(OUT_OF_FILES_WAIT);
                    }
                    waits += 1;
                }
                done => return done,
            }
        }
    }

    /// The open file of that key, opened when it isn't; the least used ones are closed beyond the limit.
    pub(crate) fn file(&self, key: FileKey, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open_files.lock();
        open.clock += 1;
        let now = open.clock;
        if let Some((file, used)) = open.files.get_mut(&key) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(path, mode)?;
        open.files.insert(key, (Arc::clone(&file), now));
        if self.has_too_many(&open) {
            let mut used: Vec<u64> = open.files.values().map(|(_, used)| *used).collect();
            let keep_from = used.len() / 8;
            let oldest_kept = *used.select_nth_unstable(keep_from).1;
            open.files.retain(|_, (_, used)| *used >= oldest_kept);
            assert!(open.files.len() <= self.open_files_max, "each use has another time, so some are closed");
        }
        Ok(file)
    }

    fn has_too_many(&self, open: &OpenFiles) -> bool {
        open.files.len() > self.open_files_max && self.bug != Some(StoreBug::KeepFilesOpen)
    }

    /// Closes the files of a partition, or one of its segments.
    pub(crate) fn close_files(&self, partition: u64, base: Option<Offset>) {
        let mut open = self.open_files.lock();
        let (first, last) = base.map_or((Offset(0), Offset(i64::MAX)), |base| (base, base));
        let key = |base, kind| FileKey { partition, base, kind };
        let range = key(first, FileKind::Log)..=key(last, FileKind::Snapshot);
        let ours: Vec<FileKey> = open.files.range(range).map(|(key, _)| *key).collect();
        for key in ours {
            open.files.remove(&key);
        }
    }

    /// Closes the files that weren't used since this was last called.
    pub(crate) fn close_unused(&self) {
        let mut open = self.open_files.lock();
        let (swept, now) = (open.swept, open.clock);
        assert!(swept <= now, "each use of a file comes later than those before");
        open.swept = now;
        open.files.retain(|_, (_, used)| *used > swept);
    }

    /// The number of files that are held open.
    pub(crate) fn open_files(&self) -> usize {
        self.open_files.lock().files.len()
    }

    /// What is held in memory, and what may be.
    pub(crate) fn memory(&self) -> StoreMemory {
        let (journal_bytes, journal_bytes_max) = self.journal.memory();
        StoreMemory {
            journal_bytes,
            journal_bytes_max,
            open_files: self.open_files(),
            open_files_max: self.open_files_max,
        }
    }

    /// Takes note that a name was made in the data folder; returns its number.
    pub(crate) fn root_changed(&self) -> u64 {
        self.root_changes.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Makes the names up to that number durable: one sync for all that were made meanwhile.
    pub(crate) fn sync_root(&self, change: u64) -> io::Result<()> {
        let mut synced = self.root_changes_on_disk.lock();
        if *synced < change {
            let made = self.root_changes.load(Ordering::Acquire);
            assert!(made >= change, "a name is made before it is made durable: {change} of {made}");
            self.sync_dir(&self.dir)?;
            *synced = made;
        }
        Ok(())
    }

    /// Puts a partition on the committer's list.
    pub(crate) fn mark_dirty(&self, partition: Arc<L>) {
        self.dirty.lock().push(partition);
        self.wake.notify_one();
    }

    /// Takes the committer's list, in the order in which partitions became dirty.
    pub(crate) fn take_dirty(&self) -> Vec<Arc<L>> {
        std::mem::take(&mut *self.dirty.lock())
    }

    /// Waits until a partition is dirty or `stop` is set.
    pub(crate) fn wait_dirty(&self, stop: &AtomicBool) {
        let mut dirty = self.dirty.lock();
        while dirty.is_empty() && !stop.load(Ordering::Acquire) {
            self.wake.wait(&mut dirty);
        }
    }

    /// Wakes the committer under its lock, so that no wake-up is lost.
    pub(crate) fn wake_all(&self) {
        {
            let _dirty = self.dirty.lock();
            self.wake.notify_all();
        }
        self.journal.wake_all();
    }
}
