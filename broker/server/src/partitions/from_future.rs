//! Segments that their records' times keep: who dates records far ahead keeps them, and all after them, for
//! longer than `retention.ms` says. That is Kafka's rule, too; here it is said.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_types::Offset;
use parking_lot::Mutex;
use tracing::warn;

use super::partition::Partition;
use super::ready::PartitionKey;

/// So many are named at a time; of the others their number is told.
const NAMED_MAX: usize = 10;

/// The partitions in which records from the future were found when retention was looked at last.
#[derive(Debug, Default)]
pub struct FromFuture {
    /// By partition, the first segment that is kept so.
    kept: Mutex<HashMap<PartitionKey, Offset>>,
}

impl FromFuture {
    /// Looks through `partitions`, which are all that there are, and warns of each segment once. Returns how
    /// many it warned of.
    pub fn look(&self, partitions: &[Arc<Partition>], now_ms: i64) -> usize {
        let mut kept = HashMap::new();
        let mut new = Vec::new();
        // Not held meanwhile: a log may have to be waited for.
        let before = self.kept.lock().clone();
        for partition in partitions {
            let Some(segment) = partition.log.segment_from_future(now_ms) else { continue };
            if before.get(&partition.key()) != Some(&segment.base_offset) {
                new.push((partition, segment));
            }
            kept.insert(partition.key(), segment.base_offset);
        }
        *self.kept.lock() = kept;
        for (partition, segment) in new.iter().take(NAMED_MAX) {
            warn!(
                partition = %partition.log.topic_partition(),
                segment = %segment.base_offset,
                latest_ms = segment.latest_ms,
                days_ahead = segment.latest_ms.saturating_sub(now_ms) / DAY_MS,
                "records are dated far in the future: retention.ms keeps their segment and all after it until then; \
                 retention.bytes doesn't"
            );
        }
        if new.len() > NAMED_MAX {
            warn!(partitions = new.len() - NAMED_MAX, "there are more with records from the future");
        }
        new.len()
    }

    /// In how many partitions there are such.
    pub fn count(&self) -> usize {
        self.kept.lock().len()
    }
}

const DAY_MS: i64 = 24 * 60 * 60_000;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ottla_log::BatchBuilder;
    use ottla_store::LogConfig;
    use ottla_types::{BrokerId, LeaderEpoch, TopicName};

    use super::super::test_support::{INDEX, TOPIC, open_store, replica_on};
    use super::*;

    #[test]
    fn each_segment_is_told_of_once_and_counted_while_it_is_there() {
        const NOW: i64 = 100 * DAY_MS;
        let dir = tempfile::tempdir().unwrap();
        let store = open_store(dir.path(), BrokerId(1));
        let config = LogConfig {
            segment_bytes: 100,
            retention_ms: Some(DAY_MS),
            timestamp_after_max_ms: i64::MAX,
            ..LogConfig::default()
        };
        let log = store.create_partition(TopicName::new("t").unwrap(), TOPIC, INDEX, config.clone()).unwrap();
        let partition = replica_on(Arc::clone(&log), BrokerId(1));
        let append = |time_ms: i64| {
            let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(time_ms, None, Some(b"value"));
            log.append(&Bytes::from(batch.build()), LeaderEpoch(0), NOW).unwrap();
        };
        let (all, future) = ([partition], FromFuture::default());
        append(NOW);
        assert_eq!((future.look(&all, NOW), future.count()), (0, 0));
        append(NOW + 400 * DAY_MS);
        append(NOW);
        assert_eq!((future.look(&all, NOW), future.count()), (1, 1), "it is told of");
        assert_eq!((future.look(&all, NOW), future.count()), (0, 1), "once");
        append(NOW + 800 * DAY_MS);
        assert_eq!((future.look(&all, NOW), future.count()), (0, 1), "what lies behind it is kept by it");
        assert_eq!((future.look(&all, NOW + 500 * DAY_MS), future.count()), (1, 1), "then by another");
        log.set_config(LogConfig { retention_ms: None, ..config });
        assert_eq!((future.look(&all, NOW), future.count()), (0, 0), "everything is kept anyway");
    }
}
