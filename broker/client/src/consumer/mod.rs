//! A consumer by assignment: reads chosen partitions from chosen offsets, without a group.
//!
//! One Fetch is on its way to each leader, and the next leaves before the records of the last are handed out.
//! Records are read uncommitted: those of aborted transactions are seen too.

mod fetch;
mod fetched;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_wire::messages::{TIMESTAMP_EARLIEST, TIMESTAMP_LATEST};
use ottla_wire::{ErrorCode, apis};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::producer::OwnLane;
use crate::{Client, ClientError, Reply};

use fetch::{Asked, FetchResult, Partitions};
pub use fetched::Fetched;
use trouble::Trouble;

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
    trouble: Trouble,
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
            trouble: Trouble::default(),
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
    /// When nothing is assigned, an offset is out of range, a batch is corrupt, or brokers can't be reached
    /// for too long. The positions stand at what was handed out, so `poll` can be called again.
    pub async fn poll(&mut self) -> Result<Vec<Fetched>, ClientError> {
        if self.positions.is_empty() {
            return Err(ClientError::Invalid("no partition is assigned to the consumer".into()));
        }
        let deadline = Instant::now() + self.config.poll_timeout;
        loop {
            self.trouble.tell()?;
            self.look_up_stale().await;
            self.start_fetches();
            let until = self.trouble.next_look(deadline);
            let next = async {
                match self.fetches.join_next().await {
                    Some(done) => done,
                    // No leader is known: there is nothing to wait for but the next look.
                    None => std::future::pending().await,
                }
            };
            if let Ok(done) = tokio::time::timeout_at(until, next).await {
                let result = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                let fetched = self.take(result)?;
                if !fetched.is_empty() {
                    self.start_fetches();
                    return Ok(fetched);
                }
            }
            if Instant::now() >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    /// Asks for the leaders of topics that moved, when it is time to.
    async fn look_up_stale(&mut self) {
        for topic in self.trouble.due() {
            if let Err(error) = self.lane.client.refresh_topic(&topic).await {
                self.note(&topic, error);
            }
        }
    }

    fn note(&mut self, topic: &Arc<str>, error: ClientError) {
        self.trouble.note(topic, error, self.lane.client.config().retry_timeout);
    }

    /// Sends a Fetch to each leader that none is on its way to.
    fn start_fetches(&mut self) {
        let view = self.lane.client.view();
        let mut leaderless = BTreeSet::new();
        let mut by_leader: BTreeMap<i32, Partitions> = BTreeMap::new();
        for ((topic, partition), offset) in &self.positions {
            match view.leader(topic, *partition) {
                Some((broker, _)) if self.busy.contains(&broker.id) => {}
                Some((broker, _)) if self.trouble.is_held_back(broker.id) => {}
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
            self.note(&topic, error);
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
    }

    /// Takes a Fetch's result: moves the positions and returns the records.
    fn take(&mut self, result: FetchResult) -> Result<Vec<Fetched>, ClientError> {
        self.busy.remove(&result.leader_id);
        let reply = match &result.reply {
            Ok(reply) => reply.clone(),
            Err(error) => {
                let topics: BTreeSet<_> = result.partitions.iter().map(|asked| asked.topic.clone()).collect();
                for topic in topics {
                    self.note(&topic, error.clone());
                }
                self.trouble.hold_back(result.leader_id);
                return Ok(Vec::new());
            }
        };
        self.take_reply(&result, &reply)
    }

    /// Takes what came of each partition. A failure of one doesn't cost the records of another: it is told
    /// next.
    fn take_reply(
        &mut self,
        result: &FetchResult,
        reply: &Reply<apis::Fetch>,
    ) -> Result<Vec<Fetched>, ClientError> {
        let response = reply.body()?;
        if response.error_code != 0 {
            return Err(ClientError::broker("Fetch", ErrorCode::from_wire(response.error_code), None));
        }
        let mut all = Vec::new();
        for topic in &response.responses {
            for data in &topic.partitions {
                let asked = fetch::find(&result.partitions, topic, data.partition_index);
                // Assigned anew, or no more, while the Fetch was on its way?
                let key = asked.map(|asked| (asked.topic.clone(), asked.partition));
                let Some((asked, key)) = asked.zip(key) else { continue };
                if self.positions.get(&key) != Some(&asked.offset) {
                    continue;
                }
                match Fetched::read(asked, data, reply.frame(), self.config.batch_bytes_max) {
                    Ok(fetched) => {
                        self.positions.insert(key, fetched.next_offset());
                        self.trouble.over();
                        all.extend((!fetched.is_empty()).then_some(fetched));
                    }
                    Err(error) => {
                        self.note(&asked.topic, error);
                        self.trouble.hold_back(result.leader_id);
                    }
                }
            }
        }
        Ok(all)
    }
}
