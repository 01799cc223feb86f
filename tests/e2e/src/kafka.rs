//! Records sent and read by kcat: from a pod, or from this machine, which is outside of the cluster's
//! network.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::kube::Kube;
use crate::shell::{self, Running};

/// How long a client may take.
const CLIENT: Duration = Duration::from_secs(60);

/// A kcat and the address that it knows.
pub struct Client<'a> {
    kube: &'a Kube<'a>,
    bootstrap: String,
    namespace: Option<&'static str>,
}

impl<'a> Client<'a> {
    /// In the pod `kcat` of a namespace.
    pub fn in_pod(kube: &'a Kube<'a>, namespace: &'static str, bootstrap: String) -> Client<'a> {
        Client { kube, bootstrap, namespace: Some(namespace) }
    }

    /// On this machine.
    pub fn outside(kube: &'a Kube<'a>, bootstrap: String) -> Client<'a> {
        Client { kube, bootstrap, namespace: None }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = match self.namespace {
            Some(namespace) => self.kube.command(namespace, &["exec", "-i", "kcat", "--", "/bin/kcat"]),
            None => self.kube.bed.command("kcat"),
        };
        command.args(["-b", &self.bootstrap]).args(words);
        command
    }

    /// Sends records, each acknowledged by all replicas.
    ///
    /// # Errors
    /// One isn't acknowledged.
    pub fn send(&self, topic: &str, records: &Records) -> Result<()> {
        let mut command = self.command(&producer(topic));
        shell::run_with(&mut command, records.lines(), CLIENT)?.ok()?;
        Ok(())
    }

    /// Begins to send records, one in every `pace`.
    ///
    /// # Errors
    /// kcat can't be started.
    pub fn start_sending(&self, topic: &str, records: &Records, pace: Duration) -> Result<Running> {
        let lines = records.lines();
        shell::start(&mut self.command(&producer(topic)), move |stdin| {
            for line in lines.split_inclusive('\n') {
                stdin.write_all(line.as_bytes())?;
                stdin.flush()?;
                std::thread::sleep(pace);
            }
            Ok(())
        })
    }

    /// Reads a topic from its beginning to its present end.
    ///
    /// # Errors
    /// A partition can't be read, or a record isn't one of ours.
    pub fn read(&self, topic: &str) -> Result<Read> {
        let words = ["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p %o %k %s\\n"];
        let text = shell::run(&mut self.command(&words), CLIENT)?.ok()?;
        Read::parse(&text)
    }

    /// Waits until a topic has so many partitions, each with a leader, as the brokers tell it.
    ///
    /// # Errors
    /// It doesn't within 30 seconds.
    pub fn wait_for_partitions(&self, topic: &str, partitions: usize) -> Result<()> {
        shell::poll(&format!("{partitions} partitions of {topic}"), Duration::from_secs(30), || {
            let leaders = self.leaders(topic)?;
            ensure!(leaders.len() == partitions && leaders.iter().all(|l| *l >= 0), "leaders: {leaders:?}");
            Ok(())
        })
    }

    /// The leader of each partition of a topic, by the partition's number; none if there is no such topic.
    ///
    /// # Errors
    /// No broker answers.
    pub fn leaders(&self, topic: &str) -> Result<Vec<i64>> {
        let text = shell::run(&mut self.command(&["-L", "-J"]), CLIENT)?.ok()?;
        let metadata: serde_json::Value = serde_json::from_str(&text).context("kcat prints JSON")?;
        let topics = crate::kube::array(&metadata, "/topics");
        let Some(found) = topics.iter().find(|t| t["topic"] == topic) else { return Ok(Vec::new()) };
        Ok(crate::kube::array(found, "/partitions")
            .iter()
            .map(|p| p["leader"].as_i64().unwrap_or(-1))
            .collect())
    }
}

/// Keyed lines from standard input, with sequence numbers, so that a retry makes no second record.
fn producer(topic: &str) -> [&str; 11] {
    let options = ["-X", "enable.idempotence=true", "-X", "message.timeout.ms=45000"];
    let [a, b, c, d] = options;
    ["-P", "-t", topic, "-K", ":", "-X", "acks=all", a, b, c, d]
}

/// Records to send: `KEY:FROM-NUMBER`, over a few keys.
pub struct Records {
    from: &'static str,
    count: usize,
}

impl Records {
    /// So many records that bear the sender's name.
    pub fn new(from: &'static str, count: usize) -> Records {
        Records { from, count }
    }

    fn lines(&self) -> String {
        self.values().enumerate().map(|(n, value)| format!("key{}:{value}\n", n % 16)).collect()
    }

    fn values(&self) -> impl Iterator<Item = String> {
        let from = self.from;
        (0..self.count).map(move |n| format!("{from}-{n}"))
    }
}

/// What was read.
pub struct Read {
    /// How often each value was read.
    counts: BTreeMap<String, usize>,
    /// How many records each partition has.
    pub partitions: BTreeMap<i64, usize>,
}

impl Read {
    fn parse(text: &str) -> Result<Read> {
        let mut read = Read { counts: BTreeMap::new(), partitions: BTreeMap::new() };
        let mut next: BTreeMap<i64, i64> = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [partition, offset, _, value] = words[..] else { bail!("not a record of ours: {line}") };
            let (partition, offset): (i64, i64) = (partition.parse()?, offset.parse()?);
            let expected = next.insert(partition, offset + 1).unwrap_or(0);
            ensure!(offset == expected, "partition {partition} goes on at {offset}, not at {expected}");
            *read.partitions.entry(partition).or_default() += 1;
            *read.counts.entry(value.to_owned()).or_default() += 1;
        }
        Ok(read)
    }

    /// Says that all these records were read, each once.
    ///
    /// # Errors
    /// Some are missing or doubled.
    pub fn has_each_once(&self, records: &Records) -> Result<()> {
        let count = |value: &String| self.counts.get(value).copied().unwrap_or(0);
        let wrong: Vec<String> = records
            .values()
            .filter_map(|value| match count(&value) {
                1 => None,
                times => Some(format!("{value} read {times} times")),
            })
            .collect();
        let all = self.counts.values().sum::<usize>();
        ensure!(
            wrong.is_empty(),
            "{} of {} records of {} not read just once, of {all} read in all: {}",
            wrong.len(),
            records.count,
            records.from,
            wrong.iter().take(10).cloned().collect::<Vec<_>>().join(", ")
        );
        Ok(())
    }
}

/// The time by which a client that was started has to end.
pub fn client_deadline() -> Instant {
    Instant::now() + CLIENT + CLIENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_and_a_doubled_record_are_noticed() {
        let records = Records::new("a", 3);
        assert_eq!(records.lines(), "key0:a-0\nkey1:a-1\nkey2:a-2\n");
        let all = Read::parse("0 0 key0 a-0\n1 0 key1 a-1\n0 1 key2 a-2\n").unwrap();
        all.has_each_once(&records).unwrap();
        assert_eq!(all.partitions, BTreeMap::from([(0, 2), (1, 1)]));
        for bad in ["0 0 key0 a-0\n1 0 key1 a-1\n", "0 0 k a-0\n0 1 k a-1\n0 2 k a-2\n0 3 k a-2\n"] {
            assert!(Read::parse(bad).unwrap().has_each_once(&records).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_gap_in_the_offsets_is_noticed() {
        assert!(Read::parse("0 0 key0 a-0\n0 2 key0 a-1\n").is_err());
        assert!(Read::parse("0 1 key0 a-0\n").is_err());
    }
}
