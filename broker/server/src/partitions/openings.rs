//! Opening batches: what single records say is asked of clients' batches before they are appended, and of
//! stored ones when an offset is looked up by time.
//!
//! Small ones are opened at once. All else is done off the threads that serve connections, for few at a time
//! and within so much memory; a connection waits for its own, so that it opens one batch at a time. No lock
//! of a partition is held.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::partition::AppendRefusal;
use ottla_log::{
    BatchError, BatchHeader, Codec, DECODER_BYTES_MAX, HEADER_BYTES, SizeLimit, decoder_bytes,
    inflated_bytes_max,
};
use ottla_quorum::Tasks;
use ottla_store::{AppendError, Checked};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::partition::{AppendOrigin, Partition, ProduceError};

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
        origin: AppendOrigin,
    ) -> Result<Checked, ProduceError> {
        let Some(bytes) = compressed_bytes(records) else {
            return partition.check(records, origin, usize::MAX);
        };
        if records.len() <= AT_ONCE_BYTES && bytes <= AT_ONCE_DECODER_BYTES {
            match partition.check(records, origin, AT_ONCE_INFLATED_BYTES) {
                Err(ProduceError::Log(AppendError::Batch(BatchError::TooLarge {
                    limit: SizeLimit::Inflated,
                    ..
                }))) => {}
                checked => return checked,
            }
        }
        let pieces = u32::try_from(bytes.min(DECODER_BYTES_MAX).div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        let (memory, places) = (Arc::clone(&self.memory), Arc::clone(&self.places));
        let held = async move { (memory.acquire_many_owned(pieces).await, places.acquire_owned().await) };
        let (partition, records) = (Arc::clone(partition), records.clone());
        let checked = self
            .run_with(held, "open a batch", move || {
                partition.check(&records, origin, inflated_bytes_max(records.len()))
            })
            .await;
        // If the broker stops, nothing was appended.
        checked.unwrap_or(Err(ProduceError::Refused(AppendRefusal::NotLeader)))
    }

    /// Runs `look`, which reads the disk and opens batches. None if the broker stops.
    pub async fn look_up<T: Send + 'static>(&self, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.run_with(Arc::clone(&self.look_ups).acquire_owned(), "look up an offset", look).await
    }

    /// Runs `work` once it has what `held` waits for. A task of its own waits for that, which goes with the
    /// caller: a caller that isn't polled for a while, as a large request that has no turn, would keep from
    /// all others what it was given.
    async fn run_with<H, T>(
        &self,
        held: impl Future<Output = H> + Send + 'static,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T>
    where
        H: Send + 'static,
        T: Send + 'static,
    {
        let tasks = self.tasks.clone();
        let run = async move {
            let held = held.await;
            tasks
                .blocking(name, move || {
                    let done = work();
                    drop(held);
                    done
                })
                .await
        };
        // It ends with its only task.
        let mut waiting = JoinSet::new();
        self.tasks.spawn_in(&mut waiting, &Handle::current(), name, run);
        match waiting.join_next().await? {
            Ok(done) => done,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => None,
        }
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

    use super::super::partition::RequiredAcks;
    use super::*;

    const CLIENT: AppendOrigin = AppendOrigin::Client(RequiredAcks::AtMostLeader);
    use crate::partitions::test_support::{create_log, led_by_the_first_of, open_store, replica_on};

    fn leading(store: &ottla_store::Store) -> Arc<Partition> {
        let partition = replica_on(create_log(store), ottla_types::BrokerId(1));
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
        let store = open_store(dir.path(), ottla_types::BrokerId(1));
        let (partition, openings) = (leading(&store), Openings::new(Tasks::default()));
        // Nobody gives one back.
        let taken = openings.places.acquire_many(openings.places.available_permits() as u32).await.unwrap();
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            openings.check(&partition, &batch(codec, &[7; 10_000]), CLIENT).await.unwrap();
        }
        let large = batch(Codec::Zstd, &[7; 8 << 20]);
        assert!(large.len() < AT_ONCE_BYTES, "what it becomes is what is large");
        let waiting = openings.check(&partition, &large, CLIENT);
        let waited = tokio::time::timeout(Duration::from_millis(50), waiting).await;
        assert!(waited.is_err(), "it was opened without a place");
        drop(taken);
        openings.check(&partition, &large, CLIENT).await.unwrap();
        assert_eq!(openings.memory.available_permits(), DECODER_BYTES_MAX.div_ceil(PIECE_BYTES));
    }

    #[tokio::test]
    async fn who_is_not_polled_keeps_nothing_from_others() {
        let openings = Openings::new(Tasks::default());
        let taken = openings.look_ups.acquire_many(LOOK_UPS_MAX as u32).await.unwrap();
        let mut first: Vec<_> = (0..LOOK_UPS_MAX).map(|n| Box::pin(openings.look_up(move || n))).collect();
        for waiting in &mut first {
            let polled = tokio::time::timeout(Duration::ZERO, waiting.as_mut()).await;
            assert!(polled.is_err(), "there is no place");
        }
        let mut next = Box::pin(openings.look_up(|| "next"));
        let polled = tokio::time::timeout(Duration::ZERO, next.as_mut()).await;
        assert!(polled.is_err(), "there is no place");
        drop(taken);
        // Nobody asks the first ones, whose turn it is.
        let next = tokio::time::timeout(Duration::from_secs(30), next).await;
        assert_eq!(next.expect("it is given a place"), Some("next"));
        for (n, waiting) in first.into_iter().enumerate() {
            assert_eq!(waiting.await, Some(n));
        }
    }

    #[tokio::test]
    async fn what_grows_beyond_the_limit_is_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let store = open_store(dir.path(), ottla_types::BrokerId(1));
        let (partition, openings) = (leading(&store), Openings::new(Tasks::default()));
        let bomb = batch(Codec::Zstd, &vec![0; 33 << 20]);
        let error = openings.check(&partition, &bomb, CLIENT).await.unwrap_err();
        let is_too_large =
            matches!(&error, ProduceError::Log(AppendError::Batch(BatchError::TooLarge { .. })));
        assert!(is_too_large, "{error}");
    }
}
