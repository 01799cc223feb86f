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

/// Figures of a run.
#[derive(Debug)]
pub struct Verdict {
    /// What the checks found.
    pub report: Report,
    /// For each fault and each partition, the time from the fault to the acknowledgement of a record that was
    /// sent after it, in nanoseconds, in order of size.
    pub pauses_ns: Vec<u64>,
    /// Partitions that acknowledged nothing after the last fault.
    pub silent: Vec<String>,
}

/// Reads the files of a history and judges them.
///
/// # Errors
/// A file can't be read.
pub fn judge(files: &[PathBuf], events: &[Event]) -> Result<Verdict> {
    let mut history = History::new();
    let mut sends: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for path in files {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        for (at, line) in BufReader::new(file).lines().enumerate() {
            let operation = Operation::from_line(&line?);
            let operation = operation.with_context(|| format!("{} line {}", path.display(), at + 1))?;
            if let (Outcome::Ok, [Step::Send(key, ..)]) = (operation.outcome, &operation.steps[..]) {
                sends.entry(key.clone()).or_default().push((operation.start, operation.end));
            }
            history.push(&operation);
        }
    }
    let (pauses_ns, silent) = pauses(sends, events);
    Ok(Verdict { report: history.check(), pauses_ns, silent })
}

/// The pauses, and the keys without any write after the last event.
fn pauses(sends: BTreeMap<String, Vec<(u64, u64)>>, events: &[Event]) -> (Vec<u64>, Vec<String>) {
    let (mut pauses, mut silent) = (Vec::new(), Vec::new());
    for (key, mut sends) in sends {
        sends.sort_unstable();
        // From each send on, the earliest end of any.
        for at in (1..sends.len()).rev() {
            sends[at - 1].1 = sends[at - 1].1.min(sends[at].1);
        }
        let mut spoke = true;
        for event in events {
            let first = sends.partition_point(|(start, _)| *start < event.at_ns);
            spoke = first < sends.len();
            if let Some((_, end)) = sends.get(first) {
                pauses.push(end - event.at_ns);
            }
        }
        if !spoke {
            silent.push(key);
        }
    }
    pauses.sort_unstable();
    (pauses, silent)
}

/// `50` or `99`, or `100` for the most, of values in order.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    match sorted.len() {
        0 => 0,
        len => sorted[((len - 1) * percent).div_ceil(100)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ns: u64) -> Event {
        Event { at_ns, what: String::new() }
    }

    #[test]
    fn a_pause_ends_with_a_record_that_was_sent_after_the_fault() {
        // Sent before the fault at 10 and acknowledged after it; then one that waits, and one that doesn't.
        let sends = BTreeMap::from([("a".to_owned(), vec![(9, 11), (12, 40), (20, 30)])]);
        assert_eq!(pauses(sends.clone(), &[event(10)]), (vec![20], vec![]));
        assert_eq!(pauses(sends.clone(), &[event(1), event(15)]), (vec![10, 15], vec![]));
        assert_eq!(pauses(sends, &[event(1), event(50)]), (vec![10], vec!["a".to_owned()]));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(
            (percentile(&values, 50), percentile(&values, 99), percentile(&values, 100)),
            (51, 100, 100)
        );
        assert_eq!(percentile(&[], 50), 0);
    }
}
