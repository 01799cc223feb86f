//! Nodes that can be started, crashed and started again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_control::proto;
use ottla_core::metadata::{
    Command, CreateTopics, Endpoint, IncarnationId, MetadataImage, NewTopic, Reply, SecurityProtocol,
};
use ottla_ports::free_port;
use ottla_quorum::{
    BrokerControl, ControlError, Quorum, QuorumConfig, QuorumDescription, Registration, SubmitError, Tuning,
    Voter, Voters, VotersError,
};
use ottla_store::{Disk, RealDisk};
use ottla_types::{BrokerId, ClusterId, DirectoryId, TopicId};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;

/// Everything that is waited for comes within this, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub const CLUSTER: ClusterId = ClusterId([9; 16]);

/// A server without a log and without worries.
struct NoServer;

impl BrokerControl for NoServer {
    fn health(&self) -> proto::BrokerHealth {
        proto::BrokerHealth { live: true, ready: true, ..Default::default() }
    }

    fn set_log_level(&self, filter: &str) -> Result<String, ControlError> {
        if filter == "nonsense" {
            Err(ControlError("no such level".to_owned()))
        } else {
            Ok("info".to_owned())
        }
    }
}

/// What a node keeps while it is down.
pub struct Place {
    pub id: BrokerId,
    pub dir: Arc<TempDir>,
    pub address: SocketAddr,
    pub directory_id: DirectoryId,
    /// Where the metadata log is.
    pub disk: Arc<dyn Disk>,
}

impl Place {
    pub fn new(id: i32) -> Self {
        let directory_id = DirectoryId([u8::try_from(id).unwrap() + 1; 16]);
        Self {
            id: BrokerId(id),
            dir: Arc::new(tempfile::tempdir().unwrap()),
            address: SocketAddr::from(([127, 0, 0, 1], free_port())),
            directory_id,
            disk: Arc::new(RealDisk),
        }
    }

    pub fn metadata_folder(&self) -> PathBuf {
        self.dir.path().join("__cluster_metadata-0")
    }

    /// Another disk, with nothing on it.
    pub fn wipe(&mut self) {
        std::fs::remove_dir_all(self.dir.path()).unwrap();
        std::fs::create_dir(self.dir.path()).unwrap();
        let [first, ..] = self.directory_id.0;
        self.directory_id = DirectoryId([first + 100; 16]);
    }

    pub fn voter(&self) -> Voter {
        Voter { id: self.id, address: self.address.to_string() }
    }

    pub fn config(&self, voters: Voters) -> QuorumConfig {
        QuorumConfig {
            node_id: self.id,
            voter: true,
            cluster_id: Some(CLUSTER),
            voters,
            others: Vec::new(),
            formatted: false,
            control_address: self.address.to_string(),
            registration: Some(Registration {
                incarnation: IncarnationId(u128::from(self.address.port())),
                listeners: vec![Endpoint {
                    name: "PLAINTEXT".to_owned(),
                    host: "127.0.0.1".to_owned(),
                    port: 9092,
                    security_protocol: SecurityProtocol::Plaintext,
                }],
                rack: None,
                clean_shutdown: false,
                min_insync_replicas: None,
                default_replication_factor: None,
                acks_written: false,
            }),
            log_dir: self.dir.path().to_owned(),
            tuning: Tuning::default(),
        }
    }

    /// Starts the node; it keeps its port and data from its last life. It runs on a thread of its own, which
    /// is stopped or held for all of it at once.
    pub async fn start(&self, config: QuorumConfig) -> Running {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, directory_id, deadline) = (self.address, self.directory_id, Instant::now() + DEADLINE);
        let disk = self.disk.clone();
        let started = runtime.spawn(async move {
            // Its last life may still be about to let the port go.
            let listener = loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(error) if Instant::now() > deadline => panic!("{address}: {error}"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
            let quorum = Quorum::on(disk, config).unwrap();
            let server = tonic::transport::Server::builder().add_routes(quorum.services(Arc::new(NoServer)));
            tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
            let cluster_id = within("a cluster id", quorum.cluster_id()).await.unwrap();
            quorum.start(cluster_id, directory_id).await.unwrap();
            quorum
        });
        Running { id: self.id, quorum: started.await.unwrap(), runtime: Some(runtime) }
    }
}

pub struct Running {
    pub id: BrokerId,
    pub quorum: Quorum,
    runtime: Option<Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Holds a node still until it is dropped.
pub struct Frozen(#[allow(dead_code, reason = "its drop is what counts")] std::sync::mpsc::Sender<()>);

impl Running {
    /// Stops the node at once: its tasks, its port and its connections.
    pub async fn crash(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DEADLINE)).await.unwrap();
    }

    /// Stops the node in order.
    pub async fn stop(self) {
        self.stop_quorum().await;
        self.crash().await;
    }

    /// Holds all of the node still, as SIGSTOP does: the system goes on accepting connections for it.
    pub fn freeze(&self) -> Frozen {
        let (hold, held) = std::sync::mpsc::channel();
        self.runtime().spawn(async move {
            let _ = held.recv();
        });
        Frozen(hold)
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// Stops the quorum in order, but not what listens for it.
    pub async fn stop_quorum(&self) {
        let quorum = self.quorum.clone();
        self.runtime().spawn(async move { quorum.stop().await }).await.unwrap();
    }

    /// Carries out a command, or says why not.
    pub async fn submit_within(&self, command: Command, limit: Duration) -> Result<Reply, SubmitError> {
        let quorum = self.quorum.clone();
        let submitted = async move { quorum.submit_within(command, limit).await };
        self.runtime().spawn(submitted).await.unwrap()
    }

    /// The quorum as its active controller sees it.
    pub async fn describe(&self) -> QuorumDescription {
        let quorum = self.quorum.clone();
        self.runtime().spawn(async move { quorum.describe().await }).await.unwrap().unwrap()
    }

    /// Says who is to vote.
    pub async fn set_voters(&self, voters: BTreeSet<BrokerId>) -> Result<(), VotersError> {
        let quorum = self.quorum.clone();
        self.runtime().spawn(async move { quorum.set_voters(voters, DEADLINE).await }).await.unwrap()
    }

    pub fn image(&self) -> Arc<MetadataImage> {
        self.quorum.image().borrow().clone()
    }

    /// Waits until this node's image is as wanted.
    pub async fn until(
        &self,
        what: &str,
        mut wanted: impl FnMut(&MetadataImage) -> bool,
    ) -> Arc<MetadataImage> {
        let mut images = self.quorum.image();
        let reached = within(what, images.wait_for(|image| wanted(image))).await;
        reached.unwrap().clone()
    }
}

pub fn places(count: i32) -> Vec<Place> {
    (0..count).map(Place::new).collect()
}

pub fn voters_of(places: &[Place]) -> Voters {
    Voters::Static(places.iter().map(Place::voter).collect())
}

pub async fn start_all(places: &[Place], config: impl Fn(&Place) -> QuorumConfig) -> Vec<Running> {
    let starts = places.iter().map(|place| {
        let config = config(place);
        place.start(config)
    });
    futures::future::join_all(starts).await
}

/// The position of the active controller, once there is one of which all know.
pub async fn leader_of(nodes: &[Running]) -> usize {
    poll("an active controller", || {
        let leader = nodes[0].quorum.active_controller()?;
        let agreed = nodes.iter().all(|node| node.quorum.active_controller() == Some(leader));
        nodes.iter().position(|node| agreed && node.id == leader)
    })
    .await
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Looks again and again until there is something.
pub async fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, found).await
}

pub fn live(image: &MetadataImage) -> usize {
    image.live_brokers().count()
}

/// Waits until each of these nodes knows so many brokers in service.
pub async fn in_service(nodes: &[Running], count: usize) {
    for node in nodes {
        node.until("all brokers in service", |image| live(image) == count).await;
    }
}

/// Waits until each of these nodes knows all brokers in service with registrations that `before` doesn't
/// have.
pub async fn registered_again(nodes: &[Running], before: &MetadataImage) {
    let again = |image: &MetadataImage| {
        live(image) == nodes.len()
            && image.brokers.values().all(|broker| broker.epoch >= before.next_broker_epoch)
    };
    for node in nodes {
        node.until("all brokers in service again", again).await;
    }
}

pub fn create(name: &str, partitions: i32) -> Command {
    let mut id = [0; 16];
    id[..name.len().min(16)].copy_from_slice(&name.as_bytes()[..name.len().min(16)]);
    Command::CreateTopics(CreateTopics {
        topics: vec![NewTopic {
            name: name.to_owned(),
            id: TopicId(id),
            partitions,
            replication_factor: 1,
            assignments: vec![],
            config: vec![],
        }],
        validate_only: false,
        default_partitions: 1,
        default_replication_factor: 1,
    })
}

/// Creates a topic and expects that to work.
pub async fn create_topic(node: &Running, name: &str, partitions: i32) {
    let reply = node.submit_within(create(name, partitions), DEADLINE).await.unwrap();
    let Reply::TopicsCreated(created) = reply else { panic!("{reply:?}") };
    assert!(created[0].is_ok(), "{created:?}");
    assert!(node.image().topic(name).is_some(), "the local image has it when submit returns");
}

pub async fn all_equal(nodes: &[Running]) {
    poll("equal images", || {
        let images: Vec<_> = nodes.iter().map(Running::image).collect();
        images.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    })
    .await;
    nodes[0].image().check().unwrap();
}
