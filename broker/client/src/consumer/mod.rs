//! A consumer by assignment: reads chosen partitions from chosen offsets, without a group.
//!
//! One Fetch is on its way to each leader, and the next leaves before the records of the last are handed out.
//! Records are read uncommitted: those of aborted transactions are seen too.

mod fetch;
mod fetched;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_wire::messages::{TIMESTAMP_EARLIEST, TIMESTAMP_LATEST};
use ottla_wire::{ErrorCode, apis};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::Pause;
use crate::producer::OwnLane;
use crate::{Client, ClientError, Reply};

use fetch::{Asked, FetchResult, Partitions};
pub use fetched::Fetched;

/// A consumer's settings.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// For how long the broker waits for `bytes_min`.
    pub wait_max: Duration,
    /// The fewest bytes that the broker answers before that.
    pub bytes_min: i32,
    /// The most bytes of one response.
    pub bytes_max: i32,
    /// The most bytes of one partition in a response.
    pub partition_bytes_max: i32,
    /// The most bytes of one batch once it is decompressed.
    pub batch_bytes_max: usize,
    /// For how long [`Consumer::poll`] waits for records.
    pub poll_timeout: Duration,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            wait_max: Duration::from_millis(500),
            bytes_min: 1,
            bytes_max: 50 << 20,
            partition_bytes_max: 4 << 20,
            batch_bytes_max: 128 << 20,
            poll_timeout: Duration::from_secs(1),
        }
    }
}

/// Where to start in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At its first offset.
    Earliest,
    /// At its end: only records that come later.
    Latest,
    /// At this offset.
    Offset(i64),
    /// At the first record of this time or later, in milliseconds since 1970; else at the end.
    Timestamp(i64),
}

/// Reads partitions. Dropping it closes its connections.
#[derive(Debug)]
pub struct Consumer {
    lane: OwnLane,
    config: ConsumerConfig,
    /// The offset that is read next, for each partition.
    positions: BTreeMap<(Arc<str>, i32), i64>,
    fetches: JoinSet<FetchResult>,
    /// The leaders that a Fetch is on its way to.
    busy: BTreeSet<i32>,
    /// Topics whose leaders have to be looked up anew.
    stale: BTreeSet<Arc<str>>,
    pause: Pause,
    /// Since when nothing but retriable errors came.
    failing_since: Option<Instant>,
}

impl Consumer {
    /// A consumer over `client`'s cluster, with nothing assigned yet.
    pub fn new(client: &Client, config: ConsumerConfig) -> Self {
        Self {
            lane: OwnLane { client: client.clone(), lane: client.new_lane() },
            config,
            positions: BTreeMap::new(),
            fetches: JoinSet::new(),
            busy: BTreeSet::new(),
            stale: BTreeSet::new(),
            pause: Pause::default(),
            failing_since: None,
        }
    }

    /// Starts to read a partition.
    ///
    /// # Errors
    /// When the partition doesn't exist or its leader doesn't answer.
    pub async fn assign(&mut self, topic: &str, partition: i32, start: Start) -> Result<(), ClientError> {
        let known = self.lane.client.new_topic(topic).await?;
        if !known.partitions.iter().any(|known| known.index == partition) {
            let what = format!("{topic}-{partition}");
            return Err(ClientError::broker(what, ErrorCode::UnknownTopicOrPartition, None));
        }
        let at = async |timestamp| self.lane.client.list_offset(topic, partition, timestamp).await;
        let offset = match start {
            Start::Offset(offset) => offset,
            Start::Earliest => at(TIMESTAMP_EARLIEST).await?.offset,
            Start::Latest => at(TIMESTAMP_LATEST).await?.offset,
            Start::Timestamp(timestamp_ms) => match at(timestamp_ms).await?.offset {
                -1 => at(TIMESTAMP_LATEST).await?.offset,
                offset => offset,
            },
        };
        self.positions.insert((topic.into(), partition), offset);
        Ok(())
    }

    /// Starts to read all partitions of a topic.
    ///
    /// # Errors
    /// As [`Consumer::assign`].
    pub async fn assign_topic(&mut self, topic: &str, start: Start) -> Result<(), ClientError> {
        let _ = self.lane.client.new_topic(topic).await?;
        for partition in self.lane.client.refresh_topic(topic).await?.partitions {
            self.assign(topic, partition.index, start).await?;
        }
        Ok(())
    }

    /// Stops to read a partition.
    pub fn unassign(&mut self, topic: &str, partition: i32) {
        self.positions.remove(&(topic.into(), partition));
    }

    /// The offset that is read next from a partition.
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        self.positions.get(&(topic.into(), partition)).copied()
    }

    /// Waits for records; empty after the poll time-out. Retriable errors are tried again within the client's
    /// retry time-out.
    ///
    /// # Errors
    /// When nothing is assigned, an offset is out of range, a batch is corrupt, or brokers can't be reached for
    /// too long. The positions stand at what was handed out, so `poll` can be called again.
    pub async fn poll(&mut self) -> Result<Vec<Fetched>, ClientError> {
        if self.positions.is_empty() {
            return Err(ClientError::Invalid("no partition is assigned to the consumer".into()));
        }
        let deadline = Instant::now() + self.config.poll_timeout;
        loop {
            self.look_up_stale().await?;
            self.start_fetches()?;
            let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.fetches.join_next()).await else {
                if self.fetches.is_empty() && Instant::now() < deadline {
                    // No leader is known: look again, after a pause.
                    continue;
                }
                return Ok(Vec::new());
            };
            let result = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            let fetched = self.take(result)?;
            if !fetched.is_empty() {
                // What goes wrong there is met again by the next poll.
                let _ = self.start_fetches();
                return Ok(fetched);
            }
            if Instant::now() >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    /// Asks for the leaders of topics that moved, after a pause.
    async fn look_up_stale(&mut self) -> Result<(), ClientError> {
        if self.stale.is_empty() {
            return Ok(());
        }
        self.pause.wait().await;
        for topic in std::mem::take(&mut self.stale) {
            if let Err(error) = self.lane.client.refresh_topic(&topic).await {
                self.note_failure(&topic, error)?;
            }
        }
        Ok(())
    }

    /// Remembers a failure that may pass; returns it once it has lasted too long.
    fn note_failure(&mut self, topic: &Arc<str>, error: ClientError) -> Result<(), ClientError> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if !error.is_retriable() || since.elapsed() > self.lane.client.config().retry_timeout {
            self.failing_since = None;
            return Err(error);
        }
        tracing::debug!(topic = &**topic, %error, "fetching again");
        self.stale.insert(topic.clone());
        Ok(())
    }

    /// Sends a Fetch to each leader that none is on its way to.
    fn start_fetches(&mut self) -> Result<(), ClientError> {
        let view = self.lane.client.view();
        let mut leaderless = BTreeSet::new();
        let mut by_leader: BTreeMap<i32, Partitions> = BTreeMap::new();
        for ((topic, partition), offset) in &self.positions {
            match view.leader(topic, *partition) {
                Some((broker, _)) if self.busy.contains(&broker.id) => {}
                Some((broker, leader_epoch)) => {
                    let topic_id = view.topics.get(&**topic).map_or([0; 16], |topic| topic.id.0);
                    let asked = Asked {
                        topic: topic.clone(),
                        topic_id,
                        partition: *partition,
                        offset: *offset,
                        leader_epoch,
                    };
                    by_leader.entry(broker.id).or_default().push(asked);
                }
                None => {
                    leaderless.insert(topic.clone());
                }
            }
        }
        for topic in leaderless {
            let error = ClientError::broker(&*topic, ErrorCode::LeaderNotAvailable, None);
            self.note_failure(&topic, error)?;
        }
        for (leader_id, partitions) in by_leader {
            let Some(broker) = view.brokers.get(&leader_id) else { continue };
            self.busy.insert(leader_id);
            let (client, lane) = (self.lane.client.clone(), self.lane.lane);
            let (address, config) = (broker.address(), self.config.clone());
            self.fetches.spawn(async move {
                let reply = fetch::fetch(&client, lane, &address, &config, &partitions).await;
                FetchResult { leader_id, partitions, reply }
            });
        }
        Ok(())
    }

    /// Takes a Fetch's result: moves the positions and returns the records.
    fn take(&mut self, result: FetchResult) -> Result<Vec<Fetched>, ClientError> {
        self.busy.remove(&result.leader_id);
        let reply = match result.reply {
            Ok(reply) => reply,
            Err(error) => {
                let topics: BTreeSet<_> = result.partitions.iter().map(|asked| asked.topic.clone()).collect();
                for topic in topics {
                    self.note_failure(&topic, error.clone())?;
                }
                return Ok(Vec::new());
            }
        };
        self.take_reply(&result.partitions, &reply)
    }

    fn take_reply(
        &mut self,
        partitions: &Partitions,
        reply: &Reply<apis::Fetch>,
    ) -> Result<Vec<Fetched>, ClientError> {
        let response = reply.body()?;
        if response.error_code != 0 {
            return Err(ClientError::broker("Fetch", ErrorCode::from_wire(response.error_code), None));
        }
        let mut all = Vec::new();
        for topic in &response.responses {
            for data in &topic.partitions {
                let asked = partitions.iter().find(|asked| {
                    let is_topic = *topic.topic == *asked.topic
                        || (topic.topic.is_empty() && topic.topic_id == asked.topic_id);
                    is_topic && asked.partition == data.partition_index
                });
                let Some(asked) = asked else { continue };
                let key = (asked.topic.clone(), asked.partition);
                // Assigned anew, or no more, while the Fetch was on its way.
                if self.positions.get(&key) != Some(&asked.offset) {
                    continue;
                }
                let error = ErrorCode::from_wire(data.error_code);
                if !error.is_none() {
                    let what = format!("{}-{} at offset {}", asked.topic, asked.partition, asked.offset);
                    self.note_failure(&asked.topic, ClientError::broker(what, error, None))?;
                    continue;
                }
                self.failing_since = None;
                self.pause = Pause::default();
                let fetched = Fetched::read(asked, data, reply.frame(), self.config.batch_bytes_max)?;
                self.positions.insert(key, fetched.next_offset());
                if !fetched.is_empty() {
                    all.push(fetched);
                }
            }
        }
        Ok(all)
    }
}
