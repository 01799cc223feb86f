//! The offsets of all groups of a shard.

use std::collections::{BTreeMap, BTreeSet};

use ottla_types::TopicPartition;

use crate::coordinator::{Pending, Ticket};

use super::super::ids::GroupId;
use super::super::record::{OffsetAndMetadata, OffsetCommitKey};
use super::super::reply::FetchedOffset;
use super::super::request::OffsetFetch;

/// The offsets of one group.
type OfGroup = BTreeMap<TopicPartition, Pending<OffsetAndMetadata>>;

/// The offsets of all groups.
#[derive(Debug, Default)]
pub struct Offsets {
    /// Invariant: no group, and no partition, without a value.
    by_group: BTreeMap<GroupId, OfGroup>,
}

impl Offsets {
    /// Takes over a committed record.
    pub fn load(&mut self, key: OffsetCommitKey, value: Option<OffsetAndMetadata>) {
        let (group, partition) = split(key);
        match value {
            Some(value) => {
                let of_group = self.by_group.entry(group).or_default();
                of_group.insert(partition, Pending::committed_as(value));
            }
            None => self.change(&group, &partition, |pending| *pending = Pending::default()),
        }
    }

    /// Sets an offset, or removes it, as decided.
    pub fn set(&mut self, ticket: Ticket, key: &OffsetCommitKey, value: Option<OffsetAndMetadata>) {
        let (group, partition) = split(key.clone());
        self.by_group.entry(group).or_default().entry(partition).or_default().set(ticket, value);
    }

    /// What was decided about an offset up to `ticket` is committed.
    pub fn commit(&mut self, ticket: Ticket, key: OffsetCommitKey) {
        let (group, partition) = split(key);
        self.change(&group, &partition, |pending| pending.commit(ticket));
    }

    /// What was decided about an offset from `ticket` on is refused.
    pub fn refuse(&mut self, ticket: Ticket, key: OffsetCommitKey) {
        let (group, partition) = split(key);
        self.change(&group, &partition, |pending| pending.refuse(ticket));
    }

    /// The groups that have offsets, or had some whose removal isn't committed.
    pub fn groups(&self) -> impl Iterator<Item = &GroupId> {
        self.by_group.keys()
    }

    /// The newest offsets of a group.
    pub fn newest(&self, group: &GroupId) -> impl Iterator<Item = (&TopicPartition, &OffsetAndMetadata)> {
        let of_group = self.by_group.get(group).into_iter().flatten();
        of_group.filter_map(|(partition, pending)| Some((partition, pending.newest()?)))
    }

    /// Whether a group has an offset, by what is newest.
    pub fn has(&self, group: &GroupId, partition: &TopicPartition) -> bool {
        let pending = self.by_group.get(group).and_then(|of_group| of_group.get(partition));
        pending.is_some_and(|pending| pending.newest().is_some())
    }

    /// Which of the partitions a group has an offset of, by what is newest. Walks the smaller of the two
    /// sets.
    pub fn present(&self, group: &GroupId, partitions: &BTreeSet<TopicPartition>) -> Vec<TopicPartition> {
        let Some(of_group) = self.by_group.get(group) else { return Vec::new() };
        if of_group.len() < partitions.len() {
            let newest = self.newest(group).map(|(partition, _)| partition);
            return newest.filter(|partition| partitions.contains(partition)).cloned().collect();
        }
        partitions.iter().filter(|partition| self.has(group, partition)).cloned().collect()
    }

    /// What is fetched: what is newest if it shall be stable, for then the answer waits until that is
    /// committed; else what is committed.
    pub fn fetch(&self, request: &OffsetFetch) -> Vec<FetchedOffset> {
        let of_group = self.by_group.get(&request.group);
        let read = |pending: &Pending<OffsetAndMetadata>| match request.require_stable {
            true => pending.newest().cloned(),
            false => pending.committed().cloned(),
        };
        match &request.partitions {
            Some(partitions) => {
                let fetched = partitions.iter().map(|partition| FetchedOffset {
                    partition: partition.clone(),
                    committed: of_group.and_then(|of_group| of_group.get(partition)).and_then(read),
                });
                fetched.collect()
            }
            None => {
                let all = of_group.into_iter().flatten();
                let fetched = all.map(|(partition, pending)| (partition.clone(), read(pending)));
                let present = fetched.filter(|(_, committed)| committed.is_some());
                present.map(|(partition, committed)| FetchedOffset { partition, committed }).collect()
            }
        }
    }

    fn change(
        &mut self,
        group: &GroupId,
        partition: &TopicPartition,
        change: impl FnOnce(&mut Pending<OffsetAndMetadata>),
    ) {
        let Some(of_group) = self.by_group.get_mut(group) else { return };
        let Some(pending) = of_group.get_mut(partition) else { return };
        change(pending);
        if pending.is_nothing() {
            of_group.remove(partition);
        }
        if of_group.is_empty() {
            self.by_group.remove(group);
        }
    }
}

fn split(key: OffsetCommitKey) -> (GroupId, TopicPartition) {
    (key.group, TopicPartition { topic: key.topic, partition: key.partition })
}
