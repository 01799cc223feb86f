//! A follower whose log is to be cut.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::partition::{FetchAnswer, FetchVerdict};
use ottla_log::BatchBuilder;
use ottla_types::{BrokerId, LeaderEpoch, Offset};

use super::test_support::{create_log, led_by_the_first_of, open_store};
use super::{Followed, Partition, ReadyList};

/// The leader's word on the next question may be another one, and count what the cut then takes.
#[test]
fn nothing_is_asked_while_the_log_is_to_be_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(dir.path(), BrokerId(2));
    let log = create_log(&store);
    for value in [b"a", b"b"] {
        let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
        let batch: Bytes = builder.record(crate::clock::now_ms(), None, Some(value)).build().into();
        log.append(&batch, LeaderEpoch(3), crate::clock::now_ms()).unwrap();
    }
    store.commit_now().unwrap();
    let lag_max = Duration::from_secs(3);
    let partition =
        Partition::new(BrokerId(2), Arc::clone(&log), Offset(0), lag_max, Arc::default(), Arc::default());
    let stream = Arc::<ReadyList>::default();
    partition.on_image(led_by_the_first_of(2), |_| Arc::clone(&stream));
    while stream.pop().is_some() {}
    let asked = partition.fetch_spec().expect("all is synced");
    let verdict = FetchVerdict::Diverging { epoch: LeaderEpoch(3), end_offset: Offset(1) };
    let answer = FetchAnswer { asked, verdict, high_watermark: Offset(0), log_start: Offset(0) };
    let decide = || match partition.on_answer(&answer, &Bytes::new()) {
        Followed::Cut(decided) => decided,
        other => panic!("{other:?}"),
    };
    let (first, second) = (decide(), decide());
    assert_eq!(partition.fetch_spec(), None, "two cuts are decided");
    first.carry_out().unwrap();
    assert_eq!(log.end_offset(), Offset(1));
    drop(first);
    assert_eq!(partition.fetch_spec(), None, "one is left");
    second.carry_out().unwrap();
    assert_eq!(log.end_offset(), Offset(1), "it was decided on a log that is gone");
    while stream.pop().is_some() {}
    drop(second);
    assert_eq!(stream.pop(), Some(partition.key()), "who looked meanwhile looks again");
    assert_eq!(partition.fetch_spec().map(|spec| spec.fetch_offset), Some(Offset(1)));
}
