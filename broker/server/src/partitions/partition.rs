//! One replica that this broker holds: its log, what it knows of the others, and who waits for it.
//!
//! [`Replica`] decides, and this carries out. Locks, in the order in which they are taken: `gate`, `cut`, the
//! log's commit lock, `replica`, the log's state. Durable hooks run under the commit lock (a sync in place),
//! the journal's lock for those it tells (a group), or the gate (where written is enough), so nothing here
//! syncs with `replica` held.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ottla_core::metadata::is_internal;
use ottla_core::partition::{
    AppendRefusal, Assignment, Change, Committed, FetchRefusal, FetchVerdict, FollowerFetch, IsrProposal,
    LogFacts, Replica, RoleKind, SavedHighWatermark,
};
use ottla_log::{SequenceError, check_fits_segment};
use ottla_store::{AppendError, Appended, Checked, PartitionLog};
use ottla_types::{BrokerId, LeaderEpoch, Offset};
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, timeout_at};

use super::purgatory::{Crowds, Purgatory, Woken};
use super::ready::{PartitionKey, ReadyList};
use super::standing::{LogOffsetSnapshot, Standing};
use crate::clock::{monotonic_ms, now_ms};

/// One replica that this broker holds.
#[derive(Debug)]
pub struct Partition {
    /// Its log.
    pub log: Arc<PartitionLog>,
    /// Who waits for its high watermark.
    pub purgatory: Arc<Purgatory>,
    key: PartitionKey,
    /// Held for reading by whoever writes to the log in a role, so that the role can't change in between.
    pub(super) gate: RwLock<()>,
    pub(super) replica: Mutex<Replica>,
    /// Held by who cuts the log.
    pub(super) cut: Mutex<()>,
    /// The cuts that are decided and not done.
    pub(super) cuts_to_do: AtomicUsize,
    /// Followers' sessions, which are told of new records, another high watermark, another role.
    watchers: Mutex<Vec<Weak<ReadyList>>>,
    /// While this follows: the stream from its leader.
    stream: Mutex<Option<Arc<ReadyList>>>,
    /// Where proposals to the controller go.
    proposals: Arc<ReadyList>,
    /// Where it is told that the role is another, or its epoch; of internal topics only, as coordinators
    /// begin and end with it.
    roles: Option<Arc<ReadyList>>,
    throttled: Mutex<Throttled>,
    is_gone: AtomicBool,
}

/// Where the partitions of a broker say what is to be done for them.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// Those that have something to propose to the controller.
    pub proposals: Arc<ReadyList>,
    /// Those of internal topics whose role is another, or that are gone.
    pub roles: Arc<ReadyList>,
    /// Those for which more wait than are woken at once.
    pub crowds: Arc<Crowds>,
}

/// Whether replication throttling holds for a replica in each of its roles, by its topic's settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttled {
    /// As the leader: what its followers fetch.
    pub leader: bool,
    /// As a follower: what it fetches.
    pub follower: bool,
}

/// Who appends records to the log of a leader. A follower appends its leader's records by
/// [`Partition::on_answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer, in whatever epoch this broker leads.
    Client(RequiredAcks),
    /// A coordinator that keeps its state in this partition, for all replicas in sync. What it decided as the
    /// leader of one epoch is void in another.
    Coordinator(LeaderEpoch),
}

/// Who must have the records before a producer hears of a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredAcks {
    /// Nobody, or the leader: `acks=0` and `acks=1`.
    AtMostLeader,
    /// All replicas in sync, of which there must be `min.insync.replicas`: `acks=all`.
    All,
}

/// Why records weren't appended.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The replica doesn't take any.
    #[error("{}", refusal_text(.0))]
    Refused(AppendRefusal),
    /// Its topic is the brokers' own, and a client wants to append.
    #[error("only brokers write to an internal topic: nothing was appended")]
    Internal,
    /// What is damaged may hold what the producer wrote before, so that a repeated batch isn't known.
    #[error(
        "records that the producer may have written last are damaged, and being repaired: nothing was appended"
    )]
    UnderRepair,
    /// They were appended before, too long ago to say where.
    #[error("these records were appended before offset {}", .last.0 + 1)]
    AppendedBefore {
        /// They are acknowledged once the record at this offset is.
        last: Offset,
        /// The epoch in which this was asked.
        epoch: LeaderEpoch,
    },
    /// The log doesn't.
    #[error(transparent)]
    Log(#[from] AppendError),
}

fn refusal_text(refusal: &AppendRefusal) -> String {
    match refusal {
        AppendRefusal::NotLeader => "this broker does not lead the partition".to_owned(),
        AppendRefusal::NotEnoughReplicas { in_sync, minimum } => {
            format!(
                "{in_sync} replicas are in sync, and min.insync.replicas is {minimum}: nothing was appended"
            )
        }
    }
}

impl Partition {
    /// Takes over a log, of which this high watermark was saved, and listens for what becomes durable. Where
    /// it leads, members may lag for `lag_max`.
    pub fn new(
        me: BrokerId,
        log: Arc<PartitionLog>,
        high_watermark: Offset,
        lag_max: Duration,
        lists: Lists,
    ) -> Arc<Self> {
        let Lists { proposals, roles, crowds } = lists;
        let lag_max_ms = u64::try_from(lag_max.as_millis()).unwrap_or(u64::MAX);
        let replica = Replica::new(me, high_watermark, facts(&log), lag_max_ms);
        let partition = Arc::new(Self {
            key: (log.topic_id(), log.partition()),
            log: Arc::clone(&log),
            purgatory: Arc::new(Purgatory::new(crowds)),
            gate: RwLock::default(),
            replica: Mutex::new(replica),
            cut: Mutex::default(),
            cuts_to_do: AtomicUsize::new(0),
            watchers: Mutex::default(),
            stream: Mutex::default(),
            proposals,
            roles: is_internal(log.topic().as_str()).then_some(roles),
            throttled: Mutex::default(),
            is_gone: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&partition);
        log.add_durable_hook(Arc::new(move |_| {
            if let Some(partition) = weak.upgrade() {
                partition.on_durable();
            }
        }));
        partition
    }

    /// Topic and number.
    pub fn key(&self) -> PartitionKey {
        self.key
    }

    /// The role, and the offsets in it.
    pub fn standing(&self) -> Standing {
        let replica = self.replica.lock();
        Standing {
            role: replica.role(),
            leader_epoch: replica.leader_epoch(),
            is_current: replica.is_high_watermark_current(),
            offsets: LogOffsetSnapshot::new(&replica, facts(&self.log)),
        }
    }

    /// The offsets, all of one moment.
    pub fn offsets(&self) -> LogOffsetSnapshot {
        let replica = self.replica.lock();
        LogOffsetSnapshot::new(&replica, facts(&self.log))
    }

    /// How far records are acknowledged and shown.
    pub fn high_watermark(&self) -> Offset {
        self.replica.lock().high_watermark()
    }

    /// The same for the next start.
    pub fn high_watermark_to_save(&self) -> SavedHighWatermark {
        // Held until the epoch is known: a log that is being cut grows again only once the replica has heard
        // of it.
        let replica = self.replica.lock();
        SavedHighWatermark::new(replica.high_watermark(), |offset| self.log.epoch_of(offset))
    }

    /// Looks at the replica.
    pub fn with_replica<T>(&self, look: impl FnOnce(&Replica) -> T) -> T {
        look(&self.replica.lock())
    }

    /// Whether this leads in `epoch`.
    pub fn leads_in(&self, epoch: LeaderEpoch) -> bool {
        let replica = self.replica.lock();
        replica.role() == RoleKind::Leader && replica.leader_epoch() == epoch
    }

    /// Takes over from the topic's settings whether this replica is throttled.
    pub fn set_throttled(&self, throttled: Throttled) {
        *self.throttled.lock() = throttled;
    }

    /// See [`Self::set_throttled`].
    pub fn throttled(&self) -> Throttled {
        *self.throttled.lock()
    }

    /// Whether `broker` is in sync, as far as this replica knows.
    pub fn is_in_sync(&self, broker: BrokerId) -> bool {
        self.replica.lock().assignment().is_some_and(|assignment| assignment.isr.contains(&broker))
    }

    /// Follows a newer image; `stream` gives the stream from a leader.
    pub fn on_image(&self, assignment: Assignment, stream: impl FnOnce(BrokerId) -> Arc<ReadyList>) {
        let _gate = self.gate.write();
        let change = {
            let mut replica = self.replica.lock();
            let is_old = replica.assignment().is_some_and(|known| {
                (assignment.leader_epoch, assignment.partition_epoch)
                    < (known.leader_epoch, known.partition_epoch)
            });
            assert!(!is_old, "images come in their order");
            replica.on_image(assignment, facts(&self.log), monotonic_ms())
        };
        if change.role {
            let follows = match self.replica.lock().role() {
                RoleKind::Follower(leader) => Some(stream(leader)),
                RoleKind::Leader | RoleKind::Offline => None,
            };
            let old = std::mem::replace(&mut *self.stream.lock(), follows.clone());
            // The old stream finds that it has nothing to ask any more.
            for list in [old, follows].into_iter().flatten() {
                list.push(self.key);
            }
        }
        self.carry_out(change);
    }

    /// Checks a batch that is to be appended here; compressed records are read up to `inflated_max` bytes.
    ///
    /// # Errors
    /// It can't be appended then.
    pub fn check(
        &self,
        records: &Bytes,
        origin: AppendOrigin,
        inflated_max: usize,
    ) -> Result<Checked, ProduceError> {
        // Who couldn't append it needn't look at it.
        self.check_append(origin)?;
        let checked = self.log.check(records, now_ms(), inflated_max)?;
        check_fits_segment(records, &self.log.config()).map_err(AppendError::from)?;
        Ok(checked)
    }

    /// The epoch in which this leads and may append.
    fn check_append(&self, origin: AppendOrigin) -> Result<LeaderEpoch, ProduceError> {
        if matches!(origin, AppendOrigin::Client(_)) && is_internal(self.log.topic().as_str()) {
            return Err(ProduceError::Internal);
        }
        let needs_all = origin != AppendOrigin::Client(RequiredAcks::AtMostLeader);
        let epoch = self.replica.lock().check_append(needs_all).map_err(ProduceError::Refused)?;
        match origin {
            AppendOrigin::Coordinator(decided_in) if decided_in != epoch => {
                Err(ProduceError::Refused(AppendRefusal::NotLeader))
            }
            AppendOrigin::Coordinator(_) | AppendOrigin::Client(_) => Ok(epoch),
        }
    }

    /// Appends a batch as the leader. Returns the epoch in which it was.
    ///
    /// # Errors
    /// Nothing is appended then.
    pub fn append(
        &self,
        checked: &Checked,
        origin: AppendOrigin,
    ) -> Result<(Appended, LeaderEpoch), ProduceError> {
        // Before the gate, which may be closed for a moment while a follower's log is cut.
        self.check_append(origin)?;
        let _gate = self.gate.read();
        let epoch = self.check_append(origin)?;
        // Without another replica there is nothing to wait for.
        if self.has_peers() && self.log.hides_producer_of(checked.records()) {
            return Err(ProduceError::UnderRepair);
        }
        let appended = self.log.append_checked(checked, epoch).map_err(|error| match error {
            AppendError::Sequence(SequenceError::AppendedBefore { below, .. }) => {
                ProduceError::AppendedBefore { last: Offset(below.0 - 1), epoch }
            }
            error => error.into(),
        })?;
        if !appended.duplicate {
            self.replica.lock().on_append(Offset(appended.last_offset.0 + 1), monotonic_ms());
            self.tell_watchers();
        }
        Ok((appended, epoch))
    }

    /// Whether the record at `offset`, appended in `epoch`, may be acknowledged.
    pub fn committed(&self, offset: Offset, epoch: LeaderEpoch) -> Committed {
        if self.is_gone() {
            return Committed::Unknown;
        }
        self.replica.lock().committed(offset, epoch)
    }

    /// Waits until the record at `offset`, appended in `epoch`, may be acknowledged or nobody will know; at
    /// the deadline what it is then.
    pub async fn wait_committed(&self, offset: Offset, epoch: LeaderEpoch, deadline: Instant) -> Committed {
        let woken = Arc::new(Woken::default());
        loop {
            let place = self.purgatory.enter(offset, &woken, 0);
            let committed = self.committed(offset, epoch);
            if matches!(committed, Committed::Yes | Committed::Unknown) {
                return committed;
            }
            if timeout_at(deadline, woken.changed()).await.is_err() {
                return self.committed(offset, epoch);
            }
            drop(place);
        }
    }

    /// A follower asks for records: its progress, and what it is to do.
    ///
    /// # Errors
    /// Why it gets none.
    pub fn on_fetch(&self, fetch: &FollowerFetch) -> Result<FetchVerdict, FetchRefusal> {
        let (verdict, change) = {
            self.replica.lock().on_fetch(
                fetch,
                facts(&self.log),
                |epoch| self.log.end_offset_for_epoch(epoch),
                monotonic_ms(),
            )?
        };
        self.carry_out(change);
        Ok(verdict)
    }

    /// Has `list` told of everything that a follower wants to know.
    pub fn watch(&self, list: &Arc<ReadyList>) {
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        let known = watchers.iter().any(|watcher| std::ptr::eq(watcher.as_ptr(), Arc::as_ptr(list)));
        if !known {
            watchers.push(Arc::downgrade(list));
        }
    }

    /// Ends [`Self::watch`].
    pub fn unwatch(&self, list: &Arc<ReadyList>) {
        self.watchers.lock().retain(|watcher| !std::ptr::eq(watcher.as_ptr(), Arc::as_ptr(list)));
    }

    fn has_peers(&self) -> bool {
        let replica = self.replica.lock();
        replica.assignment().is_some_and(|assignment| assignment.replicas.len() > 1)
    }

    /// Deletes what the topic's settings don't retain, and nothing that isn't acknowledged. Segments whose
    /// age must be read first stay. Blocks on the disk. Returns the number of segments deleted.
    pub fn enforce_retention(&self, now_ms: i64) -> usize {
        let deleted = self.log.enforce_retention(now_ms, self.retention_limit());
        if deleted > 0 {
            self.on_log_start();
        }
        deleted
    }

    /// Reads the next segment whose greatest timestamp retention needs; see [`PartitionLog::learn_age`].
    pub fn learn_age(&self, now_ms: i64) -> bool {
        self.log.learn_age(now_ms, self.retention_limit())
    }

    fn retention_limit(&self) -> Offset {
        self.replica.lock().retention_limit(facts(&self.log))
    }

    pub(super) fn on_log_start(&self) {
        let change = self.replica.lock().on_log_start(facts(&self.log));
        self.carry_out(change);
        self.tell_watchers();
    }

    /// Looks for members that lag. To be called now and then while this leads.
    pub fn on_tick(&self) {
        let proposal = self.replica.lock().on_tick(facts(&self.log), monotonic_ms());
        self.carry_out(Change { proposal, ..Change::default() });
    }

    /// The change of those in sync that is under way.
    pub fn pending_proposal(&self) -> Option<IsrProposal> {
        self.replica.lock().pending_proposal().cloned()
    }

    /// The controller refused a proposal for certain.
    pub fn on_proposal_refused(&self, proposal: &IsrProposal) {
        let change = self.replica.lock().on_proposal_refused(proposal, facts(&self.log));
        self.carry_out(change);
    }

    /// Whether it was deleted.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Marks it deleted and wakes everyone who waits.
    pub fn leave(&self) {
        self.is_gone.store(true, Ordering::Release);
        if let Some(stream) = self.stream.lock().take() {
            stream.push(self.key);
        }
        self.purgatory.wake_all();
        self.tell_watchers();
        self.tell_role();
    }

    fn on_durable(&self) {
        let change = self.replica.lock().on_synced(facts(&self.log));
        self.carry_out(change);
        // What is synced can be acknowledged, by asking for what follows.
        self.ask_again();
    }

    /// Has the stream from the leader of today, if there is one, look at what this follower asks.
    pub(super) fn ask_again(&self) {
        if let Some(stream) = &*self.stream.lock() {
            stream.push(self.key);
        }
    }

    pub(super) fn carry_out(&self, change: Change) {
        if change.role {
            self.purgatory.wake_all();
            self.tell_role();
        }
        if change.high_watermark {
            self.purgatory.advance(self.high_watermark());
        }
        if change.role || change.high_watermark {
            self.tell_watchers();
        }
        if change.proposal.is_some() {
            self.proposals.push(self.key);
        }
    }

    fn tell_role(&self) {
        if let Some(roles) = &self.roles {
            roles.push(self.key);
        }
    }

    fn tell_watchers(&self) {
        for watcher in &*self.watchers.lock() {
            if let Some(list) = watcher.upgrade() {
                list.push(self.key);
            }
        }
    }
}

/// What the log is now. The three offsets aren't read atomically, so they are clamped to start ≤ synced ≤
/// end. That is safe: a leader's log only grows.
pub(super) fn facts(log: &PartitionLog) -> LogFacts {
    let (start, synced, end) = (log.log_start_offset(), log.durable_end_offset(), log.end_offset());
    let synced = synced.min(end);
    LogFacts { start: start.min(synced), end, synced }
}
