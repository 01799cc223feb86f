//! One shard: which decisions are on their way, who waits for them, and when something is due.

use std::collections::VecDeque;
use std::fmt;

use ottla_types::LeaderEpoch;

use super::outbox::{Answer, CallId, Now, Outbox, Ticket, Waiting};

/// What decides: the state of one kind of coordinator.
pub trait Machine {
    /// What is appended.
    type Record;
    /// What the machine hears of again, once its records are committed or refused.
    type After;
    /// What is asked.
    type Request;
    /// What is answered.
    type Reply;
    /// What it is configured with.
    type Config;

    /// What it is configured with.
    fn config(&self) -> &Self::Config;

    /// Takes over a committed record, while the log is read from its beginning.
    fn load(&mut self, record: Self::Record);

    /// The log has been read: the machine begins to serve.
    fn on_loaded(&mut self, now: Now, out: &mut Out<Self>);

    /// Decides about a request, on the newest state.
    fn on_request(&mut self, call: CallId, request: Self::Request, now: Now, out: &mut Out<Self>);

    /// Answers a request that waited by [`Outbox::read_when_committed`], with what is committed.
    fn read(&self, request: &Self::Request) -> Self::Reply;

    /// Whether the request may need records.
    fn needs_records(request: &Self::Request) -> bool;

    /// What a record takes up in memory until it is committed, in bytes.
    fn bytes_of(record: &Self::Record) -> usize;

    /// A decision is committed.
    fn on_committed(&mut self, ticket: Ticket, after: Self::After, now: Now, out: &mut Out<Self>);

    /// A decision was refused, and every later one before it: what it changed is taken back. What this leads
    /// to must not set a [`super::Pending`], as earlier decisions may still be taken back.
    fn on_refused(&mut self, refused: Refused<Self::After>, now: Now, out: &mut Out<Self>);

    /// A decision hasn't been committed within its time. It stands, and may yet be committed.
    fn on_overdue(&mut self, ticket: Ticket, after: &Self::After, now: Now, out: &mut Out<Self>);

    /// Does what is due.
    fn on_time(&mut self, now: Now, out: &mut Out<Self>);

    /// When something is due next, in ms of [`Now::ms`].
    fn next_deadline_ms(&self) -> Option<u64>;

    /// The requests that wait for something other than records.
    fn waiting(&self) -> Vec<Answer<Self::Reply>>;

    /// What the request is told while it can't be served: that, or what is wrong with it by itself. Needs no
    /// machine, as there may be none here.
    fn unserved(config: &Self::Config, request: &Self::Request, why: Unavailable) -> Self::Reply;

    /// The same kind of reply as `reply`, for when its records weren't committed.
    fn failed(reply: Self::Reply, why: Unavailable) -> Self::Reply;
}

/// A machine's outbox.
pub type Out<M> =
    Outbox<<M as Machine>::Record, <M as Machine>::After, <M as Machine>::Reply, <M as Machine>::Request>;

/// A decision that was refused.
#[derive(Debug)]
pub struct Refused<After> {
    /// Its number.
    pub ticket: Ticket,
    /// What the machine wanted to hear of.
    pub after: After,
    /// What those who wait for it are told.
    pub why: Unavailable,
}

/// Why a coordinator can't serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// NOT_COORDINATOR: it doesn't lead the partition, or no longer.
    NotCoordinator,
    /// COORDINATOR_LOAD_IN_PROGRESS: the log is still being read.
    Loading,
    /// COORDINATOR_NOT_AVAILABLE: records can't be committed now; try again.
    NotAvailable,
    /// UNKNOWN_SERVER_ERROR: the records can never be appended, as they are too large.
    TooLarge,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotCoordinator => "this broker isn't the coordinator; find it again",
            Self::Loading => "the coordinator is loading; try again",
            Self::NotAvailable => "the coordinator's records can't be committed now; try again",
            Self::TooLarge => "the coordinator's record is larger than a batch may be",
        })
    }
}

/// Why records couldn't be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendRefusal {
    /// This broker doesn't lead the partition in the append's epoch.
    NotLeader,
    /// Too few replicas are in sync, or the disk is full.
    NotNow,
    /// The batch is larger than the topic allows.
    TooLarge,
}

impl AppendRefusal {
    fn told(self) -> Unavailable {
        match self {
            Self::NotLeader => Unavailable::NotCoordinator,
            Self::NotNow => Unavailable::NotAvailable,
            Self::TooLarge => Unavailable::TooLarge,
        }
    }
}

/// A shard's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLimits {
    /// How long an answer waits for records to be committed, in ms (`offsets.commit.timeout.ms`).
    pub commit_timeout_ms: u64,
    /// How many bytes of records may be uncommitted, before requests that may need more are refused.
    pub uncommitted_bytes_max: usize,
    /// How many bytes of a batch one decision's records may take up. What has names that leave no room in it is
    /// refused, or can't be removed, by itself.
    pub decision_bytes_max: usize,
}

/// Records to append, together or not at all, as the leader of `epoch` and of no other.
#[derive(Clone, Debug, PartialEq)]
pub struct Append<Record> {
    /// The decision's number.
    pub ticket: Ticket,
    /// The leader epoch in which it was decided.
    pub epoch: LeaderEpoch,
    /// What to append; never empty.
    pub records: Vec<Record>,
}

/// What an event leads to; carried out in the order of the fields.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Effects<Record, Reply> {
    /// To append in this order. Several may share a batch. Once one is refused, those after it must not be
    /// appended any more; say so with [`Shard::on_refused`].
    pub appends: Vec<Append<Record>>,
    /// To send. They rest on nothing that could be taken back.
    pub answers: Vec<Answer<Reply>>,
}

/// A decision on its way.
struct InFlight<M: Machine> {
    ticket: Ticket,
    bytes: usize,
    after: M::After,
    waiting: Vec<Waiting<M::Reply, M::Request>>,
    deadline_ms: u64,
}

/// The state of one partition of an internal topic, in one leader epoch.
pub struct Shard<M: Machine> {
    epoch: LeaderEpoch,
    limits: ShardLimits,
    machine: M,
    is_loaded: bool,
    may_grow: bool,
    next: Ticket,
    /// Invariant: the tickets grow.
    in_flight: VecDeque<InFlight<M>>,
    /// Invariant: so many of those in flight, the first ones, are overdue.
    overdue_count: usize,
    /// Invariant: the sum of those in flight.
    uncommitted_bytes: usize,
}

impl<M: Machine> Shard<M> {
    /// A shard of this broker as the leader of `epoch`, whose log is still to be read.
    pub fn new(epoch: LeaderEpoch, limits: ShardLimits, machine: M) -> Self {
        Self {
            epoch,
            limits,
            machine,
            is_loaded: false,
            may_grow: true,
            next: Ticket(1),
            in_flight: VecDeque::new(),
            overdue_count: 0,
            uncommitted_bytes: 0,
        }
    }

    /// The leader epoch in which it decides.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Whether it serves.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// What it holds.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// How many bytes of records are decided and not yet committed.
    pub fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    /// From now on what adds to the state is decided, or refused: when all shards of a broker together take up
    /// as much memory as they may. What renews or removes something is decided in any case.
    pub fn set_may_grow(&mut self, may_grow: bool) {
        self.may_grow = may_grow;
    }

    /// Takes over a record of the log, in the log's order.
    ///
    /// # Panics
    /// When it serves already: then what it decides is its state, not what it reads.
    pub fn load(&mut self, record: M::Record) {
        assert!(!self.is_loaded, "only a shard that doesn't serve is loaded");
        self.machine.load(record);
    }

    /// All of the log that was there at the beginning of the epoch is loaded and committed.
    ///
    /// # Panics
    /// When it serves already.
    pub fn on_loaded(&mut self, now: Now) -> Effects<M::Record, M::Reply> {
        assert!(!self.is_loaded, "a shard is loaded once");
        self.is_loaded = true;
        let mut out = self.outbox();
        self.machine.on_loaded(now, &mut out);
        self.take(out, now)
    }

    /// Somebody asks. The answer comes with these effects or with later ones, exactly once for each call.
    pub fn on_request(
        &mut self,
        call: CallId,
        request: M::Request,
        now: Now,
    ) -> Effects<M::Record, M::Reply> {
        let mut out = self.outbox();
        if !self.is_loaded {
            out.answer(call, M::unserved(self.machine.config(), &request, Unavailable::Loading));
        } else if out.is_full() && M::needs_records(&request) {
            out.answer(call, M::unserved(self.machine.config(), &request, Unavailable::NotAvailable));
        } else {
            self.machine.on_request(call, request, now, &mut out);
        }
        self.take(out, now)
    }

    /// All appends up to `ticket` are committed.
    pub fn on_committed(&mut self, ticket: Ticket, now: Now) -> Effects<M::Record, M::Reply> {
        assert!(ticket < self.next, "{ticket:?} isn't decided yet");
        let mut out = self.outbox();
        let mut answers = Vec::new();
        while self.in_flight.front().is_some_and(|first| first.ticket <= ticket)
            && let Some(first) = self.in_flight.pop_front()
        {
            self.uncommitted_bytes -= first.bytes;
            self.overdue_count = self.overdue_count.saturating_sub(1);
            self.machine.on_committed(first.ticket, first.after, now, &mut out);
            answers.extend(first.waiting.into_iter().map(|one| self.release(one)));
        }
        self.take_with(answers, out, now)
    }

    /// The append of `ticket` was refused, and with it all after it that this shard has handed out.
    ///
    /// # Panics
    /// When `ticket` is committed: that can't be taken back.
    pub fn on_refused(
        &mut self,
        ticket: Ticket,
        refusal: AppendRefusal,
        now: Now,
    ) -> Effects<M::Record, M::Reply> {
        assert!(
            self.in_flight.front().is_some_and(|first| first.ticket <= ticket),
            "{ticket:?} isn't on its way"
        );
        let why = refusal.told();
        let mut out = self.outbox();
        let mut answers = Vec::new();
        while self.in_flight.back().is_some_and(|last| last.ticket >= ticket)
            && let Some(last) = self.in_flight.pop_back()
        {
            self.uncommitted_bytes -= last.bytes;
            // What comes after a record that is too large can be tried again.
            let why = match why {
                Unavailable::TooLarge if last.ticket > ticket => Unavailable::NotAvailable,
                _ => why,
            };
            let refused = Refused { ticket: last.ticket, after: last.after, why };
            self.machine.on_refused(refused, now, &mut out);
            answers.extend(last.waiting.into_iter().map(|one| self.fail(one, why)));
        }
        self.overdue_count = self.overdue_count.min(self.in_flight.len());
        self.take_with(answers, out, now)
    }

    /// Does what is due by now.
    pub fn on_time(&mut self, now: Now) -> Effects<M::Record, M::Reply> {
        let mut out = self.outbox();
        let mut answers = Vec::new();
        // Each has as long as the others, so those that are due come first.
        while let Some(overdue) = self.in_flight.get_mut(self.overdue_count)
            && overdue.deadline_ms <= now.ms
        {
            self.overdue_count += 1;
            self.machine.on_overdue(overdue.ticket, &overdue.after, now, &mut out);
            let waiting = std::mem::take(&mut overdue.waiting);
            answers.extend(waiting.into_iter().map(|one| self.fail(one, Unavailable::NotAvailable)));
        }
        if self.is_loaded {
            self.machine.on_time(now, &mut out);
        }
        self.take_with(answers, out, now)
    }

    /// When [`Self::on_time`] has something to do next, in ms of [`Now::ms`].
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let overdue = self.in_flight.get(self.overdue_count).map(|one| one.deadline_ms);
        let due = if self.is_loaded { self.machine.next_deadline_ms() } else { None };
        overdue.into_iter().chain(due).min()
    }

    /// This broker no longer leads in the shard's epoch: all who wait are told, and the state is dropped.
    /// What was decided and not committed may or may not survive.
    #[must_use]
    pub fn resign(mut self) -> Vec<Answer<M::Reply>> {
        let why = Unavailable::NotCoordinator;
        let committing: Vec<_> = self.in_flight.drain(..).flat_map(|one| one.waiting).collect();
        let waiting = self.machine.waiting().into_iter().map(Waiting::Answer);
        committing.into_iter().chain(waiting).map(|one| self.fail(one, why)).collect()
    }

    fn outbox(&self) -> Out<M> {
        assert!(self.overdue_count <= self.in_flight.len(), "those that are overdue are in flight");
        assert!(
            self.uncommitted_bytes == 0 || !self.in_flight.is_empty(),
            "what is in flight takes up bytes"
        );
        let is_full = self.uncommitted_bytes >= self.limits.uncommitted_bytes_max;
        Outbox::new(self.next, self.limits.decision_bytes_max, is_full, self.may_grow)
    }

    fn take(&mut self, out: Out<M>, now: Now) -> Effects<M::Record, M::Reply> {
        self.take_with(Vec::new(), out, now)
    }

    /// Notes what was decided, and hands it out.
    fn take_with(
        &mut self,
        mut answers: Vec<Answer<M::Reply>>,
        out: Out<M>,
        now: Now,
    ) -> Effects<M::Record, M::Reply> {
        self.next = out.next_ticket();
        answers.extend(out.answers);
        let is_all_overdue = self.overdue_count == self.in_flight.len();
        match self.in_flight.back_mut() {
            None => answers.extend(out.behind.into_iter().map(|one| self.release(one))),
            Some(last) if !is_all_overdue => last.waiting.extend(out.behind),
            // Nobody knows when those before are committed.
            Some(_) => {
                answers.extend(out.behind.into_iter().map(|one| self.fail(one, Unavailable::NotAvailable)));
            }
        }
        let mut appends = Vec::new();
        for decision in out.decisions {
            let bytes = decision.records.iter().map(M::bytes_of).sum();
            self.uncommitted_bytes += bytes;
            let deadline_ms = now.ms + self.limits.commit_timeout_ms;
            let (ticket, after, waiting) = (decision.ticket, decision.after, decision.waiting);
            self.in_flight.push_back(InFlight { ticket, bytes, after, waiting, deadline_ms });
            appends.push(Append { ticket, epoch: self.epoch, records: decision.records });
        }
        Effects { appends, answers }
    }

    /// What somebody waited for is committed.
    fn release(&self, waiting: Waiting<M::Reply, M::Request>) -> Answer<M::Reply> {
        match waiting {
            Waiting::Answer(answer) => answer,
            Waiting::Read(call, request) => Answer { call, reply: self.machine.read(&request) },
        }
    }

    /// What somebody waited for isn't committed.
    fn fail(&self, waiting: Waiting<M::Reply, M::Request>, why: Unavailable) -> Answer<M::Reply> {
        match waiting {
            Waiting::Answer(Answer { call, reply }) => Answer { call, reply: M::failed(reply, why) },
            Waiting::Read(call, request) => {
                Answer { call, reply: M::unserved(self.machine.config(), &request, why) }
            }
        }
    }
}
