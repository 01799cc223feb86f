//! The offsets of all groups of a shard.

use std::collections::BTreeMap;
use std::ops::Bound;

use ottla_types::TopicPartition;

use crate::coordinator::{Pending, Ticket};

use super::super::ids::GroupId;
use super::super::record::{OffsetAndMetadata, OffsetCommitKey};
use super::super::reply::FetchedOffset;
use super::super::request::OffsetFetch;

/// The offsets of one group.
#[derive(Debug, Default)]
struct OfGroup {
    /// Invariant: no partition without a value.
    by_partition: BTreeMap<TopicPartition, Pending<OffsetAndMetadata>>,
    /// Invariant: what they take up, in bytes.
    bytes: usize,
}

/// The offsets of all groups.
#[derive(Debug, Default)]
pub struct Offsets {
    /// Invariant: no group without an offset.
    by_group: BTreeMap<GroupId, OfGroup>,
    /// Invariant: the sum of the groups'.
    bytes: usize,
    /// Invariant: how many partitions there are in all groups.
    count: usize,
}

/// What a partition takes up beside its offset, in bytes: no less than the place that is kept for it.
const ENTRY_BYTES: usize = 128;

/// What an offset takes up, in bytes, held or in a reply.
fn value_bytes(value: &OffsetAndMetadata) -> usize {
    std::mem::size_of::<OffsetAndMetadata>() + value.metadata.len()
}

fn entry_bytes(partition: &TopicPartition) -> usize {
    ENTRY_BYTES + partition.topic.as_str().len()
}

impl Offsets {
    /// Takes over a committed record.
    pub fn load(&mut self, key: OffsetCommitKey, value: Option<OffsetAndMetadata>) {
        let ticket = Ticket::default();
        if value.is_some() || self.has_key(&key) {
            self.set(ticket, &key, value);
            self.commit(ticket, key);
        }
    }

    /// Whether there is an offset of this key, or one whose removal isn't committed.
    pub fn has_key(&self, key: &OffsetCommitKey) -> bool {
        let (group, partition) = split(key.clone());
        self.by_group.get(&group).is_some_and(|of_group| of_group.by_partition.contains_key(&partition))
    }

    /// Sets an offset, or removes it, as decided.
    pub fn set(&mut self, ticket: Ticket, key: &OffsetCommitKey, value: Option<OffsetAndMetadata>) {
        let (group, partition) = split(key.clone());
        let of_group = self.by_group.entry(group).or_default();
        let entry_bytes = entry_bytes(&partition);
        let mut added = value.as_ref().map_or(0, value_bytes);
        let mut dropped = 0;
        let pending = of_group.by_partition.entry(partition).or_insert_with(|| {
            added += entry_bytes;
            self.count += 1;
            Pending::default()
        });
        pending.set(ticket, value, |old| dropped += value_bytes(&old));
        of_group.bytes = of_group.bytes + added - dropped;
        self.bytes = self.bytes + added - dropped;
    }

    /// What was decided about an offset up to `ticket` is committed.
    pub fn commit(&mut self, ticket: Ticket, key: OffsetCommitKey) {
        self.change(key, |pending, dropped| pending.commit(ticket, |old| *dropped += value_bytes(&old)));
    }

    /// What was decided about an offset from `ticket` on is refused.
    pub fn refuse(&mut self, ticket: Ticket, key: OffsetCommitKey) {
        self.change(key, |pending, dropped| pending.refuse(ticket, |old| *dropped += value_bytes(&old)));
    }

    /// Bytes of memory that all offsets take up, the newest and the committed ones.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many offsets there are, or were whose removal isn't committed.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Asserts what must hold between events.
    pub fn assert_consistent(&self) {
        let (mut bytes, mut count) = (0, 0);
        for (group, of_group) in &self.by_group {
            let all = of_group.by_partition.iter();
            let partitions = all.map(|(partition, pending)| {
                entry_bytes(partition) + pending.values().map(value_bytes).sum::<usize>()
            });
            assert_eq!(of_group.bytes, partitions.sum::<usize>(), "{group}: its offsets are counted");
            bytes += of_group.bytes;
            count += of_group.by_partition.len();
        }
        assert_eq!((self.bytes, self.count), (bytes, count), "all offsets are counted");
    }

    /// The groups that have offsets, or had some whose removal isn't committed.
    pub fn groups(&self) -> impl Iterator<Item = &GroupId> {
        self.by_group.keys()
    }

    /// The newest offsets of a group.
    pub fn newest(&self, group: &GroupId) -> impl Iterator<Item = (&TopicPartition, &OffsetAndMetadata)> {
        self.newest_from(group, None)
    }

    /// The newest offsets of a group, from a partition on.
    pub fn newest_from(
        &self,
        group: &GroupId,
        from: Option<&TopicPartition>,
    ) -> impl Iterator<Item = (&TopicPartition, &OffsetAndMetadata)> {
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        let of_group = self.by_group.get(group).into_iter();
        let all = of_group
            .flat_map(move |one| one.by_partition.range::<TopicPartition, _>((from, Bound::Unbounded)));
        all.filter_map(|(partition, pending)| Some((partition, pending.newest()?)))
    }

    /// The committed offsets of a group.
    pub fn committed(&self, group: &GroupId) -> impl Iterator<Item = (&TopicPartition, &OffsetAndMetadata)> {
        let of_group = self.by_group.get(group).into_iter();
        let all = of_group.flat_map(|one| &one.by_partition);
        all.filter_map(|(partition, pending)| Some((partition, pending.committed()?)))
    }

    /// The first group behind another one that has offsets, or had some whose removal isn't committed.
    pub fn group_behind(&self, last: Option<&GroupId>) -> Option<&GroupId> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_group.range::<GroupId, _>((from, Bound::Unbounded)).next().map(|(group, _)| group)
    }

    /// Whether a group has an offset, by what is newest.
    pub fn has(&self, group: &GroupId, partition: &TopicPartition) -> bool {
        let pending = self.by_group.get(group).and_then(|of_group| of_group.by_partition.get(partition));
        pending.is_some_and(|pending| pending.newest().is_some())
    }

    /// How many offsets a group has, those counted in whose removal isn't committed.
    pub fn count_of(&self, group: &GroupId) -> usize {
        self.by_group.get(group).map_or(0, |of_group| of_group.by_partition.len())
    }

    /// The committed offsets that are asked for.
    pub fn fetch(&self, request: &OffsetFetch) -> Vec<FetchedOffset> {
        let fetched = |partition: &TopicPartition, committed: Option<&OffsetAndMetadata>| FetchedOffset {
            partition: partition.clone(),
            committed: committed.cloned(),
        };
        match &request.partitions {
            Some(partitions) => {
                let all = partitions.iter();
                all.map(|one| fetched(one, self.committed_one(&request.group, one))).collect()
            }
            None => {
                let all = self.committed(&request.group);
                all.map(|(partition, committed)| fetched(partition, Some(committed))).collect()
            }
        }
    }

    /// The most bytes that [`Self::fetch`] takes up, held or in a response.
    pub fn fetch_bytes(&self, request: &OffsetFetch) -> usize {
        match &request.partitions {
            Some(partitions) => {
                let all = partitions.iter().map(|one| {
                    entry_bytes(one) + self.committed_one(&request.group, one).map_or(0, value_bytes)
                });
                all.sum()
            }
            None => self.by_group.get(&request.group).map_or(0, |of_group| of_group.bytes),
        }
    }

    fn committed_one(&self, group: &GroupId, partition: &TopicPartition) -> Option<&OffsetAndMetadata> {
        self.by_group.get(group)?.by_partition.get(partition)?.committed()
    }

    /// Lets a partition's values be settled. `settle` adds up the bytes of those that are dropped.
    fn change(
        &mut self,
        key: OffsetCommitKey,
        settle: impl FnOnce(&mut Pending<OffsetAndMetadata>, &mut usize),
    ) {
        let (group, partition) = split(key);
        let Some(of_group) = self.by_group.get_mut(&group) else { return };
        let Some(pending) = of_group.by_partition.get_mut(&partition) else { return };
        let mut dropped = 0;
        settle(pending, &mut dropped);
        if pending.is_nothing() {
            dropped += entry_bytes(&partition);
            of_group.by_partition.remove(&partition);
            self.count -= 1;
        }
        of_group.bytes -= dropped;
        self.bytes -= dropped;
        if of_group.by_partition.is_empty() {
            self.by_group.remove(&group);
        }
    }
}

fn split(key: OffsetCommitKey) -> (GroupId, TopicPartition) {
    (key.group, TopicPartition { topic: key.topic, partition: key.partition })
}
