//! What an assignor knows of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_types::{PartitionIndex, TopicId};

use super::super::super::ids::{InstanceId, MemberId};
use super::super::partitions::Assignment;

/// A group that is to be assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSpec {
    /// Its members.
    pub members: BTreeMap<MemberId, MemberSpec>,
    /// The topics that there are. Others that members are subscribed to aren't assigned.
    pub topics: BTreeMap<TopicId, TopicSpec>,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberSpec {
    /// Its instance id, if it is a static member.
    pub instance: Option<InstanceId>,
    /// The rack that it is in, if it says so.
    pub rack: Option<Arc<str>>,
    /// What it is subscribed to.
    pub topics: BTreeSet<TopicId>,
    /// What it was to have until now.
    pub target: Assignment,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSpec {
    /// How many partitions it has.
    pub partition_count: i32,
    /// Of each partition, the racks that have a replica; shorter if that isn't known of all.
    pub racks: Vec<BTreeSet<Arc<str>>>,
}

impl TopicSpec {
    /// All partitions, in order.
    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionIndex> + use<> {
        (0..self.partition_count).map(PartitionIndex)
    }
}

impl GroupSpec {
    /// Whether all members are subscribed to the same topics.
    pub(super) fn is_homogeneous(&self) -> bool {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return true };
        members.all(|member| member.topics == first.topics)
    }

    /// The topics that a member is subscribed to, and that there are.
    pub(super) fn topics_of(&self, member: &MemberSpec) -> impl Iterator<Item = (TopicId, &TopicSpec)> {
        member.topics.iter().filter_map(|id| Some((*id, self.topics.get(id)?)))
    }

    /// The racks that have a replica of a partition; none if that isn't known.
    pub(super) fn racks(&self, topic: TopicId, partition: PartitionIndex) -> impl Iterator<Item = &str> {
        let topic = self.topics.get(&topic);
        let index = usize::try_from(partition.0).unwrap_or(usize::MAX);
        let racks = topic.and_then(|topic| topic.racks.get(index));
        racks.into_iter().flatten().map(|rack| &**rack)
    }
}
