//! Assignments: one for each generation, told once it is committed.

use super::joining::pair;
use super::world::World;

/// A generation of c-1, which leads, and c-2, that have not synced.
const COMPLETING: &str = "
    join - old =>
    join - old =>
    tick 6000 => #1 c-1 in 1 of c-1 range [c-1 c-2]; #2 c-2 in 1 of c-1 range []
";

#[track_caller]
fn completing(script: &str) {
    let mut world = World::new();
    world.run(COMPLETING);
    world.run(script);
}

#[test]
fn only_a_member_of_the_present_generation_is_assigned_anything() {
    completing(
        "
        sync c-9 1 => UNKNOWN_MEMBER_ID
        sync c-1 1 g=h => UNKNOWN_MEMBER_ID
        sync c-1 1 g= => INVALID_GROUP_ID
        sync c-1 0 => ILLEGAL_GENERATION
        sync c-1 2 => ILLEGAL_GENERATION
        sync c-1 -1 => ILLEGAL_GENERATION
        sync c-2 1 p=sticky => INCONSISTENT_GROUP_PROTOCOL
        sync c-2 1 t=connect => INCONSISTENT_GROUP_PROTOCOL
        sync c-2 1 p=range t=consumer i=x => UNKNOWN_MEMBER_ID
        sync c-2 1 p=range t=consumer =>
        ",
    );
}

#[test]
fn followers_wait_for_the_leader_and_all_for_the_record() {
    completing(
        "
        hold =>
        sync c-2 1 =>
        sync c-1 1 c-1:a c-2:b =>
        describe g => g CompletingRebalance consumer: [c-1=nothing c-2=nothing]
        log => g in 0 []; g in 1 [c-1=a c-2=b]
        go => #3 assigned b; #4 assigned a
        sync c-2 1 => assigned b
        ",
    );
}

#[test]
fn whom_the_leader_does_not_name_is_assigned_nothing_and_strangers_are_not_noted() {
    completing(
        "
        sync c-2 1 =>
        sync c-1 1 c-1:a c-9:z => assigned a; #3 assigned nothing
        log => g in 0 []; g in 1 [c-1=a c-2=nothing]
        ",
    );
}

#[test]
fn a_generation_has_one_assignment() {
    completing(
        "
        hold =>
        sync c-1 1 c-1:a c-2:b =>
        sync c-1 1 c-1:b c-2:a => #3 REBALANCE_IN_PROGRESS
        log => g in 0 []; g in 1 [c-1=a c-2=b]
        go => #4 assigned a
        sync c-1 1 c-1:b c-2:a => assigned a
        sync c-2 1 => assigned b
        log =>
        ",
    );
}

#[test]
fn a_rebalance_ends_the_wait_for_an_assignment() {
    completing(
        "
        sync c-2 1 =>
        join - old => #3 REBALANCE_IN_PROGRESS
        sync c-2 1 => REBALANCE_IN_PROGRESS
        sync c-1 1 c-1:a => REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn an_assignment_that_comes_too_late_counts_for_nothing() {
    completing(
        "
        hold =>
        sync c-1 1 c-1:a c-2:b =>
        leave c-2 => left; #3 REBALANCE_IN_PROGRESS
        go =>
        describe g => g PreparingRebalance consumer: [c-1=nothing]
        join c-1 => c-1 in 2 of c-1 range [c-1]
        sync c-1 2 c-1:all => assigned all
        ",
    );
}

#[test]
fn an_assignment_of_a_generation_is_not_taken_for_the_next_ones() {
    completing(
        "
        hold =>
        sync c-1 1 c-1:a c-2:b =>
        leave c-2 => left; #3 REBALANCE_IN_PROGRESS
        join c-1 => c-1 in 2 of c-1 range [c-1]
        go =>
        describe g => g CompletingRebalance consumer: [c-1=nothing]
        ",
    );
    completing(
        "
        hold =>
        sync c-1 1 c-1:a c-2:b =>
        leave c-2 => left; #3 REBALANCE_IN_PROGRESS
        join c-1 => c-1 in 2 of c-1 range [c-1]
        sync c-1 2 c-1:all =>
        refuse NotNow => #6 COORDINATOR_NOT_AVAILABLE
        beat c-1 2 => REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn a_generation_without_assignment_leaves_none() {
    pair().run(
        "
        join c-1 =>
        describe g => g PreparingRebalance consumer: [c-1=a c-3=b]
        join c-3 => c-3 in 2 of c-1 range []; #7 c-1 in 2 of c-1 range [c-1 c-3]
        leave c-3 => left
        describe g => g PreparingRebalance consumer: [c-1=nothing]
        ",
    );
}

#[test]
fn who_has_joined_again_need_not_have_synced() {
    World::new().run(
        "
        join - old s=100000 =>
        join - old s=100000 =>
        tick 6000 => #1 c-1 in 1 of c-1 range [c-1 c-2]; #2 c-2 in 1 of c-1 range []
        tick 30000 =>
        join c-2 topics=u s=100000 =>
        tick 30000 =>
        tick 29999 =>
        tick 1 => #3 c-2 in 2 of c-2 range [c-2]
        ",
    );
}

#[test]
fn who_leaves_while_it_waits_is_told_that_it_is_gone() {
    completing(
        "
        sync c-2 1 =>
        leave c-2 => left; #3 UNKNOWN_MEMBER_ID
        ",
    );
    World::new().run(
        "
        join - old =>
        leave c-1 => left; #1 UNKNOWN_MEMBER_ID
        tick 3000 =>
        describe g => g Empty consumer: []
        ",
    );
}

#[test]
fn who_does_not_sync_in_time_is_no_member_any_more() {
    let mut world = World::new();
    world.run(
        "
        join - old s=100000 =>
        join - old s=100000 =>
        tick 6000 => #1 c-1 in 1 of c-1 range [c-1 c-2]; #2 c-2 in 1 of c-1 range []
        sync c-2 1 =>
        tick 59999 =>
        tick 1 => #3 REBALANCE_IN_PROGRESS
        beat c-1 1 => UNKNOWN_MEMBER_ID
        join c-2 => c-2 in 2 of c-2 range [c-2]
        ",
    );
}

#[test]
fn who_has_an_assignment_may_ask_late_but_not_too_late() {
    World::new().run(
        "
        join - old s=100000 =>
        join - old s=100000 =>
        tick 6000 => #1 c-1 in 1 of c-1 range [c-1 c-2]; #2 c-2 in 1 of c-1 range []
        sync c-1 1 c-1:a c-2:b => assigned a
        tick 59999 =>
        beat c-2 1 => alive
        tick 1 =>
        beat c-1 1 => REBALANCE_IN_PROGRESS
        beat c-2 1 => UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn an_assignment_that_cannot_be_written_leads_to_another_rebalance() {
    for (why, told) in [
        ("NotNow", "COORDINATOR_NOT_AVAILABLE"),
        ("TooLarge", "UNKNOWN_SERVER_ERROR"),
        ("NotLeader", "NOT_COORDINATOR"),
    ] {
        let script = "
            hold =>
            sync c-2 1 =>
            sync c-1 1 c-1:a c-2:b =>
            refuse WHY => #3 TOLD; #4 TOLD
            beat c-1 1 => REBALANCE_IN_PROGRESS
            go =>
            join c-1 =>
            join c-2 => c-2 in 2 of c-1 range []; #6 c-1 in 2 of c-1 range [c-1 c-2]
            ";
        completing(&script.replace("WHY", why).replace("TOLD", told));
    }
}

#[test]
fn an_assignment_that_is_not_committed_in_time_leads_to_another_rebalance() {
    completing(
        "
        hold =>
        sync c-2 1 =>
        sync c-1 1 c-1:a c-2:b =>
        tick 4999 =>
        tick 1 => #3 COORDINATOR_NOT_AVAILABLE; #4 COORDINATOR_NOT_AVAILABLE
        go =>
        beat c-1 1 => REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn a_stable_group_tells_the_same_assignment_again() {
    pair().run(
        "
        sync c-3 1 => assigned b
        sync c-1 1 c-1:x c-3:y => assigned a
        ",
    );
}

#[test]
fn an_assignment_of_an_earlier_group_of_this_name_is_not_taken_for_the_next_ones() {
    completing(
        "
        hold =>
        sync c-1 1 c-1:a c-2:b =>
        leave c-1 c-2 => #3 UNKNOWN_MEMBER_ID
        delete g =>
        join - old =>
        tick 3000 => #6 c-6 in 1 of c-6 range [c-6]
        sync c-6 1 c-6:new =>
        go => #4 left left; #5 g deleted; #7 assigned new
        ",
    );
    completing(
        "
        hold =>
        sync c-1 1 c-1:a c-2:b =>
        leave c-1 c-2 => #3 UNKNOWN_MEMBER_ID
        delete g =>
        join - old =>
        tick 3000 => #6 c-6 in 1 of c-6 range [c-6]
        go => #4 left left; #5 g deleted
        describe g => g CompletingRebalance consumer: [c-6=nothing]
        ",
    );
}

#[test]
fn an_assignment_that_no_batch_has_room_for_is_refused_and_nothing_else_is() {
    let mut world = World::new();
    world.run(COMPLETING);
    world.run("hold =>\nsync c-2 1 =>\ncommit - -1 t-0:5 g=h =>");
    let large = "a".repeat(10_000);
    world.run(&format!(
        "
        sync c-1 1 c-1:{large} => UNKNOWN_SERVER_ERROR; #3 UNKNOWN_SERVER_ERROR
        beat c-1 1 => REBALANCE_IN_PROGRESS
        go => #4 committed
        "
    ));
}

#[test]
fn an_assignment_of_an_earlier_group_of_this_name_that_takes_too_long_ends_nothing() {
    completing(
        "
        hold =>
        sync c-1 1 c-1:a c-2:b =>
        leave c-1 c-2 => #3 UNKNOWN_MEMBER_ID
        delete g =>
        join - old =>
        tick 3000 => #6 c-6 in 1 of c-6 range [c-6]
        tick 2000 => #4 COORDINATOR_NOT_AVAILABLE; #5 g COORDINATOR_NOT_AVAILABLE
        beat c-6 1 => alive
        ",
    );
}
