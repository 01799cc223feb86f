//! What an event leads to: decisions, and answers that wait for them or don't.

/// A request that an answer is owed to. The server gives each its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A decision's number, in the order in which a shard makes and appends them. Never used again, not even
/// after a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The time of an event, by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds of any clock that doesn't go back: deadlines are on it.
    pub ms: u64,
    /// Milliseconds since 1970: what records say, and offsets' retention counts by. It may jump.
    pub wall_ms: i64,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<Reply> {
    /// To which request.
    pub call: CallId,
    /// What it says.
    pub reply: Reply,
}

/// Somebody waits until records are committed.
#[derive(Debug)]
pub(super) enum Waiting<Reply, Request> {
    /// For an answer that is made already.
    Answer(Answer<Reply>),
    /// To read what is committed then. Its request may be small, and what it reads large.
    Read(CallId, Request),
}

/// Where a state machine puts what an event leads to.
///
/// `Record` is what is appended, `After` what the machine wants to hear of once the records are committed or
/// refused, `Reply` what is answered, `Request` what was asked.
#[derive(Debug)]
pub struct Outbox<Record, After, Reply, Request> {
    next: Ticket,
    decision_bytes_max: usize,
    is_full: bool,
    may_grow: bool,
    pub(super) decisions: Vec<Decision<Record, After, Reply, Request>>,
    /// These wait for nothing.
    pub(super) answers: Vec<Answer<Reply>>,
    /// These wait for what was decided before this event.
    pub(super) behind: Vec<Waiting<Reply, Request>>,
}

/// Records that are appended together, or not at all.
#[derive(Debug)]
pub(super) struct Decision<Record, After, Reply, Request> {
    pub(super) ticket: Ticket,
    pub(super) records: Vec<Record>,
    pub(super) after: After,
    /// These wait until the records are committed.
    pub(super) waiting: Vec<Waiting<Reply, Request>>,
}

impl<Record, After, Reply, Request> Outbox<Record, After, Reply, Request> {
    pub(super) fn new(next: Ticket, decision_bytes_max: usize, is_full: bool, may_grow: bool) -> Self {
        Self {
            next,
            decision_bytes_max,
            is_full,
            may_grow,
            decisions: Vec::new(),
            answers: Vec::new(),
            behind: Vec::new(),
        }
    }

    /// Whether so much is uncommitted that what can wait shall not be decided now.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether what adds to the state may be decided.
    pub fn may_grow(&self) -> bool {
        self.may_grow
    }

    /// How many bytes of a batch a decision's records may take up. Whoever decides has to see to it before it
    /// applies anything: the log would refuse more, and with it what others decided since.
    pub fn decision_bytes_max(&self) -> usize {
        self.decision_bytes_max
    }

    /// The ticket that the next decision gets.
    pub fn next_ticket(&self) -> Ticket {
        self.next
    }

    /// Decides: `records` are to be appended together. The machine has applied them, or will before it
    /// returns, as of the ticket that this one gives.
    ///
    /// # Panics
    /// When there are no records: nothing would ever come back for them.
    pub fn decide(&mut self, records: Vec<Record>, after: After) -> Ticket {
        assert!(!records.is_empty(), "a decision has records");
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        self.decisions.push(Decision { ticket, records, after, waiting: Vec::new() });
        ticket
    }

    /// Answers now: the answer rests on nothing that could be taken back.
    pub fn answer(&mut self, call: CallId, reply: Reply) {
        self.answers.push(Answer { call, reply });
    }

    /// Answers once all that is decided so far is committed.
    pub fn answer_when_committed(&mut self, call: CallId, reply: Reply) {
        self.wait(Waiting::Answer(Answer { call, reply }));
    }

    /// Lets the machine answer by [`super::Machine::read`], once all that is decided so far is committed.
    pub fn read_when_committed(&mut self, call: CallId, request: Request) {
        self.wait(Waiting::Read(call, request));
    }

    fn wait(&mut self, waiting: Waiting<Reply, Request>) {
        match self.decisions.last_mut() {
            Some(decision) => decision.waiting.push(waiting),
            None => self.behind.push(waiting),
        }
    }
}
