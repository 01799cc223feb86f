//! Static members: whoever has an instance id comes back as who it was.

use super::world::World;

/// A stable group of x-1, which leads, as instance x, and y-2 as y.
const STATICS: &str = "
    join - i=x =>
    join - i=y =>
    tick 6000 => #1 x-1 in 1 of x-1 range [x-1/x y-2/y]; #2 y-2 in 1 of x-1 range []
    sync y-2 1 i=y =>
    sync x-1 1 x-1:a y-2:b i=x => assigned a; #3 assigned b
    log => g in 0 []; g in 1 [x-1=a y-2=b]
";

#[track_caller]
fn statics(script: &str) {
    let mut world = World::new();
    world.run(STATICS);
    world.run(script);
}

#[test]
fn who_comes_back_gets_its_assignment_without_a_rebalance_and_the_old_one_is_fenced() {
    statics(
        "
        join - i=y => y-5 in 1 of x-1 range []
        log => g in 1 [x-1=a y-5=b]
        sync y-5 1 i=y => assigned b
        beat x-1 1 i=x => alive
        beat y-2 1 i=y => FENCED_INSTANCE_ID
        join y-2 i=y => FENCED_INSTANCE_ID
        sync y-2 1 i=y => FENCED_INSTANCE_ID
        commit y-2 1 t-0:1 i=y => FENCED_INSTANCE_ID
        leave y-2/y => FENCED_INSTANCE_ID
        beat y-2 1 => UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_leader_that_comes_back_need_not_assign() {
    statics("join - i=x => x-5 in 1 of x-5 range [x-5/x y-2/y] skip");
    // Who doesn't know that is told that the old one leads.
    statics("join - i=x noskip => x-5 in 1 of x-1 range []");
}

#[test]
fn who_comes_back_waits_for_its_record() {
    statics(
        "
        hold =>
        join - i=y =>
        go => #5 y-5 in 1 of x-1 range []
        ",
    );
    statics(
        "
        hold =>
        join - i=y =>
        refuse NotNow => #5 COORDINATOR_NOT_AVAILABLE
        # The old one counts again.
        beat y-2 1 i=y => alive
        beat y-5 1 i=y => FENCED_INSTANCE_ID
        ",
    );
    statics(
        "
        hold =>
        join - i=y =>
        tick 5000 => #5 COORDINATOR_NOT_AVAILABLE
        go =>
        join y-5 i=y => y-5 in 1 of x-1 range []
        ",
    );
}

#[test]
fn who_comes_back_twice_is_fenced_the_first_time() {
    statics(
        "
        hold =>
        join - i=y =>
        join - i=y => #5 FENCED_INSTANCE_ID
        go => #6 y-6 in 1 of x-1 range []
        ",
    );
    statics(
        "
        hold =>
        join - i=y =>
        join - i=y => #5 FENCED_INSTANCE_ID
        refuse NotNow => #6 COORDINATOR_NOT_AVAILABLE
        ",
    );
}

#[test]
fn who_comes_back_into_a_rebalance_waits_for_it() {
    statics(
        "
        join x-1 i=x =>
        join - i=y => y-6 in 2 of x-1 range []; #5 x-1 in 2 of x-1 range [x-1/x y-6/y]
        sync y-6 2 i=y =>
        # While it completes, the old member id may be assigned something already.
        join - i=y => #7 FENCED_INSTANCE_ID
        sync x-1 2 i=x x-1:a y-6:b => REBALANCE_IN_PROGRESS
        join x-1 i=x => x-1 in 3 of x-1 range [x-1/x y-8/y]; #8 y-8 in 3 of x-1 range []
        ",
    );
    statics(
        "
        hold =>
        join - i=y =>
        join - old =>
        go =>
        join x-1 i=x => x-1 in 2 of x-1 range [c-6 x-1/x y-5/y]; \
         #5 y-5 in 2 of x-1 range []; #6 c-6 in 2 of x-1 range []
        ",
    );
}

#[test]
fn who_comes_back_with_another_protocol_causes_a_rebalance_if_that_is_selected_then() {
    World::new().run(
        "
        join - i=x p=a,b =>
        join - i=y p=a,b =>
        tick 6000 => #1 x-1 in 1 of x-1 a [x-1/x y-2/y]; #2 y-2 in 1 of x-1 a []
        sync x-1 1 x-1:a y-2:b i=x => assigned a
        join - i=y p=a => y-4 in 1 of x-1 a []
        join - i=y p=b,a => y-5 in 1 of x-1 a []
        ",
    );
    World::new().run(
        "
        join - i=y p=a,b =>
        tick 3000 => #1 y-1 in 1 of y-1 a [y-1/y]
        sync y-1 1 y-1:b i=y => assigned b
        join - i=y p=b,a => y-3 in 2 of y-3 b [y-3/y]
        ",
    );
}

#[test]
fn an_administrator_removes_by_instance_id() {
    statics(
        "
        leave /y /z => left UNKNOWN_MEMBER_ID
        beat x-1 1 i=x => REBALANCE_IN_PROGRESS
        beat y-2 1 i=y => UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_static_member_is_waited_for_until_its_session_ends() {
    // It isn't there when the rebalance ends, but its session lasts.
    World::new().run(
        "
        join - i=x s=200000 r=20000 =>
        join - i=y s=200000 r=20000 =>
        tick 6000 => #1 x-1 in 1 of x-1 range [x-1/x y-2/y]; #2 y-2 in 1 of x-1 range []
        sync y-2 1 i=y =>
        sync x-1 1 x-1:a y-2:b i=x => assigned a; #3 assigned b
        join x-1 i=x r=20000 s=200000 =>
        tick 20000 => #5 x-1 in 2 of x-1 range [x-1/x y-2/y]
        ",
    );
    // If it led, it leads no more.
    World::new().run(
        "
        join - i=x s=200000 r=20000 =>
        join - i=y s=200000 r=20000 =>
        tick 6000 => #1 x-1 in 1 of x-1 range [x-1/x y-2/y]; #2 y-2 in 1 of x-1 range []
        sync y-2 1 i=y =>
        sync x-1 1 x-1:a y-2:b i=x => assigned a; #3 assigned b
        join y-2 i=y r=20000 s=200000 topics=u =>
        tick 20000 => #5 y-2 in 2 of y-2 range [x-1/x y-2/y]
        ",
    );
    // Nobody is there: nothing is decided until the sessions end.
    World::new().run(
        "
        join - i=x s=50000 r=20000 =>
        join - i=y s=100000 r=20000 =>
        tick 6000 => #1 x-1 in 1 of x-1 range [x-1/x y-2/y]; #2 y-2 in 1 of x-1 range []
        sync y-2 1 i=y =>
        sync x-1 1 x-1:a y-2:b i=x => assigned a; #3 assigned b
        tick 50000 =>
        describe g => g PreparingRebalance consumer: [y-2/y=b]
        tick 49999 =>
        describe g => g PreparingRebalance consumer: [y-2/y=b]
        tick 1 =>
        describe g => g Empty consumer: []
        ",
    );
}

#[test]
fn who_begins_anew_with_more_than_a_batch_has_room_for_is_refused_and_the_old_one_counts() {
    let (assignment, topic) = ("a".repeat(9_000), "t".repeat(1_000));
    World::new().run(&format!(
        "
        join - old i=x =>
        tick 3000 => #1 x-1 in 1 of x-1 range [x-1/x]
        sync x-1 1 i=x x-1:{assignment} => assigned {assignment}
        join - i=x topics={topic} => UNKNOWN_SERVER_ERROR
        beat x-1 1 i=x => alive
        "
    ));
}
