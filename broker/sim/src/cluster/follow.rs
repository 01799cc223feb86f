//! The follower's side of a broker: it asks, appends, syncs, asks again.

use bytes::Bytes;
use ottla_core::partition::{FetchAnswer, FollowerStep};
use ottla_log::up_to_epoch;
use ottla_store::AppendError;
use ottla_types::Offset;

use super::Key;
use super::net::{Ask, Message, Party};
use super::node::facts;
use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;

impl Cluster {
    /// Asks the leader, if this is a follower and nothing is under way.
    pub(super) fn ask(&mut self, n: usize, key: Key) {
        let (number, now) = (self.next_number(), self.now);
        let node = &mut self.nodes[n];
        let from = node.id;
        let Some(process) = &mut node.process else { return };
        let (Some(hosted), Some(broker_epoch)) = (process.hosted.get_mut(&key), process.epoch) else {
            return;
        };
        if hosted.asked.is_some() {
            return;
        }
        let Some(spec) = hosted.replica.fetch_spec(facts(&hosted.log), hosted.log.latest_epoch()) else {
            return;
        };
        hosted.asked = Some((number, now));
        let ask = Ask { key, number, from, broker_epoch, directory: process.directory, spec };
        let leader = super::node_of(spec.leader);
        self.send(Party::Broker(n), Party::Broker(leader), Message::Fetch(ask));
    }

    fn ask_later(&mut self, n: usize, key: Key, delay: u64) {
        let process = self.nodes[n].process_number();
        self.after(delay, Event::Fetch(n, process, key));
    }

    pub(super) fn fetch_again(&mut self, n: usize, process: u64, key: Key) -> Result<(), Violation> {
        if self.nodes[n].process_number() == process {
            self.ask(n, key);
        }
        Ok(())
    }

    pub(super) fn on_fetched(
        &mut self,
        n: usize,
        key: Key,
        number: u64,
        answer: Option<(FetchAnswer, Bytes)>,
    ) -> Result<(), Violation> {
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        let is_newest = hosted.asked.is_some_and(|(asked, _)| asked == number);
        if is_newest {
            hosted.asked = None;
        }
        let Some((answer, bytes)) = answer else {
            let delay = 30 + self.rng.below(50);
            self.ask_later(n, key, delay);
            return Ok(());
        };
        let log = hosted.log.clone();
        let step = hosted.replica.on_answer(&answer, facts(&log), |epoch| log.end_offset_for_epoch(epoch));
        let is_cut = matches!(step, FollowerStep::Truncate(_) | FollowerStep::Reset(_));
        // Brokers do that as well: nothing is asked between the decision to cut and its end.
        let step = if is_cut && !is_newest { FollowerStep::Ignore } else { step };
        if !matches!(step, FollowerStep::Append(_)) {
            say!(
                self,
                "broker {} of {:?} hears {answer:?}: {step:?}",
                super::broker_id(n),
                super::Named(key)
            );
        }
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        match step {
            FollowerStep::Ignore => self.ask_later(n, key, 20),
            FollowerStep::Append(_) if bytes.is_empty() => {
                let change = hosted.replica.on_appended(&answer, facts(&log));
                self.after_change(n, key, &change)?;
                self.keep_start(n, key, &answer)?;
                self.ask_later(n, key, 5);
            }
            FollowerStep::Append(up_to) => {
                let here = bytes.slice(..up_to_epoch(&bytes, up_to));
                self.append(n, key, answer, &here)?;
                self.keep_start(n, key, &answer)?;
            }
            FollowerStep::Truncate(offset) => self.truncate(n, key, offset, false)?,
            FollowerStep::Reset(offset) => self.truncate(n, key, offset, true)?,
        }
        Ok(())
    }

    fn append(&mut self, n: usize, key: Key, answer: FetchAnswer, bytes: &Bytes) -> Result<(), Violation> {
        let now_ms = self.time_of_day();
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        let (before, log) = (hosted.log.end_offset(), hosted.log.clone());
        match log.append_as_is(bytes, now_ms) {
            Ok(_) => {
                hosted.appended.push(answer);
                self.remember(n, key, before, &log);
                say!(
                    self,
                    "broker {} copies {before}..{} of {:?}",
                    self.nodes[n].id,
                    log.end_offset(),
                    super::Named(key)
                );
                self.commit_soon(n);
                Ok(())
            }
            Err(AppendError::NoSpace { .. } | AppendError::Failed) => {
                self.ask_later(n, key, 200);
                Ok(())
            }
            // A batch that was damaged on its way or in the leader's file: it is asked for again.
            Err(error) => {
                say!(
                    self,
                    "broker {} doesn't take {:?} at {before}: {error}",
                    self.nodes[n].id,
                    super::Named(key)
                );
                self.ask_later(n, key, 100);
                Ok(())
            }
        }
    }

    fn truncate(&mut self, n: usize, key: Key, offset: Offset, reset: bool) -> Result<(), Violation> {
        self.report.truncations += 1;
        let node = &mut self.nodes[n];
        say!(self, "broker {} cuts {:?} at {offset}, reset: {reset}", node.id, super::Named(key));
        if let Some(shadow) = node.shadows.get(&key) {
            let kept = if reset { 0 } else { offset.0 };
            self.judge.on_truncation(node.id, key, shadow, kept)?;
        }
        let Some(shadow) = node.shadows.get_mut(&key) else { return Ok(()) };
        shadow.durable = shadow.durable.min(offset.0);
        let Some(process) = &mut node.process else { return Ok(()) };
        let Some(hosted) = process.hosted.get_mut(&key) else { return Ok(()) };
        let cut = if reset { hosted.log.reset_to(offset) } else { hosted.log.truncate_to(offset) };
        if cut.is_err() {
            // The store has failed, or there was no room to begin: nothing was cut then, and what was synced
            // still is.
            if !process.store.has_failed() {
                shadow.durable = facts(&hosted.log).synced.0;
            }
            self.ask_later(n, key, 200);
            return Ok(());
        }
        let log = facts(&hosted.log);
        shadow.marks.retain(|mark| !reset && mark.next <= log.end.0);
        (shadow.start, shadow.durable) = (log.start.0, log.synced.0);
        let _ = hosted.replica.on_truncated(log);
        hosted.appended.clear();
        hosted.shown = hosted.shown.min(hosted.replica.high_watermark().0);
        self.ask_later(n, key, 1);
        Ok(())
    }
}
