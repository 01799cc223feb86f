//! Appends that are refused: what was decided is taken back.

use super::joining::pair;
use super::world::World;

#[test]
fn a_group_whose_first_record_is_refused_has_never_been() {
    World::new().run(
        "
        hold =>
        join - old =>
        join - => MEMBER_ID_REQUIRED c-2
        refuse NotNow => #1 COORDINATOR_NOT_AVAILABLE
        list => none
        join c-2 => UNKNOWN_MEMBER_ID
        go =>
        tick 100000 =>
        ",
    );
}

#[test]
fn a_simple_group_whose_first_commit_is_refused_has_never_been() {
    World::new().run(
        "
        hold =>
        commit - -1 t-0:5 =>
        join - old =>
        list => g:consumer:PreparingRebalance:classic
        refuse NotNow => #1 COORDINATOR_NOT_AVAILABLE; #2 COORDINATOR_NOT_AVAILABLE
        go =>
        list => none
        ",
    );
}

#[test]
fn a_group_whose_first_record_takes_long_goes_on() {
    World::new().run(
        "
        hold =>
        join - old =>
        tick 10000 => #1 c-1 in 1 of c-1 range [c-1]
        go =>
        beat c-1 1 => alive
        ",
    );
}

#[test]
fn an_empty_generation_that_is_not_noted_does_no_harm() {
    pair().run(
        "
        hold =>
        leave c-1 c-3 =>
        refuse NotNow => #7 COORDINATOR_NOT_AVAILABLE
        go =>
        describe g => g Empty consumer: []
        failover =>
        describe g => g Stable consumer:range [c-1=a c-3=b]
        tick 10000 =>
        describe g => g Empty consumer: []
        ",
    );
}

#[test]
fn what_was_decided_before_stays() {
    let mut world = World::new();
    world.run(
        "
        hold =>
        commit - -1 t-0:1 =>
        commit - -1 t-0:2 =>
        commit - -1 t-0:3 =>
        ",
    );
    let (first, records) = world.uncommitted.pop_front().unwrap();
    world.log.extend(records);
    let effects = world.shard.on_committed(first, world.now);
    world.carry_out(effects);
    world.run(
        "
        fetch => t-0=1; #1 committed
        refuse NotNow => #2 COORDINATOR_NOT_AVAILABLE; #3 COORDINATOR_NOT_AVAILABLE
        go =>
        fetch stable => t-0=1
        list => g::Empty:classic
        ",
    );
}
