//! Any order of events keeps what groups promise.
//!
//! Members do what they should, what they shouldn't, and what comes too late. The log commits, refuses and
//! stalls, and coordinators fail over. What holds after each event is stated in [`Fuzz::check`], and at the
//! end that everybody who asked was answered, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::world::{World, partition};
use crate::coordinator::{AppendRefusal, CallId};
use crate::group::*;

/// How many members there may be.
const ACTORS: usize = 5;

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    Join {
        actor: usize,
        is_stranger: bool,
        protocols: usize,
    },
    Sync {
        actor: usize,
    },
    Heartbeat {
        actor: usize,
        stale: i32,
    },
    Commit {
        actor: usize,
        stale: i32,
    },
    Leave {
        actor: usize,
    },
    Fetch {
        stable: bool,
    },
    Delete,
    /// All join, so that there is one generation of all.
    JoinAll,
    SyncAll,
    Tick {
        ms: u64,
    },
    Hold,
    Commits {
        count: usize,
    },
    Refuse {
        keep: usize,
    },
    FailOver,
}

fn any_event() -> impl Strategy<Value = Event> {
    let actor = || 0..ACTORS;
    prop_oneof![
        8 => (actor(), prop::bool::weighted(0.1), 0usize..3)
            .prop_map(|(actor, is_stranger, protocols)| Event::Join { actor, is_stranger, protocols }),
        8 => actor().prop_map(|actor| Event::Sync { actor }),
        4 => (actor(), 0i32..4).prop_map(|(actor, stale)| Event::Heartbeat { actor, stale }),
        6 => (actor(), 0i32..4).prop_map(|(actor, stale)| Event::Commit { actor, stale }),
        2 => actor().prop_map(|actor| Event::Leave { actor }),
        2 => any::<bool>().prop_map(|stable| Event::Fetch { stable }),
        1 => Just(Event::Delete),
        4 => Just(Event::JoinAll),
        4 => Just(Event::SyncAll),
        6 => prop::sample::select(vec![0, 1, 500, 3_000, 5_000, 10_000, 60_000]).prop_map(|ms| Event::Tick { ms }),
        2 => Just(Event::Hold),
        4 => (0usize..4).prop_map(|count| Event::Commits { count }),
        1 => (0usize..3).prop_map(|keep| Event::Refuse { keep }),
        1 => Just(Event::FailOver),
    ]
}

/// What a member knows.
#[derive(Clone, Debug, Default)]
struct Actor {
    id: Option<MemberId>,
    generation: i32,
    /// Whom it is to assign to.
    followers: Vec<MemberId>,
}

/// What was asked, and by whom.
#[derive(Clone, Debug)]
enum Asked {
    Join(usize),
    Sync {
        member: MemberId,
        generation: i32,
    },
    /// In a generation, when another was the newest, what was committed.
    Commit {
        generation: i32,
        newest: i32,
        offset: i64,
    },
    Heartbeat {
        generation: i32,
    },
    Fetch,
    Other,
}

struct Fuzz {
    world: World,
    actors: Vec<Actor>,
    asked: BTreeMap<CallId, Asked>,
    /// What each generation's members were told, with its coordinator's epoch: soft state that wasn't
    /// committed may come again under another coordinator.
    assigned: BTreeMap<i32, BTreeMap<MemberId, Arc<[u8]>>>,
    /// The newest generation that anybody was told of by this coordinator.
    newest: i32,
    /// The offsets that were acknowledged, in order of the log.
    next_offset: i64,
    acknowledged: i64,
    /// Offsets whose fate isn't known.
    is_deleted: bool,
}

impl Fuzz {
    fn new() -> Self {
        Self {
            world: World::new(),
            actors: vec![Actor::default(); ACTORS],
            asked: BTreeMap::new(),
            assigned: BTreeMap::new(),
            newest: 0,
            next_offset: 0,
            acknowledged: -1,
            is_deleted: false,
        }
    }

    fn ask(&mut self, request: Request, asked: Asked) {
        self.asked.insert(CallId(self.world.last_call + 1), asked);
        self.world.ask(request);
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Join { actor, is_stranger, protocols } => self.join(*actor, *is_stranger, *protocols),
            Event::Sync { actor } => self.sync(*actor),
            Event::Heartbeat { actor, stale } => {
                let Actor { id, generation, .. } = self.actors[*actor].clone();
                let generation = generation - stale;
                let (group, member) = ("g".into(), id.unwrap_or("c-x".into()));
                let request = Heartbeat { group, member, instance: None, generation: Generation(generation) };
                self.ask(Request::Heartbeat(request), Asked::Heartbeat { generation });
            }
            Event::Commit { actor, stale } => self.commit(*actor, *stale),
            Event::Leave { actor } => {
                let member = self.actors[*actor].id.clone();
                let members = vec![Leaving { member, instance: None }];
                self.ask(Request::LeaveGroup(LeaveGroup { group: "g".into(), members }), Asked::Other);
            }
            Event::Fetch { stable } => {
                let partitions = Some(vec![partition("t-0")]);
                let request = OffsetFetch {
                    group: "g".into(),
                    partitions,
                    require_stable: *stable,
                    granted_bytes: usize::MAX,
                };
                self.ask(Request::OffsetFetch(request), Asked::Fetch);
            }
            Event::Delete => {
                let was_there = self.world.shard.machine().group_count() > 0;
                self.ask(Request::DeleteGroups(DeleteGroups { groups: vec!["g".into()] }), Asked::Other);
                // What is fetched from now on may be less, whether that is refused or not.
                self.is_deleted |= was_there && self.world.shard.machine().group_count() == 0;
            }
            Event::JoinAll => {
                for actor in (0..ACTORS).chain(0..ACTORS) {
                    self.join(actor, false, 1);
                    self.check();
                }
                self.world.tick(3_000);
            }
            Event::SyncAll => (0..ACTORS).for_each(|actor| self.sync(actor)),
            Event::Tick { ms } => self.world.tick(*ms),
            Event::Hold => self.world.is_holding = true,
            Event::Commits { count: 0 } => {
                self.world.is_holding = false;
                self.world.commit_all();
            }
            Event::Commits { count } => self.commit_some(*count),
            Event::Refuse { keep } => {
                self.commit_some(*keep);
                if !self.world.uncommitted.is_empty() {
                    self.world.refuse(AppendRefusal::NotNow);
                    // The group that there is may be an earlier one, whose deletion was refused.
                    self.forget_generations();
                }
            }
            Event::FailOver => {
                self.world.fail_over();
                // Generations that were never committed may come again, with others in them.
                self.forget_generations();
            }
        }
        self.check();
        if self.world.shard.machine().group_count() == 0 {
            // The next group of this name is another one.
            self.forget_generations();
        }
    }

    fn forget_generations(&mut self) {
        self.check();
        self.assigned.clear();
        self.newest = 0;
    }

    fn commit_some(&mut self, count: usize) {
        for _ in 0..count {
            let Some((ticket, records)) = self.world.uncommitted.pop_front() else { return };
            self.world.log.extend(records);
            let effects = self.world.shard.on_committed(ticket, self.world.now);
            self.world.carry_out(effects);
        }
    }

    fn join(&mut self, actor: usize, is_stranger: bool, protocols: usize) {
        let member = self.actors[actor].id.clone().filter(|_| !is_stranger);
        let is_static = actor == 0;
        let names = [vec!["range"], vec!["range", "sticky"], vec!["sticky", "range"]];
        let metadata: Arc<[u8]> = vec![0; 10].into();
        let protocol = |name: &&str| Protocol { name: (*name).into(), metadata: metadata.clone() };
        let request = JoinGroup {
            group: "g".into(),
            member,
            instance: is_static.then(|| "i".into()),
            client: Client { id: "c".into(), host: "/h".into() },
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            protocol_type: "consumer".to_owned(),
            protocols: names[protocols].iter().map(protocol).collect(),
            knows_member_id_required: actor.is_multiple_of(2),
            knows_skip_assignment: protocols == 0,
            fresh_id: (self.world.last_call + 1).to_string(),
        };
        self.ask(Request::JoinGroup(request), Asked::Join(actor));
    }

    fn sync(&mut self, actor: usize) {
        let Actor { id, generation, followers } = self.actors[actor].clone();
        let member = id.unwrap_or("c-x".into());
        // Each time another assignment, so that two of one generation would be seen.
        let stamp = self.world.last_call;
        let assigned = followers.iter().map(|id| (id.clone(), format!("{id}@{stamp}").into_bytes().into()));
        let request = SyncGroup {
            group: "g".into(),
            member: member.clone(),
            instance: None,
            generation: Generation(generation),
            protocol_type: None,
            protocol: None,
            assignments: assigned.collect(),
        };
        self.ask(Request::SyncGroup(request), Asked::Sync { member, generation });
    }

    fn commit(&mut self, actor: usize, stale: i32) {
        let Actor { id, generation, .. } = self.actors[actor].clone();
        let generation = generation - stale;
        let offset = self.next_offset;
        self.next_offset += 1;
        let one = OffsetToCommit {
            topic: partition("t-0").topic,
            topic_id: ottla_types::TopicId::ZERO,
            partition: partition("t-0").partition,
            offset: ottla_types::Offset(offset),
            leader_epoch: None,
            metadata: None,
        };
        let request = OffsetCommit {
            group: "g".into(),
            member: id,
            instance: None,
            generation: Generation(generation),
            retention_ms: None,
            offsets: vec![one],
        };
        self.ask(Request::OffsetCommit(request), Asked::Commit { generation, newest: self.newest, offset });
    }

    /// What the answers say must agree with each other.
    fn check(&mut self) {
        for answer in std::mem::take(&mut self.world.answers) {
            let asked = self.asked.remove(&answer.call).expect("each is answered once");
            match (asked, answer.reply) {
                (Asked::Join(actor), Reply::JoinGroup(reply)) => self.on_joined(actor, reply),
                (Asked::Sync { member, generation }, Reply::SyncGroup(Ok(synced))) => {
                    assert!(generation >= self.newest, "only the newest generation is assigned anything");
                    self.newest = generation;
                    let of_generation = self.assigned.entry(generation).or_default();
                    let other = of_generation.insert(member.clone(), synced.assignment.clone());
                    let is_same = other.is_none_or(|other| other == synced.assignment);
                    assert!(is_same, "{member} has one assignment in {generation}");
                    let stamps: BTreeSet<&str> =
                        of_generation.values().filter_map(|one| stamp(one)).collect();
                    assert!(stamps.len() <= 1, "generation {generation} has one assignment: {stamps:?}");
                }
                (Asked::Heartbeat { generation }, Reply::Heartbeat(Ok(()))) => {
                    assert!(generation >= self.newest, "{generation} has ended, there is {}", self.newest);
                }
                (Asked::Commit { generation, newest, offset }, Reply::OffsetCommit(Ok(_))) => {
                    assert!(
                        generation < 0 || generation >= newest,
                        "{generation} had ended, there was {newest}"
                    );
                    assert!(offset > self.acknowledged || self.is_deleted, "acknowledged in order");
                    self.acknowledged = self.acknowledged.max(offset);
                }
                (Asked::Commit { generation, .. }, Reply::OffsetCommit(Err(_)))
                    if generation < self.newest => {}
                (Asked::Fetch, Reply::OffsetFetch(Ok(fetched))) => {
                    let offset = fetched[0].committed.as_ref().map_or(-1, |one| one.offset.0);
                    let is_kept = offset >= self.acknowledged || self.is_deleted;
                    assert!(is_kept, "{} was acknowledged, and {offset} is there", self.acknowledged);
                }
                _ => {}
            }
        }
    }

    fn on_joined(&mut self, actor: usize, reply: Result<Joined, JoinRefusal>) {
        let actor = &mut self.actors[actor];
        match reply {
            Ok(joined) => {
                assert!(joined.generation.0 >= self.newest, "generations only grow");
                self.newest = joined.generation.0;
                actor.generation = joined.generation.0;
                actor.followers = joined.members.into_iter().map(|one| one.member).collect();
                actor.id = Some(joined.member);
            }
            Err(JoinRefusal::MemberIdRequired(id)) => actor.id = Some(id),
            Err(JoinRefusal::UnknownMemberId(_)) => actor.id = None,
            Err(_) => {}
        }
    }

    /// The log is committed again and time passes: nobody waits for ever.
    fn end(&mut self) {
        self.world.is_holding = false;
        self.world.commit_all();
        self.check();
        self.world.tick(600_000);
        self.check();
        assert!(self.asked.is_empty(), "who still waits: {:?}", self.asked);
        self.world.run_quietly("list");
        self.world.answers.clear();
        assert_eq!(self.world.shard.uncommitted_bytes(), 0);
    }
}

/// Which sync an assignment comes from.
fn stamp(assignment: &[u8]) -> Option<&str> {
    std::str::from_utf8(assignment).ok()?.split_once('@').map(|(_, stamp)| stamp)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_keep_what_they_promise(events in prop::collection::vec(any_event(), 1..120)) {
        let mut fuzz = Fuzz::new();
        events.iter().for_each(|event| fuzz.happen(event));
        fuzz.end();
    }

    #[test]
    fn what_is_loaded_is_what_was_committed(events in prop::collection::vec(any_event(), 1..80)) {
        let mut fuzz = Fuzz::new();
        // A group that its last member left need not be noted as empty, if that was refused.
        let events = events.iter().filter(|event| !matches!(event, Event::Refuse { .. }));
        events.for_each(|event| fuzz.happen(event));
        fuzz.end();
        // All members are silent by now, so nothing but what is committed is left.
        let told = |world: &mut World| {
            world.run_quietly("list");
            world.run_quietly("fetch");
            std::mem::take(&mut world.answers).into_iter().map(|answer| answer.reply).collect::<Vec<_>>()
        };
        let before = told(&mut fuzz.world);
        fuzz.world.fail_over();
        prop_assert_eq!(before, told(&mut fuzz.world));
    }
}
