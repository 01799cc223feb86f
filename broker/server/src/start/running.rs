//! Starting a broker and stopping it, in order.
//!
//! Start: sockets are bound (so that a taken port is found first, and health can be asked for at once), the
//! cluster is found, the store is opened, the quorum joined; clients are served once the broker is registered
//! and its partitions are open. Stop is the reverse: clients first, the store last.
//!
//! The futures that go out of this crate are boxed, so that the code behind them is made once, here.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ottla_core::metadata::{Endpoint, IncarnationId, SecurityProtocol};
use ottla_quorum::{Panicked, Quorum, QuorumConfig, Registration, StartError, Tasks, Tuning, Voter, Voters};
use ottla_store::{FatalError, Store, StoreConfig, StoreError};
use ottla_types::ClusterId;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info, warn};

use super::background::{Background, follow_metadata};
use super::front::Front;
use crate::broker::{Absences, Broker, Doubts, Volume};
use crate::config::{Config, HostPort, Listener};
use crate::coordinator::{Creation, Host};
use crate::fetch::{ReplicaSessions, SessionCache};
use crate::handlers::{SERVED, versions};
use crate::http::{self, Health};
use crate::logging::LogControl;
use crate::metrics::Metrics;
use crate::net::{BindError, BoundListener, Limits, RateLimit, SideLimits, SideListener};
use crate::partitions::{Openings, Partitions, Streams};
use crate::producer_ids::ProducerIds;
use crate::throttle::Throttles;

/// How long the quorum may take to say good-bye.
const QUORUM_STOP_TIME: Duration = Duration::from_secs(3);

/// How long a stopping broker waits for others to take over what it leads.
const HAND_OVER_TIME: Duration = Duration::from_secs(2);
/// How often it asks.
const HAND_OVER_PAUSE: Duration = Duration::from_millis(50);

/// How long what others ask of the control listener may take to end.
const CONTROL_STOP_TIME: Duration = Duration::from_millis(500);

/// Other brokers have a few connections each to the control listener, and so have operators and tools.
const CONTROL_LIMITS: SideLimits =
    SideLimits { connections_max: 1_024, idle_max: Duration::from_secs(60), life_max: None };
/// What one of them may ask at the same time.
const CONTROL_STREAMS_MAX: u32 = 256;

/// Why a broker can't start, or has to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The data folder can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metadata quorum can't be joined.
    #[error(transparent)]
    Quorum(#[from] StartError),
    /// A write or sync failed while the broker ran.
    #[error(transparent)]
    Disk(#[from] FatalError),
    /// A part of the broker ended by a bug.
    #[error(transparent)]
    Bug(#[from] Panicked),
    /// The broker has to start again, to follow another metadata quorum or to rebuild its own.
    #[error("start the broker again: {0}")]
    StartAgain(String),
    /// The system gives no random numbers.
    #[error("no random numbers are to be had: {0}")]
    Random(getrandom::Error),
}

/// The sockets of a broker, bound.
struct Sockets {
    clients: Vec<(Listener, BoundListener)>,
    control: BoundListener,
    http: Option<BoundListener>,
}

/// A broker that was started.
pub struct Running {
    broker: Arc<Broker>,
    store: Arc<Store>,
    clients: Vec<HostPort>,
    http_port: Option<u16>,
    stop: watch::Sender<bool>,
    /// What serves clients; ends when the broker stops.
    serving: JoinSet<()>,
    /// What follows the metadata and other brokers, and keeps house.
    background: JoinSet<()>,
    /// What serves operators and other brokers; ends last.
    control: JoinHandle<()>,
    /// Ends it.
    quorum_ended: watch::Sender<bool>,
    fatal: watch::Receiver<Option<FatalError>>,
}

/// Starts a broker. Returns once clients are served.
///
/// What carries records runs on the threads of `data`: clients, fetches from leaders, repairs. They may wait
/// for the disk or for a core at any time. The runtime that this is called in carries the control traffic:
/// the quorum, heartbeats, health.
///
/// # Errors
/// When an address is taken, the data folder can't be used, or the quorum can't be joined.
pub fn start(
    config: Config,
    log_control: Arc<LogControl>,
    data: Handle,
) -> BoxFuture<'static, Result<Running, RunError>> {
    Box::pin(bind_and_serve(config, log_control, data))
}

async fn bind_and_serve(
    config: Config,
    log_control: Arc<LogControl>,
    data: Handle,
) -> Result<Running, RunError> {
    let sockets = bind(&config).await?;
    let control_address = resolved(&config.listeners.control.advertised, sockets.control.port());
    let incarnation = random_incarnation()?;
    let quorum = Quorum::new(quorum_config(&config, incarnation, &sockets, &control_address)?)?;
    let (stop, stopping) = watch::channel(false);
    let front = Arc::new(Front::new(Arc::clone(&log_control)));
    let tasks = quorum.tasks().clone();
    let mut background = JoinSet::new();
    let http_port = sockets.http.as_ref().map(BoundListener::port);
    if let Some(http) = sockets.http {
        let http = http::serve(http.into_socket(), Arc::clone(&front), tasks.clone(), stopping.clone());
        tasks.spawn_in(&mut background, &Handle::current(), "serve http", http);
    }
    let (quorum_ended, ended) = watch::channel(false);
    let control = serve_control(sockets.control, quorum.clone(), Arc::clone(&front), ended);
    let control = tasks.spawn("serve the control listener", control);

    let cluster_id = quorum.cluster_id().await?;
    let (failed, fatal) = watch::channel(None);
    let store = open_store(&config, &tasks, cluster_id, failed).await?;
    quorum.start(cluster_id, store.directory_id()).await?;
    let (streams, opened) = Streams::new();
    let (partitions, coordinators) = host(&config, incarnation, &store, streams, &quorum, &data);
    let broker = Arc::new(Broker {
        partitions,
        coordinators,
        replica_sessions: ReplicaSessions::default(),
        throttles: Throttles::default(),
        doubts: Doubts::default(),
        absences: Absences::default(),
        sessions: SessionCache::new(config.fetch.sessions_max, config.connections.kept_bytes_max()),
        producer_ids: ProducerIds::default(),
        offsets_topic: Creation::new(tasks.clone()),
        api_keys: versions(),
        metrics: Metrics::new(&SERVED.iter().map(|served| served.key.name()).collect::<Vec<_>>()),
        limits: Limits::new(config.connections),
        stopping: stopping.clone(),
        refusals: RateLimit::new(10),
        openings: Openings::new(tasks.clone()),
        storage_errors: RateLimit::new(1),
        log_control,
        images: quorum.image(),
        data: data.clone(),
        quorum,
        config,
    });
    front.set(Arc::clone(&broker));
    let mut begin = Background { tasks: &tasks, set: &mut background };
    begin.on(&Handle::current(), "follow the metadata", follow_metadata(Arc::clone(&broker)));
    begin.all_on(&data, &broker, &store, opened);
    tokio::select! {
        ready = wait_ready(&broker) => ready?,
        panicked = tasks.panicked() => return Err(panicked.into()),
    }

    let (serving, clients) = serve_clients(sockets.clients, &broker, &stopping);
    Ok(Running { broker, store, clients, http_port, stop, serving, background, control, quorum_ended, fatal })
}

/// The partitions of this broker, and the coordinators that it runs over them on the threads for data.
fn host(
    config: &Config,
    incarnation: IncarnationId,
    store: &Arc<Store>,
    streams: Streams,
    quorum: &Quorum,
    data: &Handle,
) -> (Arc<Partitions>, Arc<Host>) {
    let partitions = Arc::new(Partitions::new(
        (config.node_id, incarnation),
        Arc::clone(store),
        config.data_dir.clone(),
        config.topics.defaults.clone(),
        config.replication.lag_max,
        streams,
    ));
    let coordinators = Arc::new(Host::new(
        config.node_id,
        config.groups.coordinator.clone(),
        Arc::clone(&partitions),
        quorum.image(),
        quorum.tasks().clone(),
        data.clone(),
    ));
    (partitions, coordinators)
}

/// Serves clients on the threads for data. Returns what does, and where each listener is reached.
fn serve_clients(
    listeners: Vec<(Listener, BoundListener)>,
    broker: &Arc<Broker>,
    stopping: &watch::Receiver<bool>,
) -> (JoinSet<()>, Vec<HostPort>) {
    let (mut serving, mut clients) = (JoinSet::new(), Vec::new());
    for (listener, bound) in listeners {
        clients.push(HostPort { host: listener.advertised.host.clone(), port: bound.port() });
        info!(listener = %listener.name, port = bound.port(), advertised = %resolved(&listener.advertised, bound.port()), "serving clients");
        let (service, limits) = (Arc::new(Arc::clone(broker)), Arc::clone(&broker.limits));
        let tasks = broker.quorum.tasks();
        let serve = bound.serve(service, limits, tasks.clone(), stopping.clone());
        tasks.spawn_in(&mut serving, &broker.data, "serve a listener", serve);
    }
    (serving, clients)
}

impl Running {
    /// The broker.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Where each listener for clients is reached: its advertised host, the port that was bound.
    pub fn clients(&self) -> &[HostPort] {
        &self.clients
    }

    /// The port of the HTTP listener, if there is one.
    pub fn http_port(&self) -> Option<u16> {
        self.http_port
    }

    /// Waits until the store fails, or a part of the broker ends by a bug. Mostly neither ever does.
    pub fn failed(&mut self) -> BoxFuture<'_, RunError> {
        Box::pin(async move {
            let disk = async {
                match self.fatal.wait_for(Option::is_some).await.map(|error| error.clone()) {
                    Ok(Some(error)) => error,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                error = disk => error.into(),
                panicked = self.broker.quorum.tasks().panicked() => panicked.into(),
            }
        })
    }

    /// Stops in order: others take over what this broker leads, clients are answered, the controller is told,
    /// the store is closed.
    ///
    /// # Errors
    /// When the store can't be closed; the next start then recovers it.
    pub fn stop(self) -> BoxFuture<'static, Result<(), RunError>> {
        Box::pin(self.stop_in_order())
    }

    async fn stop_in_order(mut self) -> Result<(), RunError> {
        hand_over(&self.broker).await;
        self.stop.send_replace(true);
        while self.serving.join_next().await.is_some() {}
        if tokio::time::timeout(QUORUM_STOP_TIME, self.broker.quorum.stop()).await.is_err() {
            warn!("the metadata quorum did not stop in time");
        }
        self.background.shutdown().await;
        self.quorum_ended.send_replace(true);
        if tokio::time::timeout(CONTROL_STOP_TIME, &mut self.control).await.is_err() {
            self.control.abort();
        }
        let (store, partitions) = (self.store, Arc::clone(&self.broker.partitions));
        let tasks = self.broker.quorum.tasks();
        tasks
            .blocking_to_the_end("close the store", move || {
                partitions.save_high_watermarks();
                store.close()
            })
            .await?;
        info!("stopped");
        Ok(())
    }
}

/// Has others lead what this broker leads, as far as they can, while it goes on serving clients and
/// followers: so clients are sent to the new leaders instead of finding nobody here.
async fn hand_over(broker: &Broker) {
    let hand_over = async {
        // A follower that isn't in sync may be so in a moment.
        while broker.partitions.could_hand_over(&broker.image()) {
            match broker.quorum.step_aside().await {
                Some(1..) => tokio::time::sleep(HAND_OVER_PAUSE).await,
                Some(0) | None => return,
            }
        }
    };
    if tokio::time::timeout(HAND_OVER_TIME, hand_over).await.is_err() {
        warn!("stopping with partitions that no other broker can lead yet");
    }
    // Those who wait here are told by the image that another broker leads.
    broker.wait_applied(broker.image().version).await;
}

async fn bind(config: &Config) -> Result<Sockets, BindError> {
    let limits = &config.connections;
    let mut clients = Vec::new();
    for listener in &config.listeners.clients {
        let bound = BoundListener::bind(&listener.name, &listener.bind, limits).await?;
        clients.push((listener.clone(), bound));
    }
    let control = &config.listeners.control;
    let control = BoundListener::bind(&control.name, &control.bind, limits).await?;
    let http = match &config.http {
        Some(address) => Some(BoundListener::bind("http", address, limits).await?),
        None => None,
    };
    if let Some(http) = &http {
        info!(port = http.port(), "serving health and metrics");
    }
    Ok(Sockets { clients, control, http })
}

/// An advertised address; where it says no port, the one that was bound.
fn resolved(advertised: &HostPort, bound_port: u16) -> HostPort {
    let port = if advertised.port == 0 { bound_port } else { advertised.port };
    HostPort { host: advertised.host.clone(), port }
}

/// What tells this process from those before and after it.
fn random_incarnation() -> Result<IncarnationId, RunError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(RunError::Random)?;
    Ok(IncarnationId(u128::from_be_bytes(bytes)))
}

fn quorum_config(
    config: &Config,
    incarnation: IncarnationId,
    sockets: &Sockets,
    control: &HostPort,
) -> Result<QuorumConfig, RunError> {
    let is_only_me =
        config.roles.controller && config.bootstrap_servers.iter().all(|server| server == control);
    let voters = match &config.voters[..] {
        [] if is_only_me => Voters::Static(vec![Voter { id: config.node_id, address: control.to_string() }]),
        [] => Voters::Bootstrap(config.bootstrap_servers.iter().map(HostPort::to_string).collect()),
        voters => Voters::Static(
            voters.iter().map(|v| Voter { id: v.id.into(), address: v.address.to_string() }).collect(),
        ),
    };
    let known = ottla_store::read_meta(&config.data_dir)?.map(|meta| meta.cluster_id);
    let set = |name: &str| config.topics.defaults.get(name).map(|(_, value)| value);
    Ok(QuorumConfig {
        node_id: config.node_id,
        voter: config.roles.controller,
        cluster_id: config.cluster_id.or(known),
        voters,
        others: config.bootstrap_servers.iter().map(HostPort::to_string).collect(),
        formatted: known.is_some(),
        control_address: control.to_string(),
        registration: Some(Registration {
            incarnation,
            listeners: sockets
                .clients
                .iter()
                .map(|(listener, bound)| {
                    let address = resolved(&listener.advertised, bound.port());
                    Endpoint {
                        name: listener.name.clone(),
                        host: address.host,
                        port: address.port,
                        security_protocol: SecurityProtocol::Plaintext,
                    }
                })
                .collect(),
            rack: config.rack.clone(),
            clean_shutdown: ottla_store::closed_cleanly(&config.data_dir),
            min_insync_replicas: set("min.insync.replicas").and_then(|value| value.parse().ok()),
            default_replication_factor: config
                .topics
                .replication_factor
                .and_then(|n| usize::try_from(n).ok()),
            acks_written: set("ack.durability") == Some("written"),
        }),
        log_dir: config.data_dir.clone(),
        tuning: Tuning::default(),
    })
}

async fn open_store(
    config: &Config,
    tasks: &Tasks,
    cluster_id: ClusterId,
    failed: watch::Sender<Option<FatalError>>,
) -> Result<Arc<Store>, StoreError> {
    let mut store_config = StoreConfig {
        open_files_max: segment_files_max(),
        cluster_id: Some(cluster_id),
        formatted_with: Some(ottla_quorum::NEW_FOLDER),
        checkpoint_interval: config.checkpoint_interval,
        on_fatal: Arc::new(move |error: &FatalError| {
            failed.send_replace(Some(error.clone()));
        }),
        ..StoreConfig::new(&config.data_dir, config.node_id)
    };
    let open = tasks.blocking_to_the_end("open the store", move || {
        let volume_bytes = Volume::of(&store_config.dir).map_or(u64::MAX, |volume| volume.total_bytes);
        store_config.journal_file_bytes = journal_file_bytes(volume_bytes);
        Store::open(store_config)
    });
    open.await.map(Arc::new)
}

/// Half of the files that this process may open go to segments, so that connections have the others.
fn segment_files_max() -> usize {
    const MOST: usize = 4_096;
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = allowed.and_then(|files| usize::try_from(files / 2).ok());
    half.map_or(MOST, |files| files.min(MOST))
}

/// Each of the journal's two files may take a 64th of the volume, in whole MiB. The larger they are, the
/// fewer segments are synced for each byte.
fn journal_file_bytes(volume_bytes: u64) -> u64 {
    const LEAST: u64 = 16;
    const MOST: u64 = 128;
    ((volume_bytes / 64) >> 20).clamp(LEAST, MOST) << 20
}

/// Carries the control API and the quorum, until it is told that the quorum has ended.
async fn serve_control(
    listener: BoundListener,
    quorum: Quorum,
    front: Arc<Front>,
    mut ended: watch::Receiver<bool>,
) {
    let incoming = SideListener::new("control", listener.into_socket(), CONTROL_LIMITS);
    let server = tonic::transport::Server::builder()
        // Who lives answers, so that only what is dead is idle.
        .http2_keepalive_interval(Some(CONTROL_LIMITS.idle_max / 4))
        .max_concurrent_streams(CONTROL_STREAMS_MAX)
        .add_routes(quorum.services(front));
    let ended = async move {
        // Without a sender the broker is gone.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    if let Err(error) = server.serve_with_incoming_shutdown(incoming, ended).await {
        error!(%error, "the control listener ended");
    }
}

/// Waits until the broker is registered, unfenced and has its partitions open, unless it has to start again
/// before.
async fn wait_ready(broker: &Arc<Broker>) -> Result<(), RunError> {
    const TELL_AFTER: Duration = Duration::from_secs(5);
    let mut start_again = std::pin::pin!(broker.quorum.has_to_start_again());
    let (mut images, mut applied) = (broker.images.clone(), broker.partitions.applied());
    while let Err(reason) = broker.ready() {
        let changed = async {
            tokio::select! {
                _ = images.changed() => {}
                _ = applied.changed() => {}
            }
        };
        tokio::select! {
            changed = tokio::time::timeout(TELL_AFTER, changed) => if changed.is_err() {
                info!(reason, "waiting for the cluster");
            },
            reason = &mut start_again => return Err(RunError::StartAgain(reason)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_smaller_on_a_small_volume() {
        let mib = |volume_gib: u64| journal_file_bytes(volume_gib << 30) >> 20;
        assert_eq!([0, 1, 2, 5, 8, 100].map(mib), [16, 16, 32, 80, 128, 128]);
        assert_eq!(journal_file_bytes(u64::MAX) >> 20, 128, "a volume of unknown size");
    }
}
