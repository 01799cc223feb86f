//! The metadata quorum as a model: a log that commits in order, stalls, and changes its leader; what isn't
//! committed then may go. Decisions are the shipped `MetadataImage::decide`, on the newest state, committed
//! or not.

use std::collections::{BTreeMap, VecDeque};

use ottla_core::metadata::{Command, Decision, FenceBroker, MetadataImage, Rejection, Reply, UnfenceBroker};
use ottla_types::{BrokerEpoch, BrokerId, ClusterId, MetadataVersion};

use super::net::{Message, Party};
use super::plan::SESSION_MS;
use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;

pub(super) const CLUSTER: ClusterId = ClusterId([1; 16]);

pub(super) struct Quorum {
    /// What is committed, version by version.
    pub(super) images: Vec<MetadataImage>,
    /// With what is decided and not committed yet.
    newest: MetadataImage,
    pending: VecDeque<Pending>,
    /// It has no leader until then.
    pub(super) stalled_until: u64,
    /// Its log is on no disk any more.
    pub(super) is_lost: bool,
    heard: BTreeMap<BrokerId, u64>,
    chores_at: u64,
}

struct Pending {
    /// The image with this entry; none if it changes nothing.
    image: Option<MetadataImage>,
    outcome: Result<Reply, Rejection>,
    asked_by: Option<(Party, u64)>,
}

impl Quorum {
    pub(super) fn new() -> Self {
        let newest = MetadataImage::new(CLUSTER);
        Self {
            images: vec![newest.clone()],
            newest,
            pending: VecDeque::new(),
            stalled_until: 0,
            is_lost: false,
            heard: BTreeMap::new(),
            chores_at: 0,
        }
    }

    /// Its log is lost, with all that wasn't committed.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
        self.pending.clear();
        self.newest = self.committed().clone();
    }

    /// It goes on from this image.
    pub(super) fn go_on(&mut self, image: MetadataImage, now: u64) {
        self.is_lost = false;
        self.newest = image.clone();
        self.images.push(image);
        // As a new controller does, it gives everyone a fresh time.
        self.heard.values_mut().for_each(|at| *at = now);
    }

    pub(super) fn committed(&self) -> &MetadataImage {
        self.images.last().expect("there is always the first image")
    }
}

impl Cluster {
    pub(super) fn is_quorum_stalled(&self) -> bool {
        self.quorum.is_lost || self.now < self.quorum.stalled_until
    }

    /// Its leader goes; what wasn't committed does too, or is committed by the next without a word to who
    /// asked.
    pub(super) fn change_controller(&mut self, stall_ms: u64) -> Result<(), Violation> {
        if self.quorum.is_lost {
            return Ok(());
        }
        self.quorum.stalled_until = self.now + stall_ms;
        let survives = if self.rng.percent(50) { self.quorum.pending.len() } else { 0 };
        say!(self, "controller goes, {survives} of {} entries stay", self.quorum.pending.len());
        let surviving: Vec<Pending> = self.quorum.pending.drain(..survives).collect();
        for mut entry in surviving {
            entry.asked_by = None;
            self.commit_entry(entry)?;
        }
        self.quorum.pending.clear();
        self.quorum.newest = self.quorum.committed().clone();
        // A new controller gives everyone a fresh time.
        let heard = self.quorum.stalled_until;
        self.quorum.heard.values_mut().for_each(|at| *at = heard);
        Ok(())
    }

    pub(super) fn decide(&mut self, command: &Command, asked_by: Option<(Party, u64)>) {
        if self.is_quorum_stalled() {
            return;
        }
        let Decision { records, outcome } = self.quorum.newest.decide(command);
        if let Err(rejection) = &outcome {
            say!(self, "controller refuses {}: {rejection}", name_of(command));
        }
        let image = (!records.is_empty()).then(|| {
            let version = MetadataVersion(self.quorum.newest.version.0 + 1);
            self.quorum.newest.apply(version, &records);
            self.quorum.newest.clone()
        });
        self.quorum.pending.push_back(Pending { image, outcome, asked_by });
        let delay = 1 + self.rng.below(6);
        self.after(delay, Event::QuorumCommit);
    }

    /// Commits the oldest entry, if a change of the leader hasn't taken it.
    pub(super) fn commit_oldest(&mut self) -> Result<(), Violation> {
        if self.is_quorum_stalled() {
            return Ok(());
        }
        match self.quorum.pending.pop_front() {
            Some(entry) => self.commit_entry(entry),
            None => Ok(()),
        }
    }

    fn commit_entry(&mut self, entry: Pending) -> Result<(), Violation> {
        let Pending { image, outcome, asked_by } = entry;
        if let Some(image) = image {
            image.check().map_err(|wrong| Violation(format!("the image is wrong: {wrong}")))?;
            let old = self.quorum.committed().clone();
            self.quorum.images.push(image);
            let new = self.quorum.committed().clone();
            self.say_changes(&old, &new);
            self.judge.on_commit(&self.nodes, &old, &new)?;
            for node in 0..self.nodes.len() {
                self.send_images(node);
            }
        }
        if let Some((party, number)) = asked_by {
            self.send(Party::Quorum, party, Message::Decided { number, outcome: Box::new(outcome) });
        }
        Ok(())
    }

    /// Lets a broker have what is committed, if it can be reached by then.
    pub(super) fn send_images(&mut self, node: usize) {
        let (party, slow) = (Party::Broker(node), self.net.slow_percent);
        if let Some(delay) = self.net.carry(Party::Quorum, party, &mut self.rng) {
            let delay = delay + if self.rng.percent(slow) { self.rng.below(800) } else { 0 };
            self.after(delay, Event::Images(node));
        }
    }

    /// A broker says that it lives.
    pub(super) fn on_heartbeat(&mut self, broker: BrokerId, epoch: BrokerEpoch, has_caught_up: bool) {
        if self.is_quorum_stalled() {
            return;
        }
        let Some(known) = self.quorum.newest.broker(broker).cloned() else { return };
        if known.epoch != epoch {
            let party = Party::Broker(super::node_of(broker));
            return self.send(Party::Quorum, party, Message::Stale { epoch });
        }
        self.quorum.heard.insert(broker, self.now);
        if known.fenced && has_caught_up && !known.in_controlled_shutdown {
            self.decide(&Command::UnfenceBroker(UnfenceBroker { id: broker, epoch }), None);
        }
    }

    /// Fences who is silent, or who is known to be gone.
    pub(super) fn quorum_tick(&mut self) {
        if self.is_quorum_stalled() {
            return;
        }
        let live: Vec<_> =
            self.quorum.newest.live_brokers().map(|broker| (broker.id, broker.epoch)).collect();
        for (id, epoch) in live {
            let heard = *self.quorum.heard.entry(id).or_insert(self.now);
            if self.now.saturating_sub(heard) > SESSION_MS {
                self.decide(&Command::FenceBroker(FenceBroker { id, epoch }), None);
            }
        }
        if self.now >= self.quorum.chores_at {
            self.quorum.chores_at = self.now + 500 + self.rng.below(1_500);
            for command in self.quorum.newest.chores() {
                self.decide(&command, None);
            }
        }
    }

    /// A closed stream tells at once that a process is gone.
    pub(super) fn tell_gone(&mut self, id: BrokerId) {
        if let Some(epoch) = self.quorum.newest.broker(id).filter(|broker| !broker.fenced).map(|b| b.epoch) {
            self.decide(&Command::FenceBroker(FenceBroker { id, epoch }), None);
        }
    }

    fn say_changes(&mut self, old: &MetadataImage, new: &MetadataImage) {
        self.trace.number(new.version.0);
        for broker in new.brokers.values() {
            let before = old.broker(broker.id);
            if before.is_none_or(|before| before != broker) {
                let state = if broker.fenced { "fenced" } else { "live" };
                say!(self, "image {}: broker {} epoch {} {state}", new.version, broker.id, broker.epoch);
            }
        }
        for topic in new.topics.values() {
            for (index, partition) in topic.numbered() {
                let before = old.topics.get(&topic.id).and_then(|topic| topic.partition(index));
                if before != Some(partition) {
                    let p = partition;
                    say!(
                        self,
                        "image {}: {} {:?} leader {:?} epoch {} ({}) isr {:?} elr {:?} of {:?}",
                        new.version,
                        topic.name,
                        super::Named((topic.id, index)),
                        p.leader.map(|id| id.0),
                        p.leader_epoch,
                        p.partition_epoch,
                        ids(&p.isr),
                        ids(&p.elr),
                        ids(&p.replicas)
                    );
                }
            }
        }
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|id| id.0).collect()
}

fn name_of(command: &Command) -> String {
    let text = format!("{command:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}
