//! Load on a topic while something is done to the cluster: librdkafka's idempotent producer and a consumer
//! write a history, which is judged at the end, and which says how long writes paused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use ottla_history::{History, Operation, Outcome, Step};

use crate::bed::Bed;
use crate::shell::{self, Running};

/// Records a second: enough that a pause of milliseconds shows.
const RATE: &str = "200";
/// How long the client may take to begin, and then to get rid of what it has sent.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client that sends to and reads from all partitions of a topic until it is told to stop.
pub struct Load<'a> {
    bed: &'a Bed,
    bootstrap: String,
    topic: String,
    partitions: usize,
    folder: PathBuf,
    client: Running,
    /// Ends the client's input, which tells it to stop.
    stop: std::sync::mpsc::Sender<()>,
    /// What was done, in nanoseconds since 1970.
    faults: Vec<u64>,
}

impl<'a> Load<'a> {
    /// Starts it on a topic that is there, and waits until it has traffic.
    ///
    /// # Errors
    /// The client can't be started, or has nothing acknowledged in time.
    pub fn start(bed: &'a Bed, bootstrap: &str, topic: &str, partitions: usize) -> Result<Load<'a>> {
        let folder = bed.histories().join(topic);
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let mut load = Command::new("true");
        client(bed, &mut load, bootstrap, topic, partitions, &folder.join("load.jsonl"));
        let client = shell::start(&mut load, move |_| {
            // The sender says it, or it is gone.
            let _ = stopped.recv();
            Ok(())
        })?;
        let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
        let load = Load { bed, bootstrap, topic, partitions, folder, client, stop, faults: Vec::new() };
        shell::poll("traffic", PATIENCE, || {
            let written = fs::metadata(load.folder.join("load.jsonl")).map_or(0, |m| m.len());
            ensure!(written > 20_000, "the history has {written} bytes");
            Ok(())
        })?;
        Ok(load)
    }

    /// Notes that something is done to the cluster now.
    pub fn fault(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.faults.push(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Waits until every partition has acknowledged a record that was sent after the last fault.
    ///
    /// # Errors
    /// One hasn't within `limit`.
    pub fn wait_for_writes(&self, limit: Duration) -> Result<()> {
        let last = self.faults.last().copied().unwrap_or_default();
        shell::poll("writes to resume on every partition", limit, || {
            let sends = read(&self.folder.join("load.jsonl"), &mut History::new())?;
            let resumed = sends.values().filter(|s| s.iter().any(|(start, _)| *start > last)).count();
            ensure!(resumed == self.partitions, "{resumed} of {} partitions have", self.partitions);
            Ok(())
        })
    }

    /// Stops the client, reads the whole topic, and judges; prints how long writes paused.
    ///
    /// # Errors
    /// A record is lost, doubled, reordered or hidden, or a partition has stayed silent.
    pub fn finish(self) -> Result<()> {
        let Load { bed, bootstrap, topic, partitions, folder, client, stop, faults } = self;
        drop(stop);
        client.wait(Instant::now() + PATIENCE)?.ok()?;
        let files = [folder.join("load.jsonl"), folder.join("final.jsonl")];
        let mut reading = Command::new("true");
        self::client(bed, &mut reading, &bootstrap, &topic, partitions, &files[1]);
        reading.arg("--final");
        shell::run(&mut reading, PATIENCE)?.ok()?;
        let mut history = History::new();
        let sends = read(&files[0], &mut history)?;
        read(&files[1], &mut history)?;
        let report = history.check();
        let (pauses, silent) = pauses(sends, &faults);
        let ms = |percent: usize| percentile(&pauses, percent) / 1_000_000;
        println!(
            "     {topic}: {} sends acknowledged, {} unknown, {} failed; writes resumed after p50 {} ms, max {} ms ({} faults, {partitions} partitions)",
            report.sends_ok,
            report.sends_unknown,
            report.sends_failed,
            ms(50),
            ms(100),
            faults.len()
        );
        let found: Vec<String> = report
            .checks
            .iter()
            .filter(|checked| checked.applies && checked.findings.count > 0)
            .map(|checked| {
                format!(
                    "{} × {}: {:?}",
                    checked.findings.count,
                    checked.check.name(),
                    checked.findings.examples.first()
                )
            })
            .collect();
        ensure!(found.is_empty(), "the history in {} shows: {}", folder.display(), found.join("; "));
        ensure!(silent == 0, "{silent} partitions acknowledged nothing after the last fault");
        ensure!(report.sends_ok > 100, "only {} sends were acknowledged", report.sends_ok);
        Ok(())
    }
}

fn client(
    bed: &Bed,
    command: &mut Command,
    bootstrap: &str,
    topic: &str,
    partitions: usize,
    history: &PathBuf,
) {
    *command = bed.command(&bed.python());
    command.arg(bed.root.join("tests/it/load/load.py")).args(["--bootstrap", bootstrap, "--topic", topic]);
    command.args(["--partitions", &partitions.to_string(), "--rate", RATE, "--name", topic]);
    command.args(["--patience", "60", "--history"]).arg(history);
}

/// When acknowledged records were sent and acknowledged, by key.
type Sends = BTreeMap<String, Vec<(u64, u64)>>;

/// Adds a file to a history; a last line that isn't whole yet is left out.
fn read(path: &PathBuf, history: &mut History) -> Result<Sends> {
    let mut sends = Sends::new();
    let mut reader =
        BufReader::new(File::open(path).with_context(|| format!("can't read {}", path.display()))?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
        let Ok(operation) = Operation::from_line(&line) else { bail!("not an operation: {line}") };
        if let (Outcome::Ok, [Step::Send(key, ..)]) = (operation.outcome, &operation.steps[..]) {
            sends.entry(key.clone()).or_default().push((operation.start, operation.end));
        }
        history.push(&operation);
        line.clear();
    }
    Ok(sends)
}

/// For each fault and partition, the time until a record was acknowledged that was sent after it, in order of
/// size; and how many partitions acknowledged nothing after the last.
fn pauses(sends: Sends, faults: &[u64]) -> (Vec<u64>, usize) {
    let (mut pauses, mut silent) = (Vec::new(), 0);
    for sends in sends.values() {
        let resumed =
            |fault: &u64| sends.iter().filter(|(start, _)| start > fault).map(|(_, end)| end - fault).min();
        pauses.extend(faults.iter().filter_map(resumed));
        silent += usize::from(faults.last().is_some_and(|last| resumed(last).is_none()));
    }
    pauses.sort_unstable();
    (pauses, silent)
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted.get((sorted.len().saturating_sub(1) * percent).div_ceil(100)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_with_the_first_record_sent_after_the_fault() {
        let sends = Sends::from([
            ("a".to_owned(), vec![(9, 11), (12, 40), (20, 30)]),
            ("b".to_owned(), vec![(1, 2), (11, 13)]),
        ]);
        assert_eq!(pauses(sends.clone(), &[10]), (vec![3, 20], 0));
        assert_eq!(pauses(sends, &[10, 15]), (vec![3, 15, 20], 1));
    }

    #[test]
    fn percentiles_are_measured_values() {
        assert_eq!((percentile(&[1, 2, 3], 50), percentile(&[1, 2, 3], 100), percentile(&[], 50)), (2, 3, 0));
    }
}
