//! What heartbeats lead to: decisions by Kafka's rules, and any order of them.

use std::collections::{BTreeMap, BTreeSet};

use ottla_types::{PartitionIndex, TopicId, TopicName};
use proptest::prelude::*;

use super::{assignment, topic};
use crate::group::consumer::assign::{Assignor, TopicSpec};
use crate::group::consumer::*;
use crate::group::{Client, MemberEpoch, MemberId};

const MEMBERS_MAX: usize = 3;
const NOW_MS: i64 = 1_000;

/// Topics `t1`, `t2` … with so many partitions.
fn topics(version: u64, counts: &[i32]) -> Topics {
    let mut topics = Topics { version, ..Topics::default() };
    for (index, partition_count) in (1u8..).zip(counts) {
        topics.ids.insert(TopicName::new(&format!("t{index}")).unwrap(), topic(index));
        topics
            .specs
            .insert(topic(index), TopicSpec { partition_count: *partition_count, ..TopicSpec::default() });
    }
    topics
}

fn names(text: &str) -> BTreeSet<TopicName> {
    text.split_whitespace().map(|name| TopicName::new(name).unwrap()).collect()
}

/// A heartbeat that says nothing new.
fn beat(member: &str, epoch: i32) -> ConsumerGroupHeartbeat {
    ConsumerGroupHeartbeat {
        member: member.into(),
        epoch: MemberEpoch(epoch),
        instance: None,
        rack: None,
        client: Client { id: "c".into(), host: "/h".into() },
        rebalance_timeout_ms: None,
        topics: None,
        assignor: None,
        owned: None,
    }
}

fn owns(member: &str, epoch: i32, owned: &str) -> ConsumerGroupHeartbeat {
    ConsumerGroupHeartbeat { owned: Some(assignment(owned)), ..beat(member, epoch) }
}

fn join(member: &str, topics: &str) -> ConsumerGroupHeartbeat {
    ConsumerGroupHeartbeat {
        rebalance_timeout_ms: Some(60_000),
        topics: Some(names(topics)),
        ..owns(member, 0, "")
    }
}

fn join_static(member: &str, instance: &str) -> ConsumerGroupHeartbeat {
    ConsumerGroupHeartbeat { instance: Some(instance.into()), ..join(member, "t1") }
}

fn said(assignment: &Assignment) -> String {
    let topics = assignment.topics().map(|(topic, all)| {
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("{}:{}", topic.0[0], all.join(","))
    });
    topics.collect::<Vec<_>>().join(" ")
}

/// The kinds of records of Kafka's types, and whose they are.
fn kinds(records: &[ConsumerGroupRecord]) -> String {
    let gone = |is_some: bool| if is_some { "" } else { " gone" };
    let all = records.iter().map(|record| match &record.fact {
        Fact::Metadata(value) => format!("3 {}", value.map_or(0, |one| one.epoch.0)),
        Fact::MemberMetadata(id, value) => format!("5 {id}{}", gone(value.is_some())),
        Fact::TargetAssignmentMetadata(value) => format!("6 {}", value.map_or(0, |one| one.epoch.0)),
        Fact::TargetAssignmentMember(id, value) => format!("7 {id}{}", gone(value.is_some())),
        Fact::CurrentMemberAssignment(id, value) => format!("8 {id}{}", gone(value.is_some())),
    });
    all.collect::<Vec<_>>().join(", ")
}

/// A group with its topics, and all that was decided.
struct World {
    group: ConsumerGroup,
    topics: Topics,
    log: Vec<ConsumerGroupRecord>,
}

impl World {
    fn new(counts: &[i32]) -> Self {
        Self { group: ConsumerGroup::new("g".into()), topics: topics(1, counts), log: Vec::new() }
    }

    /// Lets something happen, and checks that it can be taken back.
    fn happen(
        &mut self,
        event: impl Fn(&mut ConsumerGroup, &Topics) -> Result<Heard, HeartbeatRefusal>,
    ) -> Result<Heard, HeartbeatRefusal> {
        let mut undone = self.group.clone();
        match event(&mut undone, &self.topics) {
            Ok(heard) => heard.undo.into_iter().for_each(|record| {
                undone.replay(record);
            }),
            Err(refusal) => assert!(!refusal.to_string().is_empty()),
        }
        undone.topics_version = self.group.topics_version;
        assert_eq!(undone, self.group, "what is taken back, or refused, has never been");
        let heard = event(&mut self.group, &self.topics)?;
        self.group.assert_consistent();
        self.log.extend(heard.records.iter().cloned());
        Ok(heard)
    }

    fn heartbeat(&mut self, request: &ConsumerGroupHeartbeat) -> Result<Heard, HeartbeatRefusal> {
        self.happen(|group, topics| group.heartbeat(request, topics, MEMBERS_MAX, NOW_MS))
    }

    /// Checks what a heartbeat tells the member, and what it writes.
    #[track_caller]
    fn check(&mut self, request: &ConsumerGroupHeartbeat, told: &str, written: &str) {
        let heard = self.heartbeat(request);
        let (records, said) = match heard {
            Ok(heard) => {
                let assigned = heard.assignment.as_ref().map_or("as before".to_owned(), said);
                (kinds(&heard.records), format!("{}: {assigned}", heard.epoch))
            }
            Err(refusal) => (String::new(), format!("{refusal:?}")),
        };
        assert_eq!((said.trim_end(), &*records), (told, written));
    }

    #[track_caller]
    fn check_leave(&mut self, member: &str, instance: Option<&str>, comes_back: bool, written: &str) {
        let instance = instance.map(Into::into);
        let event = |group: &mut ConsumerGroup, topics: &Topics| {
            group.leave(&member.into(), instance.as_ref(), comes_back, topics)
        };
        let heard = self.happen(event);
        let told = heard.map_or_else(|refusal| format!("{refusal:?}"), |heard| kinds(&heard.records));
        assert_eq!(told, written);
    }

    /// What another broker makes of the log is the same group.
    fn check_loaded(&self) {
        let mut loaded = ConsumerGroup::new("g".into());
        for record in &self.log {
            loaded.replay(record.clone());
        }
        loaded.topics_version = self.group.topics_version;
        assert_eq!(loaded, self.group);
    }
}

/// Two stable members, a and b, of a topic with four partitions.
fn pair() -> World {
    let mut world = World::new(&[4, 2]);
    world.check(&join("a", "t1"), "1: 1:0,1,2,3", "5 a, 3 1, 7 a, 6 1, 8 a");
    world.check(&join("b", "t1"), "2:", "5 b, 3 2, 7 a, 7 b, 6 2, 8 b");
    world.check(&owns("a", 1, "1:0,1,2,3"), "1: 1:0,1", "8 a");
    world.check(&owns("a", 1, "1:0,1"), "2: as before", "8 a");
    world.check(&beat("b", 2), "2: 1:2,3", "8 b");
    assert_eq!(world.group.state(), ConsumerGroupState::Stable);
    world
}

#[test]
fn a_second_member_gets_its_share_once_the_first_has_given_it_up() {
    let mut world = World::new(&[4]);
    assert_eq!(world.group.state(), ConsumerGroupState::Empty);
    world.heartbeat(&join("a", "t1")).unwrap();
    assert_eq!(world.group.state(), ConsumerGroupState::Stable);
    world.check(&join("b", "t1"), "2:", "5 b, 3 2, 7 a, 7 b, 6 2, 8 b");
    assert_eq!(world.group.state(), ConsumerGroupState::Reconciling);
    world.check(&beat("b", 2), "2: as before", "8 b");
    world.check(&beat("b", 2), "2: as before", "");
    world.check(&beat("a", 1), "1: 1:0,1", "8 a");
    // It says nothing, so it may have all still.
    world.check(&beat("a", 1), "1: as before", "");
    world.check(&beat("b", 2), "2: as before", "");
    world.check(&owns("a", 1, "1:0,1"), "2: as before", "8 a");
    world.check(&beat("b", 2), "2: 1:2,3", "8 b");
    world.check_loaded();
}

#[test]
fn a_heartbeat_that_changes_nothing_writes_nothing() {
    let mut world = pair();
    world.check(&beat("a", 2), "2: as before", "");
    world.check(&owns("b", 2, "1:2,3"), "2: as before", "");
    // Whoever says all, as after an error, is told all.
    let full =
        ConsumerGroupHeartbeat { owned: Some(assignment("1:0,1")), epoch: MemberEpoch(2), ..join("a", "t1") };
    world.check(&full, "2: 1:0,1", "");
}

#[test]
fn who_leaves_leaves_its_share_to_the_others() {
    let mut world = pair();
    world.check_leave("x", None, false, r#"UnknownMemberId("x")"#);
    world.check_leave("a", None, false, "8 a gone, 7 a gone, 5 a gone, 3 3");
    assert_eq!(world.group.state(), ConsumerGroupState::Assigning);
    world.check(&beat("b", 2), "3: 1:0,1,2,3", "7 b, 6 3, 8 b");
    world.check(&beat("a", 2), r#"UnknownMemberId("a")"#, "");
    world.check_leave("b", None, false, "8 b gone, 7 b gone, 5 b gone, 3 4");
    assert_eq!(world.group.state(), ConsumerGroupState::Empty);
    world.check_loaded();
}

#[test]
fn members_name_their_epoch_or_the_one_before() {
    let mut world = pair();
    let fenced = |given| {
        let (given, current) = (MemberEpoch(given), MemberEpoch(2));
        format!("{:?}", HeartbeatRefusal::FencedMemberEpoch(FencedEpoch { given, current }))
    };
    world.check(&beat("a", 3), &fenced(3), "");
    world.check(&beat("a", 1), &fenced(1), "");
    world.check(&owns("a", 1, "1:0,1,2"), &fenced(1), "");
    world.check(&owns("a", 1, "1:1"), "2: as before", "");
    world.check(&join("a", "t1"), &fenced(0), "");
}

#[test]
fn who_changes_its_topics_gives_up_the_others() {
    let mut world = pair();
    let change = ConsumerGroupHeartbeat { topics: Some(names("t2")), ..owns("b", 2, "1:2,3") };
    world.check(&change, "2:", "5 b, 3 3, 7 a, 7 b, 6 3, 8 b");
    world.check(&beat("a", 2), "3: as before", "8 a");
    world.check(&owns("b", 2, ""), "3: 2:0,1", "8 b");
    world.check(&beat("a", 3), "3: 1:0,1,2,3", "8 a");
    world.check_loaded();
}

#[test]
fn topics_that_change_lead_to_another_epoch() {
    let mut world = pair();
    world.topics = topics(2, &[4, 9]);
    world.check(&beat("a", 2), "2: as before", "");
    world.topics = topics(3, &[6, 9]);
    world.check(&beat("a", 2), "3: 1:0,1,4", "3 3, 7 a, 7 b, 6 3, 8 a");
    world.check(&beat("b", 2), "3: 1:2,3,5", "8 b");
    // A topic that is gone isn't assigned any more.
    world.topics = topics(4, &[]);
    world.check(&beat("a", 3), "3:", "3 4, 7 a, 7 b, 6 4, 8 a");
    world.check(&owns("a", 3, ""), "4: as before", "8 a");
}

#[test]
fn a_static_member_that_left_for_a_while_has_its_partitions_again() {
    let mut world = World::new(&[4]);
    world.check(&join_static("a", "x"), "1: 1:0,1,2,3", "5 a, 3 1, 7 a, 6 1, 8 a");
    world.check(&join_static("a2", "x"), r#"UnreleasedInstanceId("x")"#, "");
    world.check_leave("b", Some("x"), true, r#"FencedInstanceId("x")"#);
    world.check_leave("a", Some("y"), true, r#"UnknownMemberId("a")"#);
    world.check_leave("a", Some("x"), true, "8 a");
    // Meanwhile they are kept for it.
    world.check(&join("b", "t1"), "2:", "5 b, 3 2, 7 a, 7 b, 6 2, 8 b");
    let fenced = FencedEpoch { given: MemberEpoch(1), current: MemberEpoch(-2) };
    let old = ConsumerGroupHeartbeat { instance: Some("x".into()), ..beat("a", 1) };
    world.check(&old, &format!("{:?}", HeartbeatRefusal::FencedMemberEpoch(fenced)), "");
    let written = "8 a gone, 7 a gone, 5 a gone, 5 a2, 7 a2, 8 a2, 8 a2";
    world.check(&join_static("a2", "x"), "2: 1:0,1", written);
    world.check(&old, r#"FencedInstanceId("x")"#, "");
    world.check(&beat("b", 2), "2: 1:2,3", "8 b");
    world.check_loaded();
    world.check_leave("a2", Some("x"), false, "8 a2 gone, 7 a2 gone, 5 a2 gone, 3 3");
    world.check(&join_static("a3", "x"), "4: 1:0,1", "5 a3, 3 4, 7 a3, 6 4, 8 a3");
}

#[test]
fn only_so_many_are_let_in() {
    let mut world = World::new(&[3]);
    for member in ["a", "b", "c"] {
        world.heartbeat(&join(member, "t1")).unwrap();
    }
    let full = HeartbeatRefusal::GroupMaxSizeReached { members_max: MEMBERS_MAX };
    world.check(&join("d", "t1"), &format!("{full:?}"), "");
    world.check(&beat("a", 1), "1: 1:0", "8 a");
}

#[test]
fn the_assignor_that_most_want_assigns() {
    let mut world = World::new(&[2, 2]);
    let wants = |member, assignor| ConsumerGroupHeartbeat { assignor, ..join(member, "t1 t2") };
    world.heartbeat(&wants("a", None)).unwrap();
    world.heartbeat(&wants("b", Some(Assignor::Range))).unwrap();
    let target = |world: &World, member: &str| said(world.group.target(&member.into()).unwrap());
    assert_eq!((target(&world, "a"), target(&world, "b")), ("1:0 2:0".to_owned(), "1:1 2:1".to_owned()));
    world.heartbeat(&wants("c", Some(Assignor::Uniform))).unwrap();
    world.check_leave("a", None, false, "8 a gone, 7 a gone, 5 a gone, 3 4");
    world.heartbeat(&wants("d", None)).unwrap();
    // One wants each: the one that is a group's by itself, which keeps what was.
    assert_eq!(target(&world, "b"), "1:0,1");
}

/// How many members there may be, more than fit in.
const ACTORS: usize = 5;

#[derive(Clone, Debug)]
enum Event {
    Join { actor: usize, topics: BTreeSet<u8>, is_lost: bool },
    Beat { actor: usize, says_nothing: bool, is_lost: bool },
    Leave { actor: usize, comes_back: bool },
    Topics { counts: Vec<i32> },
}

fn any_event() -> impl Strategy<Value = Event> {
    let topics = prop::collection::btree_set(1u8..4, 0..4);
    prop_oneof![
        4 => (0..ACTORS, topics, prop::bool::weighted(0.2))
            .prop_map(|(actor, topics, is_lost)| Event::Join { actor, topics, is_lost }),
        10 => (0..ACTORS, prop::bool::weighted(0.3), prop::bool::weighted(0.2))
            .prop_map(|(actor, says_nothing, is_lost)| Event::Beat { actor, says_nothing, is_lost }),
        2 => (0..ACTORS, any::<bool>()).prop_map(|(actor, comes_back)| Event::Leave { actor, comes_back }),
        1 => prop::collection::vec(0i32..5, 0..4).prop_map(|counts| Event::Topics { counts }),
    ]
}

/// A client: its member id while it is a member, its epoch, and what it reads.
#[derive(Clone, Debug, Default)]
struct Actor {
    id: Option<MemberId>,
    epoch: i32,
    topics: BTreeSet<TopicName>,
    reads: Assignment,
    /// An answer was lost: it says all, so that it is told all.
    is_unsure: bool,
}

struct Fuzz {
    world: World,
    actors: Vec<Actor>,
    last_id: usize,
}

impl Fuzz {
    fn request(&self, actor: usize) -> Option<ConsumerGroupHeartbeat> {
        let Actor { id, epoch, reads, topics, is_unsure } = &self.actors[actor];
        // The first ones are static members.
        let instance = (actor < 2).then(|| format!("i{actor}").into());
        let id = id.as_ref()?;
        let (rebalance_timeout_ms, topics) = (is_unsure.then_some(1), is_unsure.then(|| topics.clone()));
        let owned = Some(reads.clone());
        Some(ConsumerGroupHeartbeat {
            instance,
            owned,
            rebalance_timeout_ms,
            topics,
            ..beat(id.as_str(), *epoch)
        })
    }

    fn send(&mut self, actor: usize, request: &ConsumerGroupHeartbeat, is_lost: bool) {
        match self.world.heartbeat(request) {
            Ok(heard) if !is_lost => {
                self.actors[actor].epoch = heard.epoch.0;
                self.actors[actor].is_unsure = false;
                if let Some(assignment) = heard.assignment {
                    self.actors[actor].reads = assignment;
                }
            }
            Ok(_) => self.actors[actor].is_unsure = true,
            // It gives up all, and isn't heard of again, so its session ends.
            Err(_) => {
                let old = std::mem::take(&mut self.actors[actor]);
                if let Some(id) = old.id.filter(|id| self.world.group.current(id).is_some()) {
                    let _ = self.world.happen(|group, topics| group.leave(&id, None, false, topics));
                }
            }
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Join { actor, topics, is_lost } => {
                if self.actors[*actor].id.is_none() {
                    self.last_id += 1;
                    let id = Some(MemberId::from(format!("m{}", self.last_id)));
                    self.actors[*actor] = Actor { id, ..Actor::default() };
                }
                let names: Vec<String> = topics.iter().map(|index| format!("t{index}")).collect();
                let request = self.request(*actor).unwrap();
                self.actors[*actor].topics = self::names(&names.join(" "));
                let topics = Some(self.actors[*actor].topics.clone());
                let request = ConsumerGroupHeartbeat { topics, rebalance_timeout_ms: Some(1), ..request };
                self.send(*actor, &request, *is_lost);
            }
            Event::Beat { actor, says_nothing, is_lost } => {
                if let Some(mut request) = self.request(*actor).filter(|request| request.epoch.0 > 0) {
                    let is_unsure = self.actors[*actor].is_unsure;
                    request.owned = request.owned.filter(|_| is_unsure || !says_nothing);
                    self.send(*actor, &request, *is_lost);
                }
            }
            Event::Leave { actor, comes_back } => {
                let old = std::mem::take(&mut self.actors[*actor]);
                let instance = (*actor < 2).then(|| format!("i{actor}").into());
                if let Some(id) = old.id {
                    let leave = |group: &mut ConsumerGroup, topics: &Topics| {
                        group.leave(&id, instance.as_ref(), *comes_back, topics)
                    };
                    let _ = self.world.happen(leave);
                }
            }
            Event::Topics { counts } => self.world.topics = topics(self.world.topics.version + 1, counts),
        }
        self.check();
    }

    /// Nobody reads what somebody else reads.
    fn check(&self) {
        let mut readers: BTreeMap<(TopicId, PartitionIndex), usize> = BTreeMap::new();
        for (index, actor) in self.actors.iter().enumerate() {
            for partition in actor.reads.iter() {
                assert_eq!(
                    readers.insert(partition, index),
                    None,
                    "{partition:?} is read by {index} as well"
                );
            }
        }
        let members = self.actors.iter().filter(|actor| actor.epoch > 0).count();
        assert!(members <= MEMBERS_MAX && self.world.group.member_count() <= MEMBERS_MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_heartbeats_leave_each_partition_with_one_reader_and_end_in_a_stable_group(
        events in prop::collection::vec(any_event(), 1..80)
    ) {
        let actors = vec![Actor::default(); ACTORS];
        let mut fuzz = Fuzz { world: World::new(&[5, 3, 1]), actors, last_id: 0 };
        events.iter().for_each(|event| fuzz.happen(event));
        fuzz.world.check_loaded();
        // Who has left, or whose answers were lost when it joined, is gone in the end.
        let live: BTreeSet<MemberId> =
            fuzz.actors.iter().filter(|actor| actor.epoch > 0).filter_map(|actor| actor.id.clone()).collect();
        let ids: Vec<MemberId> = fuzz.world.group.members.keys().cloned().collect();
        for id in ids.into_iter().filter(|id| !live.contains(id)) {
            fuzz.world.happen(|group, topics| group.leave(&id, None, false, topics)).unwrap();
        }
        for _ in 0..12 {
            for actor in 0..ACTORS {
                fuzz.happen(&Event::Beat { actor, says_nothing: false, is_lost: false });
            }
        }
        let state = fuzz.world.group.state();
        prop_assert!(matches!(state, ConsumerGroupState::Stable | ConsumerGroupState::Empty), "{state:?}");
        for actor in fuzz.actors.iter().filter(|actor| actor.epoch > 0) {
            let id = actor.id.as_ref().unwrap();
            prop_assert_eq!(Some(&actor.reads), fuzz.world.group.target(id), "{} reads its target", id);
        }
        fuzz.world.check_loaded();
    }
}
