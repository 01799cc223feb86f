//! Sets of partitions, by topic.

use std::collections::{BTreeMap, BTreeSet};

use ottla_types::{PartitionIndex, TopicId};

use super::super::ids::MemberEpoch;

/// Partitions that a member is to have, or says that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Invariant: no topic without a partition.
    topics: BTreeMap<TopicId, BTreeSet<PartitionIndex>>,
}

impl Assignment {
    /// Adds a partition, and tells whether it wasn't there.
    pub fn insert(&mut self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.topics.entry(topic).or_default().insert(partition)
    }

    /// Removes a partition, and tells whether it was there.
    pub fn remove(&mut self, topic: TopicId, partition: PartitionIndex) -> bool {
        let Some(partitions) = self.topics.get_mut(&topic) else { return false };
        let was_there = partitions.remove(&partition);
        if partitions.is_empty() {
            self.topics.remove(&topic);
        }
        was_there
    }

    /// Whether a partition is in it.
    pub fn contains(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.topics.get(&topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// The partitions, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        self.topics.iter().flat_map(|(topic, all)| all.iter().map(|partition| (*topic, *partition)))
    }

    /// The topics with their partitions, in order.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &BTreeSet<PartitionIndex>)> {
        self.topics.iter().map(|(topic, partitions)| (*topic, partitions))
    }

    /// How many partitions there are.
    pub fn count(&self) -> usize {
        self.topics.values().map(BTreeSet::len).sum()
    }

    /// Whether there is no partition.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

impl FromIterator<(TopicId, PartitionIndex)> for Assignment {
    fn from_iter<T: IntoIterator<Item = (TopicId, PartitionIndex)>>(all: T) -> Self {
        let mut assignment = Self::default();
        for (topic, partition) in all {
            assignment.insert(topic, partition);
        }
        assignment
    }
}

/// Partitions that a member has, each with the epoch in which the member got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// Invariant: no topic without a partition.
    topics: BTreeMap<TopicId, BTreeMap<PartitionIndex, MemberEpoch>>,
}

impl Owned {
    /// Adds a partition, or changes its epoch.
    pub fn insert(&mut self, topic: TopicId, partition: PartitionIndex, epoch: MemberEpoch) {
        self.topics.entry(topic).or_default().insert(partition, epoch);
    }

    /// In which epoch the member got a partition; none if it doesn't have it.
    pub fn epoch_of(&self, topic: TopicId, partition: PartitionIndex) -> Option<MemberEpoch> {
        self.topics.get(&topic)?.get(&partition).copied()
    }

    /// Whether a partition is in it.
    pub fn contains(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.epoch_of(topic, partition).is_some()
    }

    /// The partitions with their epochs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionIndex, MemberEpoch)> {
        let topics = self.topics.iter();
        topics.flat_map(|(topic, all)| all.iter().map(|(partition, epoch)| (*topic, *partition, *epoch)))
    }

    /// How many partitions there are.
    pub fn count(&self) -> usize {
        self.topics.values().map(BTreeMap::len).sum()
    }

    /// Whether there is no partition.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The partitions without their epochs.
    pub fn assignment(&self) -> Assignment {
        self.iter().map(|(topic, partition, _)| (topic, partition)).collect()
    }
}

impl FromIterator<(TopicId, PartitionIndex, MemberEpoch)> for Owned {
    fn from_iter<T: IntoIterator<Item = (TopicId, PartitionIndex, MemberEpoch)>>(all: T) -> Self {
        let mut owned = Self::default();
        for (topic, partition, epoch) in all {
            owned.insert(topic, partition, epoch);
        }
        owned
    }
}
