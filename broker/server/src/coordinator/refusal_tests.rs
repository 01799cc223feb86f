//! Appends that are refused: what each refusal means, and what becomes of the decision and of those behind it.

use ottla_core::coordinator::{Append, AppendRefusal, Now, Shard, Ticket, Unavailable};
use ottla_core::group::{GroupMetadataKey, Groups, Record};
use ottla_core::partition::AppendRefusal as ReplicaRefusal;
use ottla_log::{BatchError, LogConfig, SequenceError, SizeLimit};
use ottla_store::AppendError;
use ottla_types::{LeaderEpoch, Offset, ProducerId};

use super::mailbox::Mailbox;
use super::runner::{NotAppended, OwnMailbox, Runner, not_appended};
use super::test_support::{FIRST, World, commit, commit_with, committed_fine, not_committed, soon};
use crate::config::CoordinatorConfig;
use crate::partitions::ProduceError;

#[test]
fn each_refusal_has_its_meaning() {
    let folder = || std::path::PathBuf::from("f");
    let too_large = |limit| AppendError::Batch(BatchError::TooLarge { limit, bytes: 2, bytes_max: 1 });
    let refused = |why| NotAppended::Refused(why);
    let under_minimum = ReplicaRefusal::NotEnoughReplicas { in_sync: 1, minimum: 2 };
    let (not_now, is_too_large) = (refused(AppendRefusal::NotNow), refused(AppendRefusal::TooLarge));
    let epoch = AppendError::Epoch { current: LeaderEpoch(2), given: LeaderEpoch(1) };
    let rows: Vec<(ProduceError, NotAppended)> = vec![
        (ProduceError::Refused(ReplicaRefusal::NotLeader), NotAppended::Over),
        (AppendError::Deleted.into(), NotAppended::Over),
        (epoch.into(), NotAppended::Over),
        (ProduceError::Refused(under_minimum), not_now),
        (ProduceError::UnderRepair, not_now),
        (AppendError::NoSpace { folder: folder() }.into(), not_now),
        (AppendError::OutOfFiles { folder: folder() }.into(), not_now),
        (AppendError::Busy.into(), not_now),
        (AppendError::Failed.into(), not_now),
        (too_large(SizeLimit::Message).into(), is_too_large),
        (too_large(SizeLimit::Segment).into(), is_too_large),
        (AppendError::Batch(BatchError::Magic(1)).into(), not_now),
        (AppendError::Batch(BatchError::BatchCount).into(), not_now),
    ];
    for (error, means) in rows {
        assert_eq!(not_appended(&error), means, "{error}");
    }
}

/// No producer is named, so that no append can be a repetition.
#[test]
fn a_refusal_that_cannot_be_is_a_bug() {
    let before = ProduceError::AppendedBefore { last: Offset(1), epoch: LeaderEpoch(1) };
    let sequence = SequenceError::OutOfOrder { producer_id: ProducerId(1), expected: 1, given: 2 };
    let offset = AppendError::Offset { expected: Offset(1), given: Offset(2) };
    for error in [before, AppendError::Sequence(sequence).into(), offset.into()] {
        assert!(std::panic::catch_unwind(|| not_appended(&error)).is_err(), "{error}");
    }
}

async fn world(folder: &tempfile::TempDir) -> World {
    let world = World::new(folder.path(), CoordinatorConfig::default());
    world.serves(FIRST).await;
    world
}

fn set(world: &World, change: impl FnOnce(&mut LogConfig)) {
    let log = &world.partition(FIRST).log;
    let mut config = LogConfig::clone(&log.config());
    change(&mut config);
    log.set_config(config);
}

#[tokio::test]
async fn a_decision_that_does_not_fit_takes_those_behind_it_along_and_none_before() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&folder).await;
    set(&world, |config| config.max_message_bytes = 1_000);
    let asked = [commit("a", 1), commit_with("b", 2, 3_000), commit("c", 3)].map(|one| world.ask(FIRST, one));
    let [before, large, behind] = asked;
    assert_eq!(soon(large.answer()).await, Some(not_committed(Unavailable::TooLarge)));
    assert_eq!(soon(behind.answer()).await, Some(not_committed(Unavailable::NotAvailable)));
    assert_eq!(world.answer_of(before).await, committed_fine());
    let told = [world.committed("a").await, world.committed("b").await, world.committed("c").await];
    assert_eq!((told, world.partition(FIRST).log.end_offset()), ([Some(1), None, None], Offset(1)));
    assert_eq!(world.answer(commit("c", 3)).await, committed_fine());
    world.stopped().await;
}

#[tokio::test]
async fn settings_that_take_no_record_can_be_set_right() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&folder).await;
    set(&world, |config| config.timestamp_before_max_ms = -60_000);
    assert_eq!(world.answer(commit("g", 1)).await, not_committed(Unavailable::NotAvailable));
    set(&world, |config| config.timestamp_before_max_ms = i64::MAX);
    assert_eq!(world.committed("g").await, None);
    assert_eq!(world.answer(commit("g", 1)).await, committed_fine());
    world.stopped().await;
}

#[tokio::test]
async fn a_store_that_closes_refuses_for_now() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&folder).await;
    world.store.close().unwrap();
    let asked = world.ask(FIRST, commit("g", 1));
    assert_eq!(soon(asked.answer()).await, Some(not_committed(Unavailable::NotAvailable)));
}

/// The role may change within a turn; then the append tells.
#[tokio::test]
async fn nothing_is_appended_in_another_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&folder).await;
    let partition = world.partition(FIRST);
    let config = CoordinatorConfig::default();
    let epoch = LeaderEpoch(partition.standing().leader_epoch.0 + 1);
    let mut shard = Shard::new(epoch, config.shard_limits(1 << 20), Groups::new(config.groups));
    assert!(shard.on_loaded(Now::default()).appends.is_empty());
    let mut runner = Runner::new(partition, OwnMailbox(Mailbox::default().into()), shard);
    let record = Record::GroupMetadata { key: GroupMetadataKey { group: "g".into() }, value: None };
    let append = |ticket| Append { ticket: Ticket(ticket), epoch, records: vec![record.clone()] };
    let appended = runner.append_all([append(3), append(4)].into(), Now::default());
    assert_eq!(appended, Err((Ticket(3), NotAppended::Over)));
    assert_eq!(world.partition(FIRST).log.end_offset(), Offset(0));
    assert!(runner.turn().is_err(), "its epoch isn't the partition's");
    world.stopped().await;
}
