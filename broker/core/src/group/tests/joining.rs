//! Who is let in, and when a rebalance ends.

use super::world::World;
use crate::group::GroupConfig;

/// Two members of a stable group: c-1, which leads, and c-3.
pub const PAIR: &str = "
    join - => MEMBER_ID_REQUIRED c-1
    join c-1 =>
    join - => MEMBER_ID_REQUIRED c-3
    join c-3 =>
    tick 6000 => #2 c-1 in 1 of c-1 range [c-1 c-3]; #4 c-3 in 1 of c-1 range []
    sync c-3 1 =>
    sync c-1 1 c-1:a c-3:b => assigned a; #5 assigned b
";

/// A world in which there is that group.
#[track_caller]
pub fn pair_with(config: GroupConfig) -> World {
    let mut world = World::with(config);
    world.run(PAIR);
    world
}

#[track_caller]
pub fn pair() -> World {
    pair_with(GroupConfig::default())
}

#[test]
fn a_request_that_is_wrong_by_itself_leaves_no_group_behind() {
    World::new().run(
        "
        join - g= => INVALID_GROUP_ID
        join - s=5999 => INVALID_SESSION_TIMEOUT
        join - s=1800001 => INVALID_SESSION_TIMEOUT
        join - s=-1 => INVALID_SESSION_TIMEOUT
        join - t= => INCONSISTENT_GROUP_PROTOCOL
        join - p= => INCONSISTENT_GROUP_PROTOCOL
        join c-9 => UNKNOWN_MEMBER_ID
        list => none
        log =>
        join - s=6000 => MEMBER_ID_REQUIRED c-9
        join - s=1800000 => MEMBER_ID_REQUIRED c-10
        ",
    );
}

#[test]
fn old_clients_are_taken_in_at_once() {
    World::new().run(
        "
        join - old =>
        join - old =>
        tick 6000 => #1 c-1 in 1 of c-1 range [c-1 c-2]; #2 c-2 in 1 of c-1 range []
        ",
    );
}

#[test]
fn members_have_a_kind_and_a_protocol_in_common() {
    pair().run(
        "
        join - t=connect => INCONSISTENT_GROUP_PROTOCOL
        join - p=sticky => INCONSISTENT_GROUP_PROTOCOL
        join c-3 p=sticky => INCONSISTENT_GROUP_PROTOCOL
        join - p=sticky,range => MEMBER_ID_REQUIRED c-10
        beat c-3 1 => alive
        ",
    );
}

#[test]
fn the_protocol_that_most_prefer_is_selected_among_those_that_all_have() {
    World::new().run(
        "
        join - old p=a,b,only =>
        join - old p=b,a,a =>
        join - old p=b,c,a =>
        tick 9000 => #1 c-1 in 1 of c-1 b [c-1 c-2 c-3]; #2 c-2 in 1 of c-1 b []; #3 c-3 in 1 of c-1 b []
        # Without one of them, both have as many votes: the first in Kafka's table.
        leave c-2 => left
        join c-1 p=a,b =>
        join c-3 p=b,a => c-3 in 2 of c-1 a []; #5 c-1 in 2 of c-1 a [c-1 c-3]
        ",
    );
}

#[test]
fn a_protocol_that_is_named_twice_counts_once() {
    World::new().run(
        "
        join - old p=a,a =>
        tick 3000 => #1 c-1 in 1 of c-1 a [c-1]
        join - old p=b,a,a =>
        join c-1 p=a => c-1 in 2 of c-1 a [c-1 c-2]; #2 c-2 in 2 of c-1 a []
        ",
    );
}

#[test]
fn the_first_rebalance_is_put_off_for_as_long_as_members_join_but_not_for_ever() {
    World::new().run(
        "
        join - old r=7000 =>
        tick 2999 =>
        join - old r=7000 =>
        tick 2999 =>
        join - old r=7000 =>
        # 3000, then 3000 again, then the 1000 that are left of 7000.
        tick 1001 =>
        join - old r=7000 =>
        tick 1 => #1 c-1 in 1 of c-1 range [c-1 c-2 c-3 c-4]; #2 c-2 in 1 of c-1 range []; \
         #3 c-3 in 1 of c-1 range []; #4 c-4 in 1 of c-1 range []
        ",
    );
}

#[test]
fn the_delay_of_the_first_rebalance_can_be_none() {
    let config = GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() };
    World::with(config).run(
        "
        join - old =>
        tick 0 => #1 c-1 in 1 of c-1 range [c-1]
        ",
    );
}

#[test]
fn who_has_not_joined_again_in_time_is_no_member_any_more() {
    pair().run(
        "
        join c-1 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        tick 9000 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        tick 9000 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        tick 9000 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        tick 9000 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        tick 9000 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        tick 9000 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        tick 5999 =>
        tick 1 => #7 c-1 in 2 of c-1 range [c-1]
        beat c-3 1 => UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_leader_that_does_not_join_again_leads_no_more() {
    pair().run(
        "
        join c-3 topics=u =>
        tick 9999 =>
        tick 1 => #7 c-3 in 2 of c-3 range [c-3]
        ",
    );
}

#[test]
fn a_member_that_changes_nothing_causes_no_rebalance_but_the_leader_does() {
    pair().run(
        "
        join c-3 => c-3 in 1 of c-1 range []
        beat c-1 1 => alive
        join c-1 =>
        beat c-3 1 => REBALANCE_IN_PROGRESS
        join c-3 => c-3 in 2 of c-1 range []; #9 c-1 in 2 of c-1 range [c-1 c-3]
        # While it completes, the same is told again, to the leader too.
        join c-1 => c-1 in 2 of c-1 range [c-1 c-3]
        join c-3 => c-3 in 2 of c-1 range []
        join c-3 topics=u =>
        join c-1 => c-1 in 3 of c-1 range [c-1 c-3]; #14 c-3 in 3 of c-1 range []
        ",
    );
    pair().run(
        "
        join c-3 topics=u =>
        beat c-1 1 => REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn a_group_takes_only_so_many() {
    let config = GroupConfig { members_max: 2, ..GroupConfig::default() };
    pair_with(config.clone()).run(
        "
        join - => GROUP_MAX_SIZE_REACHED
        join c-3 => c-3 in 1 of c-1 range []
        join c-1 =>
        join c-3 => c-3 in 2 of c-1 range []; #9 c-1 in 2 of c-1 range [c-1 c-3]
        ",
    );
    // While it is filled, there are two that wait; a third gets a member id, but doesn't get in.
    World::with(config).run(
        "
        join - => MEMBER_ID_REQUIRED c-1
        join - => MEMBER_ID_REQUIRED c-2
        join - => MEMBER_ID_REQUIRED c-3
        join c-1 =>
        join - => MEMBER_ID_REQUIRED c-5
        join c-2 =>
        join c-5 => GROUP_MAX_SIZE_REACHED
        join c-2 => #6 REBALANCE_IN_PROGRESS
        tick 6000 => #4 c-1 in 1 of c-1 range [c-1 c-2]; #8 c-2 in 1 of c-1 range []
        ",
    );
}

#[test]
fn members_may_say_only_so_much_of_themselves() {
    let config = GroupConfig { group_bytes_max: 230, ..GroupConfig::default() };
    pair_with(config).run(
        "
        join c-3 topics=abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij => GROUP_MAX_SIZE_REACHED (bytes)
        beat c-3 1 => alive
        join c-3 topics=abcdefghijklmnop =>
        join c-1 => c-1 in 2 of c-1 range [c-1 c-3]; #9 c-3 in 2 of c-1 range []
        ",
    );
    // Those who are about to join have bytes of their own.
    let config = GroupConfig { pending_bytes_max: 140, ..GroupConfig::default() };
    World::with(config).run(
        "
        join - => MEMBER_ID_REQUIRED c-1
        join - => MEMBER_ID_REQUIRED c-2
        join - => GROUP_MAX_SIZE_REACHED (bytes)
        leave c-1 => left
        join - => MEMBER_ID_REQUIRED c-5
        ",
    );
}

#[test]
fn member_ids_are_given_to_more_than_can_be_members() {
    // As in Kafka, where only a join with the id is refused.
    let mut world = World::with(GroupConfig { members_max: 10, ..GroupConfig::default() });
    for call in 1..=11 {
        world.run(&format!("join - => MEMBER_ID_REQUIRED c-{call}"));
    }
    // Not to any number; who needs none isn't refused for it.
    World::with(GroupConfig { pending_joins_max: 1, ..GroupConfig::default() }).run(
        "
        join - => MEMBER_ID_REQUIRED c-1
        join - => GROUP_MAX_SIZE_REACHED (pending)
        join - old =>
        join - i=x =>
        join - i=x => #4 FENCED_INSTANCE_ID
        join c-9 => UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_member_that_says_no_more_than_before_is_let_in_whoever_else_is_about_to_join() {
    let config = GroupConfig { group_bytes_max: 260, ..GroupConfig::default() };
    let mut world = pair_with(config);
    world.run(
        "
        join - => MEMBER_ID_REQUIRED c-7
        join - => MEMBER_ID_REQUIRED c-8
        join - => MEMBER_ID_REQUIRED c-9
        join c-3 => c-3 in 1 of c-1 range []
        join c-1 =>
        join c-77 => UNKNOWN_MEMBER_ID
        ",
    );
    world.config.group_bytes_max = 1;
    world.run("failover => #11 NOT_COORDINATOR\njoin c-3 => c-3 in 1 of c-1 range []\njoin c-66 => UNKNOWN_MEMBER_ID");
}

#[test]
fn who_was_given_a_member_id_is_waited_for_until_its_session_ends() {
    pair().run(
        "
        join - => MEMBER_ID_REQUIRED c-7
        beat c-1 1 => alive
        join c-1 =>
        join c-3 =>
        tick 9999 =>
        tick 1 => #9 c-1 in 2 of c-1 range [c-1 c-3]; #10 c-3 in 2 of c-1 range []
        join c-7 => UNKNOWN_MEMBER_ID
        ",
    );
    pair().run(
        "
        join - => MEMBER_ID_REQUIRED c-7
        join c-1 =>
        join c-3 =>
        leave c-7 => left; #8 c-1 in 2 of c-1 range [c-1 c-3]; #9 c-3 in 2 of c-1 range []
        ",
    );
}

#[test]
fn a_pending_member_is_no_static_member() {
    World::new().run(
        "
        join - => MEMBER_ID_REQUIRED c-1
        join c-1 i=x => UNKNOWN_MEMBER_ID
        join c-1 =>
        ",
    );
}

#[test]
fn who_asks_again_takes_its_own_place() {
    World::new().run(
        "
        join - => MEMBER_ID_REQUIRED c-1
        join c-1 =>
        join c-1 => #2 REBALANCE_IN_PROGRESS
        tick 6000 => #3 c-1 in 1 of c-1 range [c-1]
        ",
    );
}

#[test]
fn a_new_member_does_not_wait_for_ever_in_a_long_rebalance() {
    World::new().run(
        "
        join - r=900000 s=1000000 => MEMBER_ID_REQUIRED c-1
        join c-1 r=900000 s=1000000 =>
        tick 6000 => #2 c-1 in 1 of c-1 range [c-1]
        sync c-1 1 c-1:a => assigned a
        join - old r=900000 s=1000000 =>
        # Nobody sees whether it is still there, as it can't send heartbeats.
        tick 300000 => #4 UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn of_protocols_with_as_many_votes_the_first_in_a_java_hash_table_is_selected() {
    for (first, second, selected) in [
        ("range", "roundrobin", "range"),
        ("sticky", "range", "sticky"),
        ("cooperative-sticky", "range", "range"),
        ("cooperative-sticky", "roundrobin", "roundrobin"),
    ] {
        World::new().run(&format!(
            "
            join - old p={first},{second} =>
            join - old p={second},{first} =>
            tick 6000 => #1 c-1 in 1 of c-1 {selected} [c-1 c-2]; #2 c-2 in 1 of c-1 {selected} []
            "
        ));
    }
}
