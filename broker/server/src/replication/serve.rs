//! Answers followers' fetches.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_core::partition::FollowerFetch;
use ottla_types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionIndex, TopicId};
use ottla_wire::apis::Fetch;
use ottla_wire::messages::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use ottla_wire::{EncodeError, ErrorCode, Records};
use tokio::time::{Instant, timeout_at};

use crate::broker::Broker;
use crate::fetch::{Ask, ReplicaFetchData, ReplicaSession, random_session_id};
use crate::net::{Outcome, Response};
use crate::request::{Call, CallError, Replier, replica_fetch_error};

/// The first version in which a follower says its broker epoch, its disk, and the high watermark that it
/// knows. Brokers of one cluster need no older one.
const VERSION_MIN: i16 = 18;
/// A longer wait than this is answered early.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Whether a request comes from a follower, or from someone who says so.
pub fn is_replica_fetch(request: &FetchRequest<'_>) -> bool {
    request.replica_id >= 0 || request.replica_state.replica_id >= 0
}

/// Takes a follower's request, then answers or goes on to wait.
///
/// # Errors
/// When the answer can't be encoded.
pub fn begin(call: &Call, request: &FetchRequest<'_>) -> Result<Outcome, CallError> {
    let (replier, broker) = (call.replier, &call.broker);
    let session = match session(call, request) {
        Ok(session) => session,
        Err(error) => {
            let response = FetchResponse { error_code: error.code(), ..Default::default() };
            return Ok(Outcome::Respond(replier.encode::<Fetch>(&response, Vec::new())?));
        }
    };
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let waiting = DelayedReplicaFetch {
        broker: Arc::clone(broker),
        replier,
        session,
        epoch: request.session_epoch,
        max_bytes: max_bytes.min(broker.config.fetch.response_bytes_max),
        deadline: Instant::now() + wait,
    };
    match waiting.take() {
        Some(told) if told.is_empty() && !wait.is_zero() => Ok(Outcome::Later(Box::pin(async move {
            let told = waiting.wait().await;
            let answer = waiting.answer(told);
            answer.inspect_err(|error| tracing::error!(%error, "cannot encode a fetch response")).ok()
        }))),
        told => Ok(Outcome::Respond(waiting.answer(told.unwrap_or_default())?)),
    }
}

/// Checks who asks, and takes the request into the session.
fn session(call: &Call, request: &FetchRequest<'_>) -> Result<Arc<ReplicaSession>, ErrorCode> {
    let broker = &call.broker;
    if call.replier.version < VERSION_MIN {
        return Err(ErrorCode::UnsupportedVersion);
    }
    // Who may speak here is to be a matter of rights once there are identities; until then only of the place.
    if *call.context.listener != *broker.config.listeners.inter_broker {
        return Err(ErrorCode::ClusterAuthorizationFailed);
    }
    let follower = BrokerId(request.replica_state.replica_id);
    if follower == broker.config.node_id || broker.image().broker(follower).is_none() {
        return Err(ErrorCode::BrokerIdNotRegistered);
    }
    let sessions = &broker.replica_sessions;
    let session = if request.session_epoch == 0 {
        sessions.begin(follower, random_session_id())
    } else {
        sessions.get(follower, request.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?
    };
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        topic.partitions.iter().map(|index| (TopicId(topic.topic_id), PartitionIndex(*index)))
    });
    let broker_epoch = BrokerEpoch(request.replica_state.replica_epoch);
    let asks = request.topics.iter().flat_map(|topic| {
        let topic_id = TopicId(topic.topic_id);
        topic.partitions.iter().map(move |asked| ask((topic_id, asked), follower, broker_epoch))
    });
    let is_next = session.update(request.session_epoch, &broker.partitions, asks, forgotten);
    is_next.then_some(session).ok_or(ErrorCode::InvalidFetchSessionEpoch)
}

fn ask((topic_id, asked): (TopicId, &FetchPartition), broker: BrokerId, broker_epoch: BrokerEpoch) -> Ask {
    let last_epoch = LeaderEpoch(asked.last_fetched_epoch);
    Ask {
        key: (topic_id, PartitionIndex(asked.partition)),
        fetch: FollowerFetch {
            broker,
            broker_epoch,
            directory: DirectoryId(asked.replica_directory_id),
            leader_epoch: LeaderEpoch(asked.current_leader_epoch),
            fetch_offset: Offset(asked.fetch_offset),
            last_epoch: (last_epoch.0 >= 0).then_some(last_epoch),
        },
        high_watermark: Offset(asked.high_watermark),
        max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
    }
}

/// All that is known of a fetch while it waits.
struct DelayedReplicaFetch {
    broker: Arc<Broker>,
    replier: Replier,
    session: Arc<ReplicaSession>,
    epoch: i32,
    max_bytes: usize,
    deadline: Instant,
}

impl DelayedReplicaFetch {
    /// Waits until there is something to tell, the time is over, or the follower goes on with another
    /// request.
    async fn wait(&self) -> Vec<ReplicaFetchData> {
        loop {
            let until = self.session.held_until().map_or(self.deadline, |held| held.min(self.deadline));
            let is_over =
                timeout_at(until, self.session.ready.changed()).await.is_err() && until == self.deadline;
            match self.take() {
                Some(told) if told.is_empty() && !is_over => {}
                Some(told) => return told,
                None => {
                    // What woke this one was meant for the newer one.
                    self.session.ready.wake();
                    return Vec::new();
                }
            }
        }
    }

    fn take(&self) -> Option<Vec<ReplicaFetchData>> {
        self.session.take(self.epoch, self.max_bytes, &self.broker.throttles.leader)
    }

    fn answer(&self, told: Vec<ReplicaFetchData>) -> Result<Response, EncodeError> {
        let mut slices = Vec::new();
        let mut places: HashMap<TopicId, usize> = HashMap::new();
        let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
        for told in told {
            let topic_id = told.key.0;
            let place = *places.entry(topic_id).or_insert_with(|| {
                responses.push(FetchableTopicResponse { topic_id: topic_id.0, ..Default::default() });
                responses.len() - 1
            });
            if let Some(slice) = &told.slice {
                self.broker.metrics.count_replicated_out(slice.len);
            }
            responses[place].partitions.push(partition_data(told, &mut slices));
        }
        let response = FetchResponse { session_id: self.session.id, responses, ..Default::default() };
        self.replier.encode::<Fetch>(&response, slices)
    }
}

fn partition_data(
    told: ReplicaFetchData,
    slices: &mut Vec<ottla_store::ReadSlice>,
) -> PartitionData<'static> {
    let records = match told.slice {
        None => Records::Bytes(Cow::Borrowed(&[])),
        Some(slice) => {
            let (length, token) = (slice.len, slices.len());
            slices.push(slice);
            Records::Splice { length, token }
        }
    };
    let diverging = told.diverging.map(|(epoch, end)| EpochEndOffset { epoch: epoch.0, end_offset: end.0 });
    PartitionData {
        partition_index: told.key.1.0,
        error_code: told.error.as_ref().map_or(ErrorCode::None, replica_fetch_error).code(),
        high_watermark: told.high_watermark.0,
        last_stable_offset: told.high_watermark.0,
        log_start_offset: told.log_start.0,
        diverging_epoch: diverging.unwrap_or_default(),
        records,
        ..Default::default()
    }
}
