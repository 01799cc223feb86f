//! Deletions of much: in slices, each of one decision.

use super::joining::pair;
use super::world::World;
use crate::coordinator::AppendRefusal;
use crate::group::{GroupConfig, Record};

/// A group `g` of 500 offsets, whose tombstones take up 130 bytes each, of 10,000 that a batch has. Commits
/// nothing any more.
fn large() -> World {
    large_with("")
}

fn large_with(before: &str) -> World {
    large_in(World::new(), before)
}

fn large_in(mut world: World, before: &str) -> World {
    world.run(before);
    for fifty in 0..10 {
        let offsets: Vec<String> = (0..50).map(|one| format!("t-{}:1", fifty * 50 + one)).collect();
        world.run_quietly(&format!("commit - -1 {}", offsets.join(" ")));
    }
    world.answers.clear();
    world.is_holding = true;
    world
}

/// Commits the first decision, and tells how many records it had.
fn commit_one(world: &mut World) -> usize {
    let (ticket, records) = world.uncommitted.pop_front().unwrap();
    let count = records.len();
    world.log.extend(records);
    let effects = world.shard.on_committed(ticket, world.now);
    world.carry_out(effects);
    count
}

#[test]
fn a_large_group_is_deleted_in_slices_and_only_one_is_uncommitted_if_there_is_no_more_room() {
    let mut world = large();
    world.run("delete g =>");
    let mut sizes = Vec::new();
    while !world.uncommitted.is_empty() {
        assert_eq!(world.uncommitted.len(), 1, "there is no room for another one");
        world.run("fetch t-499 => t-499=1\ntick 100 =>");
        sizes.push(commit_one(&mut world));
        world.tick(100);
    }
    assert_eq!(sizes, [76, 76, 76, 76, 76, 76, 45]);
}

#[test]
fn who_asked_is_answered_once_the_last_slice_is_committed() {
    let mut world = large();
    world.run_quietly("delete g");
    for _ in 0..6 {
        commit_one(&mut world);
        world.tick(100);
        assert_eq!(world.answers, []);
    }
    commit_one(&mut world);
    world.run("tick 0 => #11 g deleted\nlist => none\nfetch => none");
}

#[test]
fn nobody_joins_a_group_or_commits_to_it_while_it_is_being_deleted() {
    large().run(
        "
        delete g =>
        leave c-9 => UNKNOWN_MEMBER_ID
        go =>
        commit - -1 t-0:5 => COORDINATOR_NOT_AVAILABLE
        join - old => COORDINATOR_NOT_AVAILABLE
        tick 10 => #11 g deleted
        commit - -1 t-0:5 => committed
        fetch => t-0=5
        ",
    );
}

#[test]
fn deletions_go_on_one_after_the_other() {
    let mut world = large_with("commit - -1 t-0:5 u-0:5 g=h => committed");
    world.is_holding = false;
    world.run(
        "
        delete g =>
        delete g h =>
        unoffset t-0 g=h =>
        forget t-0 u-0 =>
        tick 6 => #12 g deleted
        tick 3 => #13 g GROUP_ID_NOT_FOUND, h deleted; #14 GROUP_ID_NOT_FOUND; #15 forgot 0
        ",
    );
}

#[test]
fn each_group_has_the_outcome_of_its_own_decisions() {
    let mut world = large_with("commit - -1 t-0:5 g=a => committed\ncommit - -1 t-0:5 g=z => committed");
    world.run("delete a x g z =>");
    // The first slice has all of `a`, and some of `g`.
    commit_one(&mut world);
    world.tick(100);
    world.refuse(AppendRefusal::NotNow);
    world.run(
        "
        go =>
        tick 10 => #13 a deleted, x GROUP_ID_NOT_FOUND, g COORDINATOR_NOT_AVAILABLE, z deleted
        list => g::Empty:classic
        fetch stable t-0 t-400 => t-0=-1 t-400=1
        # What is left is still a group.
        commit - -1 t-0:6 => committed
        delete g =>
        tick 10 => #17 g deleted
        ",
    );
}

#[test]
fn a_slice_that_is_refused_is_taken_back_and_the_group_goes_on() {
    let mut world = large();
    world.run("delete g =>");
    world.run(
        "
        refuse NotNow => #11 g COORDINATOR_NOT_AVAILABLE
        go =>
        fetch stable t-0 t-400 => t-0=1 t-400=1
        join - old =>
        tick 3000 => #13 c-13 in 1 of c-13 range [c-13]
        ",
    );
}

#[test]
fn a_slice_that_takes_too_long_ends_the_deletion_of_its_group() {
    let mut world = large();
    world.run(
        "
        delete g =>
        tick 4999 =>
        tick 1 => #11 g COORDINATOR_NOT_AVAILABLE
        join - old => COORDINATOR_NOT_AVAILABLE
        go =>
        fetch t-0 t-400 => t-0=-1 t-400=1
        join - old =>
        ",
    );
}

#[test]
fn a_deletion_for_which_there_is_never_room_ends() {
    let mut world = large();
    world.run("delete g =>");
    for second in 0..29 {
        assert_eq!(world.answers.len(), 2 * second.max(1) - 2, "only others are answered");
        while !world.uncommitted.is_empty() {
            commit_one(&mut world);
        }
        // Others are quicker, and take up all the room.
        world.run_quietly("commit - -1 t-0:5 m=4000 g=h");
        world.run_quietly("commit - -1 t-0:5 m=4000 g=h");
        world.tick(1_000);
    }
    world.answers.clear();
    world.run("tick 1100 => #11 g COORDINATOR_NOT_AVAILABLE");
    world.run("go => #68 committed; #69 committed\njoin - old =>");
}

#[test]
fn offsets_of_a_group_are_deleted_in_slices() {
    let mut world = large();
    let all: Vec<String> = (0..600).map(|index| format!("t-{index}")).collect();
    world.run_quietly(&format!("unoffset {}", all.join(" ")));
    assert_eq!(world.uncommitted.front().unwrap().1.len(), 76);
    world.run(
        "
        go =>
        tick 5 =>
        fetch t-455 t-456 => t-455=-1 t-456=1
        tick 1 => #11 deleted
        fetch => none
        ",
    );
    let mut world = large();
    world.run_quietly(&format!("unoffset {}", all.join(" ")));
    commit_one(&mut world);
    world.tick(100);
    world.run(
        "
        refuse NotNow => #11 COORDINATOR_NOT_AVAILABLE
        go =>
        tick 1000 =>
        fetch stable t-400 => t-400=1
        ",
    );
}

#[test]
fn partitions_that_are_no_more_are_forgotten_in_slices() {
    let mut world =
        large_with("commit - -1 t-0:5 g=a => committed\ncommit - -1 t-0:5 u-0:5 g=z => committed");
    world.is_holding = false;
    let all: Vec<String> = (0..600).map(|index| format!("t-{index}")).collect();
    world.run_quietly(&format!("forget {}", all.join(" ")));
    world.run(
        "
        tick 5 =>
        fetch g=a => none
        fetch g=z => t-0=5 u-0=5
        tick 2 => #13 forgot 502
        fetch => none
        fetch g=z => u-0=5
        ",
    );
}

#[test]
fn a_clean_up_leaves_alone_what_is_being_deleted() {
    let config = GroupConfig {
        offsets_retention_ms: 60_000,
        offsets_retention_check_interval_ms: 60_000,
        ..GroupConfig::default()
    };
    let mut world = large_in(World::with(config), "");
    world.is_holding = false;
    world.commit_all();
    world.answers.clear();
    // The clean-up comes in the middle of it.
    world.run("tick 59998 =>\ndelete g =>\ntick 20 => #11 g deleted");
    let is_tombstone = |one: &&Record| matches!(one, Record::GroupMetadata { value: None, .. });
    assert_eq!(world.log.iter().filter(is_tombstone).count(), 1);
    assert_eq!(world.shard.machine().stats().expired_offsets, 0);
}

#[test]
fn who_waits_for_a_deletion_is_told_when_the_coordinator_is_another_one() {
    let mut world = large();
    world.run_quietly("delete g");
    world.is_holding = false;
    world.commit_all();
    world.tick(1);
    world.run_quietly("forget t-0");
    world.run("failover => #11 g NOT_COORDINATOR; #12 NOT_COORDINATOR\nfetch t-0 t-400 => t-0=-1 t-400=1");
}

#[test]
fn what_no_batch_has_room_for_is_refused_by_itself() {
    let long = "n".repeat(9_950);
    let mut world = pair();
    world.run(&format!(
        "
        hold =>
        commit c-1 1 t-0:5 =>
        join - old g={long} => UNKNOWN_SERVER_ERROR
        join - old g={long} t=connect => UNKNOWN_SERVER_ERROR
        go => #7 committed
        "
    ));
    // A name that fits, and a kind of member that leaves no room for both.
    let (name, kind) = ("n".repeat(5_000), "k".repeat(5_000));
    World::new().run(&format!(
        "
        join - old g={name} t={kind} =>
        leave c-1 g={name} => left; #1 UNKNOWN_MEMBER_ID
        tick 3000 =>
        describe {name} => {name} Empty {kind}: []
        log => {name} in 0 []
        delete {name} => {name} deleted
        "
    ));
}

#[test]
fn what_was_written_before_a_batch_became_smaller_is_left_where_it_is() {
    let long = "n".repeat(9_950);
    let mut world = World::new();
    let key = crate::group::GroupMetadataKey { group: long.as_str().into() };
    let value = crate::group::GroupMetadataValue {
        protocol_type: String::new(),
        generation: crate::group::Generation(1),
        protocol: None,
        leader: None,
        current_state_timestamp_ms: Some(0),
        members: Vec::new(),
    };
    world.log.push(crate::group::Record::GroupMetadata { key, value: Some(value) });
    world.run(&format!(
        "
        failover =>
        commit - -1 t-0:5 g=a => committed
        commit - -1 t-0:5 g=z => committed
        delete a {long} z => a deleted, {long} UNKNOWN_SERVER_ERROR, z deleted
        tick 1000000 =>
        list => {long}::Empty:classic
        "
    ));
}
