//! Recovery and lookups against the plainest possible answer, over random logs.

use std::sync::Arc;

use bytes::Bytes;
use ottla_log::BatchBuilder;
use ottla_types::{LeaderEpoch, Offset, TopicName};
use proptest::prelude::*;

use crate::test_support::{P0, TOPIC, open};
use crate::{LogConfig, PartitionLog, ReadError, Store, UpTo};

fn create(store: &Store, segment_bytes: u32) -> Arc<PartitionLog> {
    let config = LogConfig { segment_bytes, index_interval_bytes: 200, ..LogConfig::default() };
    store.create_partition(TopicName::new("t").unwrap(), TOPIC, P0, config).unwrap()
}

/// Appends a batch for each (records, bytes, time); returns the end offset and time after each.
fn fill(log: &Arc<PartitionLog>, batches: &[(u8, u16, u16)]) -> Vec<(Offset, Bytes)> {
    let mut ends = Vec::new();
    for &(records, bytes, time) in batches {
        let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
        for _ in 0..records {
            builder.push(i64::from(time), None, Some(&vec![records; usize::from(bytes)]), &[]);
        }
        let appended = log.append(&builder.build().into(), LeaderEpoch(0), 70_000).unwrap();
        let slice = log.read(appended.base_offset, 1, true, UpTo::End).unwrap().unwrap();
        ends.push((log.end_offset(), slice.to_bytes().unwrap()));
    }
    ends
}

fn batches() -> impl Strategy<Value = Vec<(u8, u16, u16)>> {
    prop::collection::vec((1u8..4, 0u16..300, 0u16..60_000), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Where nothing says how far the log was durable, a torn or flipped byte ends it just before its batch.
    /// With the journal it is all there again.
    #[test]
    fn a_damaged_tail_leaves_exactly_the_batches_before_it(
        batches in batches(), at in 0.0..1.0f64, flip in any::<bool>(), bit in 0u8..8, journaled in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store, 1 << 20);
        store.commit_now().unwrap();
        let ends = fill(&log, &batches);
        store.commit_now().unwrap();
        drop((store, log));
        let path = dir.path().join("t-0/00000000000000000000.log");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = (bytes.len() as f64 * at) as usize;
        if flip { bytes[at] ^= 1 << bit } else { bytes.truncate(at) }
        std::fs::write(&path, &bytes).unwrap();
        if !journaled {
            std::fs::remove_dir_all(dir.path().join("ottla-journal")).unwrap();
        }

        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        let at = if journaled { usize::MAX } else { at };
        let mut position = 0;
        let whole = ends.iter().take_while(|(_, batch)| {
            position += batch.len();
            position <= at
        });
        let kept: Vec<_> = whole.collect();
        let end = kept.last().map_or(Offset(0), |last| last.0);
        let position: usize = kept.iter().map(|batch| batch.1.len()).sum();
        // The leader epoch has no checksum of its own; here a later one is as good.
        let is_epoch = flip && (12..16).contains(&(at - position));
        if !is_epoch {
            prop_assert_eq!(log.end_offset(), end);
            let wanted = kept.iter().flat_map(|batch| batch.1.to_vec()).collect::<Vec<_>>();
            prop_assert_eq!(log.read_bytes(Offset(0), 1 << 20, UpTo::Durable).unwrap(), wanted);
        }
    }

    /// Whatever the indexes hold, true or damaged, a lookup gives what a linear scan gives.
    #[test]
    fn lookups_agree_with_a_linear_scan(
        batches in batches(), segment_bytes in 300u32..3_000, clean in any::<bool>(), damage in any::<Option<(u16, u8)>>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let ends = fill(&create(&store, segment_bytes), &batches);
        store.checkpoint().unwrap();
        if clean {
            store.close().unwrap();
        }
        drop(store);
        let damaged = damage.is_some();
        if let Some((at, bit)) = damage {
            for file in std::fs::read_dir(dir.path().join("t-0")).unwrap() {
                let path = file.unwrap().path();
                let mut bytes = std::fs::read(&path).unwrap();
                if path.extension().is_some_and(|kind| kind == "index") && !bytes.is_empty() {
                    let at = usize::from(at) % bytes.len();
                    bytes[at] ^= 1 << (bit % 8);
                    std::fs::write(&path, bytes).unwrap();
                }
            }
        }
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        let mut base = Offset(0);
        for (end, bytes) in &ends {
            for offset in base.0..end.0 {
                let slice = log.read(Offset(offset), 1, true, UpTo::Durable).unwrap().unwrap();
                prop_assert_eq!((slice.base_offset, slice.next_offset), (base, *end));
                prop_assert_eq!(&slice.to_bytes().unwrap(), bytes);
            }
            base = *end;
        }
        let past = log.read(Offset(base.0 + 1), 1, true, UpTo::Durable);
        let is_past = matches!(past, Err(ReadError::OutOfRange { .. }));
        prop_assert!(is_past);
        for (_, _, time) in &batches {
            let time = i64::from(*time);
            let first = batches.iter().position(|batch| i64::from(batch.2) >= time).unwrap();
            let wanted = if first == 0 { Offset(0) } else { ends[first - 1].0 };
            let found = log.offset_for_timestamp(time).unwrap().unwrap();
            prop_assert_eq!(found.offset, wanted, "time {} damaged {}", time, damaged);
        }
    }
}
