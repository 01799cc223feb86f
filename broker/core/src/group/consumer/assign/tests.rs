//! What assignors promise, of any group, and what they make of some.

use std::collections::{BTreeMap, BTreeSet};

use ottla_types::{PartitionIndex, TopicId};
use proptest::prelude::*;

use super::*;
use crate::group::{InstanceId, MemberId};

fn topic(index: u8) -> TopicId {
    TopicId([index; 16])
}

/// A member, as it is drawn: an instance, a rack, and the topics that it is subscribed to.
type Drawn = (bool, Option<u8>, BTreeSet<u8>);

/// A group of some members, topics with some partitions, each with its former owner, also of members that aren't
/// subscribed or aren't there any more.
fn any_group(is_homogeneous: bool) -> impl Strategy<Value = GroupSpec> {
    let topics = prop::collection::btree_map(1u8..6, 0i32..14, 0..5);
    let drawn = (any::<bool>(), prop::option::of(0u8..3), prop::collection::btree_set(1u8..7, 0..6));
    let members = prop::collection::vec(drawn, 0..8);
    let owners = prop::collection::vec(prop::option::of(0usize..10), 80);
    let racks = prop::collection::vec(prop::collection::btree_set(0u8..3, 0..3), 14);
    (topics, members, owners, racks).prop_map(move |(topics, mut members, owners, racks)| {
        if is_homogeneous && let Some((_, _, first)) = members.first().cloned() {
            members.iter_mut().for_each(|(_, _, topics)| topics.clone_from(&first));
        }
        group(&topics, &members, &owners, &racks)
    })
}

fn group(
    topics: &BTreeMap<u8, i32>,
    members: &[Drawn],
    owners: &[Option<usize>],
    racks: &[BTreeSet<u8>],
) -> GroupSpec {
    let rack = |index: &u8| -> std::sync::Arc<str> { format!("r{index}").into() };
    let mut group = GroupSpec::default();
    for (index, count) in topics {
        let racks = racks.iter().map(|one| one.iter().map(rack).collect()).collect();
        group.topics.insert(topic(*index), TopicSpec { partition_count: *count, racks });
    }
    for (index, (is_static, in_rack, topics)) in members.iter().enumerate() {
        let member = MemberSpec {
            instance: is_static.then(|| InstanceId::from(format!("i{}", 9 - index))),
            rack: in_rack.as_ref().map(rack),
            topics: topics.iter().map(|index| topic(*index)).collect(),
            target: Assignment::default(),
        };
        group.members.insert(MemberId::from(format!("m{index}")), member);
    }
    // Partitions beyond a topic's end, and of topics that there aren't, are among them.
    let all =
        (1u8..7).flat_map(|index| (0..13).map(move |partition| (topic(index), PartitionIndex(partition))));
    for ((topic, partition), owner) in all.zip(owners) {
        let id = owner.map(|index| MemberId::from(format!("m{index}")));
        if let Some(member) = id.and_then(|id| group.members.get_mut(&id)) {
            member.target.insert(topic, partition);
        }
    }
    group
}

/// Each partition that somebody is subscribed to has one owner, who is subscribed to it, and nothing else has.
fn check_complete(group: &GroupSpec, assigned: &BTreeMap<MemberId, Assignment>) {
    assert!(assigned.keys().eq(group.members.keys()), "each member is told");
    let mut owned = BTreeSet::new();
    for (id, assignment) in assigned {
        for (topic, partition) in assignment.iter() {
            assert!(owned.insert((topic, partition)), "{topic:?}-{partition} has one owner");
            assert!(group.members[id].topics.contains(&topic), "{id} is subscribed to {topic:?}");
        }
    }
    let mut expected = BTreeSet::new();
    for member in group.members.values() {
        for (id, topic) in group.topics_of(member) {
            expected.extend(topic.partitions().map(|partition| (id, partition)));
        }
    }
    assert_eq!(owned, expected);
}

/// The same group, with these as the targets that were.
fn again(group: &GroupSpec, assigned: &BTreeMap<MemberId, Assignment>) -> GroupSpec {
    let mut group = group.clone();
    for (id, member) in &mut group.members {
        member.target = assigned[id].clone();
    }
    group
}

/// What a member was to have and may keep.
fn kept(group: &GroupSpec, id: &MemberId) -> Vec<(TopicId, PartitionIndex)> {
    let member = &group.members[id];
    let may_keep = |(topic, partition): &(TopicId, PartitionIndex)| {
        let count = group.topics.get(topic).map_or(0, |topic| topic.partition_count);
        member.topics.contains(topic) && partition.0 < count
    };
    member.target.iter().filter(may_keep).collect()
}

fn without_racks(mut group: GroupSpec) -> GroupSpec {
    group.members.values_mut().for_each(|member| member.rack = None);
    group
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn uniform_gives_all_as_many_and_moves_what_it_must(group in any_group(true)) {
        let assigned = Assignor::Uniform.assign(&group);
        check_complete(&group, &assigned);
        let counts: Vec<usize> = assigned.values().map(Assignment::count).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        prop_assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{counts:?}");
        // Nobody gives up more than what is beyond its share, and as many as can be have the larger one.
        let total: usize = counts.iter().sum();
        let count = counts.len().max(1);
        let (least, mut extra) = (total / count, total % count);
        for id in group.members.keys() {
            let had = kept(&group, id);
            let mut must = had.len().saturating_sub(least);
            if must > 0 && extra > 0 {
                (must, extra) = (must - 1, extra - 1);
            }
            let gave_up = had.iter().filter(|(topic, partition)| !assigned[id].contains(*topic, *partition));
            prop_assert_eq!(gave_up.count(), must, "{} gives up what it must", id);
        }
        prop_assert_eq!(&Assignor::Uniform.assign(&again(&group, &assigned)), &assigned, "then nothing moves");
        let counts_without = Assignor::Uniform.assign(&without_racks(group));
        prop_assert!(counts_without.values().map(Assignment::count).eq(counts), "racks change no shares");
    }

    #[test]
    fn uniform_of_different_subscriptions_leaves_no_move_that_would_be_better(group in any_group(false)) {
        let assigned = Assignor::Uniform.assign(&group);
        check_complete(&group, &assigned);
        for (id, assignment) in &assigned {
            for (topic, _) in assignment.topics() {
                for (other, member) in &group.members {
                    let is_better = assignment.count() > assigned[other].count() + 1;
                    prop_assert!(!(member.topics.contains(&topic) && is_better), "{id} has more than {other}");
                }
            }
        }
        prop_assert_eq!(&Assignor::Uniform.assign(&again(&group, &assigned)), &assigned, "then nothing moves");
    }

    #[test]
    fn range_gives_each_subscriber_neighbours_and_as_many(group in any_group(false)) {
        let assigned = Assignor::Range.assign(&group);
        check_complete(&group, &assigned);
        for topic in group.topics.keys() {
            let of_topic = |id| assigned[id].topics().find(|(one, _)| one == topic).map(|(_, all)| all.clone());
            let subscribers = group.members.iter().filter(|(_, member)| member.topics.contains(topic));
            let ranges: Vec<_> = subscribers.map(|(id, _)| of_topic(id).unwrap_or_default()).collect();
            let (least, most) = (ranges.iter().map(|one| one.len()).min(), ranges.iter().map(|one| one.len()).max());
            prop_assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1));
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                let (first, last) = (range.first().unwrap().0, range.last().unwrap().0);
                prop_assert_eq!(usize::try_from(last - first + 1).unwrap(), range.len(), "they are neighbours");
            }
        }
        prop_assert_eq!(&Assignor::Range.assign(&again(&group, &assigned)), &assigned, "what was has no say");
    }

    #[test]
    fn a_member_that_leaves_moves_nobody_elses_partitions_more_than_balance_asks(
        group in any_group(true), leaver in 0usize..8
    ) {
        let assigned = Assignor::Uniform.assign(&group);
        let mut after = again(&group, &assigned);
        after.members.remove(&*format!("m{leaver}"));
        let next = Assignor::Uniform.assign(&after);
        for (id, assignment) in &next {
            let had = &assigned[id];
            let kept = had.iter().filter(|(topic, partition)| assignment.contains(*topic, *partition)).count();
            prop_assert_eq!(kept, had.count(), "who stays keeps all");
        }
    }
}

/// Checks an assignment: `m0=1:0,1 m1=1:2`.
#[track_caller]
fn check(assignor: Assignor, group: &GroupSpec, expected: &str) {
    let assigned = assignor.assign(group).into_iter().map(|(id, assignment)| {
        let topics = assignment.topics().map(|(topic, all)| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            format!("{}:{}", topic.0[0], all.join(","))
        });
        format!("{id}={}", topics.collect::<Vec<_>>().join(";"))
    });
    assert_eq!(assigned.collect::<Vec<_>>().join(" "), expected);
}

/// Members by their topics, topics by their counts of partitions; no racks, nothing that was.
fn simple(members: &[&[u8]], topics: &[(u8, i32)]) -> GroupSpec {
    let members: Vec<Drawn> =
        members.iter().map(|topics| (false, None, topics.iter().copied().collect())).collect();
    group(&topics.iter().copied().collect(), &members, &[], &[])
}

#[test]
fn assignors_have_kafkas_names() {
    assert_eq!(Assignor::of_name("uniform"), Some(Assignor::Uniform));
    assert_eq!(Assignor::of_name("range"), Some(Assignor::Range));
    assert_eq!(Assignor::of_name("Range"), None);
    assert_eq!(Assignor::of_name("roundrobin"), None);
}

#[test]
fn a_group_without_members_has_no_assignment() {
    for assignor in Assignor::ALL {
        check(assignor, &simple(&[], &[(1, 3)]), "");
        check(assignor, &simple(&[&[], &[2]], &[(1, 3)]), "m0= m1=");
    }
}

#[test]
fn range_takes_the_same_partitions_of_each_topic() {
    let group = simple(&[&[1, 2], &[1, 2], &[1, 2]], &[(1, 4), (2, 4)]);
    check(Assignor::Range, &group, "m0=1:0,1;2:0,1 m1=1:2;2:2 m2=1:3;2:3");
    let group = simple(&[&[1], &[1, 2], &[2]], &[(1, 3), (2, 1)]);
    check(Assignor::Range, &group, "m0=1:0,1 m1=1:2;2:0 m2=");
}

#[test]
fn range_has_static_members_first_in_the_order_of_their_instances() {
    let mut group = simple(&[&[1], &[1], &[1]], &[(1, 3)]);
    group.members.get_mut("m2").unwrap().instance = Some("a".into());
    group.members.get_mut("m1").unwrap().instance = Some("b".into());
    check(Assignor::Range, &group, "m0=1:2 m1=1:1 m2=1:0");
    // One of them begins anew, and has its range again.
    let began_anew = group.members.remove("m2").unwrap();
    group.members.insert("m9".into(), began_anew);
    check(Assignor::Range, &group, "m0=1:2 m1=1:1 m9=1:0");
}

#[test]
fn uniform_gives_a_new_member_its_share_and_leaves_the_rest_alone() {
    let mut group = simple(&[&[1, 2], &[1, 2]], &[(1, 3), (2, 2)]);
    check(Assignor::Uniform, &group, "m0=1:0,1,2 m1=2:0,1");
    group = again(&group, &Assignor::Uniform.assign(&group));
    let newcomer = MemberSpec { target: Assignment::default(), ..group.members["m0"].clone() };
    group.members.insert("m2".into(), newcomer);
    check(Assignor::Uniform, &group, "m0=1:0,1 m1=2:0,1 m2=1:2");
}

#[test]
fn uniform_of_different_subscriptions_moves_what_only_others_can_have() {
    // The first takes all of what only it reads, and leaves the rest to the others.
    let group = simple(&[&[1, 2], &[2], &[2]], &[(1, 4), (2, 6)]);
    check(Assignor::Uniform, &group, "m0=1:0,1,2,3 m1=2:0,2,4 m2=2:1,3,5");
    let mut group = group;
    let all = (0..6).map(|partition| (topic(2), PartitionIndex(partition)));
    group.members.get_mut("m0").unwrap().target = all.collect();
    check(Assignor::Uniform, &group, "m0=1:0,1,2,3 m1=2:1,3,5 m2=2:0,2,4");
}

#[test]
fn uniform_prefers_members_in_the_rack_of_a_replica() {
    let racks = |all: &[&str]| -> Vec<BTreeSet<std::sync::Arc<str>>> {
        all.iter().map(|rack| [(*rack).into()].into()).collect()
    };
    let mut group = simple(&[&[1], &[1], &[1]], &[(1, 3)]);
    group.topics.get_mut(&topic(1)).unwrap().racks = racks(&["c", "a", "b"]);
    check(Assignor::Uniform, &group, "m0=1:0 m1=1:1 m2=1:2");
    for (id, rack) in [("m0", "a"), ("m1", "b"), ("m2", "c")] {
        group.members.get_mut(id).unwrap().rack = Some(rack.into());
    }
    check(Assignor::Uniform, &group, "m0=1:1 m1=1:2 m2=1:0");
    // With other subscriptions too: a topic that isn't there.
    group.members.get_mut("m0").unwrap().topics.insert(topic(9));
    check(Assignor::Uniform, &group, "m0=1:1 m1=1:2 m2=1:0");
    // Whoever has its share gets no more, however near it is.
    group.topics.get_mut(&topic(1)).unwrap().racks = racks(&["a", "a", "a"]);
    check(Assignor::Uniform, &group, "m0=1:0 m1=1:1 m2=1:2");
}

#[test]
fn what_two_members_were_to_have_the_first_one_keeps() {
    // Only a damaged log says so.
    for other_topics in [&[1][..], &[1, 2]] {
        let mut group = simple(&[&[1], other_topics], &[(1, 4)]);
        for member in group.members.values_mut() {
            member.target = (0..2).map(|partition| (topic(1), PartitionIndex(partition))).collect();
        }
        check(Assignor::Uniform, &group, "m0=1:0,1 m1=1:2,3");
    }
}

#[test]
fn what_one_topic_puts_out_of_balance_another_one_puts_right() {
    // The second topic loads the member in the middle, which then has to give up some of the first one.
    let mut group = simple(&[&[1], &[1, 2], &[2]], &[(1, 10), (2, 10)]);
    let range = |id, range: std::ops::Range<i32>| range.map(move |index| (topic(id), PartitionIndex(index)));
    group.members.get_mut("m0").unwrap().target = range(1, 0..5).collect();
    group.members.get_mut("m1").unwrap().target = range(1, 5..10).collect();
    group.members.get_mut("m2").unwrap().target = range(2, 0..10).collect();
    let counts: Vec<usize> = Assignor::Uniform.assign(&group).values().map(Assignment::count).collect();
    assert_eq!(counts, [6, 7, 7]);
}

#[test]
fn all_members_of_a_rack_are_preferred_not_only_the_first() {
    let mut group = simple(&[&[1], &[1], &[1], &[1]], &[(1, 4)]);
    for (id, rack) in [("m0", "a"), ("m1", "b"), ("m2", "a"), ("m3", "b")] {
        group.members.get_mut(id).unwrap().rack = Some(rack.into());
    }
    let racks = ["b", "b", "a", "a"].map(|rack| BTreeSet::from([rack.into()]));
    group.topics.get_mut(&topic(1)).unwrap().racks = racks.into();
    check(Assignor::Uniform, &group, "m0=1:2 m1=1:0 m2=1:3 m3=1:1");
}
