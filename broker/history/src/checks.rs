//! The checks, one function each, over what [`crate::facts`] gathered.

use crate::facts::{Fact, History, Jump, KeyFacts, Writer};
use crate::operation::Outcome;
use crate::report::{Check, Checked, Findings, Lag, Report};

impl History {
    /// Judges what was pushed so far.
    pub fn check(&self) -> Report {
        let [ok, fail, unknown] = self.outcomes;
        Report {
            operations: self.operations,
            processes: self.processes(),
            keys: self.keys().len(),
            sends_ok: ok,
            sends_failed: fail,
            sends_unknown: unknown,
            records_read: self.records_read,
            checks: Check::ALL.map(|check| self.judge(check)).into(),
            lag: realtime_lag(self),
        }
    }

    fn judge(&self, check: Check) -> Checked {
        let applies = check != Check::Unseen || self.keys().iter().any(|key| key.read_at_end);
        Checked { check, applies, findings: run(check, self) }
    }
}

/// Runs one check.
fn run(check: Check, history: &History) -> Findings {
    match check {
        Check::InconsistentOffsets => history.conflicts.clone(),
        Check::Duplicate => duplicates(history),
        Check::LostWrite => lost_writes(history),
        Check::AbortedRead => aborted_reads(history),
        Check::PrecommittedRead => history.own_sends.clone(),
        Check::PollSkip => poll_skips(history, false),
        Check::NonmonotonicPoll => backward(history, &history.poll_jumps, false, "read"),
        Check::InternalPollSkip => poll_skips(history, true),
        Check::InternalNonmonotonicPoll => backward(history, &history.poll_jumps, true, "read"),
        Check::NonmonotonicSend => nonmonotonic_sends(history),
        Check::UnsentRead => unsent_reads(history),
        Check::Unseen => unseen(history),
    }
}

fn values(history: &History) -> impl Iterator<Item = (&KeyFacts, u64, &Fact)> {
    history.keys().iter().flat_map(|key| key.values.iter().map(move |(value, fact)| (key, *value, fact)))
}

fn duplicates(history: &History) -> Findings {
    let mut findings = Findings::default();
    for (key, value, fact) in values(history).filter(|(_, _, fact)| !history.was_renumbered(fact)) {
        if let Some((low, high)) = fact.offsets.filter(|(low, high)| low != high) {
            findings.add(|| format!("{}: value {value} is at offset {low} and at {high}", key.name));
        }
    }
    findings
}

/// The bound of a key is the highest first offset of any value that was read: below it, a reader has been. A
/// value without an outcome counts where another send of the same operation was read.
fn lost_writes(history: &History) -> Findings {
    let mut findings = Findings::default();
    let bound = |key: &KeyFacts| {
        key.values.values().filter(|f| f.read).filter_map(|f| f.offsets).map(|(low, _)| low).max()
    };
    let mut judge = |key: &KeyFacts, bound: i64, value: u64, fact: &Fact| {
        if let Some((_, high)) = fact.offsets.filter(|(_, high)| *high <= bound && !fact.read) {
            findings.add(|| {
                format!(
                    "{}: value {value} was acknowledged at offset {high} and never read, though {bound} was",
                    key.name
                )
            });
        }
    };
    for key in history.keys() {
        let Some(bound) = bound(key) else { continue };
        for (value, fact) in key.values.iter().filter(|(_, fact)| fact.acknowledged()) {
            judge(key, bound, *value, fact);
        }
    }
    for (key, value, fact) in history.implied() {
        if let Some(bound) = bound(key) {
            judge(key, bound, value, fact);
        }
    }
    findings
}

fn aborted_reads(history: &History) -> Findings {
    let mut findings = Findings::default();
    for (key, value, fact) in values(history) {
        if fact.read && fact.writer == Writer::Ended(Outcome::Fail) {
            let (at, _) = fact.offsets.unwrap_or_default();
            findings
                .add(|| format!("{}: value {value} was read at offset {at}, but its send failed", key.name));
        }
    }
    findings
}

/// A jump forward skips only if something is known to lie between: offsets may have holes.
fn poll_skips(history: &History, internal: bool) -> Findings {
    let mut findings = Findings::default();
    for jump in history.poll_jumps.iter().filter(|j| j.internal == internal && j.to > j.from) {
        let key = &history.keys()[jump.key];
        if let Some(missed) = key.log.first_between(jump.from, jump.to) {
            let process = history.process(jump.process);
            findings.add(|| {
                format!(
                    "{}: {process} read offset {}, then {}, and not {missed}",
                    key.name, jump.from, jump.to
                )
            });
        }
    }
    findings
}

fn backward(history: &History, jumps: &[Jump], internal: bool, what: &str) -> Findings {
    let mut findings = Findings::default();
    for jump in jumps.iter().filter(|j| j.internal == internal && j.to <= j.from) {
        let (key, process) = (&history.keys()[jump.key].name, history.process(jump.process));
        findings.add(|| format!("{key}: {process} {what} offset {}, then {}", jump.from, jump.to));
    }
    findings
}

/// A producer may learn late of an early record, so what counts is the order of its calls, not of their ends.
fn nonmonotonic_sends(history: &History) -> Findings {
    let mut findings = backward(history, &history.send_jumps, true, "sent");
    for key in history.keys() {
        let sent = |fact: &Fact| {
            let (offset, _) = fact.offsets.filter(|_| fact.acknowledged())?;
            Some((fact.sent, offset))
        };
        let mut sends: Vec<((usize, u64), i64)> = key.values.values().filter_map(sent).collect();
        sends.sort_unstable();
        let mut highest: Option<((usize, u64), i64)> = None;
        for ((process, start), offset) in sends {
            let before = highest.filter(|((of, _), _)| *of == process);
            // Of two calls at the same time nobody knows which came first.
            if let Some((_, from)) = before.filter(|((_, at), from)| *at < start && offset <= *from) {
                let process = history.process(process);
                findings.add(|| format!("{}: {process} sent offset {from}, then {offset}", key.name));
            }
            if before.is_none_or(|(_, from)| offset > from) {
                highest = Some(((process, start), offset));
            }
        }
    }
    findings
}

fn unsent_reads(history: &History) -> Findings {
    let mut findings = history.sent_twice.clone();
    for (key, value, fact) in values(history) {
        if fact.writer == Writer::Nobody {
            let (at, _) = fact.offsets.unwrap_or_default();
            findings
                .add(|| format!("{}: value {value} was read at offset {at}, but nobody sent it", key.name));
        }
    }
    findings
}

/// The reading at the end must show all that was acknowledged, and all that anyone was shown before.
fn unseen(history: &History) -> Findings {
    let mut findings = Findings::default();
    if !history.keys().iter().any(|k| k.read_at_end) {
        return findings; // There was no reading at the end.
    }
    for (key, value, fact) in values(history) {
        if !fact.read_at_end && (fact.acknowledged() || fact.read) {
            let why = if fact.acknowledged() { "acknowledged" } else { "read before" };
            let at = fact.offsets.map_or_else(String::new, |(low, _)| format!(" at offset {low}"));
            findings.add(|| format!("{}: value {value} was {why}{at}, and isn't there at the end", key.name));
        }
    }
    for (key, value, fact) in history.implied() {
        if !fact.read && !fact.read_at_end {
            findings.add(|| format!("{}: value {value} isn't there, though its operation is", key.name));
        }
    }
    findings
}

/// How long after its acknowledgement each record was first read.
fn realtime_lag(history: &History) -> Lag {
    let acknowledged = values(history).map(|(_, _, fact)| fact).filter(|fact| fact.acknowledged());
    let mut lags: Vec<u64> = acknowledged
        .filter_map(|fact| Some(fact.first_read_ns?.saturating_sub(fact.acknowledged_ns)))
        .collect();
    lags.sort_unstable();
    let Some(last) = lags.len().checked_sub(1) else { return Lag::default() };
    let at = |percent: usize| lags[(last * percent).div_ceil(100)];
    Lag { records: lags.len() as u64, p50_ns: at(50), p99_ns: at(99), max_ns: lags[last] }
}
