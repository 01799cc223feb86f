//! Partitions move: replicas are added, and when they are in sync, others are removed (KIP-455).

use std::collections::BTreeSet;

use ottla_types::BrokerId;

use super::super::image::{MetadataImage, PartitionImage, TopicImage};
use super::super::record::{PartitionChange, Record};
use super::super::replica_command::{ReassignPartitions, Reassignment};
use super::super::reply::{Reply, TopicError, TopicErrorKind, TopicResult};
use super::partitions::check_factor;
use super::{Draft, settle::with_replicas};

impl MetadataImage {
    pub(super) fn reassign_partitions(&self, command: &ReassignPartitions) -> (Vec<Record>, Reply) {
        let mut draft = Draft::new(self);
        let mut changes: Vec<PartitionChange> = Vec::new();
        let mut seen = BTreeSet::new();
        let results = command.partitions.iter().map(|asked| {
            if !seen.insert((asked.topic, asked.partition)) {
                let message = format!("partition {} is named twice", asked.partition);
                return Err(TopicError::new(TopicErrorKind::InvalidRequest, message));
            }
            changes.extend(self.reassignment(asked)?);
            Ok(())
        });
        let reply = Reply::PartitionsReassigned(results.collect());
        draft.change(changes);
        (draft.records, reply)
    }

    fn reassignment(&self, asked: &Reassignment) -> TopicResult<Option<PartitionChange>> {
        let unknown = || {
            let message = format!("there is no partition {} of topic {}", asked.partition, asked.topic);
            TopicError::new(TopicErrorKind::UnknownTopicOrPartition, message)
        };
        let topic = self.topics.get(&asked.topic).ok_or_else(unknown)?;
        let present = topic.partition(asked.partition).ok_or_else(unknown)?;
        let next = match &asked.replicas {
            Some(target) => self.moved(topic, present, target)?,
            None if !present.is_reassigning() => {
                let message = format!("{}-{} is not being reassigned", topic.name, asked.partition);
                return Err(TopicError::new(TopicErrorKind::NoReassignmentInProgress, message));
            }
            None => self.moved(topic, present, &present.original)?,
        };
        Ok(self.change_to(topic, asked.partition, next))
    }

    /// `present` on its way to `target`.
    ///
    /// A reassignment that is under way is replaced: what it has added so far goes, what it would remove may
    /// stay.
    pub(super) fn moved(
        &self,
        topic: &TopicImage,
        present: &PartitionImage,
        target: &[BrokerId],
    ) -> TopicResult<PartitionImage> {
        if target == present.target() {
            return Ok(present.clone());
        }
        let original =
            if present.is_reassigning() { present.original.clone() } else { present.replicas.clone() };
        let added: Vec<BrokerId> = target.iter().copied().filter(|id| !original.contains(id)).collect();
        self.check_target(target, &added)?;
        let removed: Vec<BrokerId> = original.iter().copied().filter(|id| !target.contains(id)).collect();
        let all = target.iter().chain(&removed).copied();
        let kept = present.replicas.iter().copied().filter(|id| target.contains(id) || removed.contains(id));
        let mut next = with_replicas(present, kept.collect());
        next.directories = all
            .clone()
            .map(|id| present.directory_of(id).unwrap_or_else(|| self.brokers[&id].directory_id))
            .collect();
        next.replicas = all.collect();
        (next.adding, next.removing, next.original) = (added, removed, original);
        if !next.is_reassigning() {
            next.original.clear();
        }
        assert_eq!(next.target(), target, "what is being removed stands at the end of the replicas");
        if !self.may_drop(topic, present, &next) {
            let message = format!(
                "the replicas that the reassignment has added hold what too few others have: wait until more \
                 than {:?} are in sync",
                next.isr
            );
            return Err(TopicError::new(TopicErrorKind::InvalidReplicaAssignment, message));
        }
        Ok(next)
    }

    /// Checks the replicas that a partition shall have, of which `added` are new.
    fn check_target(&self, target: &[BrokerId], added: &[BrokerId]) -> TopicResult<()> {
        if target.is_empty() {
            let message = "a partition has at least one replica: name a broker".to_owned();
            return Err(TopicError::new(TopicErrorKind::InvalidReplicaAssignment, message));
        }
        self.check_brokers(target)?;
        self.refuse_draining(added)?;
        check_factor(target.len())
    }

    /// Nothing new is placed on a broker that is being emptied.
    pub(super) fn refuse_draining(&self, added: &[BrokerId]) -> TopicResult<()> {
        match added.iter().find(|id| self.brokers[*id].draining) {
            Some(id) => {
                let message = format!("broker {id} is being drained: name another, or end its draining");
                Err(TopicError::new(TopicErrorKind::InvalidReplicaAssignment, message))
            }
            None => Ok(()),
        }
    }
}

impl Draft {
    /// Cancels the reassignments that take replicas off a broker. Where what was added can't be given up any
    /// more, the move goes on.
    pub(super) fn cancel_moves_off(&mut self, broker: BrokerId) {
        let mut changes = Vec::new();
        let moving = self.image.every_partition().filter(|(_, _, p)| p.removing.contains(&broker));
        for (topic, index, present) in moving {
            if let Ok(next) = self.image.moved(topic, present, &present.original) {
                changes.extend(self.image.change_to(topic, index, next));
            }
        }
        self.change(changes);
    }
}
