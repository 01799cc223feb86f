//! What becomes of a partition when its brokers, its replicas or its minimum change: who is in sync, who may
//! lead, and who leads.

use std::collections::BTreeSet;

use ottla_types::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, PlantedBug, planted};

use super::super::image::{MetadataImage, PartitionImage, TopicImage};
use super::super::record::{PartitionChange, Record, ReplicasChange};
use super::Draft;

impl MetadataImage {
    /// The state that follows from `next`, which is a partition's present state with what is asked for in it,
    /// as the brokers are now. The epochs of `next` are those of the present state; this leaves them alone.
    ///
    /// The order matters: disks first, as a replica on another disk is none; then who leaves the ISR, so that
    /// nobody else is elected; then the election, and last the reassignment, which may need another leader.
    fn settled(&self, topic: &TopicImage, mut next: PartitionImage) -> PartitionImage {
        self.take_up_new_disks(&mut next);
        self.leave_isr(topic, &mut next);
        self.elect(topic, &mut next);
        self.complete_reassignment(topic, &mut next);
        next
    }

    /// A replica whose broker came back with another disk begins anew there, out of sync. But the last one
    /// that has everything stays recorded on its old disk, offline: an empty log in its place would be silent
    /// loss. It comes back with the disk, or an administrator gives it up.
    fn take_up_new_disks(&self, next: &mut PartitionImage) {
        for (position, id) in next.replicas.clone().into_iter().enumerate() {
            let Some(present) = self.broker(id).map(|broker| broker.directory_id) else { continue };
            let is_last = !next.isr.iter().chain(&next.elr).any(|other| *other != id);
            if next.directories[position] != present && !is_last {
                next.directories[position] = present;
                forget_records_of(next, id);
            }
        }
    }

    /// Takes out of the ISR whoever is not online, and who is stopping where enough remain. As long as the
    /// ISR is below its minimum, whoever leaves it stays eligible: the high watermark stands still from then
    /// on.
    fn leave_isr(&self, topic: &TopicImage, next: &mut PartitionImage) {
        let (online, gone): (Vec<BrokerId>, Vec<BrokerId>) =
            next.isr.iter().partition(|id| self.is_replica_online(next, **id));
        next.isr = online;
        next.elr.extend(gone);
        let min = self.min_insync_replicas(topic, next);
        // Who stops leaves early, so that nobody waits for it, but not where that alone would stop the
        // partition.
        for id in next.isr.clone() {
            if next.isr.len() > min && self.brokers[&id].in_controlled_shutdown {
                next.isr.retain(|other| *other != id);
            }
        }
        self.tidy_up(topic, next);
    }

    /// Brings ISR and ELR into the order of the replicas, each replica in one of them at most.
    ///
    /// With an ISR of its minimum or more the ELR ends: the high watermark may move past who isn't in sync.
    /// That goes for an ISR that grows as for a minimum that falls.
    fn tidy_up(&self, topic: &TopicImage, next: &mut PartitionImage) {
        let (isr, elr) = (std::mem::take(&mut next.isr), std::mem::take(&mut next.elr));
        let ordered = |keep: &dyn Fn(&BrokerId) -> bool| -> Vec<BrokerId> {
            next.replicas.iter().copied().filter(keep).collect()
        };
        let eligible = ordered(&|id| elr.contains(id) && !isr.contains(id));
        next.isr = ordered(&|id| isr.contains(id));
        let is_enough = next.isr.len() >= self.min_insync_replicas(topic, next);
        next.elr = if ends_eligibility(is_enough) { Vec::new() } else { eligible };
        assert!(
            !next.isr.is_empty() || !next.elr.is_empty() || (isr.is_empty() && elr.is_empty()),
            "somebody still has what was acknowledged: of {isr:?} and {elr:?} nobody is left in {next:?}"
        );
    }

    /// The leader stays if it can; else the first replica in sync leads; else, if none is online, the first
    /// one that is eligible; else nobody. One that stops or is being emptied gives way to one that doesn't.
    fn elect(&self, topic: &TopicImage, next: &mut PartitionImage) {
        let steady = |id: &BrokerId| self.is_steady(*id);
        let stays = next.leader.filter(|leader| next.isr.contains(leader));
        let in_sync = stays
            .filter(steady)
            .or_else(|| next.isr.iter().copied().find(steady))
            .or(stays)
            .or_else(|| next.isr.first().copied());
        let leader = in_sync.or_else(|| {
            let eligible = eligible(next).iter().copied();
            let online = || eligible.clone().filter(|id| self.is_replica_online(next, *id));
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
        if !next.is_reassigning() || !has_added(next) {
            return;
        }
        let mut complete = with_replicas(next, next.target().to_vec());
        (complete.adding, complete.removing, complete.original) = (vec![], vec![], vec![]);
        assert!(
            !complete.is_reassigning() && !complete.replicas.is_empty(),
            "a move leaves replicas: {next:?}"
        );
        if self.may_drop(topic, next, &complete) {
            self.tidy_up(topic, &mut complete);
            self.elect(topic, &mut complete);
            *next = complete;
        }
    }

    /// Whether `next` may do without the replicas of `partition` that it lacks: none of them has anything
    /// that wasn't on as many others as it must be.
    pub(super) fn may_drop(
        &self,
        topic: &TopicImage,
        partition: &PartitionImage,
        next: &PartitionImage,
    ) -> bool {
        let mut dropped = partition.replicas.iter().filter(|id| !next.replicas.contains(id));
        let drops_records = dropped.any(|id| partition.is_complete(*id));
        !drops_records || next.isr.len() >= self.min_insync_replicas(topic, next)
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
        let present =
            topic.partition(index).expect("callers have the partition's present state from this topic");
        assert!(
            (next.leader_epoch, next.partition_epoch) == (present.leader_epoch, present.partition_epoch),
            "epochs are given out here alone"
        );
        let next = self.settled(topic, next);
        assert_eq!(next.replicas.len(), next.directories.len(), "each replica is on a disk");
        assert!(
            next.leader.is_none_or(|leader| next.isr.contains(&leader)),
            "who leads is in sync, or is taken for it from now on: {next:?}"
        );
        if next == *present {
            return None;
        }
        // Who was removed must not go on in this epoch: it isn't fenced by anything else.
        let someone_is_gone = present.replicas.iter().any(|id| !next.replicas.contains(id));
        let bumps = next.leader != present.leader || someone_is_gone || next.unclean != present.unclean;
        let leader_epoch = if bumps { next_epoch(present.leader_epoch) } else { present.leader_epoch };
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
            leader_epoch,
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

/// A replica that begins anew has nothing of what was acknowledged.
fn forget_records_of(next: &mut PartitionImage, id: BrokerId) {
    if planted(PlantedBug::ReuseWipedDisk) {
        return;
    }
    next.isr.retain(|other| *other != id);
    next.elr.retain(|other| *other != id);
}

/// With enough in sync nobody else is eligible.
fn ends_eligibility(is_enough: bool) -> bool {
    is_enough && !planted(PlantedBug::KeepEligibleTooLong)
}

/// Who may lead where nobody in sync is online.
fn eligible(partition: &PartitionImage) -> &[BrokerId] {
    if planted(PlantedBug::ElectOutOfSync) { &partition.replicas } else { &partition.elr }
}

/// Whether all that a reassignment adds are in sync.
fn has_added(partition: &PartitionImage) -> bool {
    let are_in_sync = partition.adding.iter().all(|id| partition.isr.contains(id));
    are_in_sync || planted(PlantedBug::CompleteMoveTooEarly)
}

/// Each leader has an epoch of its own.
fn next_epoch(present: LeaderEpoch) -> LeaderEpoch {
    if planted(PlantedBug::ElectWithoutNewEpoch) { present } else { LeaderEpoch(present.0 + 1) }
}

/// `partition` with only these of its replicas, in this order.
pub(super) fn with_replicas(partition: &PartitionImage, replicas: Vec<BrokerId>) -> PartitionImage {
    let mut next = partition.clone();
    let kept: BTreeSet<BrokerId> = replicas.iter().copied().collect();
    assert!(
        !kept.is_empty() && kept.len() == replicas.len(),
        "replicas are distinct, and there is one: {replicas:?}"
    );
    next.directories = replicas
        .iter()
        .map(|id| partition.directory_of(*id).expect("only replicas of this partition are kept"))
        .collect();
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
