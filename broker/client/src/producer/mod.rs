//! A producer: records are gathered in batches per partition and sent by one task a partition.
//!
//! Idempotent by default: each batch carries a sequence number, so that a batch sent twice is stored once,
//! and in order.

mod delivery;
mod sender;
mod sink;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ottla_log::Codec;
use ottla_wire::ErrorCode;
use tokio::sync::Semaphore;

use crate::client::Lane;
use crate::{Client, ClientError, partition_of_key};

pub use delivery::{Delivered, Delivery};
use sender::Sender;
use sink::{NewRecord, Sink};

/// Bytes that a record takes beside its key, value and headers, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Whose acknowledgment a producer waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Acks {
    /// Nobody's: a record may be lost without notice.
    None,
    /// The leader's: a record may be lost with the leader.
    Leader,
    /// That of all replicas in sync.
    #[default]
    All,
}

impl Acks {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// A producer's settings.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// Whose acknowledgment to wait for.
    pub acks: Acks,
    /// Whether batches carry sequence numbers; only with [`Acks::All`].
    pub idempotent: bool,
    /// For how long a batch waits for more records.
    pub linger: Duration,
    /// The size at which a batch is sent, in bytes before compression.
    pub batch_bytes: usize,
    /// The memory of all records that aren't acknowledged yet, in bytes; [`Producer::send`] waits for room.
    pub buffer_bytes: usize,
    /// Batches of one partition on their way at a time. At most 5 for an idempotent producer.
    pub in_flight_max: usize,
    /// How batches are compressed.
    pub codec: Codec,
    /// For how long a batch is sent again after retriable errors.
    pub delivery_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            linger: Duration::from_millis(1),
            batch_bytes: 256 << 10,
            buffer_bytes: 64 << 20,
            in_flight_max: 5,
            codec: Codec::None,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

impl ProducerConfig {
    fn is_idempotent(&self) -> bool {
        self.idempotent && self.acks == Acks::All
    }
}

/// The connections of one producer, closed once it and all its tasks are gone.
#[derive(Debug)]
pub(crate) struct OwnLane {
    pub(crate) client: Client,
    pub(crate) lane: Lane,
}

impl Drop for OwnLane {
    fn drop(&mut self) {
        self.client.close_lane(self.lane);
    }
}

/// What the producer and its tasks share.
#[derive(Debug)]
struct Shared {
    lane: OwnLane,
    config: ProducerConfig,
    room: Semaphore,
    identity: sender::Identity,
}

/// A topic's partitions.
#[derive(Debug)]
struct TopicSinks {
    partitions: Vec<Arc<Sink>>,
    /// Where records without a key go now: one partition until its batch is full.
    sticky: AtomicUsize,
}

/// Sends records. Cheap to share by reference; dropping it sends what is gathered, without waiting for it.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    topics: RwLock<HashMap<String, Arc<TopicSinks>>>,
}

impl Producer {
    /// A producer over `client`'s cluster.
    pub fn new(client: &Client, config: ProducerConfig) -> Self {
        let lane = OwnLane { client: client.clone(), lane: client.new_lane() };
        let room = Semaphore::new(config.buffer_bytes.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS));
        let shared = Shared { lane, config, room, identity: sender::Identity::default() };
        Self { shared: Arc::new(shared), topics: RwLock::default() }
    }

    /// Sends a record with the present time and without headers; see [`Producer::send_with`].
    ///
    /// # Errors
    /// As [`Producer::send_with`].
    pub async fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<Delivery, ClientError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.send_with(topic, partition, now.as_millis() as i64, key, value, &[]).await
    }

    /// Puts a record into a batch: of `partition`, else of its key's partition, else of the one that is
    /// filled now. Waits only for room; await the returned [`Delivery`] for the acknowledgment.
    ///
    /// # Errors
    /// When the topic or partition doesn't exist, no broker answers, or the record is larger than the buffer.
    pub async fn send_with(
        &self,
        topic: &str,
        partition: Option<i32>,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<Delivery, ClientError> {
        let sinks = self.sinks(topic).await?;
        let count = sinks.partitions.len();
        let index = match (partition, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of_key(key, count),
            (None, None) => (sinks.sticky.load(Ordering::Relaxed) % count) as i32,
        };
        let sink = usize::try_from(index).ok().and_then(|index| sinks.partitions.get(index));
        let sink = sink.ok_or_else(|| {
            let what = format!("{topic}-{index}");
            ClientError::broker(what, ErrorCode::UnknownTopicOrPartition, None)
        })?;
        let record = NewRecord { timestamp_ms, key, value, headers };
        let bytes = record.bytes() + RECORD_OVERHEAD_BYTES;
        self.take_room(bytes).await?;
        let (delivery, is_full) = sink.push(&record, bytes, self.shared.config.batch_bytes);
        if is_full && partition.is_none() && key.is_none() {
            sinks.sticky.fetch_add(1, Ordering::Relaxed);
        }
        Ok(delivery)
    }

    /// Waits for room in the buffer; it comes back when the record's batch is done.
    async fn take_room(&self, bytes: usize) -> Result<(), ClientError> {
        let limit = self.shared.config.buffer_bytes;
        if bytes > limit {
            return Err(ClientError::Invalid(format!(
                "a record of {bytes} bytes is larger than the producer's buffer of {limit}"
            )));
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = match self.shared.room.try_acquire_many(bytes) {
            Ok(permit) => permit,
            Err(_) => self.shared.room.acquire_many(bytes).await.expect("the semaphore is never closed"),
        };
        permit.forget();
        Ok(())
    }

    /// The sinks of a topic, made at its first record.
    async fn sinks(&self, topic: &str) -> Result<Arc<TopicSinks>, ClientError> {
        if let Some(sinks) = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic) {
            return Ok(sinks.clone());
        }
        let client = &self.shared.lane.client;
        let known = client.new_topic(topic).await?;
        if known.partitions.is_empty() {
            return Err(ClientError::broker(topic, ErrorCode::LeaderNotAvailable, None));
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let sinks = topics.entry(topic.to_owned()).or_insert_with(|| {
            let name: Arc<str> = topic.into();
            let partitions = (0..known.partitions.len())
                .map(|index| Sender::start(self.shared.clone(), name.clone(), index as i32))
                .collect();
            Arc::new(TopicSinks { partitions, sticky: AtomicUsize::new(0) })
        });
        Ok(sinks.clone())
    }

    /// Sends all that is gathered and waits until every batch is acknowledged or has failed.
    pub async fn flush(&self) {
        let sinks: Vec<_> = {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            topics.values().flat_map(|topic| topic.partitions.iter().cloned()).collect()
        };
        sinks.iter().for_each(|sink| sink.close_batch());
        for sink in &sinks {
            sink.wait_idle().await;
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let topics = self.topics.get_mut().unwrap_or_else(PoisonError::into_inner);
        for sink in topics.values().flat_map(|topic| &topic.partitions) {
            sink.close();
        }
    }
}
