//! The cluster as a whole: its parts, and the queue of what happens next.

use std::collections::BTreeMap;

use super::clients::{Consumer, Producer};
use super::judge::Judge;
use super::net::{Message, Net, Party};
use super::node::Node;
use super::plan::{HEALING_MS, Plan, Retention};
use super::quorum::Quorum;
use super::trace::{Trace, say};
use super::{ClusterOptions, ClusterReport};
use crate::shadow::demand;
use crate::{Rng, Violation, memory};

/// Something that happens at a time. Numbers of processes tell those of one incarnation.
#[derive(Debug)]
pub(super) enum Event {
    Arrive { from: Party, to: Party, process: u64, message: Message },
    Images(usize),
    QuorumCommit,
    QuorumTick,
    Start(usize),
    Resume(usize),
    Tick(usize, u64),
    Commit(usize, u64),
    Fetch(usize, u64, super::Key),
    Send { from: usize, process: u64, to: Party, queued: Box<super::sending::Queued> },
    Produce(usize),
    Poll(usize),
    Fault,
    Cure(super::faults::Cure),
    Admin,
    Recover,
    Heal,
    Inspect,
}

/// What sets the numbers for aging apart.
const AGING: u64 = 0x00a6_e0f7;

pub(super) struct Cluster {
    pub(super) rng: Rng,
    /// For how old records are and when that is looked at.
    pub(super) aging: Rng,
    pub(super) now: u64,
    pub(super) plan: Plan,
    pub(super) trace: Trace,
    pub(super) nodes: Vec<Node>,
    pub(super) net: Net,
    pub(super) quorum: Quorum,
    pub(super) judge: Judge,
    pub(super) producers: Vec<Producer>,
    pub(super) consumers: Vec<Consumer>,
    pub(super) report: ClusterReport,
    pub(super) is_healed: bool,
    pub(super) is_done: bool,
    queue: BTreeMap<(u64, u64), Event>,
    number: u64,
}

impl Cluster {
    pub(super) fn new(seed: u64, options: ClusterOptions) -> Self {
        let mut rng = Rng::new(seed ^ 0x0c1a_57e2);
        let mut aging = Rng::new(seed ^ AGING);
        let mut plan = Plan::new(&mut rng);
        // What two reckless elections bring back must not have been let go in between.
        plan.retention = Retention::new(&mut aging).filter(|_| !plan.is_reckless);
        let mut cluster = Self::with_plan(seed, plan, options, rng, aging);
        cluster.begin();
        cluster
    }

    /// A cluster in which nothing has begun.
    fn with_plan(seed: u64, plan: Plan, options: ClusterOptions, rng: Rng, aging: Rng) -> Self {
        let nodes = (0..plan.brokers).map(|node| Node::new(node, seed, options.disk_bug)).collect();
        let producers = (0..plan.producers).map(Producer::new).collect();
        let consumers = (0..plan.consumers).map(Consumer::new).collect();
        Self {
            rng,
            aging,
            now: 0,
            trace: Trace::new(options.trace),
            nodes,
            net: Net::default(),
            quorum: Quorum::new(),
            judge: Judge::default(),
            producers,
            consumers,
            report: ClusterReport::default(),
            is_healed: false,
            is_done: false,
            queue: BTreeMap::new(),
            number: 0,
            plan,
        }
    }

    fn begin(&mut self) {
        say!(self, "{:?}", self.plan);
        for node in 0..self.nodes.len() {
            let delay = self.rng.below(60);
            self.after(delay, Event::Start(node));
        }
        self.after(50, Event::QuorumTick);
        self.after(200, Event::Admin);
        for producer in 0..self.producers.len() {
            self.after(700, Event::Produce(producer));
        }
        for consumer in 0..self.consumers.len() {
            self.after(800, Event::Poll(consumer));
        }
        if !self.plan.is_calm {
            self.after(900, Event::Fault);
        }
        self.after(1_000 + self.plan.storm_ms, Event::Heal);
    }

    /// The number of anything that needs one of its own.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        let number = self.next_number();
        self.queue.insert((self.now + delay, number), event);
    }

    pub(super) fn send(&mut self, from: Party, to: Party, message: Message) {
        let Some(delay) = self.net.carry(from, to, &mut self.rng) else { return };
        let process = if let Party::Broker(node) = to { self.nodes[node].process_number() } else { 0 };
        self.after(delay, Event::Arrive { from, to, process, message });
    }

    pub(super) fn run(&mut self) -> Result<(), Violation> {
        while !self.is_done {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Violation> {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return Err(Violation("nothing happens any more".to_owned()));
        };
        self.now = at;
        let limit = 1_000 + self.plan.storm_ms + HEALING_MS + 2_000;
        if at > limit {
            return Err(Violation(format!("not whole {HEALING_MS} ms after all was healed")));
        }
        if let Some(event) = self.unless_paused(event) {
            self.happen(event)?;
        }
        self.check_memory()?;
        self.bury_the_dead()
    }

    fn check_memory(&self) -> Result<(), Violation> {
        for process in self.nodes.iter().filter_map(|node| node.process.as_ref()) {
            memory::check_store(&process.store)?;
            for hosted in process.hosted.values() {
                memory::check_replica(&hosted.replica)?;
                if process.store.has_failed() {
                    // A log may be half cut then, of which its replica never hears.
                    continue;
                }
                let (known_to, start) = (hosted.replica.high_watermark(), hosted.log.log_start_offset());
                demand!(known_to >= start, "a log begins at {start}, and its high watermark is {known_to}");
            }
        }
        Ok(())
    }

    /// What happens in a stopped process happens when it goes on.
    fn unless_paused(&mut self, event: Event) -> Option<Event> {
        let node = match &event {
            Event::Arrive { to: Party::Broker(node), .. }
            | Event::Images(node)
            | Event::Tick(node, _)
            | Event::Commit(node, _)
            | Event::Fetch(node, ..)
            | Event::Send { from: node, .. } => *node,
            _ => return Some(event),
        };
        let until = self.nodes[node].paused_until;
        if until <= self.now {
            return Some(event);
        }
        self.after(until - self.now, event);
        None
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        let (kind, who) = event.code();
        self.trace.event(self.now, kind, who);
        match event {
            Event::Arrive { from, to, process, message } => self.arrive(from, to, process, message),
            Event::Images(node) => self.take_images(node),
            Event::QuorumCommit => self.commit_oldest(),
            Event::QuorumTick => {
                self.quorum_tick();
                self.after(100, Event::QuorumTick);
                Ok(())
            }
            Event::Start(node) => self.start(node),
            Event::Resume(_) => Ok(()),
            Event::Tick(node, process) => self.tick(node, process),
            Event::Commit(node, process) => self.commit(node, process),
            Event::Fetch(node, process, key) => self.fetch_again(node, process, key),
            Event::Send { from, process, to, queued } => self.send_queued(from, process, to, *queued),
            Event::Produce(producer) => self.produce(producer),
            Event::Poll(consumer) => self.poll(consumer),
            Event::Fault => self.fault(),
            Event::Cure(cure) => self.cure(cure),
            Event::Admin => self.administer(),
            Event::Recover => self.recover_quorum(),
            Event::Heal => self.heal(),
            Event::Inspect => self.inspect(),
        }
    }

    fn arrive(&mut self, from: Party, to: Party, process: u64, message: Message) -> Result<(), Violation> {
        match to {
            Party::Quorum => {
                match message {
                    Message::Command { number, command } => self.decide(&command, Some((from, number))),
                    Message::Heartbeat { broker, epoch, has_caught_up } => {
                        self.on_heartbeat(broker, epoch, has_caught_up);
                    }
                    _ => unreachable!("nothing else is sent to the quorum"),
                }
                Ok(())
            }
            Party::Client(client) => self.answer_client(client, message),
            // The connection went with the process.
            Party::Broker(node) if self.nodes[node].process_number() != process => Ok(()),
            Party::Broker(node) => match message {
                Message::Fetch(ask) => self.on_fetch(node, ask),
                Message::Fetched { key, number, answer } => self.on_fetched(node, key, number, answer),
                Message::Produce(produce) => self.on_produce(node, from, produce),
                Message::Poll { key, number, offset } => self.on_poll(node, from, key, number, offset),
                Message::Decided { number, outcome } => self.on_decided(node, number, *outcome),
                Message::Stale { epoch } => {
                    self.on_stale(node, epoch);
                    Ok(())
                }
                _ => unreachable!("nothing else is sent to brokers"),
            },
        }
    }

    pub(super) fn report(&self) -> ClusterReport {
        let mut report = self.report.clone();
        report.digest = self.nodes.iter().fold(self.trace.digest(), |digest, node| {
            crc32c::crc32c_append(digest, &node.disk.digest().to_be_bytes())
        });
        report.events = self.trace.events;
        report.trace = self.trace.lines();
        report
    }
}

impl Event {
    fn code(&self) -> (u64, u64) {
        match self {
            Self::Arrive { to: Party::Broker(node), .. } => (0, *node as u64),
            Self::Arrive { to: Party::Client(client), .. } => (1, *client as u64),
            Self::Arrive { to: Party::Quorum, .. } => (2, 0),
            Self::Images(node) => (3, *node as u64),
            Self::QuorumCommit => (4, 0),
            Self::QuorumTick => (5, 0),
            Self::Start(node) => (6, *node as u64),
            Self::Resume(node) => (7, *node as u64),
            Self::Tick(node, _) => (8, *node as u64),
            Self::Commit(node, _) => (9, *node as u64),
            Self::Fetch(node, ..) => (10, *node as u64),
            Self::Produce(producer) => (11, *producer as u64),
            Self::Poll(consumer) => (12, *consumer as u64),
            Self::Fault => (13, 0),
            Self::Cure(_) => (14, 0),
            Self::Admin => (15, 0),
            Self::Heal => (16, 0),
            Self::Inspect => (17, 0),
            Self::Recover => (19, 0),
            Self::Send { from, .. } => (18, *from as u64),
        }
    }
}
