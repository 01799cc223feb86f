//! `up`: a cluster on this machine, from its manifests to running brokers, and back to nothing running.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ottla_api::Kind;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::answer::{answer, check_brokers};
use crate::brokers::{Brokers, Program};
use crate::control::watch_cluster;
use crate::event::LocalEvent;
use crate::folder::{DataFolder, FolderError, FolderLock};
use crate::manifests::{BUILT_IN, parse_manifests};
use crate::ports::Ports;
use crate::protocol::Refusal;
use crate::resources::{Resources, ResourcesError};
use crate::settings::identified;
use crate::shared::{Shared, now};
use crate::socket::{bind, serve};
use crate::status::bootstrap_servers;
use crate::topics::keep_status;

/// What `up` should run.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// Where records and manifests are.
    pub folder: DataFolder,
    /// The first broker's port for clients.
    pub port: u16,
    /// The manifests; else those of the folder, else the built-in ones.
    pub manifests: Option<Vec<Value>>,
    /// The program that runs a broker, and ends when its standard input closes.
    pub program: PathBuf,
    /// Its arguments; the broker's settings file follows them.
    pub arguments: Vec<OsString>,
}

/// Why a cluster can't be started.
#[derive(Debug, Error)]
pub enum UpError {
    /// The folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What was applied before can't be read.
    #[error(transparent)]
    Resources(#[from] ResourcesError),
    /// A manifest is invalid, or a port is taken.
    #[error("{}", .0.reasons.join("\n"))]
    Refused(Refusal),
}

impl UpError {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::Folder(error) => error.remedy(),
            Self::Resources(error) => error.remedy(),
            Self::Refused(refusal) => refusal.remedy.clone(),
        }
    }

    /// Whether a manifest is at fault.
    pub fn is_invalid_manifest(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.invalid)
    }
}

/// A cluster that runs on this machine. Dropped without [`LocalCluster::stop`], its brokers are killed.
pub struct LocalCluster {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    brokers: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    events: mpsc::UnboundedSender<LocalEvent>,
    socket: PathBuf,
    _lock: FolderLock,
}

impl LocalCluster {
    /// Checks everything, then starts the brokers; returns before they are ready, which the events tell.
    ///
    /// # Errors
    /// [`UpError`]: the folder is in use, a manifest is refused, or a port is taken. Then nothing was
    /// started.
    pub async fn start(options: UpOptions) -> Result<(Self, mpsc::UnboundedReceiver<LocalEvent>), UpError> {
        let began = Instant::now();
        let folder = options.folder;
        let lock = folder.lock()?;
        let ports = Ports::from(options.port);
        let mut resources = Resources::load(folder.resources())?;
        let cluster_status = prepare(&mut resources, options.manifests, ports)?;
        let (views, view) = watch::channel(None);
        let (control_ports, to_watch) = watch::channel(Vec::new());
        let (events, to_show) = mpsc::unbounded_channel();
        let shared = Shared::new(resources, ports, view, cluster_status, began);
        let listener = bind(&folder)?;
        let program = Program { path: options.program, arguments: options.arguments };
        let mut brokers =
            Brokers::new(shared.clone(), folder.clone(), program, events.clone(), control_ports);
        brokers.start_all()?;
        let (stop, stopped) = oneshot::channel();
        let asked = shared.clone();
        let helpers = vec![
            tokio::spawn(watch_cluster(to_watch, views)),
            tokio::spawn(keep_status(shared.clone(), events.clone())),
            tokio::spawn(serve(listener, move |request| {
                let shared = asked.clone();
                async move { answer(&shared, request).await }
            })),
        ];
        let brokers = tokio::spawn(brokers.run(stopped));
        let socket = folder.socket();
        Ok((Self { shared, helpers, brokers, stop, events, socket, _lock: lock }, to_show))
    }

    /// The KafkaCluster's name.
    pub fn name(&self) -> String {
        self.shared.state().resources.cluster().and_then(|cluster| cluster.metadata.name).unwrap_or_default()
    }

    /// How many brokers it has.
    pub fn brokers(&self) -> usize {
        self.shared.state().cluster_status.brokers.len()
    }

    /// What to give a client as bootstrap.servers.
    pub fn bootstrap_servers(&self) -> String {
        bootstrap_servers(self.shared.ports, &self.shared.state().cluster_status)
    }

    /// The name in Kafka of its first Topic, if it has one.
    pub fn first_topic(&self) -> Option<String> {
        self.shared.state().resources.topics().first().map(|topic| topic.topic_name().to_owned())
    }

    /// Ends all brokers cleanly.
    pub async fn stop(self) {
        // Nobody may listen any more.
        let _ = self.events.send(LocalEvent::Stopping);
        for helper in &self.helpers {
            helper.abort();
        }
        let _ = self.stop.send(());
        let _ = self.brokers.await;
        // While the lock is held, so that it can't be another's.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Brings the folder's resources to what is asked; answers with what the cluster decides only once.
fn prepare(
    resources: &mut Resources,
    manifests: Option<Vec<Value>>,
    ports: Ports,
) -> Result<ottla_api::KafkaClusterStatus, UpError> {
    let manifests = match manifests {
        Some(manifests) => manifests,
        None if resources.is_empty() => parse_manifests(BUILT_IN, "built-in").expect("a test parses them"),
        None => Vec::new(),
    };
    let changes = resources.check(&manifests, &now().0.to_string()).map_err(UpError::Refused)?;
    let replicas = changes.replicas().or_else(|| resources.cluster().map(|cluster| cluster.spec.replicas));
    check_brokers(ports, 0, replicas).map_err(UpError::Refused)?;
    resources.commit(changes)?;
    let cluster = resources.cluster().expect("a checked set of resources has a cluster");
    let status = identified(&cluster);
    if cluster.status.as_ref() != Some(&status) {
        let name = cluster.metadata.name.unwrap_or_default();
        resources.set_status(Kind::KafkaCluster, &name, json!(status))?;
    }
    Ok(status)
}
