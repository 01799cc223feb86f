//! The leader's side of a broker: producers, followers and consumers are answered.

use ottla_core::partition::{Committed, FetchAnswer, FetchVerdict, FollowerFetch};
use ottla_store::{AppendError, UpTo};
use ottla_types::Offset;

use super::Key;
use super::batch::marks_of;
use super::net::{Ask, Message, Party, Produce, Produced};
use super::node::{Parked, Waiting, facts};
use super::sending::Answer;
use super::trace::say;
use super::world::Cluster;
use crate::Violation;

/// How long a follower waits for records.
const PARKED_MS: u64 = 350;
/// How much a follower gets at once.
const FETCH_BYTES: usize = 1_200;

impl Cluster {
    pub(super) fn answer_produce(&mut self, n: usize, client: Party, number: u64, outcome: Produced) {
        self.send(Party::Broker(n), client, Message::Produced { number, outcome });
    }

    pub(super) fn on_produce(&mut self, n: usize, client: Party, produce: Produce) -> Result<(), Violation> {
        let (now, key, number) = (self.now, produce.key, produce.number);
        let now_ms = self.time_of_day() + self.nodes[n].clock_ms;
        let node = &mut self.nodes[n];
        let Some(hosted) = node.process.as_mut().and_then(|process| process.hosted.get_mut(&key)) else {
            self.answer_produce(n, client, number, Produced::Refused);
            return Ok(());
        };
        let Ok(epoch) = hosted.replica.check_append(produce.acks_all) else {
            self.answer_produce(n, client, number, Produced::Refused);
            return Ok(());
        };
        let before = hosted.log.end_offset();
        let appended = match hosted.log.append(&produce.batch, epoch, now_ms) {
            Ok(appended) => appended,
            Err(error) => {
                let outcome = match error {
                    AppendError::Sequence(_) => Produced::OutOfOrder { epoch },
                    AppendError::Failed => Produced::Unknown,
                    _ => Produced::Refused,
                };
                self.answer_produce(n, client, number, outcome);
                return Ok(());
            }
        };
        if !appended.duplicate {
            let log = hosted.log.clone();
            hosted.replica.on_append(log.end_offset(), now);
            hosted.note_end(now, false);
            self.remember(n, key, before, &log);
            self.commit_soon(n);
        }
        let base = appended.base_offset.0;
        say!(
            self,
            "broker {} appends {base}..={} of {:?} in epoch {epoch}{}",
            self.nodes[n].id,
            appended.last_offset,
            super::Named(key),
            if appended.duplicate { ", again" } else { "" }
        );
        if !produce.acks_all {
            self.answer_produce(n, client, number, Produced::Done { base });
        } else if let Some(hosted) = self.nodes[n].hosted(key) {
            hosted.waiting.push(Waiting { client, produce, base, last: appended.last_offset, epoch });
        }
        self.settle_waiting(n, key)?;
        self.unpark(n, key, false)
    }

    /// Takes what was just appended into the shadow, by reading it back.
    pub(super) fn remember(&mut self, n: usize, key: Key, from: Offset, log: &ottla_store::PartitionLog) {
        // The disk may have crashed; then the shadow keeps what it has.
        if let (Ok(bytes), Some(shadow)) =
            (log.read_bytes(from, 1 << 20, UpTo::End), self.nodes[n].shadows.get_mut(&key))
        {
            shadow.marks.extend(marks_of(&bytes));
        }
    }

    /// Answers the producers that need wait no longer.
    pub(super) fn settle_waiting(&mut self, n: usize, key: Key) -> Result<(), Violation> {
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        let mut answers = Vec::new();
        let replica = &hosted.replica;
        hosted.waiting.retain(|waiting| {
            let outcome = match replica.committed(waiting.last, waiting.epoch) {
                Committed::Waiting => return true,
                Committed::Yes => Produced::Done { base: waiting.base },
                Committed::UnderMinimum | Committed::Unknown => Produced::Unknown,
            };
            answers.push((
                waiting.client,
                waiting.produce.number,
                outcome,
                waiting.base,
                waiting.last,
                waiting.epoch,
            ));
            false
        });
        for (client, number, outcome, base, last, epoch) in answers {
            if let Produced::Done { .. } = outcome {
                say!(
                    self,
                    "broker {} acknowledges {base}..={last} of {:?}",
                    self.nodes[n].id,
                    super::Named(key)
                );
                self.report.acknowledged += 1;
                let newest = self.quorum.committed();
                self.judge.on_acknowledged(&self.nodes, newest, n, key, (base, last.0), epoch)?;
            }
            self.answer_produce(n, client, number, outcome);
        }
        Ok(())
    }

    pub(super) fn on_fetch(&mut self, n: usize, ask: Ask) -> Result<(), Violation> {
        let now = self.now;
        let follower = super::node_of(ask.from);
        let Some(hosted) = self.nodes[n].hosted(ask.key) else {
            return self.refuse(n, follower, &ask);
        };
        let fetch = FollowerFetch {
            broker: ask.from,
            broker_epoch: ask.broker_epoch,
            directory: ask.directory,
            leader_epoch: ask.spec.leader_epoch,
            fetch_offset: ask.spec.fetch_offset,
            last_epoch: ask.spec.last_epoch,
        };
        let log = hosted.log.clone();
        let log_facts = facts(&log);
        let fetched =
            hosted.replica.on_fetch(&fetch, log_facts, |epoch| log.end_offset_for_epoch(epoch), now);
        let (verdict, change) = match fetched {
            Ok(fetched) => fetched,
            Err(refusal) => {
                say!(self, "broker {} refuses broker {}: {refusal:?}", self.nodes[n].id, ask.from);
                return self.refuse(n, follower, &ask);
            }
        };
        hosted.note_word(ask.from);
        let knows_less = ask.spec.high_watermark < hosted.replica.high_watermark();
        let has_more = verdict != FetchVerdict::Read || ask.spec.fetch_offset < log_facts.end || knows_less;
        self.after_change(n, ask.key, &change)?;
        if has_more {
            self.answer_fetch(n, &ask, verdict)?;
        } else if let Some(hosted) = self.nodes[n].hosted(ask.key) {
            hosted.parked.retain(|parked| parked.ask.from != ask.from);
            hosted.parked.push(Parked { ask, since: now });
        }
        Ok(())
    }

    fn refuse(&mut self, n: usize, follower: usize, ask: &Ask) -> Result<(), Violation> {
        let message = Message::Fetched { key: ask.key, number: ask.number, answer: None };
        self.send(Party::Broker(n), Party::Broker(follower), message);
        Ok(())
    }

    fn answer_fetch(&mut self, n: usize, ask: &Ask, verdict: FetchVerdict) -> Result<(), Violation> {
        let Some(hosted) = self.nodes[n].hosted(ask.key) else { return Ok(()) };
        let log_facts = facts(&hosted.log);
        let wants = verdict == FetchVerdict::Read && ask.spec.fetch_offset < log_facts.end;
        let read = match wants {
            true => hosted.log.read(ask.spec.fetch_offset, FETCH_BYTES, true, UpTo::End),
            false => Ok(None),
        };
        let follower = super::node_of(ask.from);
        let Ok(slice) = read else { return self.refuse(n, follower, ask) };
        let (high_watermark, log_start) = (hosted.replica.high_watermark(), log_facts.start);
        let answer = FetchAnswer { asked: ask.spec, verdict, high_watermark, log_start };
        let to = Party::Broker(follower);
        self.send_slice(n, to, (ask.key, ask.number), Answer::Follower(answer), slice)
    }

    /// Answers the followers that wait, if there is something to say or they have waited for long.
    pub(super) fn unpark(&mut self, n: usize, key: Key, all: bool) -> Result<(), Violation> {
        let now = self.now;
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        let (end, high_watermark) = (hosted.log.end_offset(), hosted.replica.high_watermark());
        let epoch = hosted.replica.leader_epoch();
        let (ready, parked): (Vec<Parked>, Vec<Parked>) = hosted.parked.drain(..).partition(|parked| {
            let spec = &parked.ask.spec;
            let is_over = spec.leader_epoch != epoch || (all && parked.since + PARKED_MS < now);
            is_over || spec.fetch_offset < end || spec.high_watermark < high_watermark
        });
        hosted.parked = parked;
        for Parked { ask, .. } in ready {
            if ask.spec.leader_epoch == epoch {
                self.answer_fetch(n, &ask, FetchVerdict::Read)?;
            } else {
                self.refuse(n, super::node_of(ask.from), &ask)?;
            }
        }
        Ok(())
    }

    pub(super) fn on_poll(
        &mut self,
        n: usize,
        client: Party,
        key: Key,
        number: u64,
        offset: i64,
    ) -> Result<(), Violation> {
        let Some(hosted) = self.nodes[n].hosted(key) else {
            let epoch = ottla_types::LeaderEpoch(-1);
            let message = Message::Polled { key, number, bytes: None, epoch, from: n, start: 0 };
            self.send(Party::Broker(n), client, message);
            return Ok(());
        };
        let limit = hosted.replica.read_limit(facts(&hosted.log)).0;
        let (epoch, start) = (hosted.replica.leader_epoch(), hosted.log.log_start_offset().0);
        let read = match offset < limit {
            true => hosted.log.read(Offset(offset), 600, true, UpTo::Offset(Offset(limit))),
            false => Ok(None),
        };
        match read {
            Ok(slice) => self.send_slice(n, client, (key, number), Answer::Consumer(epoch), slice)?,
            Err(_) => {
                let message = Message::Polled { key, number, bytes: None, epoch, from: n, start };
                self.send(Party::Broker(n), client, message);
            }
        }
        Ok(())
    }
}
