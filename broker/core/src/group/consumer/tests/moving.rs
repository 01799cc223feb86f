//! How members move to their targets: step by step, and any order of events.

use std::collections::{BTreeMap, BTreeSet};

use ottla_types::{PartitionIndex, TopicId};
use proptest::prelude::*;

use super::{assignment, partitions, topic};
use crate::group::consumer::assign::{Assignor, GroupSpec, MemberSpec, TopicSpec};
use crate::group::consumer::*;
use crate::group::{MemberEpoch, MemberId};

/// A member of this epoch that is stable and got all of this in it.
fn stable(epoch: i32, assigned: &str) -> CurrentAssignment {
    let epoch = MemberEpoch(epoch);
    let assigned = partitions(assigned).into_iter().map(|(topic, partition)| (topic, partition, epoch));
    CurrentAssignment { epoch, previous_epoch: epoch, assigned: assigned.collect(), ..Default::default() }
}

/// What is said of a member: state, epoch, what it has with the epochs, what it must give up.
fn said(current: &CurrentAssignment) -> String {
    let said = |owned: &Owned| {
        let all = owned.iter().map(|(topic, partition, epoch)| format!("{}:{partition}@{epoch}", topic.0[0]));
        all.collect::<Vec<_>>().join(" ")
    };
    let CurrentAssignment { epoch, previous_epoch, state, .. } = current;
    let (assigned, pending) = (said(&current.assigned), said(&current.pending_revocation));
    format!("{state:?} {epoch}<{previous_epoch} [{assigned}] -[{pending}]")
}

/// A heartbeat: the target with its epoch, what the member says it has, what others have.
struct Beat<'a> {
    target: (i32, &'a str),
    owned: Option<&'a str>,
    others: &'a str,
    subscribed: &'a [u8],
    has_subscription_changed: bool,
}

impl Default for Beat<'_> {
    fn default() -> Self {
        let (target, owned) = ((1, ""), None);
        Self { target, owned, others: "", subscribed: &[1, 2, 3], has_subscription_changed: false }
    }
}

#[track_caller]
fn check(current: &CurrentAssignment, beat: &Beat, expected: &str) -> CurrentAssignment {
    let others: BTreeSet<_> = partitions(beat.others).into_iter().chain(current.held()).collect();
    let owned = beat.owned.map(assignment);
    let reconciliation = Reconciliation {
        target_epoch: MemberEpoch(beat.target.0),
        target: &assignment(beat.target.1),
        subscribed: &beat.subscribed.iter().map(|index| topic(*index)).collect(),
        has_subscription_changed: beat.has_subscription_changed,
        owned: owned.as_ref(),
        is_free: |topic, partition| !others.contains(&(topic, partition)),
    };
    let next = reconciliation.next(current);
    assert_eq!(said(&next), expected);
    next
}

#[test]
fn a_new_member_gets_what_is_free_and_waits_for_the_rest() {
    let beat = |others| Beat { target: (5, "1:0,1"), owned: Some(""), others, ..Beat::default() };
    let new = CurrentAssignment::default();
    check(&new, &beat(""), "Stable 5<0 [1:0@5 1:1@5] -[]");
    let waits = check(&new, &beat("1:0,1"), "UnreleasedPartitions 5<0 [] -[]");
    let waits = check(&waits, &beat("1:1"), "UnreleasedPartitions 5<5 [1:0@5] -[]");
    check(&waits, &beat(""), "Stable 5<5 [1:0@5 1:1@5] -[]");
}

#[test]
fn a_member_that_has_its_target_stays() {
    let current = stable(5, "1:0");
    check(&current, &Beat { target: (5, "1:0"), ..Beat::default() }, "Stable 5<5 [1:0@5] -[]");
    check(&current, &Beat { target: (6, "1:0"), ..Beat::default() }, "Stable 6<5 [1:0@5] -[]");
    check(&current, &Beat { target: (6, "1:0,1"), ..Beat::default() }, "Stable 6<5 [1:0@5 1:1@6] -[]");
}

#[test]
fn what_is_to_be_given_up_keeps_a_member_in_its_epoch_until_it_says_so() {
    let current = stable(5, "1:0,1");
    let beat = |owned| Beat { target: (6, "1:0,2"), owned, ..Beat::default() };
    let expected = "UnrevokedPartitions 5<5 [1:0@5] -[1:1@5]";
    let revoking = check(&current, &beat(None), expected);
    check(&revoking, &beat(None), expected);
    check(&revoking, &beat(Some("1:0,1")), expected);
    check(&revoking, &beat(Some("1:0")), "Stable 6<5 [1:0@5 1:2@6] -[]");
    // It has said so already.
    check(&current, &beat(Some("1:0")), "Stable 6<5 [1:0@5 1:2@6] -[]");
}

#[test]
fn who_has_given_up_is_an_epoch_further_even_if_there_is_more_to_give_up() {
    let current = stable(5, "1:0,1,2");
    let beat = |epoch, target, owned| Beat { target: (epoch, target), owned: Some(owned), ..Beat::default() };
    let revoking =
        check(&current, &beat(6, "1:0,1", "1:0,1,2"), "UnrevokedPartitions 5<5 [1:0@5 1:1@5] -[1:2@5]");
    let more = check(&revoking, &beat(8, "1:0", "1:0,1"), "UnrevokedPartitions 6<5 [1:0@5] -[1:1@5]");
    check(&more, &beat(8, "1:0", "1:0"), "Stable 8<6 [1:0@5] -[]");
    // What it gave up is to be had again: it gets it, in the new epoch.
    check(&revoking, &beat(8, "1:0,1,2", "1:0,1"), "Stable 8<5 [1:0@5 1:1@5 1:2@8] -[]");
}

#[test]
fn who_waits_for_others_may_have_to_give_up_meanwhile() {
    let waits = check(
        &stable(5, "1:0"),
        &Beat { target: (6, "1:0,1"), others: "1:1", ..Beat::default() },
        "UnreleasedPartitions 6<5 [1:0@5] -[]",
    );
    let beat = Beat { target: (7, "1:1"), others: "1:1", owned: Some("1:0"), ..Beat::default() };
    check(&waits, &beat, "UnrevokedPartitions 6<6 [] -[1:0@5]");
}

#[test]
fn what_a_member_is_not_subscribed_to_any_more_it_gives_up_before_there_is_another_target() {
    let current = stable(5, "1:0 2:0");
    let beat = |owned| Beat {
        target: (5, "1:0 2:0"),
        subscribed: &[2],
        has_subscription_changed: true,
        owned: Some(owned),
        ..Beat::default()
    };
    let revoking = check(&current, &beat("1:0 2:0"), "UnrevokedPartitions 5<5 [2:0@5] -[1:0@5]");
    check(&current, &beat("2:0"), "Stable 5<5 [2:0@5] -[]");
    let later =
        |epoch| Beat { target: (epoch, "1:0 2:0"), subscribed: &[2], owned: Some("2:0"), ..Beat::default() };
    check(&revoking, &later(5), "Stable 5<5 [2:0@5] -[]");
    check(&revoking, &later(6), "Stable 6<5 [2:0@5] -[]");
    // Without a change it isn't looked at, as it costs a walk.
    let unchanged = Beat { has_subscription_changed: false, ..beat("1:0 2:0") };
    check(&current, &unchanged, "Stable 5<5 [1:0@5 2:0@5] -[]");
    // What it has yet to give up stays among it.
    let revoking = check(
        &stable(5, "1:0 2:0,1"),
        &Beat { target: (6, "1:0 2:0"), ..Beat::default() },
        "UnrevokedPartitions 5<5 [1:0@5 2:0@5] -[2:1@5]",
    );
    check(&revoking, &beat("1:0 2:0,1"), "UnrevokedPartitions 5<5 [2:0@5] -[1:0@5 2:1@5]");
}

#[test]
fn a_member_names_its_epoch_or_the_one_before_if_it_has_only_what_is_its_own() {
    let current = CurrentAssignment { previous_epoch: MemberEpoch(4), ..stable(6, "1:0,1") };
    let check = |given, owned: Option<&str>, is_fine: bool| {
        let checked = current.check_epoch(MemberEpoch(given), owned.map(assignment).as_ref());
        assert_eq!(checked.is_ok(), is_fine, "{given} {owned:?}");
        let (given, current) = (MemberEpoch(given), MemberEpoch(6));
        assert_eq!(checked.err(), (!is_fine).then_some(FencedEpoch { given, current }));
    };
    check(6, None, true);
    check(6, Some("3:9"), true);
    check(7, Some(""), false);
    check(5, Some(""), false);
    check(4, Some(""), true);
    check(4, Some("1:1"), true);
    check(4, Some("1:2"), false);
    check(4, None, false);
    check(0, Some(""), false);
}

#[test]
fn a_partition_has_the_owner_that_got_it_last() {
    let mut ownership = Ownership::default();
    let (a, b) = (MemberId::from("a"), MemberId::from("b"));
    let (one, other) = (stable(1, "1:0,1"), stable(2, "1:1,2"));
    ownership.change(&a, None, Some(&one));
    ownership.change(&b, None, Some(&other));
    let owner = |ownership: &Ownership, index| ownership.owner(topic(1), PartitionIndex(index)).cloned();
    assert_eq!([0, 1, 2].map(|index| owner(&ownership, index)), [&a, &b, &b].map(|id| Some(id.clone())));
    ownership.change(&a, Some(&one), None);
    assert!(ownership.is_free(topic(1), PartitionIndex(0)));
    assert_eq!(owner(&ownership, 1), Some(b.clone()), "it isn't given up by whoever had it before");
    ownership.change(&b, Some(&other), None);
    assert_eq!(ownership, Ownership::default());
}

/// How many members there may be.
const ACTORS: usize = 4;

#[derive(Clone, Debug)]
enum Event {
    /// A member joins, or changes what it is subscribed to.
    Subscribe { actor: usize, topics: BTreeSet<u8>, is_lost: bool },
    /// A heartbeat, whose answer may be lost.
    Beat { actor: usize, says_nothing: bool, is_lost: bool },
    /// A member leaves, or is silent for too long, so that it has stopped reading.
    Leave { actor: usize },
    /// A new target is made of the members that there are.
    Assign,
}

fn any_event() -> impl Strategy<Value = Event> {
    let topics = prop::collection::btree_set(1u8..4, 0..4);
    prop_oneof![
        3 => (0..ACTORS, topics, prop::bool::weighted(0.2))
            .prop_map(|(actor, topics, is_lost)| Event::Subscribe { actor, topics, is_lost }),
        8 => (0..ACTORS, prop::bool::weighted(0.3), prop::bool::weighted(0.2))
            .prop_map(|(actor, says_nothing, is_lost)| Event::Beat { actor, says_nothing, is_lost }),
        1 => (0..ACTORS).prop_map(|actor| Event::Leave { actor }),
        4 => Just(Event::Assign),
    ]
}

/// A member, as the coordinator and as itself knows it.
#[derive(Clone, Debug, Default)]
struct Actor {
    current: CurrentAssignment,
    topics: BTreeSet<TopicId>,
    target: Assignment,
    /// In the client: its epoch, and what it reads.
    epoch: MemberEpoch,
    reads: Assignment,
}

#[derive(Default)]
struct World {
    members: BTreeMap<MemberId, Actor>,
    ownership: Ownership,
    target_epoch: MemberEpoch,
}

impl World {
    fn assign(&mut self) {
        self.target_epoch = MemberEpoch(self.target_epoch.0 + 1);
        let topics = [(1, 5), (2, 3), (3, 1)];
        let topics = topics
            .map(|(id, partition_count)| (topic(id), TopicSpec { partition_count, ..TopicSpec::default() }));
        let members = self.members.iter().map(|(id, actor)| {
            let (topics, target) = (actor.topics.clone(), actor.target.clone());
            (id.clone(), MemberSpec { topics, target, ..MemberSpec::default() })
        });
        let group = GroupSpec { members: members.collect(), topics: topics.into_iter().collect() };
        for (id, target) in Assignor::Uniform.assign(&group) {
            self.members.get_mut(&id).unwrap().target = target;
        }
    }

    fn happen(&mut self, event: &Event) {
        let id = |actor: &usize| MemberId::from(format!("m{actor}"));
        match event {
            Event::Assign => self.assign(),
            Event::Leave { actor } => self.leave(&id(actor)),
            Event::Subscribe { actor, topics, is_lost } => {
                let topics: BTreeSet<TopicId> = topics.iter().map(|index| topic(*index)).collect();
                let member = self.members.entry(id(actor)).or_default();
                let has_changed = member.topics != topics;
                member.topics = topics;
                self.beat(&id(actor), has_changed, false, *is_lost);
            }
            Event::Beat { actor, says_nothing, is_lost } => {
                self.beat(&id(actor), false, *says_nothing, *is_lost);
            }
        }
        self.check();
    }

    fn leave(&mut self, id: &MemberId) {
        if let Some(actor) = self.members.remove(id) {
            self.ownership.change(id, Some(&actor.current), None);
        }
    }

    fn beat(&mut self, id: &MemberId, has_subscription_changed: bool, says_nothing: bool, is_lost: bool) {
        let Some(actor) = self.members.get_mut(id) else { return };
        let owned = Some(&actor.reads).filter(|_| !says_nothing);
        if actor.current.check_epoch(actor.epoch, owned).is_err() {
            // It stops reading, and joins anew when it is forgotten.
            return self.leave(id);
        }
        let reconciliation = Reconciliation {
            target_epoch: self.target_epoch,
            target: &actor.target,
            subscribed: &actor.topics,
            has_subscription_changed,
            owned,
            is_free: |topic, partition| self.ownership.is_free(topic, partition),
        };
        let next = reconciliation.next(&actor.current);
        assert!(next.epoch >= actor.current.epoch && next.epoch <= self.target_epoch, "epochs only grow");
        self.ownership.change(id, Some(&actor.current), Some(&next));
        actor.current = next;
        if !is_lost {
            actor.epoch = actor.current.epoch;
            actor.reads = actor.current.assigned.assignment();
        }
    }

    /// Nobody reads what somebody else reads or may read.
    fn check(&self) {
        let mut readers = BTreeMap::new();
        let mut owners = BTreeMap::new();
        for (id, actor) in &self.members {
            for partition in actor.reads.iter() {
                let other = readers.insert(partition, id);
                assert_eq!(other, None, "{partition:?} is read by {id} as well");
            }
            for (topic, partition) in actor.current.held() {
                let other = owners.insert((topic, partition), id);
                assert_eq!(other, None, "{id} holds {partition} as well");
                assert_eq!(self.ownership.owner(topic, partition), Some(id));
            }
            let revoked = actor.current.pending_revocation.iter();
            let mut both = revoked.filter(|(id, index, _)| actor.current.assigned.contains(*id, *index));
            assert!(both.next().is_none(), "{id} reads nothing that it must give up");
        }
        let is_held =
            |(topic, partition): &(TopicId, PartitionIndex)| !self.ownership.is_free(*topic, *partition);
        assert!(readers.keys().all(is_held), "what is read has an owner");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_is_read_by_one_member_and_all_come_to_their_targets(
        events in prop::collection::vec(any_event(), 1..100)
    ) {
        let mut world = World::default();
        events.iter().for_each(|event| world.happen(event));
        world.assign();
        for _ in 0..10 {
            for actor in 0..ACTORS {
                let beat = Event::Beat { actor, says_nothing: false, is_lost: false };
                world.happen(&beat);
            }
        }
        for (id, actor) in &world.members {
            prop_assert_eq!(actor.current.state, MemberState::Stable, "{}", id);
            prop_assert_eq!(actor.current.epoch, world.target_epoch);
            prop_assert_eq!(&actor.reads, &actor.target, "{} has what it is to have", id);
        }
    }
}
