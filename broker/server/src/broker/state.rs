//! What the broker's parts share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_control::proto;
use ottla_core::metadata::{BrokerImage, Endpoint, MetadataImage};
use ottla_quorum::Quorum;
use ottla_types::{BrokerId, MetadataVersion};
use ottla_wire::messages::ApiVersion;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::absences::Absences;
use super::doubts::Doubts;
use crate::config::Config;
use crate::coordinator::{Creation, Host};
use crate::fetch::{ReplicaSessions, SessionCache};
use crate::http::Health;
use crate::logging::LogControl;
use crate::metrics::{Gauges, Metrics};
use crate::net::{Limits, RateLimit};
use crate::partitions::{Openings, Partitions};
use crate::producer_ids::ProducerIds;
use crate::throttle::Throttles;

/// For how long a leader in doubt is waited for: mostly there is another by then. A client that is told of
/// none, or of one that doesn't know it yet, asks again after a while of its own (librdkafka: up to a
/// second).
const DOUBT_WAIT: Duration = Duration::from_millis(500);

/// How often it is looked whether a doubt has ended by itself.
const DOUBT_LOOK: Duration = Duration::from_millis(20);
/// How long it may take to open or close a partition before this broker is no longer ready: many may take
/// much longer.
const STANDS_STILL_MAX: Duration = Duration::from_secs(15);

/// A running broker.
pub struct Broker {
    /// The configuration.
    pub config: Config,
    /// The metadata quorum.
    pub quorum: Quorum,
    /// The partitions that it holds.
    pub partitions: Arc<Partitions>,
    /// The group coordinators that it runs.
    pub coordinators: Arc<Host>,
    /// The fetch sessions of its clients.
    pub sessions: SessionCache,
    /// The fetch sessions of its followers.
    pub replica_sessions: ReplicaSessions,
    /// The rates at which replicas that are not in sync may catch up.
    pub throttles: Throttles,
    /// The leaders that it just lost.
    pub doubts: Doubts,
    /// The brokers that went out of service lately.
    pub absences: Absences,
    /// The producer ids that it may give out.
    pub producer_ids: ProducerIds,
    /// Creates the topic that keeps groups and offsets.
    pub offsets_topic: Creation,
    /// What ApiVersions tells: the APIs that it serves.
    pub api_keys: Vec<ApiVersion>,
    /// What it counts.
    pub metrics: Metrics,
    /// What it shares among connections.
    pub limits: Arc<Limits>,
    /// True once it stops.
    pub stopping: watch::Receiver<bool>,
    /// How often a refused connection is logged.
    pub refusals: RateLimit,
    /// How many batches are opened at a time.
    pub openings: Openings,
    /// How often it is logged that records can't be written.
    pub storage_errors: RateLimit,
    /// What changes the log level.
    pub log_control: Arc<LogControl>,
    /// The metadata, now and after each change.
    pub images: watch::Receiver<Arc<MetadataImage>>,
    /// The runtime of the tasks that carry records.
    pub data: Handle,
}

impl Broker {
    /// The metadata as it is now.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.images.borrow())
    }

    /// The metadata and who is in doubt, once nobody in doubt leads what `concerns` is about, or a moment
    /// later. It gets the same two.
    pub async fn image_without_doubt(
        &self,
        concerns: impl Fn(&MetadataImage, &[BrokerId]) -> bool,
    ) -> (Arc<MetadataImage>, Vec<BrokerId>) {
        let mut images = self.images.clone();
        let deadline = Instant::now() + DOUBT_WAIT;
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            let doubted = self.doubts.now(&image, Instant::now());
            if doubted.is_empty() || !concerns(&image, &doubted) || Instant::now() >= deadline {
                return (image, doubted);
            }
            let _ = tokio::time::timeout(DOUBT_LOOK, images.changed()).await;
        }
    }

    /// The brokers that clients are told of, and their address on the listener `name`: those in service, and
    /// those that were until a moment ago.
    pub fn brokers_for_clients<'a>(
        &self,
        image: &'a Arc<MetadataImage>,
        name: &str,
    ) -> Vec<(&'a BrokerImage, &'a Endpoint)> {
        let absent = self.absences.look(image, Instant::now());
        let told = image.brokers.values().filter(|broker| !broker.fenced || absent.contains(&broker.id));
        told.filter_map(|broker| Some((&**broker, broker.listener(name)?))).collect()
    }

    /// The id that clients are told as the controller's: the active one if it is a live broker, else this
    /// one. Any broker carries commands on.
    pub fn controller_for_clients(&self, image: &MetadataImage) -> i32 {
        self.quorum
            .active_controller()
            .filter(|id| image.broker(*id).is_some_and(|broker| !broker.fenced))
            .unwrap_or(self.config.node_id)
            .0
    }

    /// Waits until this broker's logs are in step with `version`, but not for long: what isn't ready by then
    /// is answered so that clients try again.
    pub async fn wait_applied(&self, version: MetadataVersion) {
        const TIME_MAX: Duration = Duration::from_secs(2);
        let mut applied = self.partitions.applied();
        let _ = tokio::time::timeout(TIME_MAX, applied.wait_for(|applied| *applied >= version)).await;
    }

    /// Whether this process is registered and in service in `image`, which then holds everything that was
    /// true before it started.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn is_in_service(&self, image: &MetadataImage) -> Result<(), String> {
        let me = image.broker(self.config.node_id).filter(|me| Some(me.epoch) == self.quorum.broker_epoch());
        match me {
            None => Err(self
                .quorum
                .trouble()
                .unwrap_or_else(|| "it is not registered with the active controller yet".to_owned())),
            Some(me) if me.fenced => {
                Err("it is fenced: it has not caught up with the metadata yet".to_owned())
            }
            Some(_) => Ok(()),
        }
    }

    fn gauges(&self) -> Gauges {
        let totals = self.partitions.totals();
        Gauges {
            connections: self.limits.connections(),
            request_bytes: self.limits.queued_bytes(),
            fetch_sessions: self.sessions.count(),
            partitions_synced: totals.synced,
            partitions_written: totals.written,
            durable_lag_records: totals.lag_records,
            log_bytes: totals.log_bytes,
            replicas: totals,
            metadata_version: self.image().version.0,
            tasks: self.data.metrics().num_alive_tasks(),
            ready: self.ready().is_ok(),
        }
    }
}

impl Health for Broker {
    fn ready(&self) -> Result<(), String> {
        if *self.stopping.borrow() {
            return Err("it is stopping".to_owned());
        }
        let image = self.image();
        if let Some(trouble) = self.quorum.leads_beside_another() {
            return Err(trouble);
        }
        self.is_in_service(&image)?;
        if !self.partitions.is_settled() {
            return Err("it is opening its partitions".to_owned());
        }
        // Not at each change of the metadata: making a large topic is no reason to send clients elsewhere.
        if let Some(time) = self.partitions.stands_still_for().filter(|time| *time > STANDS_STILL_MAX) {
            return Err(format!(
                "it has been opening or closing a partition for {} s, and learns nothing new meanwhile: see whether its \
                 disk answers",
                time.as_secs()
            ));
        }
        Ok(())
    }

    fn metrics(&self) -> String {
        self.metrics.render(&self.gauges())
    }

    fn log_control(&self) -> &LogControl {
        &self.log_control
    }
}

impl Broker {
    /// How it is doing, for the control API; id and metadata version are the quorum's to fill in.
    pub fn health(&self) -> proto::BrokerHealth {
        let ready = self.ready();
        let totals = self.partitions.totals();
        proto::BrokerHealth {
            live: true,
            ready: ready.is_ok(),
            reason: ready.err().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            partitions: (totals.synced + totals.written) as u64,
            log_bytes: totals.log_bytes,
            ..proto::BrokerHealth::default()
        }
    }
}
