//! Producers that send again what they didn't hear of, and consumers that read from leaders and followers.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_types::LeaderEpoch;

use super::Key;
use super::batch::produce_batch;
use super::judge::LOSSY;
use super::net::{Message, Party, Produce, Produced};
use super::plan::REQUEST_MS;
use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;
use crate::shadow::demand;

pub(super) struct Producer {
    id: i64,
    acks_all: bool,
    lanes: BTreeMap<Key, Lane>,
}

/// What a producer does in one partition: one batch after the other.
struct Lane {
    id: i64,
    epoch: i16,
    sequence: i32,
    flight: Option<Flight>,
}

struct Flight {
    number: u64,
    batch: Bytes,
    count: i32,
    sent_at: u64,
    /// It is to be sent again at once.
    again: bool,
}

pub(super) struct Consumer {
    positions: BTreeMap<Key, i64>,
    asked: Option<(u64, u64)>,
}

/// The client's number of the consumers' first.
const CONSUMERS: usize = 100;

impl Producer {
    pub(super) fn new(number: usize) -> Self {
        let acks_all = number == 0;
        let id = number as i64 * 10_000 + if acks_all { 0 } else { LOSSY };
        Self { id, acks_all, lanes: BTreeMap::new() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lanes.values().all(|lane| lane.flight.is_none())
    }
}

impl Consumer {
    pub(super) fn new(_: usize) -> Self {
        Self { positions: BTreeMap::new(), asked: None }
    }
}

impl Cluster {
    pub(super) fn produce(&mut self, p: usize) -> Result<(), Violation> {
        let keys = self.keys();
        let (now, may_begin) = (self.now, !self.is_healed);
        let delay = 5 + self.rng.below(60);
        self.after(delay, Event::Produce(p));
        self.producers[p].lanes.retain(|key, _| keys.contains(key));
        let due: Vec<Key> = self.producers[p]
            .lanes
            .iter()
            .filter(|(_, lane)| {
                lane.flight.as_ref().is_some_and(|flight| flight.again || flight.sent_at + REQUEST_MS < now)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            self.send_batch(p, key);
        }
        if keys.is_empty() || !may_begin {
            return Ok(());
        }
        let key = keys[self.rng.below(keys.len() as u64) as usize];
        let count = 1 + self.rng.below(3);
        let padding = if self.rng.percent(10) { 300 } else { 10 };
        let first = self.judge.sent.len() as u64;
        let time_ms = self.record_time();
        let producer = &mut self.producers[p];
        let id = producer.id + producer.lanes.len() as i64;
        let lane = producer.lanes.entry(key).or_insert(Lane { id, epoch: 0, sequence: 0, flight: None });
        if lane.flight.is_none() {
            let who = (lane.id, lane.epoch, lane.sequence);
            let batch = produce_batch(who, first..first + count, time_ms, padding);
            let count = i32::try_from(count).expect("batches are small");
            lane.flight = Some(Flight { number: 0, batch, count, sent_at: now, again: true });
            self.judge.sent.extend((0..count).map(|_| key));
            self.send_batch(p, key);
        }
        Ok(())
    }

    /// The partitions that exist.
    pub(super) fn keys(&self) -> Vec<Key> {
        let topics = self.quorum.committed().topics.values();
        topics.flat_map(|topic| topic.numbered().map(|(index, _)| (topic.id, index))).collect()
    }

    /// The leader as clients know it, now and then an old one.
    fn known_leader(&mut self, key: Key) -> Option<usize> {
        let newest = self.quorum.images.len() - 1;
        let back = if self.rng.percent(10) { self.rng.below(6) as usize } else { 0 };
        let image = &self.quorum.images[newest.saturating_sub(back)];
        Some(super::node_of(image.topics.get(&key.0)?.partition(key.1)?.leader?))
    }

    fn send_batch(&mut self, p: usize, key: Key) {
        let (number, now) = (self.next_number(), self.now);
        let Some(leader) = self.known_leader(key) else { return };
        let producer = &mut self.producers[p];
        let acks_all = producer.acks_all;
        let Some(flight) = producer.lanes.get_mut(&key).and_then(|lane| lane.flight.as_mut()) else { return };
        (flight.number, flight.sent_at, flight.again) = (number, now, false);
        let produce = Produce { key, number, acks_all, batch: flight.batch.clone() };
        self.send(Party::Client(p), Party::Broker(leader), Message::Produce(produce));
    }

    pub(super) fn answer_client(&mut self, client: usize, message: Message) -> Result<(), Violation> {
        match message {
            Message::Produced { number, outcome } => self.on_produced(client, number, outcome),
            Message::Polled { key, number, bytes, epoch, from, start } => {
                if bytes.is_none() {
                    self.begin_at(client - CONSUMERS, key, start)?;
                }
                self.on_polled(client - CONSUMERS, key, number, bytes, epoch, from)
            }
            // People wait for nothing.
            _ => Ok(()),
        }
    }

    fn on_produced(&mut self, p: usize, number: u64, outcome: Produced) -> Result<(), Violation> {
        let producer = &mut self.producers[p];
        let found = producer.lanes.iter_mut().find_map(|(key, lane)| {
            Some(lane)
                .filter(|lane| lane.flight.as_ref().is_some_and(|flight| flight.number == number))
                .map(|lane| (*key, lane))
        });
        let Some((key, lane)) = found else { return Ok(()) };
        let Some(flight) = &mut lane.flight else { return Ok(()) };
        let partition = self.quorum.committed().topics.get(&key.0).and_then(|topic| topic.partition(key.1));
        let newest = partition.map_or(LeaderEpoch(-1), |partition| partition.leader_epoch);
        // What a damaged batch said of its producer may be gone.
        let is_damaged =
            self.nodes.iter().any(|node| node.shadows.get(&key).is_some_and(|shadow| shadow.is_damaged));
        match outcome {
            Produced::Done { .. } => {
                lane.sequence += flight.count;
                lane.flight = None;
            }
            Produced::Refused | Produced::Unknown => flight.again = true,
            // A deposed leader knows no better.
            Produced::OutOfOrder { epoch } if epoch < newest => flight.again = true,
            Produced::OutOfOrder { .. } => {
                let may = !producer.acks_all
                    || is_damaged
                    || self.judge.truths.get(&key).is_some_and(|truth| truth.unclean_epoch > 0);
                demand!(may, "{key:?}: producer {} is out of order at {}", lane.id, lane.sequence);
                (lane.epoch, lane.sequence, lane.flight) = (lane.epoch + 1, 0, None);
                say!(self, "producer {p} begins a new epoch in {:?}", super::Named(key));
            }
        }
        Ok(())
    }

    pub(super) fn poll(&mut self, c: usize) -> Result<(), Violation> {
        let (keys, now) = (self.keys(), self.now);
        let delay = 20 + self.rng.below(100);
        self.after(delay, Event::Poll(c));
        let is_waiting = self.consumers[c].asked.is_some_and(|(_, since)| since + REQUEST_MS > now);
        if keys.is_empty() || is_waiting {
            return Ok(());
        }
        let key = keys[self.rng.below(keys.len() as u64) as usize];
        let number = self.next_number();
        let partition = self.quorum.committed().topics.get(&key.0).and_then(|topic| topic.partition(key.1));
        let replicas = partition.map(|partition| partition.replicas.clone()).unwrap_or_default();
        let broker = super::node_of(replicas[self.rng.below(replicas.len() as u64) as usize]);
        let consumer = &mut self.consumers[c];
        consumer.asked = Some((number, now));
        let offset = *consumer.positions.entry(key).or_default();
        let message = Message::Poll { key, number, offset };
        self.send(Party::Client(CONSUMERS + c), Party::Broker(broker), message);
        Ok(())
    }

    /// What a consumer asks for is gone: it goes on where the log begins.
    fn begin_at(&mut self, c: usize, key: Key, start: i64) -> Result<(), Violation> {
        let position = self.consumers[c].positions.entry(key).or_default();
        if start > *position {
            *position = start;
            self.judge.on_skipped(key, start)?;
        }
        Ok(())
    }

    fn on_polled(
        &mut self,
        c: usize,
        key: Key,
        number: u64,
        bytes: Option<Bytes>,
        epoch: LeaderEpoch,
        from: usize,
    ) -> Result<(), Violation> {
        let consumer = &mut self.consumers[c];
        if consumer.asked.is_some_and(|(asked, _)| asked == number) {
            consumer.asked = None;
        }
        let Some(bytes) = bytes else { return Ok(()) };
        let read = self.judge.on_read(key, &bytes, epoch, super::broker_id(from))?;
        self.report.read += u64::from(read.is_some());
        if let Some(next) = read {
            let again = self.rng.percent(3);
            self.consumers[c].positions.insert(key, if again { 0 } else { next });
        }
        Ok(())
    }
}
