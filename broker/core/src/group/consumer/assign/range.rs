//! `range`: of each topic, neighbouring partitions for each subscriber, in the members' order.
//!
//! Nothing of what was is looked at: that members have an order is what makes them keep their partitions. Static
//! members come first, by their instance ids, which outlive their member ids.

use std::collections::BTreeMap;

use ottla_types::{PartitionIndex, TopicId};

use super::super::super::ids::MemberId;
use super::super::partitions::Assignment;
use super::spec::{GroupSpec, MemberSpec};

/// What is left of a topic.
struct Remaining {
    next: i32,
    partition_count: i32,
    subscriber_count: i32,
}

/// Assigns in ranges.
pub fn assign(group: &GroupSpec) -> BTreeMap<MemberId, Assignment> {
    let mut members: Vec<(&MemberId, &MemberSpec)> = group.members.iter().collect();
    members.sort_by_key(|(id, member)| (member.instance.is_none(), member.instance.clone(), (*id).clone()));
    let mut topics: BTreeMap<TopicId, Remaining> = BTreeMap::new();
    for (id, topic) in members.iter().flat_map(|(_, member)| group.topics_of(member)) {
        let none = Remaining { next: 0, partition_count: topic.partition_count, subscriber_count: 0 };
        topics.entry(id).or_insert(none).subscriber_count += 1;
    }
    let assigned = members.into_iter().map(|(id, member)| {
        let mut assignment = Assignment::default();
        for (topic, _) in group.topics_of(member) {
            let range = topics.get_mut(&topic).into_iter().flat_map(Remaining::take);
            range.for_each(|partition| {
                assignment.insert(topic, partition);
            });
        }
        (id.clone(), assignment)
    });
    assigned.collect()
}

impl Remaining {
    /// The range of the next subscriber: the first ones get one more if it doesn't come out even.
    fn take(&mut self) -> impl Iterator<Item = PartitionIndex> + use<> {
        let rest = self.partition_count - self.next;
        let count = rest / self.subscriber_count + i32::from(rest % self.subscriber_count > 0);
        let first = self.next;
        self.next += count;
        self.subscriber_count -= 1;
        (first..first + count).map(PartitionIndex)
    }
}
