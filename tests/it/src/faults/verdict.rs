//! What a run came to: the history's verdict, and how long writes paused after each fault.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context, Result};
use ottla_history::{History, Operation, Outcome, Report, Step};

/// A fault, when it was.
#[derive(Debug, Clone)]
pub struct Event {
    /// In nanoseconds since 1970, as in histories.
    pub at_ns: u64,
    /// What it was.
    pub what: String,
}

/// How one client's writes to one partition fared after one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Which fault, in order.
    pub event: usize,
    /// From the fault to the acknowledgement of a record that was sent after it.
    pub resumed_ns: u64,
    /// The longest that a record waited which was sent between this fault and the next.
    pub longest_ns: u64,
}

/// Figures of a run.
#[derive(Debug)]
pub struct Verdict {
    /// What the checks found.
    pub report: Report,
    /// Of each client, for each fault and partition.
    pub pauses: BTreeMap<String, Vec<Pause>>,
    /// Clients and partitions that had nothing acknowledged after the last fault.
    pub silent: Vec<String>,
}

impl Verdict {
    /// The 50th, 99th and 100th percentile, in milliseconds.
    pub fn resumed_ms(&self) -> [u64; 3] {
        percentiles_ms(self.pauses.values().flatten().map(|p| p.resumed_ns).collect())
    }
}

/// One acknowledged send: when it was called, when its acknowledgement came.
type Sent = (u64, u64);

/// Reads the files of a history and judges them.
///
/// # Errors
/// A file can't be read.
pub fn judge(files: &[PathBuf], events: &[Event]) -> Result<Verdict> {
    let mut history = History::new();
    let mut sends: BTreeMap<(String, String), Vec<Sent>> = BTreeMap::new();
    for path in files {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        for (at, line) in BufReader::new(file).lines().enumerate() {
            let operation = Operation::from_line(&line?);
            let operation = operation.with_context(|| format!("{} line {}", path.display(), at + 1))?;
            if let (Outcome::Ok, [Step::Send(key, ..)]) = (operation.outcome, &operation.steps[..]) {
                // A client that replaced its producer is the same client.
                let client = operation.process.split('-').next().unwrap_or_default();
                let sent = (operation.start, operation.end);
                sends.entry((client.to_owned(), key.clone())).or_default().push(sent);
            }
            history.push(&operation);
        }
    }
    let (mut found, mut silent) = (BTreeMap::<String, Vec<Pause>>::new(), Vec::new());
    for ((client, key), sends) in sends {
        let pauses = pauses(sends, events);
        if pauses.last().map_or(0, |p| p.event + 1) < events.len() {
            silent.push(format!("{client} to {key}"));
        }
        found.entry(client).or_default().extend(pauses);
    }
    Ok(Verdict { report: history.check(), pauses: found, silent })
}

/// The pauses of one client on one partition; an event without one had nothing acknowledged after it.
fn pauses(mut sends: Vec<Sent>, events: &[Event]) -> Vec<Pause> {
    sends.sort_unstable();
    // From each send on, the earliest acknowledgement of any.
    let mut earliest: Vec<u64> = sends.iter().map(|(_, end)| *end).collect();
    for at in (1..earliest.len()).rev() {
        earliest[at - 1] = earliest[at - 1].min(earliest[at]);
    }
    let after = |time: u64| sends.partition_point(|(start, _)| *start < time);
    let mut found = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let first = after(event.at_ns);
        let next = events.get(number + 1).map_or(sends.len(), |next| after(next.at_ns));
        let longest = sends[first..next].iter().map(|(start, end)| end.saturating_sub(*start)).max();
        if let Some(end) = earliest.get(first) {
            let resumed_ns = end.saturating_sub(event.at_ns);
            found.push(Pause { event: number, resumed_ns, longest_ns: longest.unwrap_or(resumed_ns) });
        }
    }
    found
}

/// The longest time of any pause after one fault, in nanoseconds; none if nothing was acknowledged after it.
pub fn worst(pauses: &[Pause], event: usize, time: impl Fn(&Pause) -> u64) -> Option<u64> {
    pauses.iter().filter(|pause| pause.event == event).map(time).max()
}

/// The 50th, 99th and 100th percentile of times, in milliseconds.
pub fn percentiles_ms(mut times_ns: Vec<u64>) -> [u64; 3] {
    times_ns.sort_unstable();
    let Some(last) = times_ns.len().checked_sub(1) else { return [0; 3] };
    [50, 99, 100].map(|percent| times_ns[(last * percent).div_ceil(100)] / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(at: &[u64]) -> Vec<Event> {
        at.iter().map(|at_ns| Event { at_ns: *at_ns, what: String::new() }).collect()
    }

    #[test]
    fn a_pause_ends_with_a_record_that_was_sent_after_the_fault() {
        // Sent before the fault at 10 and acknowledged after it; then one that waits, and one that doesn't.
        let sends = vec![(9, 11), (12, 40), (20, 30)];
        let pause = |event, resumed_ns, longest_ns| Pause { event, resumed_ns, longest_ns };
        assert_eq!(pauses(sends.clone(), &events(&[10])), [pause(0, 20, 28)]);
        assert_eq!(pauses(sends.clone(), &events(&[1, 15])), [pause(0, 10, 28), pause(1, 15, 10)]);
        assert_eq!(pauses(sends, &events(&[1, 50])), [pause(0, 10, 28)]);
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = (1..=100).rev().map(|ms| ms * 1_000_000).collect();
        assert_eq!(percentiles_ms(times), [51, 100, 100]);
        assert_eq!(percentiles_ms(Vec::new()), [0; 3]);
    }
}
