//! Heartbeats, sessions, and members that leave.

use super::joining::{PAIR, pair};
use super::world::World;

#[test]
fn only_a_member_of_the_present_generation_is_alive() {
    pair().run(
        "
        beat c-1 1 => alive
        beat c-9 1 => UNKNOWN_MEMBER_ID
        beat c-1 0 => ILLEGAL_GENERATION
        beat c-1 2 => ILLEGAL_GENERATION
        beat c-1 1 i=x => UNKNOWN_MEMBER_ID
        beat c-1 1 g=h => UNKNOWN_MEMBER_ID
        beat c-1 1 g= => INVALID_GROUP_ID
        ",
    );
}

#[test]
fn who_is_silent_for_its_session_is_gone() {
    pair().run(
        "
        tick 9999 =>
        beat c-1 1 => alive
        tick 1 =>
        beat c-1 1 => REBALANCE_IN_PROGRESS
        beat c-3 1 => UNKNOWN_MEMBER_ID
        join c-1 => c-1 in 2 of c-1 range [c-1]
        ",
    );
}

#[test]
fn when_all_are_gone_the_group_is_empty() {
    pair().run(
        "
        log => g in 0 []; g in 1 [c-1=a c-3=b]
        tick 10000 =>
        describe g => g Empty consumer: []
        log => g in 2 []
        beat c-1 2 => UNKNOWN_MEMBER_ID
        join c-1 => UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn who_waits_is_alive() {
    pair().run(
        "
        join c-1 =>
        tick 9000 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        tick 9000 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        join c-3 => c-3 in 2 of c-1 range []; #7 c-1 in 2 of c-1 range [c-1 c-3]
        sync c-3 2 =>
        tick 9000 =>
        beat c-1 2 => alive
        tick 9000 =>
        sync c-1 2 c-1:a c-3:b => assigned a; #11 assigned b
        # Its session begins anew with the answer.
        tick 9999 =>
        beat c-3 2 => alive
        ",
    );
}

#[test]
fn members_leave_each_for_itself() {
    pair().run(
        "
        leave c-9 c-3 /x => UNKNOWN_MEMBER_ID left UNKNOWN_MEMBER_ID
        describe g => g PreparingRebalance consumer: [c-1=a]
        leave c-9 g=h => UNKNOWN_MEMBER_ID
        leave c-9 g= => INVALID_GROUP_ID
        leave c-1 c-1 => left UNKNOWN_MEMBER_ID
        describe g => g Empty consumer: []
        ",
    );
    pair().run(
        "
        leave c-1 c-3 => left left
        describe g => g Empty consumer: []
        ",
    );
}

#[test]
fn whom_nobody_knows_leaves_without_a_rebalance() {
    pair().run(
        "
        leave c-9 => UNKNOWN_MEMBER_ID
        beat c-1 1 => alive
        ",
    );
}

#[test]
fn commits_are_signs_of_life() {
    pair().run(
        "
        tick 9999 =>
        commit c-1 1 t-0:1 => committed
        beat c-3 1 => alive
        tick 9999 =>
        beat c-1 1 => alive
        ",
    );
}

#[test]
fn a_group_of_many_settles_in_one_generation() {
    let mut world = World::new();
    for _ in 0..200 {
        world.run_quietly("join - old");
    }
    world.tick(6_000);
    assert_eq!(world.answers.len(), 200);
    world.run_quietly("list");
    assert_eq!(world.shard.machine().group_count(), 1);
    world.answers.clear();
    world.run_quietly("leave c-7");
    world.answers.clear();
    for id in (1..=200).filter(|id| *id != 7) {
        world.run_quietly(&format!("join c-{id}"));
    }
    assert_eq!(world.answers.len(), 199, "the last one ends it");
}

#[test]
fn groups_have_nothing_to_do_with_each_other() {
    let mut world = World::new();
    world.run(PAIR);
    world.run(
        "
        join - old g=h =>
        tick 3000 => #7 c-7 in 1 of c-7 range [c-7]
        sync c-7 1 g=h c-7:z => assigned z
        beat c-7 1 => UNKNOWN_MEMBER_ID
        beat c-1 1 => alive
        list => g:consumer:Stable:classic h:consumer:Stable:classic
        ",
    );
}

#[test]
fn the_last_ones_that_leave_are_told_once_that_is_committed() {
    pair().run(
        "
        hold =>
        leave c-3 => left
        leave c-1 =>
        describe g => g Empty consumer: []
        go => #8 left
        failover =>
        describe g => g Empty consumer: []
        ",
    );
}
