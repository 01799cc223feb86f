//! Lists, descriptions and deletions.

use super::joining::pair;
use super::world::World;

#[test]
fn groups_are_listed_by_state_and_type_in_any_case() {
    let mut world = pair();
    world.run(
        "
        join - old g=h t=connect =>
        commit - -1 t-0:1 g=i => committed
        list => g:consumer:Stable:classic h:connect:PreparingRebalance:classic i::Empty:classic
        list states=stable,EMPTY => g:consumer:Stable:classic i::Empty:classic
        list states=PreparingRebalance => h:connect:PreparingRebalance:classic
        list states=Dead => none
        list states=nonsense => none
        list types=Classic states=Empty => i::Empty:classic
        list types=consumer => none
        list types=nonsense => none
        list types=nonsense,classic states=Empty => i::Empty:classic
        ",
    );
}

#[test]
fn a_group_tells_of_its_members_metadata_only_when_it_is_stable() {
    let mut world = pair();
    world.run("describe g h => g Stable consumer:range [c-1=a c-3=b], h Dead : []");
    world.run_quietly("describe g");
    let metadata = |world: &mut World| {
        let crate::group::Reply::DescribeGroups(Ok(groups)) = world.answers.pop().unwrap().reply else {
            panic!()
        };
        groups[0].members[0].metadata.len()
    };
    assert_ne!(metadata(&mut world), 0);
    world.run("join c-1 =>");
    world.run_quietly("describe g");
    assert_eq!(metadata(&mut world), 0);
    world.run("describe g => g PreparingRebalance consumer: [c-1=a c-3=b]");
}

#[test]
fn only_groups_without_members_are_deleted() {
    pair().run(
        "
        commit c-1 1 t-0:5 => committed
        delete g h => g NON_EMPTY_GROUP, h GROUP_ID_NOT_FOUND
        commit - -1 t-0:5 g=i => committed
        delete i g => i deleted, g NON_EMPTY_GROUP
        list => g:consumer:Stable:classic
        leave c-1 c-3 => left left
        delete g g => g deleted, g GROUP_ID_NOT_FOUND
        fetch => none
        list => none
        ",
    );
}

#[test]
fn a_deletion_waits_for_its_records() {
    let commit = "commit - -1 t-0:5 => committed\nhold =>\n";
    let mut world = World::new();
    world.run(commit);
    world.run(
        "
        delete g =>
        # For whom decides it is gone; nobody is told so.
        delete g =>
        fetch => t-0=5
        go => #2 g deleted; #3 g GROUP_ID_NOT_FOUND
        fetch => none
        ",
    );
    assert!(format!("{:?}", world.shard.machine()).contains("removed: {}"), "it is forgotten");
    let mut world = World::new();
    world.run(commit);
    world.run(
        "
        delete g =>
        commit - -1 t-1:1 =>
        refuse NotNow => #2 g COORDINATOR_NOT_AVAILABLE; #3 COORDINATOR_NOT_AVAILABLE
        go =>
        list => g::Empty:classic
        fetch stable => t-0=5
        ",
    );
}

#[test]
fn a_group_may_begin_again_while_it_is_being_deleted() {
    let mut world = pair();
    world.run(
        "
        leave c-1 c-3 => left left
        hold =>
        delete g =>
        join - old =>
        tick 3000 => #9 c-9 in 1 of c-9 range [c-9]
        go => #8 g deleted
        beat c-9 1 => alive
        log => g in 0 []; g in 1 [c-1=a c-3=b]; g in 2 []; g gone; g in 0 []
        ",
    );
    let mut world = pair();
    world.run(
        "
        leave c-1 c-3 => left left
        hold =>
        delete g =>
        join - old =>
        refuse NotNow => #8 g COORDINATOR_NOT_AVAILABLE; #9 COORDINATOR_NOT_AVAILABLE
        go =>
        describe g => g Empty consumer: []
        join - old =>
        tick 3000 => #11 c-11 in 3 of c-11 range [c-11]
        ",
    );
}

#[test]
fn groups_are_deleted_by_one_decision_so_that_all_are_or_none() {
    let mut world = World::new();
    world.run(
        "
        commit - -1 t-0:5 g=a => committed
        commit - -1 t-0:5 g=b => committed
        hold =>
        delete a b x =>
        ",
    );
    assert_eq!(world.uncommitted.len(), 1);
    world.run(
        "
        refuse NotNow => #3 a COORDINATOR_NOT_AVAILABLE, b COORDINATOR_NOT_AVAILABLE, x GROUP_ID_NOT_FOUND
        list => a::Empty:classic b::Empty:classic
        go =>
        delete b a => b deleted, a deleted
        list => none
        ",
    );
}

#[test]
fn a_group_that_is_named_often_is_held_once() {
    let mut world = pair();
    world.run_quietly("describe g h g");
    let crate::group::Reply::DescribeGroups(Ok(groups)) = world.answers.pop().unwrap().reply else {
        panic!()
    };
    assert_eq!(groups.len(), 3);
    assert!(std::sync::Arc::ptr_eq(&groups[0], &groups[2]));
}
