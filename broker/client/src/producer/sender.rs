//! The task of one partition: stamps batches with sequence numbers, keeps a few on their way, and sends them
//! again in order after a failure.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{BatchBuilder, Codec, sequence_plus};
use ottla_types::{ProducerEpoch, ProducerId};
use ottla_wire::messages::{
    InitProducerIdRequest, PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use ottla_wire::{ErrorCode, Records, apis};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::sink::{Gathered, Sink};
use super::{Acks, Shared};
use crate::client::Pause;
use crate::{ClientError, compress};

/// The producer id and epoch that a producer's partitions share.
pub(super) type Identity = Mutex<Option<(ProducerId, ProducerEpoch)>>;

/// What waits for the response to one batch; its result is the batch's base offset.
type Response = Pin<Box<dyn Future<Output = Result<i64, ClientError>> + Send + Sync>>;

/// A batch that was taken from the sink.
struct Batch {
    gathered: Gathered,
    /// The records, compressed, if they are.
    compressed: Option<Vec<u8>>,
    /// Who sends it and with which sequence number, once that is decided.
    stamp: Option<(ProducerId, ProducerEpoch, i32)>,
}

/// The task of one partition.
pub(super) struct Sender {
    shared: Arc<Shared>,
    topic: Arc<str>,
    partition: i32,
    sink: Arc<Sink>,
    /// Who this partition's batches are from, and the next sequence number.
    producer: Option<(ProducerId, ProducerEpoch, i32)>,
    in_flight: VecDeque<(Batch, Response)>,
    /// What failed and is sent again, before anything new.
    again: VecDeque<Batch>,
    /// Whether a batch was acknowledged since the last failure. Until then only one is on its way at a time:
    /// if it is refused, a leader that doesn't know the producer yet would take the next one, whatever its
    /// sequence number.
    is_known: bool,
    /// The pause before the next further try; short again after a success.
    pause: Pause,
}

impl Sender {
    /// Starts the task and returns the sink that it empties.
    pub(super) fn start(shared: Arc<Shared>, topic: Arc<str>, partition: i32) -> Arc<Sink> {
        let sink = Arc::new(Sink::new(partition));
        let sender = Self {
            shared,
            topic,
            partition,
            sink: sink.clone(),
            producer: None,
            in_flight: VecDeque::new(),
            again: VecDeque::new(),
            is_known: false,
            pause: Pause::default(),
        };
        tokio::spawn(sender.run());
        sink
    }

    async fn run(mut self) {
        let linger = self.shared.config.linger;
        let in_flight_max = self.shared.config.in_flight_max.max(1);
        let sink = self.sink.clone();
        loop {
            let may_send = self.in_flight.len() < if self.is_known { in_flight_max } else { 1 };
            if may_send && let Some(batch) = self.again.pop_front() {
                self.send(batch).await;
                continue;
            }
            let oldest = self.in_flight.front_mut();
            let may_wait = oldest.is_some();
            let answered = async {
                match oldest {
                    Some((_, response)) => response.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                result = answered, if may_wait => self.settle(result).await,
                gathered = sink.next(linger), if may_send => match gathered {
                    Some(gathered) => self.send_new(gathered).await,
                    // Closed and empty: what is on its way is waited for.
                    None if self.in_flight.is_empty() => return,
                    None => self.settle_oldest().await,
                },
            }
        }
    }

    async fn settle_oldest(&mut self) {
        let Some((_, response)) = self.in_flight.front_mut() else { return };
        let result = response.await;
        self.settle(result).await;
    }

    /// Sends a batch for the first time.
    async fn send_new(&mut self, gathered: Gathered) {
        let codec = self.shared.config.codec;
        let compressed = match codec {
            Codec::None => None,
            codec => match compress(codec, gathered.builder.records()) {
                Ok(compressed) => Some(compressed),
                Err(error) => {
                    let batch = Batch { gathered, compressed: None, stamp: None };
                    return self.finish(batch, Err(error.into()));
                }
            },
        };
        let batch = Batch { gathered, compressed, stamp: None };
        self.send(batch).await;
    }

    /// Stamps a batch if it has no stamp yet, and puts it in line.
    async fn send(&mut self, mut batch: Batch) {
        let response = match self.stamp(&mut batch).await {
            Ok(()) => self.produce(&mut batch).await,
            Err(error) => Err(error),
        };
        let response = response.unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))));
        self.in_flight.push_back((batch, response));
    }

    async fn stamp(&mut self, batch: &mut Batch) -> Result<(), ClientError> {
        if batch.stamp.is_some() || !self.shared.config.is_idempotent() {
            return Ok(());
        }
        let producer = match self.producer {
            Some(known) => known,
            None => self.identify().await?,
        };
        let (id, epoch, sequence) = self.producer.insert(producer);
        batch.stamp = Some((*id, *epoch, *sequence));
        *sequence = sequence_plus(*sequence, batch.gathered.builder.count());
        Ok(())
    }

    /// The identity that all partitions share, asked for at the first batch.
    async fn identify(&self) -> Result<(ProducerId, ProducerEpoch, i32), ClientError> {
        let mut identity = self.shared.identity.lock().await;
        let (id, epoch) = match *identity {
            Some(known) => known,
            None => *identity.insert(self.new_identity().await?),
        };
        Ok((id, epoch, 0))
    }

    async fn new_identity(&self) -> Result<(ProducerId, ProducerEpoch), ClientError> {
        let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
        let client = &self.shared.lane.client;
        client
            .retry(None, || async {
                let reply = client.call_any::<apis::InitProducerId>(&request).await?;
                let response = reply.body()?;
                match ErrorCode::from_wire(response.error_code) {
                    ErrorCode::None => {
                        Ok((ProducerId(response.producer_id), ProducerEpoch(response.producer_epoch)))
                    }
                    error => Err(ClientError::broker("a producer id", error, None)),
                }
            })
            .await
    }

    /// Puts a stamped batch in line at the partition's leader.
    async fn produce(&self, batch: &mut Batch) -> Result<Response, ClientError> {
        let config = &self.shared.config;
        let client = &self.shared.lane.client;
        let (connection, _) = client.leader(self.shared.lane.lane, &self.topic, self.partition).await?;
        let topic_id = client.view().topics.get(&*self.topic).map_or([0; 16], |topic| topic.id.0);
        let bytes = batch.bytes(config.codec);
        let records = Records::Splice { length: bytes.len(), token: 0 };
        let timeout = client.config().request_timeout;
        let request = ProduceRequest {
            transactional_id: None,
            acks: config.acks.code(),
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: vec![TopicProduceData {
                name: &self.topic,
                topic_id,
                partition_data: vec![PartitionProduceData { index: self.partition, records }],
            }],
        };
        if config.acks == Acks::None {
            connection.send_only::<apis::Produce>(&request, vec![bytes]).await?;
            return Ok(Box::pin(std::future::ready(Ok(-1))));
        }
        // The broker itself waits for up to the time-out; leave it time to say so.
        let reply = connection.start::<apis::Produce>(&request, vec![bytes], timeout / 2).await?;
        let what = format!("{}-{}", self.topic, self.partition);
        Ok(Box::pin(async move { base_offset(&reply.await?.body()?, &what) }))
    }

    /// Takes the result of the oldest batch on its way, and deals with a failure.
    async fn settle(&mut self, result: Result<i64, ClientError>) {
        let Some((batch, _)) = self.in_flight.pop_front() else { return };
        match result {
            Err(error) if self.may_retry(&batch, &error) => self.recover(batch, error).await,
            Err(error) => {
                tracing::debug!(topic = %self.topic, partition = self.partition, %error, "a batch failed");
                let is_stamped = batch.stamp.is_some();
                self.finish(batch, Err(error));
                if is_stamped {
                    self.restart_sequence().await;
                }
            }
            Ok(offset) => {
                self.is_known = true;
                self.pause = Pause::default();
                self.finish(batch, Ok(offset));
            }
        }
    }

    fn may_retry(&self, batch: &Batch, error: &ClientError) -> bool {
        error.is_retriable() && batch.gathered.since.elapsed() < self.shared.config.delivery_timeout
    }

    /// Puts `first` and all that failed behind it in line again, in order.
    async fn recover(&mut self, first: Batch, error: ClientError) {
        tracing::debug!(topic = %self.topic, partition = self.partition, %error, "sending again");
        let mut failed = vec![first];
        failed.extend(self.collect_failed().await);
        self.line_up_again(failed);
        let deadline = Instant::now() + self.shared.config.delivery_timeout;
        loop {
            self.pause.wait().await;
            match self.shared.lane.client.refresh_topic(&self.topic).await {
                // A topic that the broker doesn't know may be one that it doesn't know yet: say so by
                // sending.
                Ok(_) => return,
                Err(error) if error.is_retriable() && Instant::now() < deadline => {}
                Err(error) => {
                    self.give_up(&error);
                    return self.restart_sequence().await;
                }
            }
        }
    }

    /// Puts what failed before all that waits to be sent.
    fn line_up_again(&mut self, failed: Vec<Batch>) {
        failed.into_iter().rev().for_each(|batch| self.again.push_front(batch));
        self.is_known = false;
    }

    /// What was to be sent again has failed for good.
    fn give_up(&mut self, error: &ClientError) {
        for batch in std::mem::take(&mut self.again) {
            self.finish(batch, Err(error.clone()));
        }
    }

    /// Waits for all that is on its way: finishes what succeeded, returns what failed in order.
    async fn collect_failed(&mut self) -> Vec<Batch> {
        let mut failed = Vec::new();
        while let Some((batch, response)) = self.in_flight.pop_front() {
            match response.await {
                Ok(offset) => self.finish(batch, Ok(offset)),
                // It is out of order because the one before it failed.
                Err(error) if error.error_code() == Some(ErrorCode::OutOfOrderSequenceNumber) => {
                    failed.push(batch);
                }
                Err(error) if self.may_retry(&batch, &error) => failed.push(batch),
                Err(error) => self.finish(batch, Err(error)),
            }
        }
        failed
    }

    /// A stamped batch failed for good, so the sequence has a gap: what follows gets a new producer id.
    async fn restart_sequence(&mut self) {
        if !self.shared.config.is_idempotent() {
            return;
        }
        let failed = self.collect_failed().await;
        self.line_up_again(failed);
        match self.new_identity().await {
            Ok((id, epoch)) => {
                self.producer = Some((id, epoch, 0));
                self.again.iter_mut().for_each(|batch| batch.stamp = None);
            }
            Err(error) => {
                // The shared one can't be begun again from 0 by whoever has used it.
                self.producer = None;
                *self.shared.identity.lock().await = None;
                self.give_up(&error);
            }
        }
    }

    /// Tells a batch's records what became of them, and gives back its room.
    fn finish(&self, batch: Batch, result: Result<i64, ClientError>) {
        batch.gathered.outcome.set(result);
        self.shared.room.add_permits(batch.gathered.room_bytes);
        self.sink.finished(1);
    }
}

impl Batch {
    /// The batch as it is sent.
    fn bytes(&mut self, codec: Codec) -> Bytes {
        let builder: &mut BatchBuilder = &mut self.gathered.builder;
        if let Some((id, epoch, sequence)) = self.stamp {
            builder.set_producer(id, epoch, sequence);
        }
        match &self.compressed {
            Some(compressed) => builder.build_compressed(codec, compressed).into(),
            None => builder.build().into(),
        }
    }
}

/// The base offset in a response about one partition.
fn base_offset(response: &ProduceResponse<'_>, what: &str) -> Result<i64, ClientError> {
    let partition = response.responses.first().and_then(|topic| topic.partition_responses.first());
    let partition = partition
        .ok_or_else(|| ClientError::Invalid(format!("the response to Produce doesn't mention {what}")))?;
    match ErrorCode::from_wire(partition.error_code) {
        ErrorCode::None => Ok(partition.base_offset),
        // It is stored already, at an offset that the broker has forgotten.
        ErrorCode::DuplicateSequenceNumber => Ok(-1),
        error => Err(ClientError::broker(what, error, partition.error_message.as_deref())),
    }
}
