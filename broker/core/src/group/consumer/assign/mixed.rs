//! `uniform` for a group whose members are subscribed to different topics.
//!
//! What was is kept, what is free goes to whoever has least, and then partitions move from whoever has most to
//! whoever has least, topic by topic, as long as that brings them closer. So of a topic's subscribers nobody has
//! two partitions more than another one, as long as it has some of this topic to give. That isn't always the
//! best balance of all: a chain of moves over several topics isn't looked for, nor does Kafka.

use std::collections::{BTreeMap, BTreeSet};

use ottla_types::{PartitionIndex, TopicId};

use super::super::super::ids::MemberId;
use super::super::partitions::Assignment;
use super::spec::{GroupSpec, MemberSpec, TopicSpec};

/// How often all topics are gone through. Each time about halves what is out of balance; Kafka's number.
const ROUNDS_MAX: usize = 16;

/// Assigns as evenly as subscriptions allow.
pub fn assign(group: &GroupSpec) -> BTreeMap<MemberId, Assignment> {
    let mut mixed = Mixed::new(group);
    mixed.keep();
    let mut topics: Vec<TopicId> = mixed.topics.keys().copied().collect();
    // Those first that leave the fewest choices: many partitions for few subscribers.
    topics.sort_by(|one, other| mixed.topics[other].weight(&mixed.topics[one]).then(one.cmp(other)));
    topics.iter().for_each(|topic| mixed.hand_out(*topic));
    for _ in 0..ROUNDS_MAX {
        let moved: usize = topics.iter().map(|topic| mixed.balance(*topic)).sum();
        if moved == 0 {
            break;
        }
    }
    mixed.into_assignments()
}

/// The assignment that is being made. Members are named by their place in `members`.
struct Mixed<'a> {
    group: &'a GroupSpec,
    members: Vec<(&'a MemberId, &'a MemberSpec)>,
    /// How many partitions each member has.
    loads: Vec<usize>,
    topics: BTreeMap<TopicId, Topic>,
}

/// A topic that somebody is subscribed to.
struct Topic {
    /// In order.
    subscribers: Vec<usize>,
    /// Who has each partition.
    owners: Vec<Option<usize>>,
}

impl Topic {
    /// Compares partitions for each subscriber; of as many, whoever has fewer subscribers is less.
    fn weight(&self, other: &Self) -> std::cmp::Ordering {
        let own = self.owners.len() * other.subscribers.len();
        let others = other.owners.len() * self.subscribers.len();
        own.cmp(&others).then(other.subscribers.len().cmp(&self.subscribers.len()))
    }
}

impl<'a> Mixed<'a> {
    fn new(group: &'a GroupSpec) -> Self {
        let members: Vec<_> = group.members.iter().collect();
        let mut topics: BTreeMap<TopicId, Topic> = BTreeMap::new();
        for (index, (_, member)) in members.iter().enumerate() {
            for (id, TopicSpec { partition_count, .. }) in group.topics_of(member) {
                let count = usize::try_from(*partition_count).unwrap_or(0);
                let none = || Topic { subscribers: Vec::new(), owners: vec![None; count] };
                topics.entry(id).or_insert_with(none).subscribers.push(index);
            }
        }
        Self { group, loads: vec![0; members.len()], members, topics }
    }

    /// Each keeps what it was to have and is subscribed to.
    fn keep(&mut self) {
        for (index, (_, member)) in self.members.iter().enumerate() {
            for (id, partition) in member.target.iter().filter(|(id, _)| member.topics.contains(id)) {
                let topic = self.topics.get_mut(&id);
                let place = usize::try_from(partition.0).ok();
                let owner = topic.zip(place).and_then(|(topic, place)| topic.owners.get_mut(place));
                if let Some(owner) = owner.filter(|owner| owner.is_none()) {
                    *owner = Some(index);
                    self.loads[index] += 1;
                }
            }
        }
    }

    /// Gives what nobody has of a topic to whoever has least, and of those to one in a rack of a replica.
    fn hand_out(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(&id) else { return };
        let mut by_load: BTreeSet<(usize, usize)> =
            topic.subscribers.iter().map(|index| (self.loads[*index], *index)).collect();
        for (place, owner) in topic.owners.iter_mut().enumerate().filter(|(_, owner)| owner.is_none()) {
            let Some((load, first)) = by_load.first().copied() else { return };
            let partition = PartitionIndex(i32::try_from(place).unwrap_or(i32::MAX));
            let racks: Vec<&str> = self.group.racks(id, partition).collect();
            let is_near = |index: &usize| {
                self.members[*index].1.rack.as_deref().is_some_and(|rack| racks.contains(&rack))
            };
            let equals = by_load.range((load, 0)..(load + 1, 0)).map(|(_, index)| *index);
            let near = if racks.is_empty() { None } else { equals.into_iter().find(is_near) };
            let taker = near.unwrap_or(first);
            by_load.remove(&(load, taker));
            by_load.insert((load + 1, taker));
            self.loads[taker] += 1;
            *owner = Some(taker);
        }
    }

    /// Moves partitions of a topic from whoever has most to whoever has least, and tells how many.
    fn balance(&mut self, id: TopicId) -> usize {
        let Some(topic) = self.topics.get_mut(&id) else { return 0 };
        let mut of_owner: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, owner) in topic.owners.iter().enumerate() {
            owner.iter().for_each(|owner| of_owner.entry(*owner).or_default().push(place));
        }
        let by_load = |index: &usize| (self.loads[*index], *index);
        let mut takers: BTreeSet<(usize, usize)> = topic.subscribers.iter().map(by_load).collect();
        let mut givers: BTreeSet<(usize, usize)> = of_owner.keys().map(by_load).collect();
        let mut moved = 0;
        while let (Some((least, taker)), Some((most, giver))) =
            (takers.first().copied(), givers.last().copied())
            && most > least + 1
        {
            let Some(place) = of_owner.get_mut(&giver).and_then(Vec::pop) else {
                givers.remove(&(most, giver));
                continue;
            };
            topic.owners[place] = Some(taker);
            for (index, load, new_load) in [(giver, most, most - 1), (taker, least, least + 1)] {
                self.loads[index] = new_load;
                takers.remove(&(load, index));
                takers.insert((new_load, index));
                if givers.remove(&(load, index)) {
                    givers.insert((new_load, index));
                }
            }
            moved += 1;
        }
        moved
    }

    fn into_assignments(self) -> BTreeMap<MemberId, Assignment> {
        let mut assignments = vec![Assignment::default(); self.members.len()];
        for (id, topic) in &self.topics {
            for (partition, owner) in (0..).zip(&topic.owners) {
                if let Some(owner) = owner {
                    assignments[*owner].insert(*id, PartitionIndex(partition));
                }
            }
        }
        self.members.iter().map(|(id, _)| (*id).clone()).zip(assignments).collect()
    }
}
