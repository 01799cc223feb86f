//! A follower whose log is to be cut.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::partition::{Assignment, FetchAnswer, FetchVerdict};
use ottla_log::BatchBuilder;
use ottla_store::Store;
use ottla_types::{BrokerId, LeaderEpoch, Offset, PartitionEpoch};
use tempfile::TempDir;

use super::test_support::{create_log, led_by_the_first_of, open_store, replica_on};
use super::{DecidedCut, Followed, Partition, ReadyList};
use crate::clock::now_ms;

/// A follower with two records, all synced, and the stream from its leader; a leader's word to cut the second.
struct ToBeCut {
    partition: Arc<Partition>,
    stream: Arc<ReadyList>,
    answer: FetchAnswer,
    store: Arc<Store>,
    _dir: TempDir,
}

impl ToBeCut {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(open_store(dir.path(), BrokerId(2)));
        let log = create_log(&store);
        for value in [b"a", b"b"] {
            let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
            let batch: Bytes = builder.record(now_ms(), None, Some(value)).build().into();
            log.append(&batch, LeaderEpoch(3), now_ms()).unwrap();
        }
        store.commit_now().unwrap();
        let partition = replica_on(log, BrokerId(2));
        let stream = Arc::<ReadyList>::default();
        partition.on_image(led_by_the_first_of(2), |_| Arc::clone(&stream));
        let asked = partition.fetch_spec().expect("all is synced");
        let verdict = FetchVerdict::Diverging { epoch: LeaderEpoch(3), end_offset: Offset(1) };
        let answer = FetchAnswer { asked, verdict, high_watermark: Offset(0), log_start: Offset(0) };
        Self { partition, stream, answer, store, _dir: dir }
    }

    fn decide(&self) -> DecidedCut {
        match self.partition.on_answer(&self.answer, &Bytes::new()) {
            Followed::Cut(decided) => decided,
            other => panic!("{other:?}"),
        }
    }

    fn end(&self) -> Offset {
        self.partition.log.end_offset()
    }
}

/// The leader's word on the next question may be another one, and count what the cut then takes.
#[test]
fn nothing_is_asked_while_the_log_is_to_be_cut() {
    let follower = ToBeCut::new();
    let partition = &follower.partition;
    let (first, second) = (follower.decide(), follower.decide());
    assert_eq!(partition.fetch_spec(), None, "two cuts are decided");
    first.carry_out().unwrap();
    assert_eq!(follower.end(), Offset(1));
    drop(first);
    assert_eq!(partition.fetch_spec(), None, "one is left");
    second.carry_out().unwrap();
    assert_eq!(follower.end(), Offset(1), "it was decided on a log that is gone");
    while follower.stream.pop().is_some() {}
    drop(second);
    assert_eq!(follower.stream.pop(), Some(partition.key()), "who looked meanwhile looks again");
    assert_eq!(partition.fetch_spec().map(|spec| spec.fetch_offset), Some(Offset(1)));
}

/// Its stream has found nothing to ask, as a cut was decided by the word of the leader before.
#[test]
fn the_next_leader_is_asked_once_the_cut_is_over() {
    let follower = ToBeCut::new();
    let partition = &follower.partition;
    let decided = follower.decide();
    let next = Arc::<ReadyList>::default();
    let other = Assignment {
        leader: Some(BrokerId(3)),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: PartitionEpoch(2),
        ..led_by_the_first_of(3)
    };
    partition.on_image(other, |_| Arc::clone(&next));
    while next.pop().is_some() {}
    assert_eq!(partition.fetch_spec(), None);
    decided.carry_out().unwrap();
    assert_eq!(follower.end(), Offset(2), "the leader before has no say any more");
    drop(decided);
    assert_eq!(next.pop(), Some(partition.key()));
    assert_eq!(partition.fetch_spec().map(|spec| spec.leader), Some(BrokerId(3)));
}

#[test]
fn who_could_not_cut_its_log_asks_again() {
    let follower = ToBeCut::new();
    let decided = follower.decide();
    follower.store.close().unwrap();
    assert!(decided.carry_out().is_err());
    assert_eq!(follower.partition.fetch_spec(), None, "it is tried again later, when this is dropped");
    drop(decided);
    assert!(follower.partition.fetch_spec().is_some());
}
