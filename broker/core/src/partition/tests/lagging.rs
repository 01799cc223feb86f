//! Who lags: by the age of what isn't acknowledged, whatever way records and fetches take turns.

use proptest::prelude::*;

use ottla_types::{LeaderEpoch, Offset, PartitionEpoch};

use super::world::{LAG_MAX_MS, Node, assignment, members};
use crate::partition::{Assignment, FollowerFetch};

/// The greatest error of an age.
const STEP_MS: u64 = 1;

/// Replica 1 leads, 2 is in sync, 3 is away.
struct Pair {
    one: Node,
    question: FollowerFetch,
    /// When each record was appended.
    appended: Vec<u64>,
    acknowledged: usize,
}

impl Pair {
    fn new() -> Self {
        let (mut one, mut two) = (Node::new(1), Node::new(2));
        let state = assignment(1, 1, 1, &[1, 2]);
        let _ = (one.follow(&state), two.follow(&state));
        let mut pair = Self { one, question: two.question(), appended: Vec::new(), acknowledged: 0 };
        pair.acknowledge(0, 0);
        pair
    }

    fn append(&mut self, count: usize, now: u64) {
        for _ in 0..count {
            self.one.append_at(now);
            self.appended.push(now);
        }
        let _ = self.one.sync();
    }

    /// The follower acknowledges so many more.
    fn acknowledge(&mut self, count: usize, now: u64) {
        self.acknowledged = (self.acknowledged + count).min(self.appended.len());
        self.question.fetch_offset = Offset(self.acknowledged as i64);
        self.question.last_epoch = (self.acknowledged > 0).then_some(LeaderEpoch(1));
        let _ = self.one.hear(&self.question, now).unwrap();
    }

    /// Whether the leader wants the follower to leave.
    fn leaves(&mut self, now: u64) -> bool {
        let proposal = self.one.replica.on_tick(self.one.log.facts(), now);
        assert!(proposal.is_none() || members(proposal.as_ref()) == [1], "{proposal:?}");
        proposal.is_some()
    }

    fn oldest_age(&self, now: u64) -> u64 {
        self.appended.get(self.acknowledged).map_or(0, |at| now - at)
    }
}

#[derive(Clone, Debug)]
enum Event {
    Append(usize),
    Acknowledge(usize),
    Tick,
}

fn any_event() -> impl Strategy<Value = (u64, Event)> {
    let event = prop_oneof![
        3 => (1usize..5).prop_map(Event::Append),
        3 => (0usize..7).prop_map(Event::Acknowledge),
        1 => Just(Event::Tick),
    ];
    (prop_oneof![4 => 0u64..30, 1 => 0u64..300], event)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// At each look a member leaves just if a record that it lacks is older than the limit.
    #[test]
    fn a_member_leaves_just_if_what_it_lacks_is_too_old(events in prop::collection::vec(any_event(), 1..200)) {
        let mut pair = Pair::new();
        let mut now = 0;
        for (delay, event) in events {
            now += delay;
            match event {
                Event::Append(count) => pair.append(count, now),
                Event::Acknowledge(count) => pair.acknowledge(count, now),
                Event::Tick => {
                    let age = pair.oldest_age(now);
                    let leaves = pair.leaves(now);
                    if leaves {
                        prop_assert!(age > LAG_MAX_MS, "{age} ms is not too old");
                        return Ok(());
                    }
                    prop_assert!(age <= LAG_MAX_MS + STEP_MS, "{age} ms is too old");
                }
            }
        }
    }

    /// A steady load, of which each fetch takes as much as it may hold, some time after it was appended: the
    /// follower never has what the leader has.
    #[test]
    fn who_acknowledges_each_record_in_time_stays(
        per_ms in 1usize..4,
        late_ms in 1u64..LAG_MAX_MS - 20,
        every_ms in 1u64..20,
    ) {
        let mut pair = Pair::new();
        for now in 0..10 * LAG_MAX_MS {
            pair.append(per_ms, now);
            if now % every_ms == 0 {
                let due = pair.appended.partition_point(|at| at + late_ms <= now);
                pair.acknowledge(due - pair.acknowledged, now);
            }
            prop_assert!(!pair.leaves(now), "at {now} ms");
        }
    }

    /// It takes a part of what is produced: it leaves once what it lacks is older than the limit, and not
    /// before.
    #[test]
    fn who_takes_less_than_is_produced_leaves(taken_of_ten in 0usize..9) {
        let mut pair = Pair::new();
        let left = (1..20 * LAG_MAX_MS).find(|now| {
            pair.append(10, *now);
            pair.acknowledge(taken_of_ten, *now);
            pair.leaves(*now)
        });
        let left = left.expect("it leaves");
        prop_assert!(pair.oldest_age(left) > LAG_MAX_MS && pair.oldest_age(left) <= LAG_MAX_MS + 2 * STEP_MS + 1);
    }
}

#[test]
fn who_has_everything_stays_for_ever() {
    let mut pair = Pair::new();
    pair.append(3, 10);
    pair.acknowledge(3, 20);
    assert!((20..100 * LAG_MAX_MS).step_by(7).all(|now| !pair.leaves(now)));
    // Its lag begins with the next record.
    let now = 100 * LAG_MAX_MS;
    pair.append(1, now);
    assert!(!pair.leaves(now + LAG_MAX_MS) && pair.leaves(now + LAG_MAX_MS + 2));
}

/// Below the minimum the high watermark stands still, and a follower that has reached it may lack records of
/// hours.
#[test]
fn who_would_have_to_leave_at_once_does_not_join() {
    let mut pair = Pair::new();
    pair.acknowledge(0, 0);
    let _ = pair.one.follow(&assignment(1, 1, 2, &[1]));
    for now in 0..10 * LAG_MAX_MS {
        pair.one.log.epochs.push(1);
        pair.one.replica.on_append(pair.one.log.facts().end, now);
        pair.appended.push(now);
    }
    let now = 10 * LAG_MAX_MS;
    let joins = |pair: &mut Pair, now| {
        let heard = pair.one.hear(&pair.question, now).unwrap();
        members(heard.1.proposal.as_ref()) == [1, 2]
    };
    assert!(!joins(&mut pair, now), "it has reached the high watermark");
    assert_eq!(pair.one.replica.on_tick(pair.one.log.facts(), now), None);
    pair.acknowledged = pair.appended.len() - 10;
    pair.question.fetch_offset = Offset(pair.acknowledged as i64);
    pair.question.last_epoch = Some(LeaderEpoch(1));
    assert!(joins(&mut pair, now));
}

/// How old records are that all had isn't known any more: a replica that is added then takes them before it
/// joins.
#[test]
fn a_replica_that_is_added_takes_what_the_others_had_before_it_joins() {
    let (mut one, mut two, mut three) = (Node::new(1), Node::new(2), Node::new(3));
    // Replica 2 isn't in service: too few are in sync, and the high watermark stands still.
    let mut state = assignment(1, 1, 1, &[1]);
    state.replicas[1].may_join = false;
    let mut of_two = state.clone();
    of_two.replicas.truncate(2);
    let _ = (one.follow(&of_two), two.follow(&of_two));
    one.log.epochs = vec![1; 40];
    one.replica.on_append(one.log.facts().end, 10);
    let _ = one.sync();
    while two.log.epochs.len() < 40 {
        one.feed(&mut two);
    }
    let _ = one.hear(&two.question(), 20).unwrap();
    let now = 20 * LAG_MAX_MS;
    assert_eq!(one.replica.on_tick(one.log.facts(), now), None);

    let added = Assignment { partition_epoch: PartitionEpoch(2), ..state };
    let _ = (one.follow(&added), three.follow(&added));
    let mut question = three.question();
    for (offset, last, joined) in [(0, None, vec![]), (39, Some(1), vec![]), (40, Some(1), vec![1, 3])] {
        (question.fetch_offset, question.last_epoch) = (Offset(offset), last.map(LeaderEpoch));
        let heard = one.hear(&question, now).unwrap();
        assert_eq!(members(heard.1.proposal.as_ref()), joined, "at {offset}");
    }
}
