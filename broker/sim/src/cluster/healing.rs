//! The end of a run: everything is healed, and within a bounded time all must be whole again.

use ottla_core::metadata::{Command, DrainBroker, PartitionImage};
use ottla_core::partition::RoleKind;

use super::Key;
use super::batch::marks_in;
use super::node::facts;
use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;
use crate::shadow::demand;

impl Cluster {
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        say!(self, "all is healed");
        self.is_healed = true;
        self.net.heal();
        self.quorum.stalled_until = self.now;
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            node.disk.set_bytes_max(None);
            node.disk.crash_after(u64::MAX);
            node.disk.fail_sync_after(u64::MAX);
            node.paused_until = node.paused_until.min(self.now + 1);
            self.after(1, Event::Start(n));
        }
        self.after(300, Event::Inspect);
        Ok(())
    }

    /// Looks whether all is whole, and ends the run then.
    pub(super) fn inspect(&mut self) -> Result<(), Violation> {
        self.after(200, Event::Inspect);
        let draining: Vec<_> =
            self.quorum.committed().brokers.values().filter(|b| b.draining).map(|b| b.id).collect();
        for id in draining {
            self.command(Command::DrainBroker(DrainBroker { id, draining: false }));
        }
        for key in self.leaderless() {
            if self.is_lost(key) {
                demand!(!self.plan.is_calm, "{key:?} is lost without any fault");
                self.report.lost += 1;
                self.lead_uncleanly(key);
            }
        }
        let is_idle = self.producers.iter().all(super::clients::Producer::is_idle);
        let image = self.quorum.committed().clone();
        let topics = image.topics.values();
        let partitions: Vec<_> =
            topics.flat_map(|topic| topic.numbered().map(move |(index, p)| ((topic.id, index), p))).collect();
        for &(key, partition) in &partitions {
            if let Some(lack) = self.lack(key, partition) {
                say!(self, "{:?}: {lack}", super::Named(key));
                return Ok(());
            }
        }
        if !is_idle && !partitions.iter().any(|(key, _)| self.is_damaged(*key)) {
            say!(self, "producers wait");
            return Ok(());
        }
        for (key, partition) in partitions {
            self.check_whole(key, partition)?;
        }
        self.report.elections = self.judge.elections;
        self.report.unclean = self.judge.unclean;
        self.is_done = true;
        Ok(())
    }

    /// Whether no disk that is still there has all that was acknowledged.
    fn is_lost(&self, key: Key) -> bool {
        let image = self.quorum.committed();
        let Some(partition) = image.topics.get(&key.0).and_then(|topic| topic.partition(key.1)) else {
            return false;
        };
        let mut complete = partition.isr.iter().chain(&partition.elr);
        let all_up = self.nodes.iter().all(|node| node.process.as_ref().is_some_and(|p| p.image.is_some()));
        all_up && complete.all(|id| self.nodes[super::node_of(*id)].directory != partition.directory_of(*id))
    }

    fn is_damaged(&self, key: Key) -> bool {
        self.nodes.iter().any(|node| node.shadows.get(&key).is_some_and(|shadow| shadow.is_damaged))
    }

    /// What a partition lacks, if it isn't whole.
    fn lack(&self, key: Key, partition: &PartitionImage) -> Option<&'static str> {
        if self.is_damaged(key) {
            return None;
        }
        let Some(leader) = partition.leader else { return Some("has no leader") };
        if partition.isr.len() < partition.replicas.len() {
            return Some("not all are in sync");
        }
        if partition.is_reassigning() {
            return Some("moves");
        }
        let hosted = self.nodes[super::node_of(leader)].process.as_ref().and_then(|p| p.hosted.get(&key));
        let Some(hosted) = hosted else { return Some("the leader doesn't know") };
        let leads = hosted.replica.role() == RoleKind::Leader
            && hosted.replica.leader_epoch() == partition.leader_epoch;
        if !leads {
            return Some("the leader doesn't lead yet");
        }
        let truth = self.judge.truths.get(&key).map_or(0, super::judge::Truth::end);
        let log = facts(&hosted.log);
        (hosted.replica.high_watermark() < log.end || log.end.0 < truth).then_some("not all is acknowledged")
    }

    /// All that was acknowledged can be read, from the leader as from any other.
    fn check_whole(&mut self, key: Key, partition: &PartitionImage) -> Result<(), Violation> {
        if self.is_damaged(key) {
            return Ok(());
        }
        for replica in &partition.replicas {
            let node = &self.nodes[super::node_of(*replica)];
            let Some(hosted) = node.process.as_ref().and_then(|process| process.hosted.get(&key)) else {
                continue;
            };
            let (marks, is_whole) = marks_in(&hosted.log, 0);
            let truth = &self.judge.truths[&key].marks;
            let gone = truth.iter().take_while(|mark| mark.next <= hosted.log.log_start_offset().0).count();
            let truth = &truth[gone..];
            let same = marks.iter().zip(truth).take_while(|(mark, truth)| mark == truth).count();
            let is_all = same == truth.len() || hosted.replica.role() != RoleKind::Leader;
            demand!(
                is_whole && is_all,
                "{key:?}: broker {replica} has {same} of {} batches at the end",
                truth.len()
            );
            let reads = same == marks.len().min(truth.len());
            demand!(reads, "{key:?}: broker {replica} differs at {:?}", marks.get(same));
        }
        Ok(())
    }
}
