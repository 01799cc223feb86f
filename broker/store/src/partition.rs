//! One partition's log: its state, offsets and hooks. Appending, committing, reading and cutting have their
//! own files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use ottla_log::{AckDurability, FileKind, JournalKey, LeaderEpochs, LogConfig, ProducerStates};
use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use parking_lot::{Mutex, RwLock};

use crate::damage::{Damage, DamageHook};
use crate::disk::{DiskFile, OpenMode};
use crate::journal::Slot;
use crate::offsets::{SavedLog, ToSave};
use crate::segment::Segment;
use crate::shared::{self, FileKey};

/// Called with the new durable end offset each time it has advanced; must not block.
pub type DurableHook = Arc<dyn Fn(Offset) + Send + Sync>;

/// One partition's log on disk. Cheap to share; all methods may be called from any thread, and block only for
/// the disk.
pub struct PartitionLog {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
    pub(crate) key: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: Mutex<State>,
    /// Held by whoever syncs or cuts the log, so that these never overlap. Taken before `state`.
    pub(crate) commit_lock: Mutex<()>,
    pub(crate) config: RwLock<Arc<LogConfig>>,
    /// Whether the committer has it on its list.
    pub(crate) queued: AtomicBool,
    start: AtomicI64,
    /// While the log is begun anew: an upper bound for the log start that is written to the files of all
    /// partitions.
    start_at_most: AtomicI64,
    end: AtomicI64,
    durable: AtomicI64,
    /// Up to here segments and the files beside them are on disk: what the recovery point checkpoint may say.
    /// Not under the lock, as the checkpoint's own lock comes after that one.
    recovery_point: AtomicI64,
    /// Up to here it is clean, as the checkpoint may say; −1 while nothing is known. Changed with the commit
    /// lock held.
    cleaned: AtomicI64,
    hooks: RwLock<Vec<DurableHook>>,
    pub(crate) damage_hooks: RwLock<Vec<DamageHook>>,
}

/// What all logs of a store share.
pub(crate) type Shared = shared::Shared<PartitionLog>;

/// A file that is held open, and its path for errors.
pub(crate) type OpenFile = (PathBuf, Arc<dyn DiskFile>);

/// What changes under the partition's lock.
pub(crate) struct State {
    pub(crate) folder: PathBuf,
    /// Never empty; the last one is the active one.
    pub(crate) segments: Vec<Segment>,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) epochs_unsaved: bool,
    pub(crate) producers: ProducerStates,
    /// Whether a producer has sent something again since the newest snapshot: it isn't as old as that says.
    pub(crate) heard_again: bool,
    /// The offset of the newest producer snapshot.
    pub(crate) snapshot_at: Option<Offset>,
    /// Files whose content has to be synced before the folder's names are.
    pub(crate) unsynced_files: Vec<OpenFile>,
    /// Whether the folder has names that weren't synced.
    pub(crate) folder_unsynced: bool,
    /// The change of the data folder that made the folder's own name, while it isn't synced.
    pub(crate) parent_unsynced: Option<u64>,
    /// Up to here the segments themselves are on disk, be more of the log durable by the journal or not.
    /// Invariant: not past the log's end.
    pub(crate) segments_synced_to: Offset,
    /// Whether something was written since the folder was last known to be complete.
    pub(crate) touched: bool,
    /// Where the last reads ended: (offset, segment, position).
    pub(crate) read_hints: [(Offset, Offset, u64); 4],
    pub(crate) read_hint_next: usize,
    pub(crate) deleted: bool,
    /// While the log is being cut or repaired it takes no appends, and stays as it is up to here.
    pub(crate) closed_at: Option<Offset>,
    /// Its store is being closed: nothing changes it any more.
    pub(crate) finished: bool,
    /// Changes whenever the log is cut: what was known of its tail before says nothing any more.
    pub(crate) incarnation: u64,
    /// Whether the end isn't durable and not in the journal either: all that follows has to wait for a sync
    /// in place.
    pub(crate) direct: bool,
    /// The newest entry in the journal.
    pub(crate) slot: Slot,
    /// What is known to be corrupt or missing, in order.
    pub(crate) damaged: Vec<Damage>,
}

impl State {
    pub(crate) fn active(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("`State::segments` is never empty")
    }

    pub(crate) fn end(&self) -> Offset {
        self.segments.last().expect("`State::segments` is never empty").end
    }

    /// Asserts what is true of all segments of a log that begins at `start`, where they were made or put in
    /// between.
    #[track_caller]
    pub(crate) fn assert_chain(&self, start: Offset) {
        assert!(!self.segments.is_empty(), "a log always has an active segment");
        assert!(self.segments[0].base <= start && start <= self.end(), "a log begins in one of its segments");
        for two in self.segments.windows(2) {
            assert_eq!(two[0].end, two[1].base, "the next segment begins where one ends");
        }
    }

    pub(crate) fn path(&self, kind: FileKind, base: Offset) -> PathBuf {
        self.folder.join(kind.file_name(base))
    }

    /// The segment that holds `offset`, or would if it existed.
    pub(crate) fn segment_of(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }
}

/// A log as it was found on disk, or made.
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) start: Offset,
    pub(crate) recovery_point: Offset,
    /// Up to here it is clean, if that is known. Files don't say it, so who reads them again knows it.
    pub(crate) cleaned: Option<Offset>,
}

/// Who a partition's log belongs to.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
}

impl PartitionLog {
    /// A log whose whole content is durable.
    pub(crate) fn new(shared: Arc<Shared>, who: Identity, config: LogConfig, loaded: Loaded) -> Arc<Self> {
        let Loaded { state, start, recovery_point, cleaned } = loaded;
        let end = state.end();
        assert!(start <= end, "the log start is not past the log end");
        assert!(recovery_point <= end, "{recovery_point} can't be on disk of a log that ends at {end}");
        assert!(cleaned <= Some(end), "{cleaned:?} can't be clean of a log that ends at {end}");
        assert!(
            state.segments_synced_to <= end,
            "{} can't be synced of a log that ends at {end}",
            state.segments_synced_to
        );
        Arc::new(Self {
            topic: who.topic,
            topic_id: who.topic_id,
            partition: who.partition,
            key: shared.next_key(),
            shared,
            state: Mutex::new(state),
            commit_lock: Mutex::new(()),
            config: RwLock::new(Arc::new(config)),
            queued: AtomicBool::new(false),
            start: AtomicI64::new(start.0),
            start_at_most: AtomicI64::new(i64::MAX),
            end: AtomicI64::new(end.0),
            durable: AtomicI64::new(end.0),
            recovery_point: AtomicI64::new(recovery_point.0),
            cleaned: AtomicI64::new(cleaned.map_or(-1, |cleaned| cleaned.0)),
            hooks: RwLock::new(Vec::new()),
            damage_hooks: RwLock::new(Vec::new()),
        })
    }

    /// The topic's name.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The topic's id.
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// The partition's number.
    pub fn partition(&self) -> PartitionIndex {
        self.partition
    }

    pub(crate) fn journal_key(&self) -> JournalKey {
        (self.topic_id, self.partition)
    }

    /// Topic and number.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }

    /// The first offset that can be read.
    pub fn log_start_offset(&self) -> Offset {
        Offset(self.start.load(Ordering::Acquire))
    }

    /// The offset after the last record, durable or not.
    pub fn end_offset(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    /// The offset up to which records may be acknowledged and shown: synced to disk, or just written
    /// where `ack.durability=written`. Only [`Self::truncate_to`] and [`Self::reset_to`] take it back.
    pub fn durable_end_offset(&self) -> Offset {
        Offset(self.durable.load(Ordering::Acquire))
    }

    /// Calls `hook` each time the durable end offset has advanced, from the committer's thread or the
    /// appender's.
    pub fn add_durable_hook(&self, hook: DurableHook) {
        self.hooks.write().push(hook);
    }

    /// The bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.state.lock().segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The newest leader epoch in the log.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.state.lock().epochs.latest()
    }

    /// The greatest epoch up to `epoch` in the log and its end offset, as OffsetForLeaderEpoch answers.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.state.lock();
        state.epochs.end_offset_for(epoch, state.end())
    }

    /// The epoch of the leader that wrote the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.state.lock().epochs.epoch_at(offset)
    }

    /// The same of a record that is here, or was let go; none beyond the log's end.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let state = self.state.lock();
        state.epochs.epoch_at(offset).filter(|_| offset < state.end())
    }

    /// The settings.
    pub fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    /// Changes the settings; they apply from the next append on.
    pub fn set_config(self: &Arc<Self>, config: LogConfig) {
        *self.config.write() = Arc::new(config);
        // What was only written so far may have to be synced now.
        self.queue();
    }

    pub(crate) fn is_written_enough(&self) -> bool {
        self.config.read().ack_durability == AckDurability::Written
    }

    pub(crate) fn set_start(&self, start: Offset) {
        assert!(start.0 >= 0, "a log has no offset {start}");
        self.start.store(start.0, Ordering::Release);
    }

    /// Says that the log is about to begin at `start`, be that earlier, or with `None` that it isn't any
    /// more.
    pub(crate) fn set_start_at_most(&self, start: Option<Offset>) {
        self.start_at_most.store(start.map_or(i64::MAX, |start| start.0), Ordering::Release);
    }

    /// What the files of all partitions may say of the log's start.
    fn start_to_save(&self) -> Offset {
        // In this order, as the start is set before the limit is taken back.
        let at_most = self.start_at_most.load(Ordering::Acquire);
        self.log_start_offset().min(Offset(at_most))
    }

    pub(crate) fn set_end(&self, end: Offset) {
        self.end.store(end.0, Ordering::Release);
    }

    /// Advances the durable end; never takes it back. Returns whether it has advanced.
    pub(crate) fn advance_durable(&self, durable: Offset) -> bool {
        self.durable.fetch_max(durable.0, Ordering::AcqRel) < durable.0
    }

    /// Sets the durable end, when the log was cut.
    pub(crate) fn cut_durable(&self, durable: Offset) {
        self.durable.store(durable.0, Ordering::Release);
    }

    /// Up to here everything of the log is on disk; `None` once the partition is deleted.
    pub(crate) fn recovery_point(&self) -> Option<Offset> {
        let recovery_point = self.recovery_point.load(Ordering::Acquire);
        (recovery_point >= 0).then_some(Offset(recovery_point))
    }

    /// Sets the recovery point; `None` when the partition is deleted.
    pub(crate) fn set_recovery_point(&self, recovery_point: Option<Offset>) {
        assert!(
            recovery_point.is_none_or(|offset| offset.0 >= 0),
            "{recovery_point:?} would say that it is deleted"
        );
        self.recovery_point.store(recovery_point.map_or(-1, |offset| offset.0), Ordering::Release);
    }

    /// Up to here a cleaning went; `None` when that isn't known.
    pub fn cleaned_offset(&self) -> Option<Offset> {
        let cleaned = self.cleaned.load(Ordering::Acquire);
        (cleaned >= 0).then_some(Offset(cleaned))
    }

    /// Takes note that a cleaning went up to `cleaned`. The next checkpoint says it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the cleaner, which goes that far, comes next"))]
    pub(crate) fn set_cleaned_offset(&self, cleaned: Offset) {
        assert!(self.commit_lock.is_locked(), "a log isn't cut while that is said of it");
        assert!(cleaned.0 >= 0 && cleaned <= self.end_offset(), "only what is there is clean: {cleaned}");
        self.cleaned.store(cleaned.0, Ordering::Release);
    }

    /// What follows `to` isn't clean, as it is about to be cut.
    pub(crate) fn lower_cleaned_offset(&self, to: Offset) {
        self.cleaned.fetch_min(to.0, Ordering::AcqRel);
    }

    pub(crate) fn call_hooks(&self) {
        let durable = self.durable_end_offset();
        for hook in self.hooks.read().iter() {
            hook(durable);
        }
    }

    /// Puts it on the committer's list, unless it is there.
    pub(crate) fn queue(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.shared.mark_dirty(Arc::clone(self));
        }
    }

    pub(crate) fn file(
        &self,
        state: &State,
        kind: FileKind,
        base: Offset,
        mode: OpenMode,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let key = FileKey { partition: self.key, base, kind };
        self.shared.file(key, &state.path(kind, base), mode)
    }
}

impl SavedLog for PartitionLog {
    fn to_save(&self) -> Option<ToSave> {
        let recovery_point = self.recovery_point()?;
        let (name, topic_id) = (self.topic_partition(), self.topic_id);
        let (start, cleaned) = (self.start_to_save(), self.cleaned_offset());
        Some(ToSave { name, topic_id, recovery_point, start, cleaned })
    }
}

impl std::fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} {}..{}", self.topic, self.partition, self.log_start_offset(), self.end_offset())
    }
}
