//! What takes up memory is counted, and replies are made only if their size is granted.

use super::joining::{pair, pair_with};
use super::world::World;
use crate::coordinator::CallId;
use crate::group::*;

/// How many bytes the reply to a line needs, which is asked with nothing granted.
fn needed(world: &mut World, line: &str) -> usize {
    world.run_quietly(&format!("{line} granted=0"));
    match world.answers.pop().unwrap().reply {
        Reply::Needs(bytes) => bytes,
        reply => panic!("{reply:?}"),
    }
}

#[track_caller]
fn check_granted(world: &mut World, line: &str, told: &str) -> usize {
    let bytes = needed(world, line);
    world.run(&format!("{line} granted={} => needs {bytes}", bytes - 1));
    world.run(&format!("{line} granted={bytes} => {told}"));
    bytes
}

#[test]
fn a_reply_that_its_request_does_not_bound_is_made_only_if_so_much_is_granted() {
    let mut world = pair();
    world.run("commit c-1 1 t-0:5 m=4000 => committed\ncommit - -1 u-0:5 g=h => committed");
    let all = check_granted(&mut world, "fetch", "t-0=5");
    let stable = check_granted(&mut world, "fetch stable", "t-0=5");
    assert!(all > 4_000, "{all}");
    assert_eq!(all, stable);
    let listed = check_granted(&mut world, "list", "g:consumer:Stable:classic h::Empty:classic");
    let fewer = check_granted(&mut world, "list states=Empty", "h::Empty:classic");
    assert!(listed > fewer);
    check_granted(&mut world, "describe g", "g Stable consumer:range [c-1=a c-3=b]");
    check_granted(&mut world, "describe x", "x Dead : []");
    world.run("fetch g=none granted=0 => none\nlist types=consumer granted=0 => none");
}

#[test]
fn what_is_named_often_counts_as_often_as_it_is_encoded() {
    let mut world = pair();
    world.run("commit c-1 1 t-0:5 m=4000 => committed");
    let (once, thrice) = (needed(&mut world, "describe g"), needed(&mut world, "describe g g g"));
    assert_eq!(thrice, 3 * once);
    let (once, thrice) = (needed(&mut world, "fetch t-0"), needed(&mut world, "fetch t-0 t-0 t-0"));
    assert_eq!(thrice, 3 * once);
    assert!(once > 4_000);
}

#[test]
fn a_stable_fetch_that_waits_says_what_it_needs_when_it_is_read() {
    let mut world = pair();
    world.run(
        "
        hold =>
        commit c-1 1 t-0:5 m=1000 =>
        fetch stable granted=500 =>
        fetch stable granted=2000 =>
        ",
    );
    world.is_holding = false;
    world.commit_all();
    let answers: Vec<_> = world.answers.drain(..).map(|one| (one.call, one.reply)).collect();
    let [(CallId(7), _), (CallId(8), Reply::Needs(bytes)), (CallId(9), Reply::OffsetFetch(Ok(fetched)))] =
        &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert!((1_001..2_000).contains(bytes));
    assert_eq!(fetched.len(), 1);
}

#[test]
fn a_stable_fetch_that_waits_holds_its_request_and_no_reply() {
    let mut world = pair();
    world.run("commit c-1 1 t-0:5 m=4000 => committed\nhold =>\ncommit c-1 1 t-0:6 =>\nfetch stable =>");
    // By then it is another value: had the reply been held, it would be the one that was newest when asked.
    let (first, records) = world.uncommitted.pop_front().unwrap();
    world.log.extend(records);
    world.run("commit c-1 1 t-0:7 =>");
    let effects = world.shard.on_committed(first, world.now);
    world.carry_out(effects);
    world.run("fetch => t-0=6; #8 committed; #9 t-0=6");
}

#[test]
fn state_is_counted_as_it_comes_and_goes() {
    let mut world = World::new();
    let nothing = world.shard.machine().state_bytes();
    assert_eq!(nothing, 0);
    world.run("commit - -1 t-0:5 m=1000 => committed");
    let one = world.shard.machine().state_bytes();
    assert!((1_000 + 1_024..4_000).contains(&one), "{one}");
    world.run("hold =>\ncommit - -1 t-0:6 m=1000 =>\ncommit - -1 t-1:6 m=1000 =>");
    let three = world.shard.machine().state_bytes();
    assert!(three > one + 2_000, "what isn't committed is held too: {three}");
    world.run("refuse NotNow => #2 COORDINATOR_NOT_AVAILABLE; #3 COORDINATOR_NOT_AVAILABLE\ngo =>");
    assert_eq!(world.shard.machine().state_bytes(), one);
    world.run("hold =>\ndelete g =>");
    assert_eq!(world.shard.machine().state_bytes(), one, "until that is committed, it is held");
    world.run("go => #4 g deleted");
    assert_eq!(world.shard.machine().state_bytes(), 0);
}

#[test]
fn members_count_with_what_they_say_are_assigned_and_are_subscribed_to() {
    let topics = "t".repeat(5_000);
    let mut world = World::new();
    world.run(&format!("join - old topics={topics} =>"));
    let joined = world.shard.machine().state_bytes();
    assert!(joined > 5_000);
    world.run("tick 3000 => #1 c-1 in 1 of c-1 range [c-1]");
    let subscribed = world.shard.machine().state_bytes();
    assert!(subscribed > joined + 5_000, "the topics are held beside the subscription: {subscribed}");
    let assignment = "a".repeat(3_000);
    world.run(&format!("sync c-1 1 c-1:{assignment} => assigned {assignment}"));
    assert!(world.shard.machine().state_bytes() >= subscribed + 3_000);
    world.run("failover =>");
    assert!(world.shard.machine().state_bytes() >= subscribed + 3_000, "loaded ones as well");
    world.run("leave c-1 => left");
    assert!(world.shard.machine().state_bytes() < 2_000);
    let mut pending = World::new();
    pending.run("join - => MEMBER_ID_REQUIRED c-1");
    let one = pending.shard.machine().state_bytes();
    pending.run("join - => MEMBER_ID_REQUIRED c-2");
    assert!(pending.shard.machine().state_bytes() > one);
}

#[test]
fn what_adds_is_refused_while_there_is_no_more_memory_and_nothing_else_is() {
    let mut world = pair();
    world.run("commit c-1 1 t-0:5 => committed\ncommit - -1 t-0:5 g=h => committed\njoin - => MEMBER_ID_REQUIRED c-9");
    world.shard.set_may_grow(false);
    world.run(
        "
        commit c-1 1 t-0:6 => committed
        commit c-1 1 t-0:7 t-1:1 => COORDINATOR_NOT_AVAILABLE
        commit - -1 t-0:5 g=i => COORDINATOR_NOT_AVAILABLE
        join - g=i => GROUP_MAX_SIZE_REACHED (state)
        join - => GROUP_MAX_SIZE_REACHED (state)
        join - old i=x => GROUP_MAX_SIZE_REACHED (state)
        join c-9 => GROUP_MAX_SIZE_REACHED (state)
        beat c-1 1 => alive
        fetch => t-0=6
        delete h => h deleted
        unoffset u-0 => deleted
        ",
    );
    world.run("leave c-9 => left\njoin c-1 =>\njoin c-3 => c-3 in 2 of c-1 range []; #22 c-1 in 2 of c-1 range [c-1 c-3]");
    world.shard.set_may_grow(true);
    world.run("commit - -1 t-0:5 g=i => committed");
    let mut world = World::new();
    world.run("join - old i=x =>\ntick 3000 => #1 x-1 in 1 of x-1 range [x-1/x]\nsync x-1 1 i=x x-1:a => assigned a");
    world.shard.set_may_grow(false);
    world.run("join - i=x => x-3 in 1 of x-3 range [x-3/x] skip");
}

#[test]
fn stats_are_what_there_is_and_what_has_happened() {
    let config = GroupConfig {
        offsets_retention_ms: 60_000,
        offsets_retention_check_interval_ms: 1_000,
        session_timeout_max_ms: u64::MAX,
        ..GroupConfig::default()
    };
    let mut world = pair_with(config);
    world.run("commit c-1 1 t-0:5 t-1:5 => committed\ncommit - -1 t-0:5 g=h => committed\nleave c-3 => left");
    let stats = world.shard.machine().stats();
    let state = world.shard.machine().state_bytes();
    let states = [(GroupState::PreparingRebalance, 1), (GroupState::Empty, 1)];
    let expected = Stats {
        states: states.into_iter().collect(),
        members: 1,
        offsets: 3,
        state_bytes: state,
        rebalances: 1,
        commits: 3,
        expired_offsets: 0,
    };
    assert_eq!(stats, expected);
    let of_g =
        GroupStats { group: "g".into(), state: GroupState::PreparingRebalance, members: 1, rebalances: 1 };
    let machine = world.shard.machine();
    assert_eq!(machine.group_stats().next(), Some(of_g));
    let id = "g".into();
    let offsets = machine.committed_offsets(&id).map(|(partition, offset)| format!("{partition}={offset}"));
    assert_eq!(offsets.collect::<Vec<_>>(), ["t-0=5", "t-1=5"]);
    world.run("tick 200000 =>\nlist => none");
    let expected = Stats { rebalances: 1, commits: 3, expired_offsets: 3, ..Stats::default() };
    assert_eq!(world.shard.machine().stats(), expected);
}
