//! `uniform` for a group whose members are all subscribed to the same topics: no member has two partitions more
//! than another one, and no partition moves that needn't.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ottla_types::{PartitionIndex, TopicId};

use super::super::super::ids::MemberId;
use super::super::partitions::Assignment;
use super::spec::{GroupSpec, MemberSpec};

/// Assigns evenly.
pub fn assign(group: &GroupSpec) -> BTreeMap<MemberId, Assignment> {
    let Some(any) = group.members.values().next() else { return BTreeMap::new() };
    let topics = group.topics_of(any);
    let mut free: BTreeSet<(TopicId, PartitionIndex)> =
        topics.flat_map(|(id, topic)| topic.partitions().map(move |partition| (id, partition))).collect();
    let quotas = Quotas { total: free.len(), member_count: group.members.len() };
    let mut members: Vec<Taker> = group.members.iter().map(|(id, spec)| Taker::new(id, spec)).collect();
    members.iter_mut().for_each(|member| member.keep(&mut free));
    quotas.share(&mut members);
    members.iter_mut().for_each(|member| member.give_up(&mut free));
    let free = hand_out_by_rack(group, free, &mut members);
    let mut free = free.into_iter();
    for member in &mut members {
        let missing = member.missing();
        member.has.extend(free.by_ref().take(missing));
    }
    assert_eq!(free.next(), None, "the quotas come to all partitions");
    members.into_iter().map(|one| (one.id.clone(), one.has.into_iter().collect())).collect()
}

/// A member to which partitions are given.
struct Taker<'a> {
    id: &'a MemberId,
    spec: &'a MemberSpec,
    has: Vec<(TopicId, PartitionIndex)>,
    quota: usize,
}

impl<'a> Taker<'a> {
    fn new(id: &'a MemberId, spec: &'a MemberSpec) -> Self {
        Self { id, spec, has: Vec::new(), quota: 0 }
    }

    /// Keeps what it was to have, if that is still to be had.
    fn keep(&mut self, free: &mut BTreeSet<(TopicId, PartitionIndex)>) {
        self.has = self.spec.target.iter().filter(|one| free.remove(one)).collect();
    }

    /// Gives up what is more than it may have.
    fn give_up(&mut self, free: &mut BTreeSet<(TopicId, PartitionIndex)>) {
        let kept = self.has.len().min(self.quota);
        free.extend(self.has.drain(kept..));
    }

    fn missing(&self) -> usize {
        self.quota - self.has.len()
    }
}

/// How many partitions there are for how many.
struct Quotas {
    total: usize,
    member_count: usize,
}

impl Quotas {
    /// Gives each member its quota. Of what is left when all have as many, one goes to whoever has more already,
    /// so that it keeps it; then to the first.
    fn share(&self, members: &mut [Taker]) {
        let least = self.total / self.member_count;
        let mut extra = self.total % self.member_count;
        for has_more in [true, false] {
            for member in members.iter_mut().filter(|one| (one.has.len() > least) == has_more) {
                member.quota = least + usize::from(extra > 0);
                extra = extra.saturating_sub(1);
            }
        }
    }
}

/// Gives partitions to members who miss some and have a replica in their rack, as long as there are such. What is
/// left is returned.
fn hand_out_by_rack(
    group: &GroupSpec,
    free: BTreeSet<(TopicId, PartitionIndex)>,
    members: &mut [Taker],
) -> Vec<(TopicId, PartitionIndex)> {
    let mut by_rack: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        if let Some(rack) = member.spec.rack.as_deref().filter(|_| member.missing() > 0) {
            by_rack.entry(rack).or_default().push_back(index);
        }
    }
    if by_rack.is_empty() {
        return free.into_iter().collect();
    }
    let mut left = Vec::new();
    for (topic, partition) in free {
        let mut racks = group.racks(topic, partition);
        let Some(taker) = racks.find_map(|rack| by_rack.get_mut(rack)?.front().copied()) else {
            left.push((topic, partition));
            continue;
        };
        members[taker].has.push((topic, partition));
        if let Some(rack) = members[taker].spec.rack.as_deref()
            && members[taker].missing() == 0
        {
            by_rack.get_mut(rack).and_then(VecDeque::pop_front);
        }
    }
    left
}
