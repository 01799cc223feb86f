//! Shards that serve: when they answer, and what those who wait are told when a shard's time is over.

use std::sync::Arc;

use ottla_core::coordinator::Unavailable;
use ottla_core::group::{JoinRefusal, Reply};
use ottla_log::Batches;
use ottla_store::UpTo;
use ottla_types::Offset;

use super::Asked;
use super::mailbox::{MESSAGE_BYTES_MAX, MESSAGES_MAX};
use super::test_support::{
    ALONE, FIRST, Led, SECOND, World, commit, committed_fine, join, list, not_committed, quick, soon, until,
};
use crate::config::CoordinatorConfig;

const TWO: Led<'static> = Led { leader: 1, isr: &[1, 2], minimum: 1 };

async fn world(folder: &tempfile::TempDir) -> World {
    let world = World::new(folder.path(), quick());
    world.serves(FIRST).await;
    world
}

/// A configuration under which nobody is told that it takes too long.
fn patient() -> CoordinatorConfig {
    CoordinatorConfig::default()
}

async fn patient_world(folder: &tempfile::TempDir) -> World {
    let world = World::new(folder.path(), patient());
    world.serves(FIRST).await;
    world
}

fn is_answered(asked: &mut Asked) -> bool {
    match asked {
        Asked::Answered(_) => true,
        Asked::Later(answer) => !answer.is_empty(),
    }
}

#[tokio::test]
async fn a_commit_is_answered_and_shown_once_it_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    let mut asked = world.ask(FIRST, commit("g", 7));
    world.appended_up_to(1).await;
    // A later answer shows that the shard isn't busy with the first.
    let Asked::Later(listed) = world.ask(FIRST, list()) else { panic!("it serves") };
    soon(listed).await.unwrap();
    assert!(!is_answered(&mut asked), "it isn't synced");
    assert_eq!(world.committed("g").await, None);
    assert_eq!(world.answer_of(asked).await, committed_fine());
    assert_eq!(world.committed("g").await, Some(7));
    world.stopped().await;
}

#[tokio::test]
async fn commits_that_come_together_share_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    let asked: Vec<_> = (0..100).map(|n| world.ask(FIRST, commit(&format!("g{n}"), n))).collect();
    for one in asked {
        assert_eq!(world.answer_of(one).await, committed_fine());
    }
    let bytes = world.partition(FIRST).log.read_bytes(Offset(0), 1 << 20, UpTo::End).unwrap();
    assert_eq!((Batches::new(&bytes).count(), world.partition(FIRST).log.end_offset()), (1, Offset(100)));
    world.stopped().await;
}

#[tokio::test]
async fn what_is_due_is_done_though_nobody_asks() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&folder).await;
    // The first generation begins when the delay has passed.
    let Reply::JoinGroup(Ok(joined)) = world.answer(join("g")).await else { panic!("it joins") };
    assert_eq!(joined.generation.0, 1);
    world.stopped().await;
}

#[tokio::test]
async fn who_waits_is_told_that_the_epoch_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    let (commits, joins) = (world.ask(FIRST, commit("g", 7)), world.ask(FIRST, join("g2")));
    world.appended_up_to(1).await;
    // It isn't even taken out of the mailbox before, as this thread is the only one.
    let left = world.ask(FIRST, list());
    world.image(FIRST, &Led { leader: 2, ..TWO }, true);
    assert_eq!(world.answer_of(commits).await, not_committed(Unavailable::NotCoordinator));
    assert_eq!(world.answer_of(left).await, Reply::ListGroups(Err(Unavailable::NotCoordinator)));
    let not_joined = Reply::JoinGroup(Err(JoinRefusal::Unavailable(Unavailable::NotCoordinator)));
    assert_eq!(world.answer_of(joins).await, not_joined);
    // The image, by which clients find their coordinator, still names this broker.
    assert_eq!(world.answer(commit("g", 7)).await, not_committed(Unavailable::Loading));
    world.leads_elsewhere_by_the_image();
    assert_eq!(world.answer(commit("g", 7)).await, not_committed(Unavailable::NotCoordinator));
    world.stopped().await;
}

/// A role that was lost and regained between two looks is another epoch: what the old shard had isn't trusted.
#[tokio::test]
async fn a_shard_that_lost_and_regained_its_partition_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    assert_eq!(world.answer(commit("g", 6)).await, committed_fine());
    let waiting = world.ask(FIRST, commit("g", 7));
    world.appended_up_to(2).await;
    world.image(FIRST, &Led { leader: 2, ..TWO }, true);
    world.image(FIRST, &ALONE, true);
    assert_eq!(world.answer_of(waiting).await, not_committed(Unavailable::NotCoordinator));
    world.serves(FIRST).await;
    // Nobody knew whether it would survive, and it did.
    assert_eq!(world.committed("g").await, Some(7));
    assert_eq!(world.answer(commit("g", 8)).await, committed_fine());
    assert_eq!(world.committed("g").await, Some(8));
    world.stopped().await;
}

/// On a test's one thread, whoever was woken has had its turn after this.
async fn all_turns() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Its runner waits for another role all the time, so that it hears of it though the host is busy, or gone.
#[tokio::test]
async fn an_idle_shard_hears_of_another_role_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    let mut joins = world.ask(FIRST, join("g"));
    world.serves(FIRST).await;
    all_turns().await;
    // Somebody else takes the word that is meant for the host.
    let roles = Arc::clone(world.partitions.roles());
    world.image(FIRST, &Led { leader: 2, ..TWO }, true);
    assert!(roles.pop().is_some());
    // Nothing is due for seconds.
    all_turns().await;
    assert!(is_answered(&mut joins), "it isn't told");
    let not_joined = Reply::JoinGroup(Err(JoinRefusal::Unavailable(Unavailable::NotCoordinator)));
    assert_eq!(world.answer_of(joins).await, not_joined);
    world.stopped().await;
}

#[tokio::test]
async fn who_waits_is_told_that_the_topic_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    let waiting = world.ask(FIRST, commit("g", 7));
    world.appended_up_to(1).await;
    world.delete_topic();
    assert_eq!(world.answer_of(waiting).await, not_committed(Unavailable::NotCoordinator));
    assert_eq!(world.answer(commit("g", 7)).await, not_committed(Unavailable::NotCoordinator));
    world.stopped().await;
}

#[tokio::test]
async fn what_waits_for_the_minimum_is_overdue_and_stands() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&folder).await;
    world.image(FIRST, &TWO, false);
    let waiting = world.ask(FIRST, commit("g", 7));
    world.appended_up_to(1).await;
    world.image(FIRST, &Led { minimum: 2, ..ALONE }, false);
    assert_eq!(world.answer_of(waiting).await, not_committed(Unavailable::NotAvailable));
    assert_eq!(world.committed("g").await, None);
    // With too few in sync nothing is appended, and what was decided is taken back.
    assert_eq!(world.answer(commit("g2", 1)).await, not_committed(Unavailable::NotAvailable));
    world.image(FIRST, &ALONE, false);
    until("it is committed", async || world.committed("g").await == Some(7)).await;
    assert_eq!(world.committed("g2").await, None);
    // The time-out is short, and the machine may be slow.
    until("it is committed", async || world.answer(commit("g2", 1)).await == committed_fine()).await;
    world.stopped().await;
}

#[tokio::test]
async fn a_stop_answers_all_who_wait() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    let commits = world.ask(FIRST, commit("g", 7));
    world.appended_up_to(1).await;
    let joins = world.ask(FIRST, join("g2"));
    let (host, mut running) = (Arc::clone(&world.host), world.running);
    world.stop.send_replace(true);
    assert_eq!(soon(commits.answer()).await, Some(not_committed(Unavailable::NotCoordinator)));
    let not_joined = Reply::JoinGroup(Err(JoinRefusal::Unavailable(Unavailable::NotCoordinator)));
    assert_eq!(soon(joins.answer()).await, Some(not_joined));
    soon(&mut running).await.unwrap();
    let asked = host.ask(FIRST, commit("g", 9), 100, Box::new(()));
    assert_eq!(soon(asked.answer()).await, Some(not_committed(Unavailable::NotCoordinator)));
}

/// Whoever waits for a shard that ended by a bug isn't left waiting; the broker ends.
#[tokio::test]
async fn a_panic_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    let (commits, joins) = (world.ask(FIRST, commit("g", 7)), world.ask(FIRST, join("g")));
    world.appended_up_to(1).await;
    let left = world.ask(FIRST, list());
    world.tasks.plant("coordinate groups");
    for asked in [commits, joins, left] {
        assert_eq!(soon(asked.answer()).await, None);
    }
    assert_eq!(soon(world.tasks.panicked()).await.task, "coordinate groups");
}

#[tokio::test]
async fn a_mailbox_takes_so_many_requests_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    let memory = Arc::new(());
    let ask = |bytes| world.host.ask(FIRST, list(), bytes, Box::new(Arc::clone(&memory)));
    // On this thread nothing is decided meanwhile.
    let mut asked: Vec<_> = (0..MESSAGES_MAX).map(|_| ask(1)).collect();
    assert!(asked.iter_mut().all(|one| !is_answered(one)));
    let refused = Reply::ListGroups(Err(Unavailable::NotAvailable));
    assert!(matches!(ask(1), Asked::Answered(reply) if reply == refused));
    assert_eq!(Arc::strong_count(&memory), 1 + MESSAGES_MAX, "who is refused keeps nothing");
    for one in asked {
        assert!(matches!(soon(one.answer()).await, Some(Reply::ListGroups(Ok(_)))));
    }
    assert_eq!(Arc::strong_count(&memory), 1, "it is given back once it is decided");
    // The same by bytes; one alone may be of any size that a request may have.
    let mut large = vec![ask(2 * MESSAGE_BYTES_MAX)];
    assert!(matches!(ask(1), Asked::Answered(reply) if reply == refused));
    assert!(matches!(soon(large.remove(0).answer()).await, Some(Reply::ListGroups(Ok(_)))));
    let half = ask(MESSAGE_BYTES_MAX / 2);
    let other_half = ask(MESSAGE_BYTES_MAX - MESSAGE_BYTES_MAX / 2);
    assert!(matches!(ask(1), Asked::Answered(reply) if reply == refused));
    for one in [half, other_half] {
        assert!(matches!(soon(one.answer()).await, Some(Reply::ListGroups(Ok(_)))));
    }
    world.stopped().await;
}

/// A client that goes away is no error, and costs the others nothing.
#[tokio::test]
async fn a_client_that_is_gone_is_answered_in_vain() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    drop(world.ask(FIRST, commit("g", 7)));
    assert_eq!(world.answer(commit("g2", 8)).await, committed_fine());
    assert_eq!(world.committed("g").await, Some(7));
    world.stopped().await;
}

/// What is appended and not committed is bounded.
#[tokio::test]
async fn beyond_what_may_be_uncommitted_commits_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = CoordinatorConfig { uncommitted_bytes_max: 1_000, ..patient() };
    let world = World::new(folder.path(), config);
    world.serves(FIRST).await;
    let mut asked: Vec<_> = (0..20).map(|n| world.ask(FIRST, commit(&format!("g{n}"), n))).collect();
    let last = asked.pop().unwrap();
    let refused = soon(last.answer()).await;
    assert_eq!(refused, Some(not_committed(Unavailable::NotAvailable)));
    assert_eq!(world.answer_of(asked.remove(0)).await, committed_fine());
    assert_eq!(world.answer(commit("g", 7)).await, committed_fine());
    world.stopped().await;
}

#[tokio::test]
async fn other_topics_and_partitions_that_are_not_there_have_no_shards() {
    let folder = tempfile::tempdir().unwrap();
    let world = patient_world(&folder).await;
    world.serves(SECOND).await;
    let asked = world.ask(ottla_types::PartitionIndex(7), list());
    assert_eq!(world.answer_of(asked).await, Reply::ListGroups(Err(Unavailable::NotCoordinator)));
    world.stopped().await;
}
