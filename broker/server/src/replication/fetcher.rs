//! Carries the streams from leaders: asks each for the partitions that it leads and this broker follows, and
//! does what it answers.
//!
//! Two requests are on the way at most. The first one mostly waits at the leader; when a partition is synced
//! and can be asked for again, the second one goes out and the leader answers the first. So no partition
//! waits for another's sync.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_client::{ClientConfig, ClientError, Connection, Reply};
use ottla_core::partition::{FetchAnswer, FetchSpec, FetchVerdict, RoleKind};
use ottla_quorum::Tasks;
use ottla_types::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId};
use ottla_wire::ErrorCode;
use ottla_wire::apis::Fetch;
use ottla_wire::messages::{
    FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, PartitionData, ReplicaState,
};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, trace};

use super::peers::replica_client_id;
use crate::broker::Broker;
use crate::net::RateLimit;
use crate::partitions::{DecidedCut, Followed, Opened, Partition, PartitionKey, ReadyList};
use crate::throttle::HeldBack;

/// The pause after a connection that failed, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The pause before a partition is asked for again that the leader refused, as when either side has an older
/// image.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// The pause before a log is cut that couldn't be.
const CUT_AGAIN: Duration = Duration::from_secs(1);
/// The longest that a leader that answers nothing is waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Requests on the way.
const IN_FLIGHT_MAX: usize = 2;
/// Partitions that one request asks for; the others follow in the next.
const ASKS_MAX: usize = 5_000;

/// Carries all streams until it is dropped.
pub async fn follow_leaders(broker: Arc<Broker>, mut opened: Opened) {
    let mut fetchers = JoinSet::new();
    while let Some((leader, ready)) = opened.recv().await {
        let fetcher = Fetcher::new(Arc::clone(&broker), leader, ready);
        broker.quorum.tasks().spawn_in(&mut fetchers, &Handle::current(), "follow a leader", fetcher.run());
    }
}

/// The stream from one leader.
struct Fetcher {
    broker: Arc<Broker>,
    leader: BrokerId,
    ready: Arc<ReadyList>,
    warnings: RateLimit,
    failures: Arc<RateLimit>,
}

/// Why a stream has to be begun anew.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    /// The metadata has no address of the leader.
    #[error("it has no listener {0}")]
    NoAddress(String),
    /// It can't be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It doesn't go on with the session.
    #[error("it answers {0}")]
    Refused(ErrorCode),
    /// This broker has registered again: what it said before was said by another registration, which may not
    /// join those in sync. So all of it is said again.
    #[error("this broker has registered again")]
    RegisteredAgain,
}

type InFlight = Pin<Box<dyn Future<Output = Result<Reply<Fetch>, ClientError>> + Send>>;

/// A connection with its session.
struct Stream {
    connection: Arc<Connection>,
    /// The registration of this broker in which everything was asked.
    broker_epoch: Option<BrokerEpoch>,
    /// The session, once the leader has named it; 0 before.
    session_id: i32,
    /// The number of the next request in the session.
    epoch: i32,
    /// What is asked and not answered, and by which request.
    asked: HashMap<PartitionKey, (FetchSpec, i32)>,
    /// The partitions that the leader has in the session.
    in_session: HashSet<PartitionKey>,
    in_flight: VecDeque<(i32, InFlight)>,
    /// What is to be asked for again, and when.
    again: Vec<PartitionKey>,
    again_at: Instant,
    held: HeldBack,
}

impl Fetcher {
    /// A stream that isn't connected yet.
    fn new(broker: Arc<Broker>, leader: BrokerId, ready: Arc<ReadyList>) -> Self {
        Self { broker, leader, ready, warnings: RateLimit::new(1), failures: Arc::new(RateLimit::new(1)) }
    }

    /// Follows the leader for as long as it leads anything; then waits until it does again.
    async fn run(self) {
        let mut pause = PAUSE_MIN;
        loop {
            self.wait_for_partitions().await;
            let connected = Instant::now();
            let error = match self.connect().await {
                Ok((stream, leader_epoch)) => match self.follow(stream).await {
                    Ok(()) | Err(StreamError::RegisteredAgain) => continue,
                    Err(error) => {
                        if matches!(error, StreamError::Client(ClientError::Connection { .. })) {
                            self.broker.doubts.lose(self.leader, leader_epoch, std::time::Instant::now());
                        }
                        error
                    }
                },
                Err(error) => error,
            };
            if let Some(not_logged) = self.warnings.allow() {
                info!(leader = self.leader.0, %error, not_logged, "cannot follow a leader, trying again");
            }
            pause = if connected.elapsed() > PAUSE_MAX { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            sleep(pause).await;
        }
    }

    /// Waits until this broker follows the leader in any partition.
    async fn wait_for_partitions(&self) {
        loop {
            // All that is followed is asked for once there is a connection.
            while self.ready.pop().is_some() {}
            if self.broker.partitions.follows(self.leader) {
                return;
            }
            self.ready.changed().await;
        }
    }

    /// A stream, and the registration of the leader that it is from.
    async fn connect(&self) -> Result<(Stream, BrokerEpoch), StreamError> {
        let image = self.broker.image();
        let name = &self.broker.config.listeners.inter_broker;
        let leader = image.broker(self.leader);
        let leader = leader.and_then(|leader| Some((leader.epoch, leader.listener(name)?)));
        let (leader_epoch, endpoint) = leader.ok_or_else(|| StreamError::NoAddress(name.clone()))?;
        let config = ClientConfig {
            client_id: replica_client_id(self.broker.config.node_id),
            connect_timeout: ANSWER_TIME_MAX,
            request_timeout: ANSWER_TIME_MAX,
            ..ClientConfig::new("")
        };
        let broker_epoch = self.broker.quorum.broker_epoch();
        let connection =
            Connection::connect(&format!("{}:{}", endpoint.host, endpoint.port), &config).await?;
        self.broker.doubts.reach(self.leader);
        for key in self.broker.partitions.followed_from(self.leader) {
            self.ready.push(key);
        }
        let stream = Stream {
            connection: Arc::new(connection),
            broker_epoch,
            session_id: 0,
            epoch: 0,
            asked: HashMap::new(),
            in_session: HashSet::new(),
            in_flight: VecDeque::new(),
            again: Vec::new(),
            again_at: Instant::now(),
            held: HeldBack::default(),
        };
        Ok((stream, leader_epoch))
    }

    /// Asks and does what is answered, until there is nothing to follow any more.
    async fn follow(&self, mut stream: Stream) -> Result<(), StreamError> {
        loop {
            if stream.has_room() && (stream.in_flight.is_empty() || !self.ready.is_empty()) {
                self.ask(&mut stream).await?;
                let is_idle =
                    stream.in_flight.is_empty() && stream.again.is_empty() && stream.held.until().is_none();
                if is_idle && !self.broker.partitions.follows(self.leader) {
                    return Ok(());
                }
                if is_idle {
                    // Nothing is synced yet.
                    self.ready.changed().await;
                    continue;
                }
            }
            let has_room = stream.has_room();
            let (again_at, has_again) = (stream.again_at, !stream.again.is_empty());
            let held_until = stream.held.until();
            tokio::select! {
                Some((epoch, reply)) = next_reply(&mut stream.in_flight) => {
                    self.on_reply(&mut stream, epoch, &reply?)?;
                }
                () = self.ready.changed(), if has_room => {}
                () = sleep_until(again_at), if has_again => {
                    stream.again.drain(..).for_each(|key| self.ready.push(key));
                }
                () = sleep_until(held_until.unwrap_or(again_at)), if held_until.is_some() => {
                    stream.held.release(Instant::now()).for_each(|key| self.ready.push(key));
                }
            }
        }
    }

    /// Sends the next request: what is ready, or only that it waits.
    async fn ask(&self, stream: &mut Stream) -> Result<(), StreamError> {
        // At the latest when the leader answers that nothing is new, this is looked at again.
        if stream.broker_epoch != self.broker.quorum.broker_epoch() {
            return Err(StreamError::RegisteredAgain);
        }
        let (epoch, partitions) = (stream.epoch, &self.broker.partitions);
        let mut topics: BTreeMap<TopicId, Vec<FetchPartition>> = BTreeMap::new();
        let mut forgotten: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        let mut count = 0;
        while count < ASKS_MAX
            && let Some(key) = self.ready.pop()
        {
            let partition = partitions.get(key.0, key.1);
            let follows = partition.as_ref().is_some_and(|partition| {
                partition.standing().role == RoleKind::Follower(self.leader) && !partition.is_gone()
            });
            if !follows {
                stream.asked.remove(&key);
                if stream.in_session.remove(&key) {
                    forgotten.entry(key.0).or_default().push(key.1.0);
                }
                continue;
            }
            if let Some(until) = partition.as_deref().and_then(|partition| self.held_until(partition)) {
                stream.held.hold(key, until);
                continue;
            }
            let spec = partition.and_then(|partition| partition.fetch_spec());
            let Some(spec) = spec.filter(|spec| spec.leader == self.leader) else { continue };
            if stream.asked.get(&key).is_some_and(|(asked, _)| is_same(asked, &spec)) {
                continue;
            }
            stream.asked.insert(key, (spec, epoch));
            stream.in_session.insert(key);
            topics.entry(key.0).or_default().push(self.fetch_partition(key.1, &spec));
            count += 1;
        }
        if stream.in_session.is_empty() && forgotten.is_empty() {
            return Ok(());
        }
        let limits = &self.broker.config.replication;
        // The first answer brings the session's name, without which what is ready meanwhile couldn't be asked
        // for.
        let wait = if epoch == 0 { Duration::ZERO } else { limits.fetch_wait_max };
        let request = FetchRequest {
            replica_state: ReplicaState {
                replica_id: self.broker.config.node_id.0,
                replica_epoch: stream.broker_epoch.map_or(-1, |epoch| epoch.0),
            },
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: limits.response_bytes_max,
            session_id: stream.session_id,
            session_epoch: epoch,
            topics: topics.into_iter().map(fetch_topic).collect(),
            forgotten_topics_data: forgotten.into_iter().map(forgotten_topic).collect(),
            ..Default::default()
        };
        trace!(leader = self.leader.0, request = epoch, partitions = count, "asking");
        let reply = stream.connection.start::<Fetch>(&request, Vec::new(), wait).await?;
        stream.in_flight.push_back((epoch, Box::pin(reply)));
        stream.epoch = epoch.checked_add(1).unwrap_or(1);
        Ok(())
    }

    fn fetch_partition(&self, index: PartitionIndex, spec: &FetchSpec) -> FetchPartition {
        FetchPartition {
            partition: index.0,
            current_leader_epoch: spec.leader_epoch.0,
            fetch_offset: spec.fetch_offset.0,
            last_fetched_epoch: spec.last_epoch.map_or(-1, |epoch| epoch.0),
            log_start_offset: spec.log_start.0,
            partition_max_bytes: self.broker.config.replication.partition_bytes_max,
            replica_directory_id: self.broker.partitions.directory().0,
            high_watermark: spec.high_watermark.0,
        }
    }

    fn on_reply(&self, stream: &mut Stream, epoch: i32, reply: &Reply<Fetch>) -> Result<(), StreamError> {
        let body = reply.body()?;
        let error = ErrorCode::from_wire(body.error_code);
        if !error.is_none() {
            return Err(StreamError::Refused(error));
        }
        trace!(leader = self.leader.0, request = epoch, topics = body.responses.len(), "answered");
        stream.session_id = body.session_id;
        for topic in &body.responses {
            for data in &topic.partitions {
                let key = (TopicId(topic.topic_id), PartitionIndex(data.partition_index));
                let records = match data.records.bytes() {
                    Some(bytes) if !bytes.is_empty() => reply.frame().slice_ref(bytes),
                    _ => Bytes::new(),
                };
                self.on_partition(stream, epoch, key, data, &records);
            }
        }
        Ok(())
    }

    fn on_partition(
        &self,
        stream: &mut Stream,
        epoch: i32,
        key: PartitionKey,
        data: &PartitionData<'_>,
        records: &Bytes,
    ) {
        // An answer to what was asked before the newest question: that one is answered too.
        let Some(&(asked, request)) = stream.asked.get(&key).filter(|(_, request)| *request <= epoch) else {
            return debug!(request = epoch, "an answer to an older question");
        };
        debug_assert!(request <= epoch, "it was asked before it was answered");
        let Some(partition) = self.broker.partitions.get(key.0, key.1) else { return };
        let diverging = &data.diverging_epoch;
        let verdict = match ErrorCode::from_wire(data.error_code) {
            ErrorCode::None if diverging.end_offset >= 0 => FetchVerdict::Diverging {
                epoch: LeaderEpoch(diverging.epoch),
                end_offset: Offset(diverging.end_offset),
            },
            ErrorCode::None => FetchVerdict::Read,
            ErrorCode::OffsetOutOfRange if data.log_start_offset >= 0 => FetchVerdict::BehindLogStart,
            error => {
                stream.asked.remove(&key);
                return self.ask_again(stream, &partition, error.name());
            }
        };
        let answer = FetchAnswer {
            asked,
            verdict,
            high_watermark: Offset(data.high_watermark),
            log_start: Offset(data.log_start_offset),
        };
        // News of the high watermark alone leave the question open.
        if verdict != FetchVerdict::Read || !records.is_empty() {
            stream.asked.remove(&key);
        }
        if self.is_throttled(&partition) {
            self.broker.throttles.follower.spend(records.len(), Instant::now());
        }
        self.broker.metrics.count_replicated_in(records.len());
        match partition.on_answer(&answer, records) {
            Followed::Appended => keep_start(self.broker.quorum.tasks(), partition, answer),
            Followed::Ignored => self.ask_again(stream, &partition, "the answer is an old one"),
            Followed::Cut(decided) => self.cut(&partition, decided),
            Followed::Failed(reason) => self.ask_again(stream, &partition, &reason.to_string()),
        }
    }

    /// Whether this replica isn't in sync and is throttled.
    fn is_throttled(&self, partition: &Partition) -> bool {
        partition.throttled().follower && !partition.is_in_sync(self.broker.config.node_id)
    }

    fn held_until(&self, partition: &Partition) -> Option<Instant> {
        let is_throttled = self.is_throttled(partition);
        is_throttled.then(|| self.broker.throttles.follower.held_until(Instant::now())).flatten()
    }

    fn ask_again(&self, stream: &mut Stream, partition: &Partition, reason: &str) {
        debug!(partition = %partition.log.topic_partition(), leader = self.leader.0, reason, "asking the leader again");
        if stream.again.is_empty() {
            stream.again_at = Instant::now() + ASK_AGAIN;
        }
        stream.again.push(partition.key());
    }

    /// Cuts a log beside the stream, which then asks again, be it that the cut has to wait: for room on the
    /// disk, say.
    fn cut(&self, partition: &Partition, decided: DecidedCut) {
        let (tasks, name) = (self.broker.quorum.tasks().clone(), partition.log.topic_partition());
        let failures = Arc::clone(&self.failures);
        self.broker.quorum.tasks().spawn("cut a log", async move {
            let cut = tasks.blocking("cut a log", move || (decided.carry_out(), decided)).await;
            if let Some((Err(error), _decided)) = cut {
                // A full disk fails those of all partitions, again and again.
                if let Some(not_logged) = failures.allow() {
                    error!(partition = %name, %error, not_logged, "cannot cut the log yet");
                }
                sleep(CUT_AGAIN).await;
            }
        });
    }
}

/// Lets go what the leader has let go, beside the stream.
fn keep_start(tasks: &Tasks, partition: Arc<Partition>, answer: FetchAnswer) {
    if partition.start_by(&answer).is_some() {
        tasks.spawn_blocking("move a log's start", move || partition.keep_start(&answer));
    }
}

impl Stream {
    /// Whether another request may go out. The second one needs the name of the session, which the first
    /// answer brings.
    fn has_room(&self) -> bool {
        match self.in_flight.len() {
            0 => true,
            count => count < IN_FLIGHT_MAX && self.session_id != 0,
        }
    }
}

/// The next answer, in the order of the requests; none if none is on the way.
async fn next_reply(
    in_flight: &mut VecDeque<(i32, InFlight)>,
) -> Option<(i32, Result<Reply<Fetch>, ClientError>)> {
    let (epoch, reply) = in_flight.front_mut()?;
    let answered = (*epoch, reply.as_mut().await);
    in_flight.pop_front();
    Some(answered)
}

fn fetch_topic((topic_id, partitions): (TopicId, Vec<FetchPartition>)) -> FetchTopic<'static> {
    FetchTopic { topic_id: topic_id.0, partitions, ..Default::default() }
}

fn forgotten_topic((topic_id, partitions): (TopicId, Vec<i32>)) -> ForgottenTopic<'static> {
    ForgottenTopic { topic_id: topic_id.0, partitions, ..Default::default() }
}

/// Whether the question is the same, but for what needs no new one.
fn is_same(one: &FetchSpec, other: &FetchSpec) -> bool {
    FetchSpec { high_watermark: one.high_watermark, log_start: one.log_start, ..*other } == *one
}
