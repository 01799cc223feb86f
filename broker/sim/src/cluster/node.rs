//! A broker: its disk, its process if it runs, and what it does with ticks and syncs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_core::metadata::{
    AlterPartition, AlterPartitionError, AlterPartitions, Command, IsrMember, MetadataImage, Rejection, Reply,
};
use ottla_core::partition::{Change, FetchAnswer, IsrProposal, LogFacts, Replica, SavedHighWatermark};
use ottla_store::{PartitionLog, Store};
use ottla_types::{BrokerEpoch, BrokerId, DirectoryId, Offset};

use super::Key;
use super::batch::Mark;
use super::net::{Ask, Message, Party, Produce};
use super::plan::{HEARTBEAT_MS, REQUEST_MS};
use super::trace::say;
use super::world::{Cluster, Event};
use crate::disk::PlantedBug as DiskBug;
use crate::{SimDisk, Violation};

pub(super) struct Node {
    pub(super) id: BrokerId,
    pub(super) disk: SimDisk,
    pub(super) process: Option<Process>,
    pub(super) paused_until: u64,
    /// What the disk has to hold, by partition.
    pub(super) shadows: BTreeMap<Key, Shadow>,
    /// High watermarks, as they were saved last.
    pub(super) saved: BTreeMap<Key, SavedHighWatermark>,
    /// The newest image whose decisions are on its disk.
    pub(super) metadata: usize,
    /// The identity of the disk that is in it.
    pub(super) directory: Option<DirectoryId>,
    pub(super) wipes: u64,
    /// The last process closed the disk in order.
    pub(super) is_clean: bool,
    /// How far its clock is off, in ms.
    pub(super) clock_ms: i64,
    seed: u64,
    disk_bug: Option<DiskBug>,
}

/// What one log on the disk has to hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadow {
    /// Those that were let go are still here.
    pub(super) marks: Vec<Mark>,
    /// Where it begins.
    pub(super) start: i64,
    /// Up to here it is synced.
    pub(super) durable: i64,
    /// A bit of it was flipped.
    pub(super) is_damaged: bool,
}

pub(super) struct Process {
    pub(super) number: u64,
    pub(super) store: Store,
    pub(super) directory: DirectoryId,
    pub(super) epoch: Option<BrokerEpoch>,
    pub(super) registering: Option<(u64, u64)>,
    pub(super) image: Option<MetadataImage>,
    pub(super) seen: usize,
    pub(super) hosted: BTreeMap<Key, Hosted>,
    pub(super) is_commit_due: bool,
    pub(super) proposals: BTreeMap<u64, (Key, IsrProposal)>,
    pub(super) is_stopping: bool,
    pub(super) is_clean: bool,
    /// There was no room for a log; it is tried again.
    pub(super) lacks_logs: bool,
}

pub(super) struct Hosted {
    pub(super) log: Arc<PartitionLog>,
    pub(super) replica: Replica,
    pub(super) waiting: Vec<Waiting>,
    pub(super) parked: Vec<Parked>,
    /// The question that is under way, and since when.
    pub(super) asked: Option<(u64, u64)>,
    /// Records of these are appended and not synced.
    pub(super) appended: Vec<FetchAnswer>,
    pub(super) proposed_at: u64,
    /// Up to here the judge knows what was shown.
    pub(super) shown: i64,
    /// While it leads: the log's ends in its epoch, and since when.
    pub(super) ends: Vec<(i64, u64)>,
    /// While it leads: the furthest that each follower has said in its epoch.
    pub(super) furthest: BTreeMap<BrokerId, Offset>,
}

impl Hosted {
    /// The high watermark for the next start.
    fn saved(&self) -> SavedHighWatermark {
        SavedHighWatermark::new(self.replica.high_watermark(), |offset| self.log.epoch_of(offset))
    }
}

/// A producer that waits.
pub(super) struct Waiting {
    pub(super) client: Party,
    pub(super) produce: Produce,
    pub(super) base: i64,
    pub(super) last: Offset,
    pub(super) epoch: ottla_types::LeaderEpoch,
}

/// A follower that waits for records.
pub(super) struct Parked {
    pub(super) ask: Ask,
    pub(super) since: u64,
}

pub(super) fn facts(log: &PartitionLog) -> LogFacts {
    let (start, end) = (log.log_start_offset(), log.end_offset());
    LogFacts { start, end, synced: log.durable_end_offset().clamp(start, end) }
}

impl Node {
    pub(super) fn new(node: usize, seed: u64, disk_bug: Option<DiskBug>) -> Self {
        let seed = seed.wrapping_mul(31).wrapping_add(node as u64) ^ 0xd15c;
        Self {
            id: super::broker_id(node),
            disk: SimDisk::new(seed, disk_bug),
            process: None,
            paused_until: 0,
            shadows: BTreeMap::new(),
            saved: BTreeMap::new(),
            metadata: 0,
            directory: None,
            wipes: 0,
            is_clean: false,
            clock_ms: 0,
            seed,
            disk_bug,
        }
    }

    pub(super) fn process_number(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| process.number)
    }

    /// Puts an empty disk in place of the old one. The broker is down.
    pub(super) fn wipe(&mut self) {
        assert!(self.process.is_none(), "a disk is changed while the broker is down");
        self.wipes += 1;
        self.disk = SimDisk::new(self.seed ^ (self.wipes << 32), self.disk_bug);
        self.shadows.clear();
        self.saved.clear();
        self.metadata = 0;
        self.directory = None;
    }

    pub(super) fn hosted(&mut self, key: Key) -> Option<&mut Hosted> {
        self.process.as_mut()?.hosted.get_mut(&key)
    }
}

impl Cluster {
    /// The controller's word on something that this broker asked for.
    pub(super) fn on_decided(
        &mut self,
        n: usize,
        number: u64,
        outcome: Result<Reply, Rejection>,
    ) -> Result<(), Violation> {
        let Some(process) = &mut self.nodes[n].process else { return Ok(()) };
        if process.registering.is_some_and(|(asked, _)| asked == number) {
            process.registering = None;
            if let Ok(Reply::BrokerRegistered(epoch)) = outcome {
                process.epoch = Some(epoch);
                self.send_images(n);
            }
            return Ok(());
        }
        let Some((key, proposal)) = process.proposals.remove(&number) else { return Ok(()) };
        let Ok(Reply::PartitionsAltered(results)) = outcome else { return Ok(()) };
        let Some(hosted) = process.hosted.get_mut(&key) else { return Ok(()) };
        // As the server does: whatever says that there is a newer state is settled by that state's image.
        let is_certain = matches!(
            results.first(),
            Some(Err(AlterPartitionError::IneligibleReplica(_) | AlterPartitionError::InvalidRequest))
        );
        if is_certain {
            let change = hosted.replica.on_proposal_refused(&proposal, facts(&hosted.log));
            self.after_change(n, key, &change)?;
        }
        Ok(())
    }

    /// The controller knows another registration: this one is void.
    pub(super) fn on_stale(&mut self, n: usize, epoch: BrokerEpoch) {
        if let Some(process) = &mut self.nodes[n].process
            && process.epoch == Some(epoch)
            && !process.is_stopping
        {
            process.epoch = None;
            self.register(n);
        }
    }

    pub(super) fn tick(&mut self, n: usize, number: u64) -> Result<(), Violation> {
        if self.nodes[n].process_number() != number {
            return Ok(());
        }
        self.after(HEARTBEAT_MS, Event::Tick(n, number));
        let now = self.now;
        let (id, newest) = (self.nodes[n].id, self.quorum.images.len() - 1);
        let Some(process) = &mut self.nodes[n].process else { return Ok(()) };
        let may_register = process.registering.is_none_or(|(_, at)| at + REQUEST_MS < now);
        let is_behind = process.seen < newest;
        let again = process.image.clone().filter(|_| process.lacks_logs);
        match process.epoch {
            Some(epoch) => {
                let has_caught_up = process
                    .image
                    .as_ref()
                    .is_some_and(|image| image.broker(id).is_some_and(|broker| broker.epoch == epoch));
                let heartbeat = Message::Heartbeat { broker: id, epoch, has_caught_up };
                self.send(Party::Broker(n), Party::Quorum, heartbeat);
            }
            None if may_register => self.register(n),
            None => {}
        }
        if is_behind {
            self.send_images(n);
        }
        if let Some(image) = again {
            self.apply(n, image)?;
        }
        for key in self.hosted_keys(n) {
            self.tick_partition(n, key)?;
        }
        self.save(n);
        self.retain(n)?;
        self.on_all_synced(n)
    }

    pub(super) fn hosted_keys(&self, n: usize) -> Vec<Key> {
        self.nodes[n].process.iter().flat_map(|process| process.hosted.keys().copied()).collect()
    }

    fn tick_partition(&mut self, n: usize, key: Key) -> Result<(), Violation> {
        let now = self.now;
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        let proposal = match hosted.replica.pending_proposal() {
            Some(pending) if hosted.proposed_at + REQUEST_MS < now => Some(pending.clone()),
            Some(_) => None,
            None => {
                let proposal = hosted.replica.on_tick(facts(&hosted.log), now);
                self.judge_lag(n, key, proposal.as_ref())?;
                if let Some(proposal) = &proposal {
                    self.judge_join(n, key, proposal)?;
                }
                proposal
            }
        };
        if let Some(proposal) = proposal {
            self.propose(n, key, proposal);
        }
        self.unpark(n, key, true)?;
        let Some(hosted) = self.nodes[n].hosted(key) else { return Ok(()) };
        if hosted.asked.is_some_and(|(_, since)| since + REQUEST_MS < now) {
            hosted.asked = None;
        }
        self.ask(n, key);
        Ok(())
    }

    /// Writes checkpoints, now and then.
    fn save(&mut self, n: usize) {
        let (checkpoints, watermarks) = (self.rng.percent(10), self.rng.percent(20));
        let node = &mut self.nodes[n];
        let Some(process) = &mut node.process else { return };
        if checkpoints {
            // A failure shows in the store, which ends the process.
            let _ = process.store.checkpoint();
        }
        if watermarks {
            node.saved = process.hosted.iter().map(|(key, hosted)| (*key, hosted.saved())).collect();
        }
    }

    pub(super) fn propose(&mut self, n: usize, key: Key, proposal: IsrProposal) {
        let (number, now, id) = (self.next_number(), self.now, self.nodes[n].id);
        let Some(process) = &mut self.nodes[n].process else { return };
        let (Some(hosted), Some(broker_epoch)) = (process.hosted.get_mut(&key), process.epoch) else {
            return;
        };
        hosted.proposed_at = now;
        let isr = proposal
            .isr
            .iter()
            .map(|(broker, broker_epoch)| IsrMember { broker: *broker, broker_epoch: *broker_epoch });
        let command = Command::AlterPartitions(AlterPartitions {
            broker: id,
            broker_epoch,
            partitions: vec![AlterPartition {
                topic: key.0,
                partition: key.1,
                leader_epoch: proposal.leader_epoch,
                partition_epoch: proposal.partition_epoch,
                isr: isr.collect(),
            }],
        });
        process.proposals.insert(number, (key, proposal.clone()));
        say!(
            self,
            "broker {id} proposes {:?} at {} for {:?}",
            proposal.isr,
            proposal.partition_epoch,
            super::Named(key)
        );
        self.send(Party::Broker(n), Party::Quorum, Message::Command { number, command: Box::new(command) });
    }

    /// Something was appended: it is synced soon.
    pub(super) fn commit_soon(&mut self, n: usize) {
        let delay = 1 + self.rng.below(4);
        let Some(process) = &mut self.nodes[n].process else { return };
        if !std::mem::replace(&mut process.is_commit_due, true) {
            let number = process.number;
            self.after(delay, Event::Commit(n, number));
        }
    }

    pub(super) fn commit(&mut self, n: usize, number: u64) -> Result<(), Violation> {
        if self.nodes[n].process_number() != number {
            return Ok(());
        }
        let Some(process) = &mut self.nodes[n].process else { return Ok(()) };
        process.is_commit_due = false;
        if process.store.commit_now().is_err() {
            return Ok(());
        }
        self.on_all_synced(n)
    }

    /// Something was synced; which, the logs know.
    pub(super) fn on_all_synced(&mut self, n: usize) -> Result<(), Violation> {
        for key in self.hosted_keys(n) {
            self.on_synced(n, key)?;
        }
        Ok(())
    }

    fn on_synced(&mut self, n: usize, key: Key) -> Result<(), Violation> {
        let node = &mut self.nodes[n];
        let (Some(hosted), Some(shadow)) = (
            node.process.as_mut().and_then(|process| process.hosted.get_mut(&key)),
            node.shadows.get_mut(&key),
        ) else {
            return Ok(());
        };
        let log = facts(&hosted.log);
        shadow.durable = log.synced.0;
        let mut change = hosted.replica.on_synced(log);
        let is_all = log.synced == log.end;
        for answer in if is_all { std::mem::take(&mut hosted.appended) } else { Vec::new() } {
            change.high_watermark |= hosted.replica.on_appended(&answer, log).high_watermark;
        }
        self.after_change(n, key, &change)?;
        self.ask(n, key);
        Ok(())
    }

    /// Carries out what an event changed.
    pub(super) fn after_change(&mut self, n: usize, key: Key, change: &Change) -> Result<(), Violation> {
        if change.high_watermark {
            if let Some(hosted) = self.nodes[n].process.as_ref().and_then(|process| process.hosted.get(&key))
            {
                let (reached, shown) = (hosted.replica.high_watermark(), hosted.shown);
                say!(
                    self,
                    "broker {} has {:?} high watermark {shown}..{reached}",
                    self.nodes[n].id,
                    super::Named(key)
                );
            }
            self.judge.on_high_watermark(&mut self.nodes, self.quorum.committed(), n, key)?;
        }
        if change.role || change.high_watermark || change.proposal.is_some() {
            self.settle_waiting(n, key)?;
            self.unpark(n, key, change.role)?;
        }
        if let Some(proposal) = change.proposal.clone() {
            self.judge_join(n, key, &proposal)?;
            self.propose(n, key, proposal);
        }
        Ok(())
    }
}
