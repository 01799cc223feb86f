//! What expires: offsets that nobody uses any more, and groups without anything.

use super::joining::pair_with;
use super::world::World;
use crate::group::GroupConfig;

/// An hour of retention, looked at each minute.
fn config() -> GroupConfig {
    GroupConfig {
        offsets_retention_ms: 3_600_000,
        offsets_retention_check_interval_ms: 60_000,
        session_timeout_min_ms: 1,
        session_timeout_max_ms: u64::MAX,
        ..GroupConfig::default()
    }
}

#[test]
fn a_simple_consumers_offsets_expire_each_after_its_commit() {
    World::with(config()).run(
        "
        commit - -1 t-0:5 => committed
        tick 1800000 =>
        commit - -1 t-1:5 => committed
        tick 1799999 =>
        fetch => t-0=5 t-1=5
        tick 1 =>
        fetch => t-1=5
        tick 1740000 =>
        list => g::Empty:classic
        tick 60000 =>
        list => none
        log => g/t-0=5; g/t-1=5; g/t-0=gone; g/t-1=gone; g gone
        ",
    );
}

#[test]
fn what_an_old_client_asked_for_counts_instead() {
    World::with(config()).run(
        "
        commit - -1 t-0:5 keep=60000 => committed
        commit - -1 t-1:5 keep=7200000 => committed
        tick 60000 =>
        fetch => t-1=5
        tick 3600000 =>
        fetch => t-1=5
        tick 3600000 =>
        fetch => none
        ",
    );
}

/// A member that is never silent for too long.
const ONE: &str = "
    join - old s=100000000 =>
    tick 3000 => #1 c-1 in 1 of c-1 range [c-1]
    sync c-1 1 c-1:a => assigned a
    commit c-1 1 t-0:5 u-0:5 => committed
";

#[test]
fn a_group_at_work_keeps_the_offsets_of_the_topics_that_it_reads() {
    let mut world = World::with(config());
    world.run(ONE);
    world.run(
        "
        tick 7200000 =>
        fetch => t-0=5
        describe g => g Stable consumer:range [c-1=a]
        ",
    );
}

#[test]
fn a_group_that_rebalances_keeps_all() {
    let mut world = World::with(config());
    world.run(ONE);
    world.run(
        "
        join - old s=100000000 r=100000000 =>
        tick 280000 =>
        describe g => g PreparingRebalance consumer: [c-1=a c-4=nothing]
        tick 7200000 => #4 UNKNOWN_MEMBER_ID
        describe g => g PreparingRebalance consumer: [c-1=a]
        fetch => t-0=5 u-0=5
        ",
    );
}

#[test]
fn a_group_without_members_keeps_all_for_so_long_after_the_last_has_left() {
    let mut world = World::with(config());
    world.run(ONE);
    world.run(
        "
        tick 3000000 =>
        leave c-1 => left
        tick 3596999 =>
        fetch => t-0=5 u-0=5
        tick 120000 =>
        fetch => none
        list => none
        ",
    );
}

#[test]
fn a_group_of_another_kind_keeps_all_while_it_has_members() {
    World::with(config()).run(
        "
        join - old t=connect s=100000000 =>
        tick 3000 => #1 c-1 in 1 of c-1 range [c-1]
        sync c-1 1 c-1:a => assigned a
        commit c-1 1 t-0:5 => committed
        tick 7200000 =>
        fetch => t-0=5
        ",
    );
}

#[test]
fn a_group_without_members_and_offsets_goes_at_once() {
    let mut world = pair_with(config());
    world.run(
        "
        tick 20000 =>
        describe g => g Empty consumer: []
        tick 60000 =>
        list => none
        ",
    );
    // Not while somebody is about to join.
    World::with(config()).run(
        "
        join - s=100000 => MEMBER_ID_REQUIRED c-1
        tick 60000 =>
        list => g::Empty:classic
        join c-1 =>
        tick 3000 => #3 c-1 in 1 of c-1 range [c-1]
        ",
    );
}

#[test]
fn an_expiry_that_cannot_be_written_is_tried_again() {
    World::with(config()).run(
        "
        commit - -1 t-0:5 => committed
        tick 3599999 =>
        hold =>
        tick 1 =>
        refuse NotNow =>
        fetch stable => t-0=5
        list => g::Empty:classic
        go =>
        tick 60000 =>
        list => none
        ",
    );
}

#[test]
fn a_wall_clock_that_jumps_back_expires_nothing_and_ends_no_session() {
    let mut world = pair_with(config());
    world.run("commit c-1 1 u-0:5 => committed");
    world.now.wall_ms = i64::MIN;
    world.run(
        "
        beat c-1 1 => alive
        tick 60000 =>
        fetch => u-0=5
        ",
    );
}

#[test]
fn a_group_with_a_long_name_expires_by_decisions_that_fit_into_a_batch() {
    let name = "n".repeat(4_000);
    let mut world = World::with(config());
    for index in 0..5 {
        world.run(&format!("commit - -1 t-{index}:5 g={name} => committed"));
    }
    world.run(
        "
        commit - -1 t-0:5 g=z => committed
        tick 3660000 =>
        list => none
        ",
    );
}

#[test]
fn a_clean_up_is_made_in_slices_and_waits_while_too_much_is_uncommitted() {
    let mut world = World::with(config());
    for group in 0..300 {
        world.run_quietly(&format!("commit - -1 t-0:5 g=g{group}"));
    }
    world.answers.clear();
    world.run("tick 3599999 =>\nhold =>\ntick 500 =>");
    let bytes = world.shard.uncommitted_bytes();
    assert!((10_000..40_000).contains(&bytes), "one slice, of one decision: {bytes}");
    assert!(world.shard.machine().group_count() > 200);
    world.run("go =>\ntick 1600 =>\nlist => none");
}
