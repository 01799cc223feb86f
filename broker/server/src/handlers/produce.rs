//! Produce: appends each partition's batch, then waits as long as `acks` says.
//!
//! The batches go to the store as slices of the frame. Idempotence is the store's.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::partition::{AppendRefusal, Committed};
use ottla_log::{BatchError, BatchHeader, Codec, RefusedRecords};
use ottla_store::AppendError;
use ottla_types::{LeaderEpoch, Offset, PartitionIndex};
use ottla_wire::apis::Produce;
use ottla_wire::messages::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceResponse,
};
use ottla_wire::{EncodeError, ErrorCode, Records, Uuid};
use tokio::time::Instant;

use super::duplicates::{grouped, last_of_each};
use crate::broker::{Broker, TopicRef};
use crate::net::{LaterResponse, Outcome, Response};
use crate::partitions::{AppendOrigin, Partition, ProduceError, RequiredAcks};
use crate::request::{Begun, Call, Replier, append_error, unavailable_error};

/// Acknowledge once all replicas in sync have the records.
const ACKS_ALL: i16 = -1;
/// A longer time-out than this isn't waited for.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// The first version of the request whose senders know Zstandard (KIP-110).
const ZSTD_VERSION_MIN: i16 = 7;
/// So many records are named in an answer at most, of all its batches: each takes some hundred times its own
/// bytes.
const RECORD_ERRORS_MAX: usize = 1_000;
/// Where a batch, and a message of the formats before it, says which format it has.
const MAGIC_AT: usize = 16;
/// About what it takes to name a record that was refused, in bytes.
const RECORD_ERROR_BYTES: usize = 160;
/// The same of a topic or partition while it waits, with its part of the answer.
const PART_BYTES: usize = size_of::<OnePartition>() + 256;
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
        let refused = refusal(&request);
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(TIMEOUT_MAX);
        let mut outcomes = Vec::with_capacity(request.topic_data.len());
        let mut errors_left = RECORD_ERRORS_MAX;
        for (topic, batches) in batches(&request) {
            outcomes.push(append_topic(&call, topic, batches, refused, acks, &mut errors_left).await);
        }
        drop(request);
        if acks == 0 {
            return Ok(without_answer(&outcomes));
        }
        let Call { frame, memory, replier, broker, context, .. } = call;
        let asked = ProduceReply { broker, listener: Arc::clone(&context.listener), replier };
        // The records are written.
        drop(frame);
        if acks != ACKS_ALL || outcomes.iter().flat_map(|t| &t.partitions).all(|p| p.pending.is_none()) {
            return Ok(Outcome::Respond(asked.answer(outcomes)?));
        }
        let deadline = Instant::now() + timeout;
        let parts = outcomes.iter().map(|topic| 1 + topic.partitions.len()).sum::<usize>();
        let refused = outcomes.iter().flat_map(|topic| &topic.partitions);
        let refused = refused.map(|one| one.response.record_errors.len()).sum::<usize>();
        let is_brief = parts <= BRIEF_PARTS_MAX && refused == 0;
        let waiting_bytes = parts * PART_BYTES + refused * RECORD_ERROR_BYTES;
        // The memory of the frame is free for others while this waits, unless there is no other for what
        // waits.
        let kept = match is_brief {
            true => None,
            false => asked.broker.limits.waiting.keep(context.peer.ip(), waiting_bytes),
        };
        let memory = (!is_brief && kept.is_none()).then_some(memory);
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

/// A client may know sooner than this broker that it became leader. Wait briefly for the new image, or for
/// the logs to follow it: after NOT_LEADER_OR_FOLLOWER the client would back off.
async fn hear_who_leads(call: &Call, request: &ProduceRequest<'_>) {
    let by_id = call.replier.version >= 13;
    let (image, _) = call
        .broker
        .image_without_doubt(|image, doubted| {
            request.topic_data.iter().any(|topic| {
                let known = TopicRef::new(by_id, topic.name, topic.topic_id).find(image);
                topic
                    .partition_data
                    .iter()
                    .filter_map(|data| known?.partition(PartitionIndex(data.index))?.leader)
                    .any(|leader| doubted.contains(&leader))
            })
        })
        .await;
    if *call.broker.partitions.applied().borrow() >= image.version {
        return;
    }
    if request.topic_data.iter().any(|topic| {
        let named = TopicRef::new(by_id, topic.name, topic.topic_id);
        topic
            .partition_data
            .iter()
            .any(|data| call.broker.led_partition(named, PartitionIndex(data.index)).is_err())
    }) {
        call.broker.wait_applied(image.version).await;
    }
}

/// What refuses the whole request.
fn refusal(request: &ProduceRequest<'_>) -> Option<(ErrorCode, &'static str)> {
    if !(-1..=1).contains(&request.acks) {
        return Some((ErrorCode::InvalidRequiredAcks, "acks must be 0, 1 or -1 (all)"));
    }
    if request.transactional_id.is_some() {
        return Some((ErrorCode::InvalidTxnState, "transactions are not supported yet"));
    }
    let data = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let mut batches = data.filter_map(|data| BatchHeader::new(data.records.bytes()?));
    batches.any(|batch| batch.is_transactional()).then_some((
        ErrorCode::TransactionalIdAuthorizationFailed,
        "a batch is part of a transaction, and the request names no transactional id",
    ))
}

/// With acks=0 a producer learns of a failure only by its connection's end.
fn without_answer(outcomes: &[Outcomes]) -> Outcome {
    match outcomes
        .iter()
        .flat_map(|topic| &topic.partitions)
        .find(|p| p.response.error_code != ErrorCode::None.code())
    {
        None => Outcome::Silent,
        Some(partition) => {
            let error = ErrorCode::from_wire(partition.response.error_code);
            Outcome::Close(format!("a produce request with acks=0 failed: {error}"))
        }
    }
}

/// A topic as a request names it: by name or by id.
type NamedTopic<'a> = (&'a str, Uuid);

/// The batches to append, by topic: of those for one partition the last, wherever it stands.
fn batches<'r, 'a>(
    request: &'r ProduceRequest<'a>,
) -> Vec<(NamedTopic<'a>, Vec<&'r PartitionProduceData<'a>>)> {
    let named = request.topic_data.iter().flat_map(|topic| {
        let name = (topic.name, topic.topic_id);
        topic.partition_data.iter().map(move |data| ((name, data.index), (name, data)))
    });
    grouped(last_of_each(named))
}

async fn append_topic(
    call: &Call,
    (name, topic_id): NamedTopic<'_>,
    batches: Vec<&PartitionProduceData<'_>>,
    refused: Option<(ErrorCode, &str)>,
    acks: i16,
    errors_left: &mut usize,
) -> Outcomes {
    let asked = TopicRef::new(call.replier.version >= 13, name, topic_id);
    let mut partitions = Vec::with_capacity(batches.len());
    for data in batches {
        let mut one = match refused {
            Some((code, message)) => failed(data, code, message.to_owned()),
            None => append_partition(call, asked, data, acks).await,
        };
        let record_errors = &mut one.response.record_errors;
        record_errors.truncate(*errors_left);
        record_errors.shrink_to_fit();
        *errors_left -= record_errors.len();
        partitions.push(one);
    }
    Outcomes { topic: name.to_owned(), topic_id, partitions }
}

fn failed(data: &PartitionProduceData<'_>, code: ErrorCode, message: String) -> OnePartition {
    let response = PartitionProduceResponse {
        index: data.index,
        error_code: code.code(),
        base_offset: -1,
        error_message: Some(Cow::Owned(message)),
        ..Default::default()
    };
    OnePartition { response, pending: None }
}

/// Checks and appends one batch. Checking may take a while; the batches of a connection are checked one after
/// the other.
async fn append_partition(
    call: &Call,
    topic: TopicRef<'_>,
    data: &PartitionProduceData<'_>,
    acks: i16,
) -> OnePartition {
    let records = match records(call, &data.records) {
        Ok(records) => records,
        Err((code, message)) => return failed(data, code, message.to_owned()),
    };
    let led = match call.broker.led_partition(topic, PartitionIndex(data.index)) {
        Ok(led) => led,
        Err(why) => return failed(data, unavailable_error(&why), why.to_string()),
    };
    let origin = AppendOrigin::Client(match acks {
        ACKS_ALL => RequiredAcks::All,
        _ => RequiredAcks::AtMostLeader,
    });
    let checked = call.broker.openings.check(&led.partition, &records, origin).await;
    let appended = checked.and_then(|checked| led.partition.append(&checked, origin));
    let pending = |last: Offset, epoch: LeaderEpoch| {
        let is_waiting = led.partition.committed(last, epoch) != Committed::Yes;
        is_waiting.then(|| (Arc::clone(&led.partition), last, epoch))
    };
    match appended {
        Ok((appended, epoch)) => OnePartition {
            response: PartitionProduceResponse {
                index: data.index,
                base_offset: appended.base_offset.0,
                log_append_time_ms: appended.log_append_time_ms,
                log_start_offset: appended.log_start_offset.0,
                ..Default::default()
            },
            pending: pending(appended.last_offset, epoch),
        },
        Err(error) => {
            let code = produce_error(&error);
            if code == ErrorCode::KafkaStorageError
                && let Some(untold) = call.broker.storage_errors.allow()
            {
                tracing::warn!(%error, untold, "records are refused");
            }
            let mut one = failed(data, code, error.to_string());
            match error {
                // Clients take this error for success, so it has to be as true as one.
                ProduceError::AppendedBefore { last, epoch } => one.pending = pending(last, epoch),
                ProduceError::Log(AppendError::Batch(BatchError::Refused(refused))) => {
                    one.response.record_errors = record_errors(&refused);
                }
                _ => {}
            }
            one
        }
    }
}

/// Which records of a batch are to blame. Clients tell of all others that they were part of such a batch
/// (KIP-467).
fn record_errors(refused: &RefusedRecords) -> Vec<BatchIndexAndErrorMessage<'static>> {
    refused
        .first()
        .iter()
        .map(|(index, fault)| BatchIndexAndErrorMessage {
            batch_index: *index,
            batch_index_error_message: Some(Cow::Owned(fault.to_string())),
        })
        .collect()
}

/// The batch as a slice of the frame's own memory.
fn records(call: &Call, records: &Records<'_>) -> Result<Bytes, (ErrorCode, &'static str)> {
    let missing = (ErrorCode::InvalidRecord, "a partition's records are missing");
    let bytes = records.bytes().filter(|bytes| !bytes.is_empty()).ok_or(missing)?;
    let header = BatchHeader::new(bytes);
    // A message of an older format may be shorter than a batch's header.
    if header.is_none() && matches!(bytes.get(MAGIC_AT), Some(0 | 1)) {
        return Err((ErrorCode::InvalidRecord, "a partition's records have a message format before 2"));
    }
    let codec = header.and_then(|header| header.codec());
    if codec == Some(Codec::Zstd) && call.replier.version < ZSTD_VERSION_MIN {
        let code = ErrorCode::UnsupportedCompressionType;
        return Err((code, "Zstandard needs version 7 of Produce, or later"));
    }
    Ok(call.frame.slice_ref(bytes))
}

fn produce_error(error: &ProduceError) -> ErrorCode {
    match error {
        ProduceError::Refused(AppendRefusal::NotLeader) => ErrorCode::NotLeaderOrFollower,
        // Of all that is retried the one that says for certain that nothing was appended.
        ProduceError::Refused(AppendRefusal::NotEnoughReplicas { .. }) | ProduceError::UnderRepair => {
            ErrorCode::NotEnoughReplicas
        }
        ProduceError::Internal => ErrorCode::InvalidTopicException,
        ProduceError::AppendedBefore { .. } => ErrorCode::DuplicateSequenceNumber,
        ProduceError::Log(error) => append_error(error),
    }
}

/// Waits for all that is pending; what isn't acknowledged in time is reported as timed out, which means
/// unknown.
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

/// What is needed to answer a request whose records are written.
struct ProduceReply {
    broker: Arc<Broker>,
    listener: Arc<str>,
    replier: Replier,
}

impl ProduceReply {
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
        let responses = outcomes
            .into_iter()
            .map(|topic| TopicProduceResponse {
                name: Cow::Owned(topic.topic),
                topic_id: topic.topic_id,
                partition_responses: topic
                    .partitions
                    .into_iter()
                    .map(|partition| partition.response)
                    .collect(),
            })
            .collect();
        let response = ProduceResponse { responses, node_endpoints, ..Default::default() };
        self.replier.encode::<Produce>(&response, Vec::new())
    }
}
