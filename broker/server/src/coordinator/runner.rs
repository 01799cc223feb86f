//! The task of one shard: it takes what is asked from the mailbox, has the shard decide, appends, and answers
//! once that is committed.
//!
//! A turn takes all that waits, so that requests that come together share a batch. The order of a turn's
//! effects: appends, then answers, then what became committed. All of the shard's appends and all that it is
//! told of them come from here; durable hooks only wake this.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::coordinator::{
    Answer, Append, AppendRefusal, CallId, Effects, Ledger, Machine, Now, Settled, Shard, Ticket, Unavailable,
};
use ottla_core::group::{Groups, Record, Reply};
use ottla_core::partition::AppendRefusal as ReplicaRefusal;
use ottla_log::BatchError;
use ottla_store::AppendError;
use ottla_types::{LeaderEpoch, Offset};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::codec::{FilledBatch, TooLarge, next_batch};
use super::load::batch_bytes_max;
use super::mailbox::Mailbox;
use crate::clock::{monotonic_ms, now_ms};
use crate::net::RateLimit;
use crate::partitions::{AppendOrigin, Partition, ProduceError, PurgatoryPlace, Woken};

/// A turn takes so many requests at most.
const TURN_REQUESTS_MAX: usize = 256;
/// And decides on so many bytes of records, about.
const TURN_RECORD_BYTES: usize = 64 << 10;

/// A mailbox whose owner closes it, however that ends.
pub struct OwnMailbox(pub Arc<Mailbox>);

impl Drop for OwnMailbox {
    fn drop(&mut self) {
        self.0.close();
        // Who waits for an answer to what is left hears that there is nobody.
        while self.0.pop().is_some() {}
    }
}

/// The shard's time is over: it leads no more, or has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

/// What became of an append that wasn't one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAppended {
    Over,
    Refused(AppendRefusal),
}

/// A shard that serves.
pub struct Runner {
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    mailbox: OwnMailbox,
    shard: Shard<Groups>,
    ledger: Ledger,
    /// Where each answer that is owed goes. Who waits with the shard takes up no more than this.
    calls: HashMap<CallId, oneshot::Sender<Reply>>,
    last_call: CallId,
    woken: Arc<Woken>,
    /// Held all the time: behind what has to be committed next, or where only another role wakes who waits.
    place: Option<PurgatoryPlace>,
    refusals: RateLimit,
}

impl Runner {
    /// A shard that is loaded and doesn't serve yet.
    pub fn new(partition: Arc<Partition>, mailbox: OwnMailbox, shard: Shard<Groups>) -> Self {
        Self {
            partition,
            epoch: shard.epoch(),
            mailbox,
            shard,
            ledger: Ledger::default(),
            calls: HashMap::new(),
            last_call: CallId(0),
            woken: Arc::default(),
            place: None,
            refusals: RateLimit::new(1),
        }
    }

    /// Serves until this broker doesn't lead in the shard's epoch any more, or the mailbox is closed. Then
    /// all who wait are told.
    pub async fn run(mut self) {
        let now = now();
        let began = self.shard.on_loaded(now);
        let mut outcome = self.carry_out(began, now);
        self.mailbox.0.open();
        while outcome.is_ok() {
            if self.mailbox.0.is_empty() {
                self.wait().await;
            } else {
                // There is more than a turn takes: others have theirs first.
                yield_now().await;
            }
            outcome = self.turn();
        }
        self.resign();
    }

    /// Waits until there is something to do.
    async fn wait(&self) {
        let due = self.shard.next_deadline_ms();
        let time_is_up = async {
            match due {
                Some(at_ms) => sleep(Duration::from_millis(at_ms.saturating_sub(monotonic_ms()))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.mailbox.0.changed() => {}
            () = self.woken.changed() => {}
            () = time_is_up => {}
        }
    }

    /// Does what there is to do, or some of it if there is much.
    pub(super) fn turn(&mut self) -> Result<(), Over> {
        self.woken.take();
        if self.mailbox.0.is_closed() || !self.leads() {
            return Err(Over);
        }
        let now = now();
        let (mut appends, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
        for _ in 0..TURN_REQUESTS_MAX {
            let Some(message) = (bytes < TURN_RECORD_BYTES).then(|| self.mailbox.0.pop()).flatten() else {
                break;
            };
            self.last_call.0 += 1;
            self.calls.insert(self.last_call, message.answer);
            let effects = self.shard.on_request(self.last_call, message.request, now);
            // It is decided: what is kept for it now is the shard's to count.
            drop(message.kept);
            bytes += effects.appends.iter().flat_map(|one| &one.records).map(Groups::bytes_of).sum::<usize>();
            appends.extend(effects.appends);
            answers.extend(effects.answers);
        }
        if self.shard.next_deadline_ms().is_some_and(|at_ms| at_ms <= now.ms) {
            let effects = self.shard.on_time(now);
            appends.extend(effects.appends);
            answers.extend(effects.answers);
        }
        self.carry_out(Effects { appends, answers }, now)
    }

    /// Appends, answers, and sees what is committed, until there is nothing new.
    fn carry_out(&mut self, effects: Effects<Record, Reply>, now: Now) -> Result<(), Over> {
        let mut next = Some(effects);
        while let Some(Effects { appends, answers }) = next {
            let refused = self.append_all(appends.into(), now);
            self.answer(answers);
            next = match refused {
                Ok(()) => self.settle(now)?,
                Err((_, NotAppended::Over)) => return Err(Over),
                Err((ticket, NotAppended::Refused(why))) => Some(self.shard.on_refused(ticket, why, now)),
            };
        }
        Ok(())
    }

    /// Appends in order. After the first decision that is refused, nothing is.
    pub(super) fn append_all(
        &mut self,
        mut appends: VecDeque<Append<Record>>,
        now: Now,
    ) -> Result<(), (Ticket, NotAppended)> {
        loop {
            let bytes_max = batch_bytes_max(&self.partition.log.config());
            let FilledBatch { first, last, bytes } = match next_batch(&mut appends, bytes_max, now.wall_ms) {
                None => return Ok(()),
                Some(Ok(batch)) => batch,
                Some(Err(TooLarge(ticket))) => {
                    return Err((ticket, NotAppended::Refused(AppendRefusal::TooLarge)));
                }
            };
            let last_offset = self.append(&bytes).map_err(|not| (first, not))?;
            self.ledger.note(last_offset, last);
        }
    }

    /// Appends a batch; the offset of its last record.
    fn append(&self, bytes: &Bytes) -> Result<Offset, NotAppended> {
        let origin = AppendOrigin::Coordinator(self.epoch);
        let checked = self.partition.check(bytes, origin, usize::MAX);
        match checked.and_then(|checked| self.partition.append(&checked, origin)) {
            Ok((appended, _)) => {
                assert!(!appended.duplicate, "a batch that names no producer is no repetition");
                Ok(appended.last_offset)
            }
            Err(refusal) => {
                let why = not_appended(&refusal);
                if why != NotAppended::Over && self.refusals.allow().is_some() {
                    let partition = self.partition.log.topic_partition();
                    warn!(%partition, error = %refusal, "group coordinator can't append");
                }
                Err(why)
            }
        }
    }

    /// Sees which appends are committed; what that leads to, if any is.
    fn settle(&mut self, now: Now) -> Result<Option<Effects<Record, Reply>>, Over> {
        // Enter first and look then, or a wake-up in between is lost. The old place is left after that.
        let next = self.ledger.next().unwrap_or(Offset(i64::MAX));
        self.place = Some(self.partition.purgatory.enter(next, &self.woken, 0));
        if !self.leads() {
            return Err(Over);
        }
        let (partition, epoch) = (&self.partition, self.epoch);
        match self.ledger.settle(|offset| partition.committed(offset, epoch)) {
            Settled::UpTo(ticket) => Ok(Some(self.shard.on_committed(ticket, now))),
            Settled::Nothing => Ok(None),
            Settled::Lost => Err(Over),
        }
    }

    fn leads(&self) -> bool {
        !self.partition.is_gone() && self.partition.leads_in(self.epoch)
    }

    fn answer(&mut self, answers: Vec<Answer<Reply>>) {
        send(&mut self.calls, answers);
    }

    /// Tells all who wait that they have to look for another coordinator. What was decided and isn't known to
    /// be committed may or may not survive.
    fn resign(self) {
        let Self { partition, epoch, mailbox, shard, mut calls, .. } = self;
        mailbox.0.close();
        let told = calls.len();
        while let Some(message) = mailbox.0.pop() {
            let config = shard.machine().config();
            let reply = Groups::unserved(config, &message.request, Unavailable::NotCoordinator);
            // The client may be gone.
            let _ = message.answer.send(reply);
        }
        send(&mut calls, shard.resign());
        assert!(calls.is_empty(), "each request is answered");
        let partition = partition.log.topic_partition();
        debug!(%partition, epoch = epoch.0, told, "group coordinator resigned");
    }
}

fn send(calls: &mut HashMap<CallId, oneshot::Sender<Reply>>, answers: Vec<Answer<Reply>>) {
    for Answer { call, reply } in answers {
        let asked = calls.remove(&call).expect("each request is answered once");
        // The client may be gone.
        let _ = asked.send(reply);
    }
}

fn now() -> Now {
    Now { ms: monotonic_ms(), wall_ms: now_ms() }
}

/// What an append that failed means.
pub(super) fn not_appended(error: &ProduceError) -> NotAppended {
    match error {
        ProduceError::Refused(ReplicaRefusal::NotLeader)
        | ProduceError::Log(AppendError::Deleted | AppendError::Epoch { .. }) => NotAppended::Over,
        ProduceError::Refused(ReplicaRefusal::NotEnoughReplicas { .. })
        | ProduceError::UnderRepair
        | ProduceError::Log(
            AppendError::NoSpace { .. }
            | AppendError::OutOfFiles { .. }
            | AppendError::Busy
            | AppendError::Failed
            // The topic's settings don't take what every coordinator writes: they may be set right.
            | AppendError::Batch(
                BatchError::Truncated { .. }
                | BatchError::Length(_)
                | BatchError::Magic(_)
                | BatchError::Crc { .. }
                | BatchError::Codec(_)
                | BatchError::Offsets { .. }
                | BatchError::Refused(_)
                | BatchError::BatchCount
                | BatchError::Sequence { .. }
                | BatchError::LeaderEpoch(_)
                | BatchError::Record(_),
            ),
        ) => NotAppended::Refused(AppendRefusal::NotNow),
        ProduceError::Log(AppendError::Batch(BatchError::TooLarge { .. })) => {
            NotAppended::Refused(AppendRefusal::TooLarge)
        }
        ProduceError::Internal
        | ProduceError::AppendedBefore { .. }
        | ProduceError::Log(AppendError::Sequence(_) | AppendError::Offset { .. }) => {
            panic!("a coordinator's batch, which names neither producer nor offset, was refused: {error}")
        }
    }
}
