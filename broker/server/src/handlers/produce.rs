//! Produce: appends each partition's batch, then waits as long as `acks` says.
//!
//! The batches go to the store as slices of the frame. Idempotence is the store's.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::metadata::MetadataImage;
use ottla_core::partition::{AppendRefusal, Committed};
use ottla_log::BatchHeader;
use ottla_types::{BrokerId, LeaderEpoch, Offset, PartitionIndex};
use ottla_wire::apis::Produce;
use ottla_wire::messages::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use ottla_wire::{EncodeError, ErrorCode, Records, Uuid};
use tokio::time::Instant;

use super::call::{Begun, Call, Replier};
use super::duplicates::last_of_each;
use super::errors::{append_error, unavailable_error};
use crate::broker::{Broker, TopicRef, Unavailable};
use crate::net::{LaterResponse, Outcome, Response};
use crate::partitions::{Partition, ProduceError};

/// Acknowledge once all replicas in sync have the records.
const ACKS_ALL: i16 = -1;
/// A longer time-out than this isn't waited for.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Requests with no more topics and partitions are brief to wait with.
const BRIEF_PARTS_MAX: usize = 4;

/// What became of one partition's batch.
struct Outcomes {
    topic: String,
    topic_id: Uuid,
    partitions: Vec<OnePartition>,
}

struct OnePartition {
    response: PartitionProduceResponse<'static>,
    /// What is still waited for.
    pending: Option<(Arc<Partition>, Offset, LeaderEpoch)>,
}

/// Appends all batches, then answers or goes on to wait.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<Produce>()?;
        let acks = request.acks;
        hear_who_leads(&call, &request).await;
        let refused = refusal(acks, request.transactional_id);
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(TIMEOUT_MAX);
        let append = |topic: &TopicProduceData<'_>| append_topic(&call, topic, refused, acks);
        let outcomes: Vec<Outcomes> = request.topic_data.iter().map(append).collect();
        drop(request);
        if acks == 0 {
            return Ok(without_answer(&outcomes));
        }
        let Call { frame, memory, replier, broker, context } = call;
        let asked = Asked { broker, listener: Arc::clone(&context.listener), replier };
        // The records are written.
        drop(frame);
        if acks != ACKS_ALL || outcomes.iter().flat_map(|t| &t.partitions).all(|p| p.pending.is_none()) {
            return Ok(Outcome::Respond(asked.answer(outcomes)?));
        }
        let deadline = Instant::now() + timeout;
        let parts = outcomes.iter().map(|topic| 1 + topic.partitions.len()).sum::<usize>();
        let is_brief = parts <= BRIEF_PARTS_MAX;
        // The memory of the frame is free for others while this waits, unless there is no other for what waits.
        let kept = match is_brief {
            true => None,
            false => asked.broker.limits.waiting.keep(context.peer.ip(), parts * size_of::<OnePartition>()),
        };
        let memory = memory.filter(|_| !is_brief && kept.is_none());
        let later: LaterResponse = Box::pin(async move {
            let _kept = (kept, memory);
            asked
                .answer(wait(outcomes, deadline).await)
                .inspect_err(|error| tracing::error!(%error, "cannot encode a produce response"))
                .ok()
        });
        Ok(if is_brief { Outcome::LaterBrief(later) } else { Outcome::Later(later) })
    })
}

/// A client may have heard before this broker that it leads now. Then the leader that this one knows is in doubt and the
/// word on its way, or it is here and not applied yet: a refusal would send the client to sleep.
async fn hear_who_leads(call: &Call, request: &ProduceRequest<'_>) {
    let by_id = call.replier.version >= 13;
    let concerns = |image: &MetadataImage, doubted: &[BrokerId]| {
        request.topic_data.iter().any(|topic| {
            let known = TopicRef::new(by_id, topic.name, topic.topic_id).find(image);
            let leader =
                |data: &PartitionProduceData<'_>| known?.partition(PartitionIndex(data.index))?.leader;
            topic.partition_data.iter().filter_map(leader).any(|leader| doubted.contains(&leader))
        })
    };
    let (image, _) = call.broker.image_without_doubt(concerns).await;
    if *call.broker.partitions.applied().borrow() >= image.version {
        return;
    }
    let is_refused = |topic: &TopicProduceData<'_>| {
        let named = TopicRef::new(by_id, topic.name, topic.topic_id);
        let refused = |data: &PartitionProduceData<'_>| {
            call.broker.led_partition(named, PartitionIndex(data.index)).is_err()
        };
        topic.partition_data.iter().any(refused)
    };
    if request.topic_data.iter().any(is_refused) {
        call.broker.wait_applied(image.version).await;
    }
}

/// What refuses the whole request.
fn refusal(acks: i16, transactional_id: Option<&str>) -> Option<(ErrorCode, &'static str)> {
    if !(-1..=1).contains(&acks) {
        return Some((ErrorCode::InvalidRequiredAcks, "acks must be 0, 1 or -1 (all)"));
    }
    transactional_id.map(|_| (ErrorCode::InvalidTxnState, "transactions are not supported yet"))
}

/// With acks=0 a producer learns of a failure only by its connection's end.
fn without_answer(outcomes: &[Outcomes]) -> Outcome {
    let failed = |p: &&OnePartition| p.response.error_code != ErrorCode::None.code();
    match outcomes.iter().flat_map(|topic| &topic.partitions).find(failed) {
        None => Outcome::Silent,
        Some(partition) => {
            let error = ErrorCode::from_wire(partition.response.error_code);
            Outcome::Close(format!("a produce request with acks=0 failed: {error}"))
        }
    }
}

fn append_topic(
    call: &Call,
    topic: &TopicProduceData<'_>,
    refused: Option<(ErrorCode, &str)>,
    acks: i16,
) -> Outcomes {
    let asked = TopicRef::new(call.replier.version >= 13, topic.name, topic.topic_id);
    let append = |data: &PartitionProduceData<'_>| {
        let result = match refused {
            Some((code, message)) => Err((code, message.to_owned())),
            None => append_partition(call, asked, data, acks),
        };
        result.unwrap_or_else(|(code, message)| OnePartition {
            response: PartitionProduceResponse {
                index: data.index,
                error_code: code.code(),
                base_offset: -1,
                error_message: Some(Cow::Owned(message)),
                ..Default::default()
            },
            pending: None,
        })
    };
    let named = topic.partition_data.iter().map(|data| (data.index, data));
    let partitions = last_of_each(named).into_iter().map(append).collect();
    Outcomes { topic: topic.name.to_owned(), topic_id: topic.topic_id, partitions }
}

fn append_partition(
    call: &Call,
    topic: TopicRef<'_>,
    data: &PartitionProduceData<'_>,
    acks: i16,
) -> Result<OnePartition, (ErrorCode, String)> {
    let records = records(call, &data.records)?;
    let unavailable = |why: Unavailable| (unavailable_error(&why), why.to_string());
    let led = call.broker.led_partition(topic, PartitionIndex(data.index)).map_err(unavailable)?;
    let pending = |last: Offset, epoch: LeaderEpoch| {
        let is_waiting = led.partition.committed(last, epoch) != Committed::Yes;
        is_waiting.then(|| (Arc::clone(&led.partition), last, epoch))
    };
    match led.partition.append(&records, acks == ACKS_ALL) {
        Ok((appended, epoch)) => Ok(OnePartition {
            response: PartitionProduceResponse {
                index: data.index,
                base_offset: appended.base_offset.0,
                log_append_time_ms: appended.log_append_time_ms,
                log_start_offset: appended.log_start_offset.0,
                ..Default::default()
            },
            pending: pending(appended.last_offset, epoch),
        }),
        // Clients take this error for success, so it has to be as true as one.
        Err(error @ ProduceError::AppendedBefore { last, epoch }) => Ok(OnePartition {
            response: PartitionProduceResponse {
                index: data.index,
                error_code: ErrorCode::DuplicateSequenceNumber.code(),
                base_offset: -1,
                error_message: Some(Cow::Owned(error.to_string())),
                ..Default::default()
            },
            pending: pending(last, epoch),
        }),
        Err(error) => {
            let code = produce_error(&error);
            if code == ErrorCode::KafkaStorageError
                && let Some(untold) = call.broker.storage_errors.allow()
            {
                tracing::warn!(%error, untold, "records are refused");
            }
            Err((code, error.to_string()))
        }
    }
}

/// The batch as a slice of the frame's own memory.
fn records(call: &Call, records: &Records<'_>) -> Result<Bytes, (ErrorCode, String)> {
    let empty = || (ErrorCode::InvalidRecord, "a partition's records are missing".to_owned());
    let bytes = records.bytes().filter(|bytes| !bytes.is_empty()).ok_or_else(empty)?;
    if BatchHeader::new(bytes).is_some_and(|header| header.is_transactional()) {
        return Err((ErrorCode::InvalidTxnState, "transactions are not supported yet".to_owned()));
    }
    Ok(call.frame.slice_ref(bytes))
}

fn produce_error(error: &ProduceError) -> ErrorCode {
    match error {
        ProduceError::Refused(AppendRefusal::NotLeader) => ErrorCode::NotLeaderOrFollower,
        // Of all that is retried the one that says for certain that nothing was appended.
        ProduceError::Refused(AppendRefusal::NotEnoughReplicas { .. }) | ProduceError::Mending => {
            ErrorCode::NotEnoughReplicas
        }
        ProduceError::AppendedBefore { .. } => ErrorCode::DuplicateSequenceNumber,
        ProduceError::Log(error) => append_error(error),
    }
}

/// Waits for all that is pending; what isn't acknowledged in time is reported as timed out, which means unknown.
async fn wait(mut outcomes: Vec<Outcomes>, deadline: Instant) -> Vec<Outcomes> {
    for one in outcomes.iter_mut().flat_map(|topic| &mut topic.partitions) {
        let Some((partition, offset, epoch)) = one.pending.take() else { continue };
        let (code, message) = match partition.wait_committed(offset, epoch, deadline).await {
            Committed::Yes => continue,
            Committed::Waiting => (
                ErrorCode::RequestTimedOut,
                "the records were not synced by all replicas in sync in time: they may yet be",
            ),
            Committed::UnderMinimum => (
                ErrorCode::NotEnoughReplicasAfterAppend,
                "fewer replicas are in sync than min.insync.replicas: the records may yet be acknowledged",
            ),
            Committed::Unknown => {
                (ErrorCode::NotLeaderOrFollower, "another broker leads now: it may have the records, or not")
            }
        };
        one.response.error_code = code.code();
        one.response.base_offset = -1;
        one.response.error_message = Some(Cow::Borrowed(message));
    }
    outcomes
}

/// What the answer needs to know.
struct Asked {
    broker: Arc<Broker>,
    listener: Arc<str>,
    replier: Replier,
}

impl Asked {
    /// Encodes what became of everything; who came to the wrong broker is told the right one.
    fn answer(&self, mut outcomes: Vec<Outcomes>) -> Result<Response, EncodeError> {
        let by_id = self.replier.version >= 13;
        for topic in &mut outcomes {
            let asked = TopicRef::new(by_id, &topic.topic, topic.topic_id);
            let astray = ErrorCode::NotLeaderOrFollower.code();
            for one in topic.partitions.iter_mut().filter(|one| one.response.error_code == astray) {
                let leader = self.broker.leader(asked, PartitionIndex(one.response.index));
                one.response.current_leader = leader.unwrap_or_default();
            }
        }
        let partitions = outcomes.iter().flat_map(|topic| &topic.partitions);
        let leaders = partitions.map(|one| one.response.current_leader.clone());
        let node_endpoints = self.broker.endpoints(&self.listener, leaders);
        let topic = |topic: Outcomes| TopicProduceResponse {
            name: Cow::Owned(topic.topic),
            topic_id: topic.topic_id,
            partition_responses: topic.partitions.into_iter().map(|partition| partition.response).collect(),
        };
        let responses = outcomes.into_iter().map(topic).collect();
        let response = ProduceResponse { responses, node_endpoints, ..Default::default() };
        self.replier.encode::<Produce>(&response, Vec::new())
    }
}
