//! A broker's process begins, on the disk that it finds, and ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::metadata::{Command, IncarnationId, RegisterBroker};
use ottla_log::LogConfig;
use ottla_store::{Committer, Store, StoreConfig, StoreError};

use super::batch::{Mark, marks_in};
use super::net::{Message, Party};
use super::node::{Process, Shadow};
use super::plan::HEARTBEAT_MS;
use super::quorum::CLUSTER;
use super::retain::SEGMENT_MS;
use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;
use crate::shadow::demand;

impl Cluster {
    fn store_config(&self, node: usize) -> StoreConfig {
        StoreConfig {
            cluster_id: Some(CLUSTER),
            default_config: self.log_config(),
            open_files_max: 64,
            committer: Committer::Manual,
            ..StoreConfig::new("/data", self.nodes[node].id)
        }
    }

    pub(super) fn log_config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.plan.segment_bytes,
            segment_ms: SEGMENT_MS,
            index_interval_bytes: 300,
            retention_ms: self.plan.retention.map(|retention| retention.after_ms),
            // Brokers' clocks may be far behind.
            timestamp_after_max_ms: i64::MAX,
            ..LogConfig::default()
        }
    }

    pub(super) fn start(&mut self, n: usize) -> Result<(), Violation> {
        if self.nodes[n].process.is_some() {
            return Ok(());
        }
        let config = self.store_config(n);
        let store = match Store::open_on(Arc::new(self.nodes[n].disk.clone()), config) {
            Ok(store) => store,
            Err(error) => return self.not_started(n, &error),
        };
        let number = self.next_number();
        let directory = store.directory_id();
        let checked = self.check_recovered(n, &store);
        if self.nodes[n].disk.has_crashed() {
            // Nothing can be said of it then.
            self.nodes[n].disk.restart(true);
            self.after(100, Event::Start(n));
            return Ok(());
        }
        checked?;
        let node = &mut self.nodes[n];
        node.directory = Some(directory);
        node.process = Some(Process {
            number,
            store,
            directory,
            epoch: None,
            registering: None,
            image: None,
            seen: 0,
            hosted: BTreeMap::new(),
            is_commit_due: false,
            proposals: BTreeMap::new(),
            is_stopping: false,
            is_clean: std::mem::take(&mut node.is_clean),
            lacks_logs: false,
        });
        say!(self, "broker {} starts as process {number}, disk {directory}", self.nodes[n].id);
        self.register(n);
        self.after(HEARTBEAT_MS, Event::Tick(n, number));
        Ok(())
    }

    fn not_started(&mut self, n: usize, error: &StoreError) -> Result<(), Violation> {
        let node = &mut self.nodes[n];
        let has_failed =
            matches!(error, StoreError::Io { error: e, .. } if e.kind() == std::io::ErrorKind::Other);
        let is_full =
            matches!(error, StoreError::Io { error: e, .. } if e.kind() == std::io::ErrorKind::StorageFull);
        if node.disk.has_crashed() {
            node.disk.restart(true);
        } else if has_failed {
            // It ends and is started again.
            node.disk.restart(false);
        } else if is_full {
            node.disk.set_bytes_max(None);
            node.disk.restart(false);
        } else {
            return Err(Violation(format!("broker {} doesn't start: {error}", node.id)));
        }
        self.after(100, Event::Start(n));
        Ok(())
    }

    /// What was synced is there, and what is there was written.
    fn check_recovered(&mut self, n: usize, store: &Store) -> Result<(), Violation> {
        let node = &mut self.nodes[n];
        let mut found = BTreeMap::new();
        for (name, topic, index) in store.partitions() {
            let Some(log) = store.partition(topic, index) else {
                return Err(Violation(format!(
                    "broker {}: {name}-{index} is listed and isn't there",
                    node.id
                )));
            };
            let (marks, is_whole) = marks_in(&log, 0);
            let known = node.shadows.get(&(topic, index)).cloned().unwrap_or_default();
            let start = log.log_start_offset().0;
            // A deletion that a crash cut short may leave anything.
            let is_known = node.shadows.contains_key(&(topic, index));
            let is_damaged = known.is_damaged || (!is_known && !is_whole);
            demand!(is_whole || is_damaged, "broker {}: {name}-{index} is damaged after a restart", node.id);
            if !is_damaged {
                let from = start.max(known.start);
                let synced: Vec<&Mark> = known
                    .marks
                    .iter()
                    .filter(|mark| mark.base >= from && mark.next <= known.durable)
                    .collect();
                let kept = marks.iter().skip_while(|mark| mark.base < from);
                let holds =
                    kept.zip(&synced).filter(|(mark, synced)| mark == *synced).count() == synced.len();
                demand!(
                    holds,
                    "broker {}: {name}-{index} lost what was synced up to {}: {:?} is left",
                    node.id,
                    known.durable,
                    marks.last()
                );
            }
            let durable = log.end_offset().0;
            // Behind damage nothing can be looked at: it is as it was known.
            let mut known_left: Vec<Mark> =
                known.marks.into_iter().filter(|mark| mark.next <= durable).collect();
            let known_end = known_left.last().map_or(0, |mark| mark.next);
            known_left.extend(marks_in(&log, known_end).0);
            if !is_damaged {
                known_left.retain(|mark| mark.next <= start);
                known_left.extend(marks);
            }
            self.judge.on_log_start((topic, index), node.id, start, is_damaged)?;
            found.insert((topic, index), Shadow { marks: known_left, start, durable, is_damaged });
        }
        for (key, shadow) in &node.shadows {
            let is_there = found.contains_key(key) || shadow.durable == 0;
            demand!(is_there, "broker {}: the log of {key:?} is gone after a restart", node.id);
        }
        if !node.disk.has_crashed() {
            node.shadows = found;
        }
        Ok(())
    }

    pub(super) fn register(&mut self, n: usize) {
        let number = self.next_number();
        let now = self.now;
        let node = &mut self.nodes[n];
        let Some(process) = &mut node.process else { return };
        process.registering = Some((number, now));
        let command = Command::RegisterBroker(RegisterBroker {
            clean_shutdown: process.is_clean,
            ..RegisterBroker::new(node.id, IncarnationId(u128::from(process.number)), process.directory)
        });
        self.send(Party::Broker(n), Party::Quorum, Message::Command { number, command: Box::new(command) });
    }

    /// Ends the process; the machine too, if the power goes.
    pub(super) fn end(&mut self, n: usize, power_loss: bool) {
        let node = &mut self.nodes[n];
        node.paused_until = 0;
        // The process ends first: what its store would still do doesn't reach the disk.
        node.disk.restart(power_loss);
        if node.process.take().is_some() {
            say!(self, "broker {} ends, power loss: {power_loss}", self.nodes[n].id);
        }
    }

    /// Ends processes whose disk has failed, and starts them again some time later.
    pub(super) fn bury_the_dead(&mut self) -> Result<(), Violation> {
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            let Some(process) = &node.process else { continue };
            let has_crashed = node.disk.has_crashed();
            if has_crashed || process.store.has_failed() {
                let power_loss = self.rng.percent(40);
                self.end(n, power_loss);
                let delay = 50 + self.rng.below(1_000);
                self.after(delay, Event::Start(n));
            }
        }
        Ok(())
    }
}
