//! The store: one data folder with all its partitions, opened once, and its committer thread.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ottla_log::{
    DELETE_SUFFIX, JournalKey, LogConfig, MetaProperties, STRAY_SUFFIX, partition_folder, renamed_folder,
};
use ottla_types::{ClusterId, DirectoryId, PartitionIndex, TopicId, TopicName, TopicPartition};
use parking_lot::{Mutex, RwLock};

use crate::config::{Committer, StoreBug, StoreConfig};
use crate::disk::{Disk, DiskLock};
use crate::error::{FatalError, StoreError};
use crate::journal::{Ignore, JOURNAL_FOLDER, Journal};
use crate::load::Recovery;
use crate::meta::{CLEAN_FILE, claim, save, take_clean_mark, take_lock};
use crate::offsets::OffsetFiles;
use crate::owner::{check_name, clear_name};
use crate::parallel::each;
use crate::partition::{PartitionLog, Shared};
use crate::real::RealDisk;
use crate::recover::{Recovered, create_partition};
use crate::removals::{self, Removals};
use crate::scrub::{ScrubCursor, ScrubReport};
use crate::shared::StoreMemory;

type Partitions = HashMap<(TopicId, PartitionIndex), Arc<PartitionLog>>;

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partitions: RwLock<Partitions>,
    /// Whose each name is: of a name one topic's partition is in `partitions`. It changes under that lock.
    names: Mutex<HashMap<TopicPartition, TopicId>>,
    meta: MetaProperties,
    pub(crate) stop: AtomicBool,
    pub(crate) sync_threads: usize,
    producer_expiration: Duration,
    /// Partitions that are gone, and the newest entry of each in the journal.
    gone: Mutex<HashMap<JournalKey, u64>>,
    /// The names whose folders were to be deleted and couldn't even be renamed: nobody wants what is in them.
    undeleted: Mutex<HashSet<TopicPartition>>,
    /// Held by who makes or removes a partition, while the disk takes its time: who looks one up needs
    /// only the map. Whether the store is being closed, so that nobody does any more.
    making: Mutex<bool>,
    pub(crate) scrub: Mutex<ScrubCursor>,
    pub(crate) removals: Removals,
}

/// One data folder. Dropping it without [`Store::close`] is like a crash: the next open scans the logs'
/// tails.
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl Store {
    /// Opens a data folder on the operating system's disk: locks it, checks whose it is, recovers its
    /// partitions.
    ///
    /// # Errors
    /// When it is another's, in use, corrupt, or the disk fails.
    pub fn open(config: StoreConfig) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(RealDisk), config)
    }

    /// As [`Store::open`], on another disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(disk: Arc<dyn Disk>, config: StoreConfig) -> Result<Self, StoreError> {
        let started = Instant::now();
        let dir = config.dir.clone();
        disk.create_dir(&dir).map_err(StoreError::io("create", &dir))?;
        let lock = take_lock(&*disk, &dir)?;
        let meta = claim(&*disk, &dir, &config)?;
        let clean = take_clean_mark(&*disk, &dir)?;
        let bug = config.bug;
        let ignore = Ignore {
            cuts: bug == Some(StoreBug::ReplayWithoutCuts),
            generation: bug == Some(StoreBug::IgnoreGeneration),
            limit: bug == Some(StoreBug::GroupWithoutLimit),
            changes: bug == Some(StoreBug::IgnoreChanges),
            syncs_of_changes: bug == Some(StoreBug::SkipSyncOfChanges),
        };
        let (journal, replay) = Journal::open(&disk, &dir, config.journal_file_bytes, clean, ignore)?;
        let (offsets, saved, is_sealed) = OffsetFiles::open(&disk, &dir, &dir.join(JOURNAL_FOLDER), ignore)?;
        let parts = (journal, offsets);
        let shared =
            Arc::new(Shared::new(disk, dir, parts, config.open_files_max, config.on_fatal, config.bug));
        let threads = if config.committer == Committer::Thread { config.sync_threads.max(1) } else { 1 };
        let recovery = Recovery {
            shared: &shared,
            clean,
            saved,
            is_sealed,
            config: config.default_config,
            replay,
            threads,
        };
        let Recovered { partitions, deleted, wants_checkpoint } = recovery.run()?;
        let gone = recovery.replay.newest().filter(|(key, _)| !partitions.contains_key(key)).collect();
        let count = partitions.len();
        let names: HashMap<_, _> =
            partitions.values().map(|log| (log.topic_partition(), log.topic_id)).collect();
        assert_eq!(names.len(), count, "of a name there is one partition, as there is one folder");
        tracing::info!(dir = %shared.dir.display(), partitions = count, clean, ms = started.elapsed().as_millis() as u64, "store opened");
        let inner = Arc::new(Inner {
            shared,
            partitions: RwLock::new(partitions),
            names: Mutex::new(names),
            meta,
            stop: AtomicBool::new(false),
            sync_threads: threads,
            producer_expiration: config.producer_expiration,
            gone: Mutex::new(gone),
            undeleted: Mutex::default(),
            making: Mutex::new(false),
            scrub: Mutex::default(),
            removals: Removals::default(),
        });
        // No more than that: whoever sees that a folder is missing may still stop, and lose nothing.
        if wants_checkpoint && let Err(error) = inner.shared.save_offsets(&inner.logs()) {
            tracing::warn!(%error, "whose folders are isn't in the checkpoint yet");
        }
        let threads = match config.committer {
            Committer::Thread => start_threads(&inner, config.checkpoint_interval)?,
            Committer::Manual => Vec::new(),
        };
        let store = Self { inner, threads: Mutex::new(threads), lock: Mutex::new(Some(lock)) };
        deleted.into_iter().for_each(|folder| store.remove_later(folder));
        Ok(store)
    }

    /// By the thread for that, or at once if there is none. What can't be removed is tried again at the next
    /// start.
    fn remove_later(&self, folder: PathBuf) {
        if self.threads.lock().is_empty() {
            removals::remove(&self.inner.shared, &folder, &self.inner.stop);
        } else {
            self.inner.removals.add(folder);
        }
    }

    /// The durable identity of this disk.
    pub fn directory_id(&self) -> DirectoryId {
        self.inner.meta.directory_id
    }

    /// The cluster that the directory belongs to.
    pub fn cluster_id(&self) -> ClusterId {
        self.inner.meta.cluster_id
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.inner.shared.dir
    }

    /// Whether a write or sync has failed.
    pub fn has_failed(&self) -> bool {
        self.inner.shared.has_failed()
    }

    /// The number of files that are held open, for metrics.
    pub fn open_files(&self) -> usize {
        self.inner.shared.open_files()
    }

    /// What is held in memory, and what may be.
    pub fn memory(&self) -> StoreMemory {
        self.inner.shared.memory()
    }

    /// All partitions in the directory, sorted.
    pub fn partitions(&self) -> Vec<(TopicName, TopicId, PartitionIndex)> {
        let all = self.inner.logs();
        all.iter().map(|log| (log.topic().clone(), log.topic_id(), log.partition())).collect()
    }

    /// The log of a partition, if it is here.
    pub fn partition(&self, topic_id: TopicId, partition: PartitionIndex) -> Option<Arc<PartitionLog>> {
        self.inner.partitions.read().get(&(topic_id, partition)).cloned()
    }

    /// The log of a partition, created empty when it isn't here; the settings apply either way.
    ///
    /// # Errors
    /// When the folder belongs to another topic of that name, or the disk fails.
    pub fn create_partition(
        &self,
        topic: TopicName,
        topic_id: TopicId,
        partition: PartitionIndex,
        config: LogConfig,
    ) -> Result<Arc<PartitionLog>, StoreError> {
        let is_closed = self.inner.making.lock();
        if let Some(log) = self.partition(topic_id, partition) {
            log.set_config(config);
            return Ok(log);
        }
        if *is_closed {
            return Err(StoreError::Closed);
        }
        if self.has_failed() {
            return Err(StoreError::Failed);
        }
        let name = TopicPartition { topic: topic.clone(), partition };
        if let Some(found) = self.inner.names.lock().get(&name).copied() {
            let folder = self.inner.shared.dir.join(partition_folder(&topic, partition));
            return Err(StoreError::ForeignTopic { folder, found, expected: topic_id });
        }
        let is_unwanted = self.inner.undeleted.lock().contains(&name);
        if !is_unwanted {
            // Before anything is said of it that holds no more.
            check_name(&self.inner.shared, &name)?;
        }
        // An older topic's offsets under this name would be taken for this one's.
        self.inner.shared.forget_offsets(&name)?;
        let newest = self.inner.gone.lock().get(&(topic_id, partition)).copied();
        if let Some(newest) = newest {
            // What the journal says of the one before is not this one's.
            self.inner.shared.cut_gone((topic_id, partition), newest)?;
            self.inner.gone.lock().remove(&(topic_id, partition));
        }
        clear_name(&self.inner.shared, &name, is_unwanted)?;
        self.inner.undeleted.lock().remove(&name);
        let log = create_partition(&self.inner.shared, topic, topic_id, partition, config)?;
        log.queue();
        let mut partitions = self.inner.partitions.write();
        let before = partitions.insert((topic_id, partition), Arc::clone(&log));
        assert!(before.is_none(), "who makes a partition holds the lock, and has looked for it");
        self.inner.names.lock().insert(name, topic_id);
        Ok(log)
    }

    /// Changes the settings of all partitions of a topic.
    pub fn set_config(&self, topic_id: TopicId, config: &LogConfig) {
        for log in self.inner.logs().iter().filter(|log| log.topic_id == topic_id) {
            log.set_config(config.clone());
        }
    }

    /// Deletes a partition: renames its folder, durably. A thread removes that later, if there are any. One
    /// that isn't here is no error.
    ///
    /// # Errors
    /// When the disk fails; the partition is gone all the same.
    pub fn delete_partition(&self, topic_id: TopicId, partition: PartitionIndex) -> Result<(), StoreError> {
        self.delete_partitions(&[(topic_id, partition)])
    }

    /// Deletes several partitions; their new names become durable by one sync. Otherwise as
    /// [`Self::delete_partition`].
    ///
    /// # Errors
    /// The first one; the others are deleted all the same.
    pub fn delete_partitions(&self, all: &[(TopicId, PartitionIndex)]) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        let mut renamed = Vec::new();
        for (topic_id, partition) in all {
            match self.detach(*topic_id, *partition, DELETE_SUFFIX) {
                Ok(folder) => renamed.extend(folder),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        if renamed.is_empty() {
            return outcome;
        }
        self.sync_names()?;
        renamed.into_iter().for_each(|folder| self.remove_later(folder));
        outcome
    }

    /// Makes the names of the partitions' folders durable.
    fn sync_names(&self) -> Result<(), StoreError> {
        let shared = &self.inner.shared;
        shared.sync_dir(&shared.dir).map_err(StoreError::io("sync", &shared.dir))
    }

    /// Renames a partition's folder to one that is left alone from now on, so that another topic's may have
    /// the name; nothing of it is lost. Returns the folder; none if the partition isn't here.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put_aside(
        &self,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Result<Option<PathBuf>, StoreError> {
        let Some(renamed) = self.detach(topic_id, partition, STRAY_SUFFIX)? else { return Ok(None) };
        self.sync_names()?;
        Ok(Some(renamed))
    }

    /// Takes a partition out and renames its folder; the caller makes that durable.
    fn detach(
        &self,
        topic_id: TopicId,
        partition: PartitionIndex,
        suffix: &str,
    ) -> Result<Option<PathBuf>, StoreError> {
        let is_closed = self.inner.making.lock();
        if *is_closed {
            return Err(StoreError::Closed);
        }
        let mut partitions = self.inner.partitions.write();
        let Some(log) = partitions.remove(&(topic_id, partition)) else { return Ok(None) };
        self.inner.names.lock().remove(&log.topic_partition());
        drop(partitions);
        let renamed = self.rename_folder(&log, suffix);
        if renamed.is_err() && suffix == DELETE_SUFFIX {
            self.inner.undeleted.lock().insert(log.topic_partition());
        }
        renamed.map(Some)
    }

    /// Whoever comes for the log from now on finds it deleted, whether its folder can be renamed or not.
    fn rename_folder(&self, log: &PartitionLog, suffix: &str) -> Result<PathBuf, StoreError> {
        let shared = &self.inner.shared;
        let _one = log.commit_lock.lock();
        if suffix == STRAY_SUFFIX {
            log.sync_locked().map_err(|_| StoreError::Failed)?;
        }
        let mut state = log.state.lock();
        self.inner.gone.lock().insert(log.journal_key(), state.slot.newest);
        state.deleted = true;
        log.set_recovery_point(None);
        let unique = shared.disk.random_id().map_err(StoreError::io("name", &state.folder))?;
        let renamed = shared.dir.join(renamed_folder(&log.topic, log.partition, unique, suffix));
        shared.disk.rename(&state.folder, &renamed).map_err(StoreError::io("rename", &state.folder))?;
        state.folder = renamed.clone();
        for segment in &mut state.segments {
            segment.unsynced = None;
        }
        state.unsynced_files.clear();
        drop(state);
        shared.close_files(log.key, None);
        Ok(renamed)
    }

    /// Deletes all partitions of a topic.
    ///
    /// # Errors
    /// The first one; the others are deleted all the same.
    pub fn delete_topic(&self, topic_id: TopicId) -> Result<(), StoreError> {
        let logs = self.inner.logs();
        let ours = logs.iter().filter(|log| log.topic_id == topic_id);
        ours.map(|log| self.delete_partition(topic_id, log.partition)).fold(Ok(()), Result::and)
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// When a sync failed, now or before.
    pub fn commit_now(&self) -> Result<(), FatalError> {
        let shared = &self.inner.shared;
        shared.commit_journal()?;
        let dirty = shared.take_dirty();
        dirty.iter().map(|log| log.sync_in_place()).fold(Ok(()), Result::and)?;
        // What they say of it to the journal.
        shared.commit_journal()?;
        if shared.journal.wants_release() {
            self.inner.release_or_warn();
        }
        if shared.has_failed() { Err(shared.failed_before()) } else { Ok(()) }
    }

    /// Writes recovery points, so that the next recovery begins at what is durable now.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.inner.checkpoint()
    }

    /// Checks the next `budget_bytes` or so of all that is durable; the caller says how often. What is
    /// damaged is noted as [`PartitionLog::damage`], and its hooks are called.
    pub fn scrub_step(&self, budget_bytes: u64) -> ScrubReport {
        let mut cursor = self.inner.scrub.lock();
        cursor.step(self.inner.logs(), budget_bytes)
    }

    /// Forgets the producers that have been silent for long. Returns how many.
    pub fn forget_silent_producers(&self, now_ms: i64) -> usize {
        let expiration_ms = i64::try_from(self.inner.producer_expiration.as_millis()).unwrap_or(i64::MAX);
        let logs = self.inner.logs();
        logs.iter().map(|log| log.state.lock().producers.expire(now_ms, expiration_ms)).sum()
    }

    /// Closes the store: everything synced, indexes and snapshots complete, the mark of a clean shutdown
    /// left.
    ///
    /// # Errors
    /// When the disk fails; then there is no mark, and the next open scans. A second call does nothing.
    pub fn close(&self) -> Result<(), StoreError> {
        self.stop_thread();
        let Some(_lock) = self.lock.lock().take() else { return Ok(()) };
        *self.inner.making.lock() = true;
        each(&self.inner.logs(), self.inner.sync_threads, |log| log.finish())?;
        self.inner.checkpoint()?;
        if self.has_failed() {
            return Err(StoreError::Failed);
        }
        let shared = &self.inner.shared;
        shared.end_offset_changes();
        shared.journal.remove()?;
        save(&*shared.disk, &shared.dir, CLEAN_FILE, "{\"version\":0,\"brokerEpoch\":-1}\n")?;
        tracing::info!(dir = %shared.dir.display(), "store closed");
        Ok(())
    }

    fn stop_thread(&self) {
        self.inner.stop.store(true, Ordering::Release);
        self.inner.shared.wake_all();
        self.inner.shared.stop_upkeep();
        self.inner.removals.wake_all();
        for thread in self.threads.lock().drain(..) {
            // It ends by itself; a panic in it was reported by then.
            let _ = thread.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop_thread();
        // They hold the logs that wait for a sync, and these hold what holds them.
        let shared = &self.inner.shared;
        drop(shared.take_dirty());
        shared.journal.abandon();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({:?})", self.dir())
    }
}

fn start_threads(inner: &Arc<Inner>, interval: Duration) -> Result<Vec<JoinHandle<()>>, StoreError> {
    let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        thread.map_err(StoreError::io("start a thread for", &inner.shared.dir))
    };
    let (committer, syncer, upkeep) = (Arc::clone(inner), Arc::clone(inner), Arc::clone(inner));
    let remover = Arc::clone(inner);
    Ok(vec![
        start("committer", Box::new(move || committer.commit_loop()))?,
        start("syncer", Box::new(move || syncer.sync_loop()))?,
        start("upkeep", Box::new(move || upkeep.upkeep_loop(interval)))?,
        start("remover", Box::new(move || remover.removal_loop()))?,
    ])
}

impl Inner {
    /// All logs, sorted by topic name and partition.
    pub(crate) fn logs(&self) -> Vec<Arc<PartitionLog>> {
        let mut logs: Vec<_> = self.partitions.read().values().cloned().collect();
        logs.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        logs
    }
}
