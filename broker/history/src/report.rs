//! What a history is held to, and what the checks found.

/// Findings that are told in full; the rest is counted.
const EXAMPLES_MAX: usize = 20;

/// The rules that a history is held to, each named for its breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// An offset never shows two values.
    InconsistentOffsets,
    /// A value never stands at two offsets.
    Duplicate,
    /// What was acknowledged below something that was read is read too.
    LostWrite,
    /// No value of a failed send is read.
    AbortedRead,
    /// A transaction never reads what it sends itself.
    PrecommittedRead,
    /// A consumer's next poll leaves out no record.
    PollSkip,
    /// A consumer's next poll doesn't go back.
    NonmonotonicPoll,
    /// One poll leaves out no record.
    InternalPollSkip,
    /// One poll doesn't go back.
    InternalNonmonotonicPoll,
    /// A producer's records stand in the order of its sends.
    NonmonotonicSend,
    /// What is read was sent, and was sent once.
    UnsentRead,
    /// All that was acknowledged or read is there at the end.
    Unseen,
}

impl Check {
    /// All of them, the gravest first.
    pub const ALL: [Check; 12] = [
        Check::InconsistentOffsets,
        Check::Duplicate,
        Check::LostWrite,
        Check::Unseen,
        Check::AbortedRead,
        Check::PrecommittedRead,
        Check::UnsentRead,
        Check::PollSkip,
        Check::NonmonotonicPoll,
        Check::InternalPollSkip,
        Check::InternalNonmonotonicPoll,
        Check::NonmonotonicSend,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Check::InconsistentOffsets => "inconsistent offsets",
            Check::Duplicate => "duplicate",
            Check::LostWrite => "lost write",
            Check::AbortedRead => "aborted read",
            Check::PrecommittedRead => "precommitted read",
            Check::PollSkip => "poll skip",
            Check::NonmonotonicPoll => "nonmonotonic poll",
            Check::InternalPollSkip => "internal poll skip",
            Check::InternalNonmonotonicPoll => "internal nonmonotonic poll",
            Check::NonmonotonicSend => "nonmonotonic send",
            Check::UnsentRead => "unsent read",
            Check::Unseen => "unseen",
        }
    }

    /// What it wants.
    pub fn rule(self) -> &'static str {
        match self {
            Check::InconsistentOffsets => "an offset never shows two values",
            Check::Duplicate => "a value never stands at two offsets",
            Check::LostWrite => "what was acknowledged below something that was read is read too",
            Check::AbortedRead => "no value of a failed send is read",
            Check::PrecommittedRead => "a transaction never reads what it sends itself",
            Check::PollSkip => "a consumer's next poll leaves out no record",
            Check::NonmonotonicPoll => "a consumer's next poll doesn't go back",
            Check::InternalPollSkip => "one poll leaves out no record",
            Check::InternalNonmonotonicPoll => "one poll doesn't go back",
            Check::NonmonotonicSend => "a producer's records stand in the order of its sends",
            Check::UnsentRead => "what is read was sent, and was sent once",
            Check::Unseen => "all that was acknowledged or read is there at the end",
        }
    }
}

/// One violation, in words that name key, offset and value.
pub type Finding = String;

/// The violations of one rule: all are counted, the first ones told.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<Finding>,
}

impl Findings {
    /// Counts a violation; `tell` is only asked while there is room.
    pub fn add(&mut self, tell: impl FnOnce() -> Finding) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(tell());
        }
    }
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Which one.
    pub check: Check,
    /// Whether the history has what it needs.
    pub applies: bool,
    /// What it found.
    pub findings: Findings,
}

/// How long after its acknowledgement a record was first read, in nanoseconds. One that was read before the
/// acknowledgement was known counts as 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Over how many records.
    pub records: u64,
    /// Half of them were read within this.
    pub p50_ns: u64,
    /// 99 of 100 of them were.
    pub p99_ns: u64,
    /// All of them were.
    pub max_ns: u64,
}

/// What a history shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Operations that were pushed.
    pub operations: u64,
    /// Processes among them.
    pub processes: usize,
    /// Keys among them.
    pub keys: usize,
    /// Sends that were acknowledged.
    pub sends_ok: u64,
    /// Sends that certainly were not applied.
    pub sends_failed: u64,
    /// Sends of which nobody knows.
    pub sends_unknown: u64,
    /// Records that were read, repeated reads included.
    pub records_read: u64,
    /// Each check, in order.
    pub checks: Vec<Checked>,
    /// How far behind the readers were.
    pub lag: Lag,
}

impl Report {
    /// All violations.
    pub fn violations(&self) -> u64 {
        self.checks.iter().map(|c| c.findings.count).sum()
    }

    /// All that is told of them, each with its check's name before it.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        self.checks.iter().flat_map(|checked| {
            checked.findings.examples.iter().map(|finding| format!("{}: {finding}", checked.check.name()))
        })
    }
}
