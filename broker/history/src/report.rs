//! What the checks found.

use crate::checks::Check;

/// Findings that are told in full; the rest is counted.
const EXAMPLES_MAX: usize = 20;

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
