//! Opening batches: what single records say is asked of clients' batches before they are appended, and of stored ones
//! when an offset is looked up by time.
//!
//! Small ones are opened at once. All else is done off the threads that serve connections, for few at a time and within so
//! much memory; a connection waits for its own, so that it opens one batch at a time. No lock of a partition is held.

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::partition::AppendRefusal;
use ottla_log::{
    BatchError, BatchHeader, Codec, DECODER_BYTES_MAX, HEADER_BYTES, SizeLimit, decoder_bytes,
    inflated_bytes_max,
};
use ottla_quorum::Tasks;
use ottla_store::{AppendError, Checked};
use tokio::sync::Semaphore;

use super::partition::{Partition, ProduceError};

/// A batch with no more bytes than this is opened at once...
const AT_ONCE_BYTES: usize = 64 << 10;
/// ...if that takes no more memory...
const AT_ONCE_DECODER_BYTES: usize = 9 << 20;
/// ...and it becomes no more than this, which takes about a millisecond.
const AT_ONCE_INFLATED_BYTES: usize = 1 << 20;
/// Memory is counted in pieces of a MiB.
const PIECE_BYTES: usize = 1 << 20;
/// Offsets that are looked up at a time.
const LOOK_UPS_MAX: usize = 2;

/// What may be opened at a time.
pub struct Openings {
    tasks: Tasks,
    memory: Arc<Semaphore>,
    places: Arc<Semaphore>,
    look_ups: Arc<Semaphore>,
}

impl Openings {
    /// As many as there are processors, within the memory that the largest single one takes.
    pub fn new(tasks: Tasks) -> Self {
        let places = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            tasks,
            memory: Arc::new(Semaphore::new(DECODER_BYTES_MAX.div_ceil(PIECE_BYTES))),
            places: Arc::new(Semaphore::new(places)),
            look_ups: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
        }
    }

    /// Checks a client's batch for a partition that takes some.
    ///
    /// # Errors
    /// It can't be appended then.
    pub async fn check(
        &self,
        partition: &Arc<Partition>,
        records: &Bytes,
        needs_all: bool,
    ) -> Result<Checked, ProduceError> {
        let Some(bytes) = compressed_bytes(records) else {
            return partition.check(records, needs_all, usize::MAX);
        };
        if records.len() <= AT_ONCE_BYTES && bytes <= AT_ONCE_DECODER_BYTES {
            match partition.check(records, needs_all, AT_ONCE_INFLATED_BYTES) {
                Err(ProduceError::Log(AppendError::Batch(BatchError::TooLarge {
                    limit: SizeLimit::Inflated,
                    ..
                }))) => {}
                checked => return checked,
            }
        }
        let pieces = u32::try_from(bytes.min(DECODER_BYTES_MAX).div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory).acquire_many_owned(pieces).await;
        let place = Arc::clone(&self.places).acquire_owned().await;
        let (partition, records) = (Arc::clone(partition), records.clone());
        let check = move || {
            let _held = (memory, place);
            partition.check(&records, needs_all, inflated_bytes_max(records.len()))
        };
        let checked = self.tasks.blocking("open a batch", check).await;
        // If the broker stops, nothing was appended.
        checked.unwrap_or(Err(ProduceError::Refused(AppendRefusal::NotLeader)))
    }

    /// Runs `look`, which reads the disk and opens batches. None if the broker stops.
    pub async fn look_up<T: Send + 'static>(&self, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let place = Arc::clone(&self.look_ups).acquire_owned().await;
        let run = move || {
            let _held = place;
            look()
        };
        self.tasks.blocking("look up an offset", run).await
    }
}

/// The memory that it takes to open a batch, in bytes; none if it isn't compressed.
fn compressed_bytes(records: &Bytes) -> Option<usize> {
    let codec = BatchHeader::new(records)?.codec()?;
    (codec != Codec::None).then(|| decoder_bytes(codec, &records[HEADER_BYTES..]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ottla_log::{BatchBuilder, compress};
    use ottla_types::{LeaderEpoch, Offset};

    use super::*;
    use crate::partitions::partition_tests::{create, led_by_the_first_of, open};

    fn leading(store: &ottla_store::Store) -> Arc<Partition> {
        let partition = Partition::new(
            ottla_types::BrokerId(1),
            create(store),
            Offset(0),
            std::time::Duration::from_secs(3),
            Arc::default(),
            Arc::default(),
        );
        partition.on_image(led_by_the_first_of(1), |_| Arc::default());
        partition
    }

    fn batch(codec: Codec, value: &[u8]) -> Bytes {
        let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
        let builder = builder.record(crate::clock::now_ms(), None, Some(value));
        builder.build_compressed(codec, &compress(codec, builder.records()).unwrap()).into()
    }

    #[tokio::test]
    async fn small_batches_are_opened_at_once_and_large_ones_wait_for_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (partition, openings) = (leading(&store), Openings::new(Tasks::default()));
        // Nobody gives one back.
        let taken = openings.places.acquire_many(openings.places.available_permits() as u32).await.unwrap();
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            openings.check(&partition, &batch(codec, &[7; 10_000]), false).await.unwrap();
        }
        let large = batch(Codec::Zstd, &[7; 8 << 20]);
        assert!(large.len() < AT_ONCE_BYTES, "what it becomes is what is large");
        let waiting = openings.check(&partition, &large, false);
        let waited = tokio::time::timeout(Duration::from_millis(50), waiting).await;
        assert!(waited.is_err(), "it was opened without a place");
        drop(taken);
        openings.check(&partition, &large, false).await.unwrap();
        assert_eq!(openings.memory.available_permits(), DECODER_BYTES_MAX.div_ceil(PIECE_BYTES));
    }

    #[tokio::test]
    async fn what_grows_beyond_the_limit_is_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (partition, openings) = (leading(&store), Openings::new(Tasks::default()));
        let bomb = batch(Codec::Zstd, &vec![0; 33 << 20]);
        let error = openings.check(&partition, &bomb, false).await.unwrap_err();
        let is_too_large =
            matches!(&error, ProduceError::Log(AppendError::Batch(BatchError::TooLarge { .. })));
        assert!(is_too_large, "{error}");
    }
}
