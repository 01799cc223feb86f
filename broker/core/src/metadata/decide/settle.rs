//! What becomes of a partition when its brokers, its replicas or its minimum change: who is in sync, who may lead,
//! and who leads.

use std::collections::BTreeSet;

use ottla_types::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, PlantedBug, planted};

use super::super::image::{MetadataImage, PartitionImage, TopicImage};
use super::super::record::{PartitionChange, Record, ReplicasChange};
use super::Draft;

impl MetadataImage {
    /// The state that follows from `next`, which is a partition's present state with what is asked for in it, as the
    /// brokers are now. The epochs of `next` are those of the present state; this leaves them alone.
    ///
    /// The order matters: disks first, as a replica on another disk is none; then who leaves the ISR, so that nobody
    /// else is elected; then the election, and last the reassignment, which may need another leader.
    fn settled(&self, topic: &TopicImage, mut next: PartitionImage) -> PartitionImage {
        self.take_up_new_disks(&mut next);
        self.leave_isr(topic, &mut next);
        self.elect(topic, &mut next);
        self.complete_reassignment(topic, &mut next);
        next
    }

    /// A replica whose broker came back with another disk begins anew there, out of sync. But the last one that has
    /// everything stays recorded on its old disk, offline: an empty log in its place would be silent loss. It comes
    /// back with the disk, or an administrator gives it up.
    fn take_up_new_disks(&self, next: &mut PartitionImage) {
        for (position, id) in next.replicas.clone().into_iter().enumerate() {
            let Some(present) = self.broker(id).map(|broker| broker.directory_id) else { continue };
            let is_last = !next.isr.iter().chain(&next.elr).any(|other| *other != id);
            if next.directories[position] != present && !is_last {
                next.directories[position] = present;
                if planted(PlantedBug::ReuseWipedDisk) {
                    continue;
                }
                next.isr.retain(|other| *other != id);
                next.elr.retain(|other| *other != id);
            }
        }
    }

    /// Takes out of the ISR whoever is not online, and who is stopping where enough remain. As long as the ISR is
    /// below its minimum, whoever leaves it stays eligible: the high watermark stands still from then on.
    fn leave_isr(&self, topic: &TopicImage, next: &mut PartitionImage) {
        let (online, gone): (Vec<BrokerId>, Vec<BrokerId>) =
            next.isr.iter().partition(|id| self.is_replica_online(next, **id));
        next.isr = online;
        next.elr.extend(gone);
        let min = self.min_insync_replicas(topic, next);
        // Who stops leaves early, so that nobody waits for it, but not where that alone would stop the partition.
        for id in next.isr.clone() {
            if next.isr.len() > min && self.brokers[&id].in_controlled_shutdown {
                next.isr.retain(|other| *other != id);
            }
        }
        self.tidy_up(topic, next);
    }

    /// Brings ISR and ELR into the order of the replicas, each replica in one of them at most.
    ///
    /// With an ISR of its minimum or more the ELR ends: the high watermark may move past who isn't in sync. That goes
    /// for an ISR that grows as for a minimum that falls.
    fn tidy_up(&self, topic: &TopicImage, next: &mut PartitionImage) {
        let (isr, elr) = (std::mem::take(&mut next.isr), std::mem::take(&mut next.elr));
        let ordered = |keep: &dyn Fn(&BrokerId) -> bool| -> Vec<BrokerId> {
            next.replicas.iter().copied().filter(keep).collect()
        };
        let eligible = ordered(&|id| elr.contains(id) && !isr.contains(id));
        next.isr = ordered(&|id| isr.contains(id));
        let is_enough = next.isr.len() >= self.min_insync_replicas(topic, next);
        let ends = is_enough && !planted(PlantedBug::KeepEligibleTooLong);
        next.elr = if ends { Vec::new() } else { eligible };
    }

    /// The leader stays if it can; else the first replica in sync leads; else, if none is online, the first one that is
    /// eligible; else nobody. One that stops or is being emptied gives way to one that doesn't.
    fn elect(&self, topic: &TopicImage, next: &mut PartitionImage) {
        let steady = |id: &BrokerId| self.is_steady(*id);
        let stays = next.leader.filter(|leader| next.isr.contains(leader));
        let in_sync = stays
            .filter(steady)
            .or_else(|| next.isr.iter().copied().find(steady))
            .or(stays)
            .or_else(|| next.isr.first().copied());
        let leader = in_sync.or_else(|| {
            let any = planted(PlantedBug::ElectOutOfSync);
            let eligible = if any { &next.replicas } else { &next.elr };
            let online = || eligible.iter().copied().filter(|id| self.is_replica_online(next, *id));
            online().find(steady).or_else(|| online().next())
        });
        if leader.is_none() {
            next.last_known_leader = next.leader.or(next.last_known_leader);
        } else {
            next.last_known_leader = None;
        }
        next.leader = leader;
        if let (Some(leader), None) = (leader, in_sync) {
            next.isr = vec![leader];
            self.tidy_up(topic, next);
        }
    }

    /// Ends a reassignment when all that it adds are in sync, and enough remain without what it removes.
    fn complete_reassignment(&self, topic: &TopicImage, next: &mut PartitionImage) {
        let are_in_sync = next.adding.iter().all(|id| next.isr.contains(id));
        if !next.is_reassigning() || !(are_in_sync || planted(PlantedBug::CompleteMoveTooEarly)) {
            return;
        }
        let mut complete = with_replicas(next, next.target().to_vec());
        (complete.adding, complete.removing, complete.original) = (vec![], vec![], vec![]);
        if self.may_drop(topic, next, &complete) {
            self.tidy_up(topic, &mut complete);
            self.elect(topic, &mut complete);
            *next = complete;
        }
    }

    /// Whether `next` may do without the replicas of `partition` that it lacks: none of them has anything that
    /// wasn't on as many others as it must be.
    pub(super) fn may_drop(
        &self,
        topic: &TopicImage,
        partition: &PartitionImage,
        next: &PartitionImage,
    ) -> bool {
        let is_dropped = |id: &BrokerId| partition.is_complete(*id) && !next.replicas.contains(id);
        let drops = partition.replicas.iter().any(is_dropped);
        !drops || next.isr.len() >= self.min_insync_replicas(topic, next)
    }

    /// Whether a broker means to go on leading what it leads.
    pub(super) fn is_steady(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| broker.is_active() && !broker.draining)
    }

    /// What changes in a partition if `next` is asked for, if anything does.
    pub(super) fn change_to(
        &self,
        topic: &TopicImage,
        index: PartitionIndex,
        next: PartitionImage,
    ) -> Option<PartitionChange> {
        let present = topic.partition(index).expect("a partition that changes exists");
        let next = self.settled(topic, next);
        if next == *present {
            return None;
        }
        // Who was removed must not go on in this epoch: it isn't fenced by anything else.
        let someone_is_gone = present.replicas.iter().any(|id| !next.replicas.contains(id));
        let bumps = next.leader != present.leader || someone_is_gone || next.unclean != present.unclean;
        let bumps = bumps && !planted(PlantedBug::ElectWithoutNewEpoch);
        let moved = (&next.replicas, &next.directories, &next.adding, &next.removing, &next.original)
            != (
                &present.replicas,
                &present.directories,
                &present.adding,
                &present.removing,
                &present.original,
            );
        Some(PartitionChange {
            topic: topic.id,
            partition: index,
            leader: next.leader,
            isr: next.isr,
            elr: next.elr,
            last_known_leader: next.last_known_leader,
            leader_epoch: LeaderEpoch(present.leader_epoch.0 + i32::from(bumps)),
            partition_epoch: PartitionEpoch(present.partition_epoch.0 + 1),
            unclean: next.unclean.filter(|unclean| present.unclean.as_ref() != Some(unclean)),
            replicas: moved.then_some(ReplicasChange {
                replicas: next.replicas,
                directories: next.directories,
                adding: next.adding,
                removing: next.removing,
                original: next.original,
            }),
        })
    }
}

/// `partition` with only these of its replicas, in this order.
pub(super) fn with_replicas(partition: &PartitionImage, replicas: Vec<BrokerId>) -> PartitionImage {
    let mut next = partition.clone();
    let kept: BTreeSet<BrokerId> = replicas.iter().copied().collect();
    let directory = |id: &BrokerId| partition.directory_of(*id).expect("a replica that is kept has a disk");
    next.directories = replicas.iter().map(directory).collect();
    next.replicas = replicas;
    next.isr.retain(|id| kept.contains(id));
    next.elr.retain(|id| kept.contains(id));
    next
}

impl Draft {
    /// Settles the partitions that `concerns` names, after `prepare` on each, in one record.
    pub(super) fn settle(
        &mut self,
        concerns: impl Fn(&PartitionImage) -> bool,
        prepare: impl Fn(&TopicImage, &mut PartitionImage),
    ) {
        let mut changes = Vec::new();
        for (topic, index, partition) in self.image.every_partition() {
            if concerns(partition) {
                let mut next = partition.clone();
                prepare(topic, &mut next);
                changes.extend(self.image.change_to(topic, index, next));
            }
        }
        self.change(changes);
    }

    /// Settles all partitions of which this broker has a replica.
    pub(super) fn settle_broker(&mut self, broker: BrokerId) {
        self.settle(|partition| partition.replicas.contains(&broker), |_, _| {});
    }

    pub(super) fn change(&mut self, changes: Vec<PartitionChange>) {
        if !changes.is_empty() {
            self.push(Record::PartitionsChanged(changes));
        }
    }
}
