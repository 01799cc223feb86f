//! Fetch: reads each partition up to its high watermark, and waits for records without polling.
//!
//! Records aren't read here: the answer names ranges of files that the connection sends.

use std::borrow::Cow;
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;
use std::time::Duration;

use ottla_core::partition::RoleKind;
use ottla_log::HEADER_BYTES;
use ottla_store::{ReadSlice, UpTo};
use ottla_types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId};
use ottla_wire::apis::Fetch;
use ottla_wire::messages::{
    FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use ottla_wire::{EncodeError, ErrorCode, Records};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::dispatch::LARGE_BYTES;
use super::duplicates::last_of_each;
use crate::broker::{Broker, TopicRef};
use crate::fetch::{
    FINAL_EPOCH, INITIAL_EPOCH, PartitionRequest, PartitionState, Session, SessionError, SharedSession,
    TopicKey, random_session_id,
};
use crate::net::{Outcome, Response};
use crate::partitions::{Partition, PurgatoryPlace, Standing, Woken};
use crate::replication;
use crate::request::{Begun, Call, CallMemory, Replier, read_error, session_error, unavailable_error};

/// The first version in which a consumer says its rack, and can be sent to a follower.
const FOLLOWER_READ_VERSION: i16 = 11;
/// A longer wait than this is answered early; clients simply ask again.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A fetch for which there is no room to wait is answered at once, and its client asked not to come again so
/// soon.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// What a fetch takes while it waits, in bytes, besides the names of its topics: for each partition, what is
/// asked and found and a place among those who wait for it, and its part of the answer; and for itself.
const WAITING_PARTITION_BYTES: usize =
    size_of::<PartitionRequest>() + size_of::<LogReadResult>() + 128 + size_of::<PartitionData<'_>>() + 128;
const WAITING_BYTES: usize = 1 << 10;

/// How the request belongs to a session.
enum InSession {
    /// It doesn't.
    None,
    /// It goes on with one, or begins one (`is_full`).
    Some { id: i32, session: SharedSession, generation: u64, is_full: bool },
}

/// All that is known of a fetch while it waits.
struct DelayedFetch {
    broker: Arc<Broker>,
    replier: Replier,
    session: InSession,
    requests: Vec<PartitionRequest>,
    min_bytes: usize,
    max_bytes: usize,
    read_committed: bool,
    /// The listener that it came by.
    listener: Arc<str>,
    /// The rack that the consumer says it is in; empty if it doesn't say.
    rack: Box<str>,
    deadline: Instant,
}

/// What was found of one partition.
struct LogReadResult {
    error: ErrorCode,
    leader: Option<LeaderIdAndEpoch>,
    high_watermark: Offset,
    log_start_offset: Offset,
    slice: Option<ReadSlice>,
    /// What waiting could add to `slice`.
    room: Room,
    /// The partition, and how it stood when it was read.
    partition: Option<(Arc<Partition>, Standing)>,
    /// The replica that the consumer should rather read from.
    preferred: Option<BrokerId>,
}

/// What was found of all partitions, in the order of the request, with its sums: when one of many is woken,
/// nobody looks at the others.
#[derive(Default)]
struct Gathered {
    found: Vec<LogReadResult>,
    sums: Sums,
}

/// What decides whether a fetch has enough: of one partition, or of all that it found.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// Bytes of records.
    bytes: usize,
    /// Partitions with records.
    with_records: usize,
    /// Those of which no more may be in the answer.
    full: usize,
    /// Those for whose sake the fetch is answered: with an error, another replica to read from, or more than
    /// fits.
    telling: usize,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, one: Self) {
        self.bytes += one.bytes;
        self.with_records += one.with_records;
        self.full += one.full;
        self.telling += one.telling;
    }
}

impl SubAssign for Sums {
    fn sub_assign(&mut self, one: Self) {
        self.bytes -= one.bytes;
        self.with_records -= one.with_records;
        self.full -= one.full;
        self.telling -= one.telling;
    }
}

impl Gathered {
    /// Puts in what was found of the partition at this place: a further one, or one that was found before.
    fn put(&mut self, at: usize, found: LogReadResult) {
        if let Some(before) = self.found.get(at) {
            self.sums -= before.sums();
        }
        self.sums += found.sums();
        match self.found.get_mut(at) {
            Some(before) => *before = found,
            None => self.found.push(found),
        }
    }
}

/// What waiting could add to what was found of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// More records, once there are some: all that may be read is in the answer, and there is room for a
    /// batch.
    More,
    /// Nothing, as the partition's limit is reached; other partitions may have more.
    None,
    /// Nothing, and it is no use to wait for others: this partition's next records don't fit into the answer,
    /// be it for the response's limit or because they are in another file, of which an answer holds a range
    /// of one only.
    Overfull,
}

/// Reads, then answers or goes on to wait.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<Fetch>()?;
        if replication::is_replica_fetch(&request) {
            return replication::begin(&call, &request);
        }
        let (session, requests) = match resolve(&call, &request) {
            Ok(resolved) => resolved,
            Err(error) => {
                let error_code = session_error(error).code();
                return call.respond::<Fetch>(&FetchResponse { error_code, ..Default::default() });
            }
        };
        let size = |number: i32| usize::try_from(number).unwrap_or(0);
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
        let max_bytes = size(request.max_bytes).min(call.broker.config.fetch.response_bytes_max);
        let waiting = DelayedFetch {
            broker: Arc::clone(&call.broker),
            replier: call.replier,
            session,
            requests,
            min_bytes: size(request.min_bytes).min(max_bytes),
            max_bytes,
            read_committed: request.isolation_level == 1,
            listener: Arc::clone(&call.context.listener),
            rack: request.rack_id.into(),
            deadline: Instant::now() + wait,
        };
        drop(request);
        let Call { memory, context, .. } = call;
        let mut gathered = waiting.gather();
        if waiting.is_enough(&gathered) {
            return Ok(Outcome::Respond(waiting.answer(gathered.found, Duration::ZERO)?));
        }
        let Some(kept) = waiting.broker.limits.waiting.keep(context.peer.ip(), waiting.bytes()) else {
            let pause = waiting.deadline.saturating_duration_since(Instant::now()).min(PAUSE_MAX);
            return Ok(Outcome::Respond(waiting.answer(gathered.found, pause)?));
        };
        let (woken, places) = waiting.enter(&mut gathered);
        drop::<CallMemory>(memory);
        Ok(Outcome::Later(Box::pin(async move {
            let _kept = kept;
            waiting.wait(&mut gathered, &woken, places).await;
            waiting.answer_later(gathered.found).await
        })))
    })
}

/// The partitions to read: those of the request, or those of the session that it changes.
fn resolve(
    call: &Call,
    request: &FetchRequest<'_>,
) -> Result<(InSession, Vec<PartitionRequest>), SessionError> {
    let by_id = call.replier.version >= 13;
    let sessions = &call.broker.sessions;
    let asked = asked(request, by_id);
    let (id, epoch) = (request.session_id, request.session_epoch);
    let now = std::time::Instant::now();
    if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
        if id != 0 {
            sessions.end(id);
        }
        let mut session = Session::new(by_id);
        if epoch == FINAL_EPOCH || asked.is_empty() || !session.update(asked.clone()) {
            return Ok((InSession::None, asked));
        }
        let (generation, requests) = session.requests();
        let in_session = match sessions.begin(session, now, random_session_id) {
            Some((id, session)) => InSession::Some { id, session, generation, is_full: true },
            None => InSession::None,
        };
        return Ok((in_session, requests));
    }
    let session = sessions.resume(id, epoch, by_id, now)?;
    let (generation, requests) = {
        let mut session = session.lock();
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
            let key = topic_key(by_id, topic.topic, topic.topic_id);
            topic.partitions.iter().map(move |partition| (key.clone(), PartitionIndex(*partition)))
        });
        session.forget(forgotten);
        let is_kept = session.update(asked) && sessions.resized(id, session.len(), session.bytes());
        if !is_kept {
            sessions.end(id);
            return Err(SessionError::UnknownId);
        }
        session.requests()
    };
    Ok((InSession::Some { id, session, generation, is_full: false }, requests))
}

fn asked(request: &FetchRequest<'_>, by_id: bool) -> Vec<PartitionRequest> {
    let topics = request.topics.iter().flat_map(|topic| {
        let key = topic_key(by_id, topic.topic, topic.topic_id);
        topic.partitions.iter().map(move |partition| {
            let request = PartitionRequest {
                topic: key.clone(),
                partition: PartitionIndex(partition.partition),
                current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                fetch_offset: Offset(partition.fetch_offset),
                max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            };
            ((request.topic.clone(), request.partition), request)
        })
    });
    // A partition that is named twice would wait twice.
    last_of_each(topics)
}

fn topic_key(by_id: bool, name: &str, id: ottla_wire::Uuid) -> TopicKey {
    if by_id { TopicKey::Id(TopicId(id)) } else { TopicKey::Name(name.into()) }
}

impl DelayedFetch {
    /// Looks up what there is of each partition, as much as fits.
    fn gather(&self) -> Gathered {
        let mut gathered = Gathered { found: Vec::with_capacity(self.requests.len()), ..Gathered::default() };
        for at in 0..self.requests.len() {
            self.look(&mut gathered, at);
        }
        gathered
    }

    /// Looks up what there is of one partition, as much as fits beside what was found of the others.
    fn look(&self, gathered: &mut Gathered, at: usize) {
        self.broker.metrics.count_fetch_look();
        let before = gathered.found.get(at).and_then(|found| found.slice.as_ref());
        let others = gathered.sums.bytes - before.map_or(0, |slice| slice.len);
        let is_first = gathered.sums.with_records == usize::from(before.is_some());
        let found = self.read_one(&self.requests[at], self.max_bytes.saturating_sub(others), is_first);
        gathered.put(at, found);
    }

    fn read_one(&self, request: &PartitionRequest, left: usize, is_first: bool) -> LogReadResult {
        let topic = match &request.topic {
            TopicKey::Name(name) => TopicRef::Name(name),
            TopicKey::Id(id) => TopicRef::Id(*id),
        };
        let epoch = request.current_leader_epoch;
        // Consumers that can be sent to followers (KIP-392) may read there.
        let held = match self.replier.version {
            FOLLOWER_READ_VERSION.. => self.broker.held_partition_in(topic, request.partition, epoch),
            _ => self.broker.led_partition_in(topic, request.partition, epoch),
        };
        let led = match held {
            Ok(led) => led,
            Err(why) => {
                let leader = self.broker.leader(topic, request.partition);
                return LogReadResult { leader, ..LogReadResult::error(unavailable_error(&why)) };
            }
        };
        let (log, from, limit) = (&led.partition.log, request.fetch_offset, led.standing.offsets.read_limit);
        let preferred = self.broker.preferred_replica(&led, from, &self.rack);
        let bytes = request.max_bytes.min(left);
        let found = match log.read(from, bytes, is_first, UpTo::Offset(limit)) {
            Ok(_) if preferred.is_some() => LogReadResult::error(ErrorCode::None),
            Ok(slice) => {
                let next = slice.as_ref().map_or(from, |slice| slice.next_offset);
                let room = match &slice {
                    // The first batch is sent however large it is.
                    None if is_first => Room::More,
                    Some(slice) if slice.ends_file && next < limit => Room::Overfull,
                    slice => room(request.max_bytes, left, slice.as_ref().map_or(0, |s| s.len), next < limit),
                };
                LogReadResult { slice, room, ..LogReadResult::error(ErrorCode::None) }
            }
            // This follower may just not have it yet.
            Err(_) if led.standing.role != RoleKind::Leader && from > log.end_offset() => {
                LogReadResult::error(ErrorCode::OffsetNotAvailable)
            }
            Err(error) => LogReadResult::error(read_error(&error)),
        };
        LogReadResult {
            preferred,
            high_watermark: led.standing.offsets.high_watermark,
            log_start_offset: led.standing.offsets.log_start,
            partition: Some((led.partition, led.standing)),
            ..found
        }
    }

    /// Whether there is as much as the client wants, or as much as it lets be sent: waiting would bring it
    /// nothing.
    fn is_enough(&self, gathered: &Gathered) -> bool {
        gathered.sums.bytes >= self.min_bytes
            || gathered.sums.full == gathered.found.len()
            || gathered.sums.telling > 0
            || Instant::now() >= self.deadline
    }

    /// Takes a place among those who wait for each partition.
    fn enter(&self, gathered: &mut Gathered) -> (Arc<Woken>, Vec<Option<PurgatoryPlace>>) {
        let woken = Arc::new(Woken::default());
        let mut places = Vec::with_capacity(self.requests.len());
        for at in 0..self.requests.len() {
            places.push(self.enter_one(gathered, at, &woken));
        }
        (woken, places)
    }

    /// Takes a place among those who wait for one partition, and looks at it again if anything came in
    /// between.
    fn enter_one(&self, gathered: &mut Gathered, at: usize, woken: &Arc<Woken>) -> Option<PurgatoryPlace> {
        let (partition, stood) = gathered.found[at].partition.clone()?;
        let place = partition.purgatory.enter(stood.offsets.high_watermark, woken, at);
        if partition.is_gone() || partition.standing().is_news_since(&stood) {
            self.look(gathered, at);
        }
        Some(place)
    }

    /// Waits until there is enough, the time is over, or the broker stops. Each time it looks at what was
    /// woken, and at nothing else.
    async fn wait(
        &self,
        gathered: &mut Gathered,
        woken: &Arc<Woken>,
        mut places: Vec<Option<PurgatoryPlace>>,
    ) {
        let mut stopping = self.broker.stopping.clone();
        while !self.is_enough(gathered) && !*stopping.borrow() {
            tokio::select! {
                _ = timeout_at(self.deadline, woken.changed()) => {}
                _ = wait_for_stop(&mut stopping) => {}
            }
            for at in woken.take() {
                // Its place ends first, which wakes others that wait for the same.
                places[at] = None;
                self.look(gathered, at);
                places[at] = self.enter_one(gathered, at, woken);
            }
        }
    }

    /// What it takes while it waits, in bytes.
    fn bytes(&self) -> usize {
        let names: usize = self
            .requests
            .iter()
            .map(|request| match &request.topic {
                TopicKey::Name(name) => name.len(),
                TopicKey::Id(_) => 0,
            })
            .sum();
        WAITING_BYTES + names + self.requests.len() * WAITING_PARTITION_BYTES
    }

    /// Encodes what was found; a large answer by a thread of its own. None if it can't be.
    async fn answer_later(self, found: Vec<LogReadResult>) -> Option<Response> {
        let tasks = self.broker.quorum.tasks().clone();
        let answer = if self.bytes() > LARGE_BYTES {
            tasks.blocking("encode a large answer", move || self.answer(found, Duration::ZERO)).await?
        } else {
            self.answer(found, Duration::ZERO)
        };
        answer.inspect_err(|error| tracing::error!(%error, "cannot encode a fetch response")).ok()
    }

    /// Encodes what was found; the client is asked to `pause` before it asks again.
    fn answer(&self, found: Vec<LogReadResult>, pause: Duration) -> Result<Response, EncodeError> {
        let (session_id, send) = match self.told(&found) {
            Ok(told) => told,
            Err(error_code) => {
                let response = FetchResponse { error_code: error_code.code(), ..Default::default() };
                return self.replier.encode::<Fetch>(&response, Vec::new());
            }
        };
        let leaders = found.iter().filter_map(|found| found.leader.clone());
        let node_endpoints = self.broker.endpoints(&self.listener, leaders);
        let mut slices = Vec::new();
        let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
        let mut last = None;
        for ((request, found), _) in self.requests.iter().zip(found).zip(send).filter(|(_, send)| *send) {
            let partition = found.into_response(request.partition, self.read_committed, &mut slices);
            match responses.last_mut() {
                Some(topic) if last == Some(&request.topic) => topic.partitions.push(partition),
                _ => responses.push(topic_response(&request.topic, partition)),
            }
            last = Some(&request.topic);
        }
        let throttle_time_ms = i32::try_from(pause.as_millis()).unwrap_or(i32::MAX);
        let response =
            FetchResponse { throttle_time_ms, session_id, responses, node_endpoints, ..Default::default() };
        self.replier.encode::<Fetch>(&response, slices)
    }

    /// The session's id, and which partitions are told.
    fn told(&self, found: &[LogReadResult]) -> Result<(i32, Vec<bool>), ErrorCode> {
        let InSession::Some { id, session, generation, is_full } = &self.session else {
            return Ok((0, vec![true; found.len()]));
        };
        let states: Vec<_> = found.iter().map(LogReadResult::state).collect();
        let send = session.lock().answer(*generation, &states, *is_full);
        // Another request went on with the session meanwhile: one of the two is wrong, and nobody knows
        // which.
        send.map(|send| (*id, send)).ok_or(ErrorCode::InvalidFetchSessionEpoch)
    }
}

/// What waiting could add to the `taken` bytes of a partition with a limit of its own, where the response has
/// `left` bytes for it. `has_more` says whether some may be read that weren't taken.
fn room(partition_max_bytes: usize, left: usize, taken: usize, has_more: bool) -> Room {
    let is_full = has_more || taken + HEADER_BYTES > partition_max_bytes.min(left);
    match is_full {
        false => Room::More,
        true if left <= partition_max_bytes => Room::Overfull,
        true => Room::None,
    }
}

async fn wait_for_stop(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The topic of a response that begins with this partition.
fn topic_response<'a>(topic: &'a TopicKey, first: PartitionData<'a>) -> FetchableTopicResponse<'a> {
    let partitions = vec![first];
    match topic {
        TopicKey::Name(name) => {
            FetchableTopicResponse { topic: Cow::Borrowed(name), partitions, ..Default::default() }
        }
        TopicKey::Id(id) => FetchableTopicResponse { topic_id: id.0, partitions, ..Default::default() },
    }
}

impl LogReadResult {
    fn error(error: ErrorCode) -> Self {
        Self {
            error,
            leader: None,
            high_watermark: Offset(-1),
            log_start_offset: Offset(-1),
            slice: None,
            room: Room::More,
            partition: None,
            preferred: None,
        }
    }

    /// What it adds to the sums of [`Gathered`].
    fn sums(&self) -> Sums {
        let is_told =
            self.error != ErrorCode::None || self.preferred.is_some() || self.room == Room::Overfull;
        Sums {
            bytes: self.slice.as_ref().map_or(0, |slice| slice.len),
            with_records: usize::from(self.slice.is_some()),
            full: usize::from(self.room == Room::None),
            telling: usize::from(is_told),
        }
    }

    fn state(&self) -> PartitionState {
        PartitionState {
            // Whoever is sent elsewhere has to hear it each time, too.
            is_error: self.error != ErrorCode::None || self.preferred.is_some(),
            has_records: self.slice.is_some(),
            high_watermark: self.high_watermark,
            log_start_offset: self.log_start_offset,
        }
    }

    fn into_response(
        self,
        partition: PartitionIndex,
        read_committed: bool,
        slices: &mut Vec<ReadSlice>,
    ) -> PartitionData<'static> {
        let records = match self.slice {
            None => Records::Bytes(Cow::Borrowed(&[])),
            Some(slice) => {
                let (length, token) = (slice.len, slices.len());
                slices.push(slice);
                Records::Splice { length, token }
            }
        };
        PartitionData {
            partition_index: partition.0,
            error_code: self.error.code(),
            high_watermark: self.high_watermark.0,
            last_stable_offset: self.high_watermark.0,
            log_start_offset: self.log_start_offset.0,
            current_leader: self.leader.unwrap_or_default(),
            aborted_transactions: read_committed.then(Vec::new),
            preferred_read_replica: self.preferred.map_or(-1, |id| id.0),
            records,
            ..Default::default()
        }
    }
}
