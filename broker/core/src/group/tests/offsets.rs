//! Offsets: who may commit, what is fetched, and what deletes them.

use super::joining::pair;
use super::world::World;
use crate::group::*;

#[test]
fn members_commit_in_their_generation() {
    pair().run(
        "
        commit c-1 1 t-0:5 t-1:6 => committed
        fetch => t-0=5 t-1=6
        commit c-3 1 t-0:3 => committed
        fetch t-0 => t-0=3
        commit c-1 0 t-0:9 => ILLEGAL_GENERATION
        commit c-1 2 t-0:9 => ILLEGAL_GENERATION
        commit c-1 -1 t-0:9 => ILLEGAL_GENERATION
        commit c-9 1 t-0:9 => UNKNOWN_MEMBER_ID
        commit - 1 t-0:9 => UNKNOWN_MEMBER_ID
        commit - -1 t-0:9 => UNKNOWN_MEMBER_ID
        commit - -1 t-0:9 i=x => UNKNOWN_MEMBER_ID
        commit c-1 1 t-0:9 i=x => UNKNOWN_MEMBER_ID
        fetch t-0 => t-0=3
        ",
    );
}

#[test]
fn members_commit_while_they_are_to_join_again_but_not_while_they_wait_for_an_assignment() {
    pair().run(
        "
        join c-1 =>
        commit c-3 1 t-0:5 => committed
        join c-3 => c-3 in 2 of c-1 range []; #7 c-1 in 2 of c-1 range [c-1 c-3]
        commit c-3 1 t-0:6 => ILLEGAL_GENERATION
        commit c-3 2 t-0:6 => REBALANCE_IN_PROGRESS
        commit - -1 t-0:6 => UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn who_is_in_no_generation_commits_to_a_group_without_members() {
    World::new().run(
        "
        commit - 0 t-0:5 => GROUP_ID_NOT_FOUND
        commit - -1 t-0:5 => committed
        log => g/t-0=5
        list => g::Empty:classic
        commit - -1 t-0:4 => committed
        commit c-1 -1 t-0:3 => committed
        commit - 0 t-0:9 => UNKNOWN_MEMBER_ID
        fetch => t-0=3
        # Old clients have no group id at all.
        commit - -1 t-0:1 g= => committed
        fetch g= => t-0=1
        ",
    );
}

#[test]
fn a_simple_group_becomes_one_with_members_and_keeps_its_offsets() {
    World::new().run(
        "
        commit - -1 t-0:5 => committed
        join - old =>
        tick 3000 => #2 c-2 in 1 of c-2 range [c-2]
        sync c-2 1 c-2:a => assigned a
        commit - -1 t-0:6 => UNKNOWN_MEMBER_ID
        fetch => t-0=5
        log => g/t-0=5; g in 1 [c-2=a]
        ",
    );
}

#[test]
fn metadata_that_is_too_long_refuses_its_partition_only() {
    let config = GroupConfig { offset_metadata_max_bytes: 10, ..GroupConfig::default() };
    let mut world = World::with(config);
    world.run(
        "
        commit - -1 t-0:5 t-1:5 m=11 => OFFSET_METADATA_TOO_LARGE OFFSET_METADATA_TOO_LARGE
        list => none
        log =>
        commit - -1 t-0:5 t-1:5 m=10 => committed
        ",
    );
    let one = |index: &str, metadata: &str| OffsetToCommit {
        topic: super::world::partition(index).topic,
        topic_id: ottla_types::TopicId([7; 16]),
        partition: super::world::partition(index).partition,
        offset: ottla_types::Offset(9),
        leader_epoch: None,
        metadata: Some(metadata.into()),
    };
    world.ask(Request::OffsetCommit(OffsetCommit {
        group: "g".into(),
        member: None,
        instance: None,
        generation: Generation(-1),
        retention_ms: None,
        // Kafka counts UTF-16 units: ten of these are fine.
        offsets: vec![one("t-0", "x123456789x"), one("t-1", "éééééééééé")],
    }));
    let outcomes =
        vec![Err(PartitionRefusal::OffsetMetadataTooLarge { given_bytes: 11, max_bytes: 10 }), Ok(())];
    assert_eq!(world.answers.pop().unwrap().reply, Reply::OffsetCommit(Ok(outcomes)));
    world.run("fetch => t-0=5 t-1=9");
}

#[test]
fn what_is_said_of_an_offset_is_kept_with_it() {
    let mut world = World::new();
    world.run("commit - -1 t-0:5 m=3 => committed");
    world.run_quietly("fetch");
    let Reply::OffsetFetch(Ok(fetched)) = world.answers.pop().unwrap().reply else { panic!() };
    let committed = OffsetAndMetadata {
        offset: ottla_types::Offset(5),
        leader_epoch: Some(ottla_types::LeaderEpoch(3)),
        metadata: "xxx".into(),
        commit_timestamp_ms: 1_000_000,
        expire_timestamp_ms: None,
        topic_id: ottla_types::TopicId([7; 16]),
    };
    assert_eq!(fetched[0].committed, Some(committed));
}

#[test]
fn what_is_fetched_is_committed() {
    pair().run(
        "
        commit c-1 1 t-0:5 => committed
        hold =>
        commit c-1 1 t-0:6 t-1:1 =>
        fetch => t-0=5
        fetch t-1 => t-1=-1
        fetch stable =>
        commit c-1 1 t-0:7 =>
        fetch t-0 => t-0=5
        go => #8 committed; #11 t-0=6 t-1=1; #12 committed
        fetch t-0 => t-0=7
        fetch t-0 stable => t-0=7
        ",
    );
}

#[test]
fn a_commit_waits_for_its_records_and_no_longer_than_it_may() {
    pair().run(
        "
        hold =>
        commit c-1 1 t-0:5 =>
        tick 4999 =>
        tick 1 => #7 COORDINATOR_NOT_AVAILABLE
        # Whoever wants to know what is newest can't be told, as nobody knows.
        fetch stable => COORDINATOR_NOT_AVAILABLE
        fetch => none
        go =>
        fetch => t-0=5
        ",
    );
}

#[test]
fn a_commit_that_cannot_be_written_has_not_happened() {
    pair().run(
        "
        commit c-1 1 t-0:5 => committed
        hold =>
        commit c-1 1 t-0:6 =>
        commit c-1 1 t-0:7 t-1:7 =>
        fetch stable =>
        refuse NotNow => #8 COORDINATOR_NOT_AVAILABLE; #9 COORDINATOR_NOT_AVAILABLE; #10 COORDINATOR_NOT_AVAILABLE
        go =>
        fetch stable => t-0=5
        commit c-1 1 t-0:8 => committed
        fetch => t-0=8
        ",
    );
    // Those after one that is too large can be tried again.
    pair().run(
        "
        hold =>
        commit c-1 1 t-0:6 =>
        commit c-1 1 t-0:7 =>
        refuse TooLarge => #7 UNKNOWN_SERVER_ERROR; #8 COORDINATOR_NOT_AVAILABLE
        ",
    );
}

#[test]
fn only_so_much_may_be_uncommitted() {
    let mut world = pair();
    world.run("hold =>");
    for offset in 0..20 {
        world.run_quietly(&format!("commit c-1 1 t-0:{offset}"));
    }
    world.run(
        "
        commit c-1 1 t-0:20 => COORDINATOR_NOT_AVAILABLE
        join - g=h => COORDINATOR_NOT_AVAILABLE
        delete h => h COORDINATOR_NOT_AVAILABLE
        beat c-1 1 => alive
        fetch => none
        leave c-9 => UNKNOWN_MEMBER_ID
        ",
    );
    world.is_holding = false;
    world.commit_all();
    assert_eq!(world.shard.uncommitted_bytes(), 0);
    world.answers.clear();
    world.run("fetch => t-0=19");
}

#[test]
fn what_is_uncommitted_is_counted_by_what_it_takes_up() {
    let mut world = pair();
    world.run(
        "
        hold =>
        commit c-1 1 t-0:1 m=4000 =>
        commit c-1 1 t-0:2 m=1000 =>
        commit c-1 1 t-0:3 => COORDINATOR_NOT_AVAILABLE
        ",
    );
    assert_eq!(world.shard.uncommitted_bytes(), 2 * 258 + 5_000);
    let mut world = pair();
    world.run(
        "join c-1 =>\njoin c-3 => c-3 in 2 of c-1 range []; #7 c-1 in 2 of c-1 range [c-1 c-3]\nhold =>",
    );
    world.run(&format!("sync c-1 2 c-1:{} =>", "a".repeat(1_000)));
    assert!(world.shard.uncommitted_bytes() > 1_000 + 3 * 256, "assignments count");
}

#[test]
fn offsets_of_topics_that_are_read_are_not_deleted() {
    pair().run(
        "
        commit c-1 1 t-0:5 u-0:5 u-1:5 => committed
        log => g in 0 []; g in 1 [c-1=a c-3=b]; g/t-0=5; g/u-0=5; g/u-1=5
        unoffset t-0 u-0 u-9 => GROUP_SUBSCRIBED_TO_TOPIC deleted deleted
        log => g/u-0=gone
        fetch => t-0=5 u-1=5
        leave c-1 c-3 => left left
        unoffset t-0 => deleted
        fetch => u-1=5
        unoffset t-0 g=h => GROUP_ID_NOT_FOUND
        unoffset t-0 g= => INVALID_GROUP_ID
        ",
    );
}

#[test]
fn whoever_reads_what_nobody_knows_is_asked_to_stop_first() {
    World::new().run(
        "
        join - old t=connect =>
        unoffset t-0 => NON_EMPTY_GROUP
        leave c-1 => left; #1 UNKNOWN_MEMBER_ID
        tick 3000 =>
        unoffset t-0 => deleted
        ",
    );
    // Consumers whose subscription can't be read may read anything.
    World::new().run(
        "
        join - old topics=? =>
        tick 3000 => #1 c-1 in 1 of c-1 range [c-1]
        commit - -1 t-0:5 g=h => committed
        unoffset t-0 => GROUP_SUBSCRIBED_TO_TOPIC
        ",
    );
}

#[test]
fn partitions_that_are_no_more_are_forgotten_by_all_groups() {
    World::new().run(
        "
        commit - -1 t-0:5 t-1:5 => committed
        commit - -1 t-0:5 g=h => committed
        forget t-0 u-0 => forgot 2
        fetch => t-1=5
        fetch g=h => none
        ",
    );
}

#[test]
fn a_commit_that_no_batch_has_room_for_is_refused_and_nothing_else_is() {
    World::new().run(
        "
        hold =>
        commit - -1 t-0:5 g=h =>
        commit - -1 t-0:5 t-1:5 t-2:5 m=4000 => UNKNOWN_SERVER_ERROR
        fetch stable =>
        list => h::Empty:classic
        go => #1 committed; #3 none
        ",
    );
}

#[test]
fn of_many_partitions_that_are_no_more_a_group_forgets_those_that_it_has() {
    World::new().run(
        "
        commit - -1 t-0:5 g=few => committed
        commit - -1 t-0:5 t-1:5 t-2:5 t-3:5 u-0:5 g=many => committed
        commit - -1 t-7:5 g=other => committed
        forget s-0 t-0 t-2 => forgot 3
        fetch g=other => t-7=5
        fetch g=few => none
        fetch g=many => t-1=5 t-3=5 u-0=5
        ",
    );
}
