//! A client: finds brokers, keeps connections and metadata, and tries again where that can help.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ottla_wire::messages::{MetadataRequest, MetadataRequestTopic};
use ottla_wire::{Api, ErrorCode, apis};
use tokio::time::Instant;

use crate::{ClientConfig, ClientError, ClusterView, Connection, Reply, Topic};

/// The pause before the first further try; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// For how long an unknown topic may be one that a broker doesn't know yet.
const NEW_TOPIC_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections of one kind don't wait behind those of another: a long-polled Fetch would hold up a Produce.
/// The default is the lane of metadata and administration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lane(u32);

const CALLS: Lane = Lane(0);

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    connections: Mutex<HashMap<(Lane, String), Slot>>,
    view: RwLock<Arc<ClusterView>>,
    next_lane: AtomicU32,
    /// The address that answered last: it is asked first.
    answered: Mutex<Option<String>>,
}

/// A handle to a cluster; clones share connections and metadata.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

impl Client {
    /// Connects to one of the bootstrap addresses and asks for the brokers.
    ///
    /// # Errors
    /// When no address is given or none leads to a broker.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        if config.bootstrap.is_empty() {
            return Err(ClientError::Invalid("no bootstrap address is given; give one as host:port".into()));
        }
        let inner = Inner {
            config,
            connections: Mutex::default(),
            view: RwLock::default(),
            next_lane: AtomicU32::new(CALLS.0 + 1),
            answered: Mutex::default(),
        };
        let client = Self { inner: Arc::new(inner) };
        client.refresh(Some(&[])).await?;
        Ok(client)
    }

    /// The client's settings.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// What is known of the cluster now, without asking.
    pub fn view(&self) -> Arc<ClusterView> {
        self.inner.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for the brokers and these topics (none: all of them).
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn refresh(&self, topics: Option<&[&str]>) -> Result<Arc<ClusterView>, ClientError> {
        let names = topics.map(|names| {
            names.iter().map(|name| MetadataRequestTopic { topic_id: [0; 16], name: Some(*name) }).collect()
        });
        let request =
            MetadataRequest { topics: names, allow_auto_topic_creation: false, ..Default::default() };
        let reply = self.call_any::<apis::Metadata>(&request).await?;
        let response = reply.body()?;
        let mut view = self.inner.view.write().unwrap_or_else(PoisonError::into_inner);
        let mut merged = ClusterView::clone(&view);
        if topics.is_none() {
            merged.topics.clear();
        }
        merged.merge(&response);
        *view = Arc::new(merged);
        Ok(view.clone())
    }

    /// A topic by name, from what is known or by asking.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION when there is none; otherwise when no broker answers.
    pub async fn topic(&self, name: &str) -> Result<Topic, ClientError> {
        if let Some(topic) = self.view().topics.get(name) {
            return Ok(topic.clone());
        }
        self.refresh_topic(name).await
    }

    /// A topic by name, asked for anew.
    ///
    /// # Errors
    /// As [`Client::topic`].
    pub async fn refresh_topic(&self, name: &str) -> Result<Topic, ClientError> {
        let view = self.refresh(Some(&[name])).await?;
        view.topics
            .get(name)
            .cloned()
            .ok_or_else(|| ClientError::broker(name, ErrorCode::UnknownTopicOrPartition, None))
    }

    /// Sends a request to any broker that answers: the one that did so last, the
    /// other known ones, then the bootstrap addresses.
    ///
    /// # Errors
    /// When none answers.
    pub async fn call_any<A: Api>(&self, request: &A::Request<'_>) -> Result<Reply<A>, ClientError> {
        let mut addresses: Vec<_> = self.view().brokers.values().map(|broker| broker.address()).collect();
        for address in &self.inner.config.bootstrap {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let answered = self.inner.answered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        addresses.sort_by_key(|address| Some(address) != answered.as_ref());
        let (mut last, mut silent) = (String::new(), false);
        for address in &addresses {
            let tried = match self.connection_to(CALLS, address).await {
                Ok(connection) => connection.call::<A>(request).await,
                Err(error) => Err(error),
            };
            match tried {
                Err(error) if error.is_retriable() => {
                    last = error.to_string();
                    silent |= error.is_silence();
                }
                other => {
                    *self.inner.answered.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(address.clone());
                    return other;
                }
            }
        }
        Err(ClientError::NoBroker { addresses: addresses.join(", "), last, silent })
    }

    /// Sends a request to the broker of this node id.
    ///
    /// # Errors
    /// When it isn't known or doesn't answer.
    pub async fn call_broker<A: Api>(
        &self,
        broker_id: i32,
        request: &A::Request<'_>,
    ) -> Result<Reply<A>, ClientError> {
        let address = self.view().brokers.get(&broker_id).map(|broker| broker.address());
        let address =
            address.ok_or_else(|| ClientError::Invalid(format!("no broker has the node id {broker_id}")))?;
        self.connection_to(CALLS, &address).await?.call::<A>(request).await
    }

    /// A topic by name; one that is unknown is asked for again for a little while, as it may just be new.
    ///
    /// # Errors
    /// As [`Client::topic`].
    pub(crate) async fn new_topic(&self, name: &str) -> Result<Topic, ClientError> {
        let timeout = self.inner.config.retry_timeout.min(NEW_TOPIC_TIMEOUT);
        self.retry_within(timeout, None, || self.topic(name)).await
    }

    /// Does `attempt` until it succeeds, fails for good, or the time for further tries is over. Between tries
    /// it asks for `topic` anew.
    pub(crate) async fn retry<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        topic: Option<&str>,
        attempt: impl FnMut() -> F,
    ) -> Result<T, ClientError> {
        self.retry_within(self.inner.config.retry_timeout, topic, attempt).await
    }

    async fn retry_within<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        timeout: Duration,
        topic: Option<&str>,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + timeout;
        let mut pause = Pause::default();
        loop {
            match attempt().await {
                Err(error) if error.is_retriable() && Instant::now() < deadline => {
                    tracing::debug!(%error, "trying again");
                    pause.wait().await;
                    if let Some(topic) = topic {
                        let _ = self.refresh_topic(topic).await;
                    }
                }
                other => return other,
            }
        }
    }

    /// A lane of its own.
    pub(crate) fn new_lane(&self) -> Lane {
        Lane(self.inner.next_lane.fetch_add(1, Ordering::Relaxed))
    }

    /// A connection to a partition's leader, with the leader's epoch.
    pub(crate) async fn leader(
        &self,
        lane: Lane,
        topic: &str,
        partition: i32,
    ) -> Result<(Arc<Connection>, i32), ClientError> {
        let known = |view: &ClusterView| {
            view.leader(topic, partition).map(|(broker, epoch)| (broker.address(), epoch))
        };
        let leader = match known(&self.view()) {
            Some(leader) => Some(leader),
            None => {
                let topic = self.refresh_topic(topic).await?;
                if !topic.partitions.iter().any(|p| p.index == partition) {
                    let what = format!("{}-{partition}", topic.name);
                    return Err(ClientError::broker(what, ErrorCode::UnknownTopicOrPartition, None));
                }
                known(&self.view())
            }
        };
        let (address, epoch) = leader.ok_or_else(|| {
            ClientError::broker(format!("{topic}-{partition}"), ErrorCode::LeaderNotAvailable, None)
        })?;
        Ok((self.connection_to(lane, &address).await?, epoch))
    }

    /// An open connection of this lane to `address`.
    pub(crate) async fn connection_to(
        &self,
        lane: Lane,
        address: &str,
    ) -> Result<Arc<Connection>, ClientError> {
        let slot = {
            let mut connections = self.inner.connections.lock().unwrap_or_else(PoisonError::into_inner);
            connections.entry((lane, address.to_owned())).or_default().clone()
        };
        // Only who wants this very connection waits while it is made.
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = Arc::new(Connection::connect(address, &self.inner.config).await?);
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// Closes the connections of a lane that is no longer used.
    pub(crate) fn close_lane(&self, lane: Lane) {
        let mut connections = self.inner.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|(of, _), _| *of != lane);
    }
}

/// Growing pauses between tries.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(PAUSE_FIRST)
    }
}

impl Pause {
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.take()).await;
    }

    /// The pause to make now; the next is longer.
    pub(crate) fn take(&mut self) -> Duration {
        let longer = (self.0 * 2).min(PAUSE_MAX);
        std::mem::replace(&mut self.0, longer)
    }
}
