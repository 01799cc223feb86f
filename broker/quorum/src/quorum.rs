//! The handle of a node: new, listening, started, stopped.
//!
//! Its futures are boxed: the code of an async function is made again in each crate that awaits it, and this
//! is the door behind which all of openraft lies.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use openraft::SnapshotPolicy;
use ottla_control::proto::control_server::ControlServer;
use ottla_control::proto::quorum_server::QuorumServer;
use ottla_control::proto::recovery_server::RecoveryServer;
use ottla_core::metadata::{Command, MetadataImage, Reply};
use ottla_store::{Disk, RealDisk};
use ottla_types::{BrokerEpoch, BrokerId, ClusterId, DirectoryId, QuorumId};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::broker;
use crate::campaign;
use crate::chores;
use crate::config::{QuorumConfig, Tuning, Voters};
use crate::control::{BrokerControl, ControlService};
use crate::controller::Controller;
use crate::describe::QuorumDescription;
use crate::elections::{Elections, LEASE};
use crate::error::{QuorumFailed, StartError, SubmitError};
use crate::fencing;
use crate::identity;
use crate::lineage::Lineage;
use crate::log_store::{self, LogStore};
use crate::network::Network;
use crate::node::{Departure, Node, Running};
use crate::peers::MESSAGE_BYTES_MAX;
use crate::raft_types::{Identity, Raft, Vote};
use crate::recovery;
use crate::room::Room;
use crate::services::{QuorumService, RecoveryService};
use crate::session;
use crate::sessions::Sessions;
use crate::state_machine::StateMachine;
use crate::tasks::Tasks;
use crate::voters::{self, VoterChange, VotersError};

/// How long a command may take unless its caller says something else.
const SUBMIT_LIMIT: Duration = Duration::from_secs(10);

/// A node of the quorum. Clones are handles of the same node.
#[derive(Clone)]
pub struct Quorum {
    node: Arc<Node>,
    disk: Arc<dyn Disk>,
}

impl Quorum {
    /// Checks the configuration. Nothing runs yet, but [`Self::services`] answers who this node is.
    ///
    /// Connections to other nodes are carried by the runtime that this is called in, whoever uses them. Call
    /// [`Self::start`] in it too, and serve [`Self::services`] there: a heartbeat that waits for a thread is
    /// as good as lost.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(config: QuorumConfig) -> Result<Self, StartError> {
        Self::on(Arc::new(RealDisk), config)
    }

    /// The same with its log on another disk than the operating system's.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn on(disk: Arc<dyn Disk>, config: QuorumConfig) -> Result<Self, StartError> {
        check(&config)?;
        let dir = config.log_dir.clone();
        let node = Node::new(disk.clone(), config, Handle::current());
        let node = node.map_err(|error| StartError::Log { path: dir, reason: error.to_string() })?;
        Ok(Self { node: Arc::new(node), disk })
    }

    /// The services `Control` and `Quorum`, for the CONTROLLER listener. It must listen before
    /// [`Self::cluster_id`] and [`Self::start`] are called, so that nodes find each other.
    pub fn services(&self, broker: Arc<dyn BrokerControl>) -> tonic::service::Routes {
        let quorum = QuorumServer::new(QuorumService { node: self.node.clone() })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let control = ControlServer::new(ControlService { node: self.node.clone(), broker })
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let mut routes = tonic::service::Routes::builder();
        let recovery = RecoveryServer::new(RecoveryService { node: self.node.clone() });
        routes.add_service(quorum).add_service(control).add_service(recovery);
        routes.routes()
    }

    /// The cluster's id, for formatting the data folder: the configured one, else the one that the voters
    /// have, else a new one if this node is the one to form the cluster. Asks until there is one, so give it
    /// a deadline.
    ///
    /// # Errors
    /// When the voters belong to different clusters.
    pub fn cluster_id(&self) -> BoxFuture<'_, Result<ClusterId, StartError>> {
        Box::pin(self.node.learn_cluster_id())
    }

    /// Opens the metadata log, forms or joins the quorum, and (if this is a broker) registers with the disk
    /// `directory_id` and goes on saying that it lives. Returns once the log is open; the image follows.
    ///
    /// # Errors
    /// When the metadata log can't be opened, or the node was started before.
    pub fn start(
        &self,
        cluster_id: ClusterId,
        directory_id: DirectoryId,
    ) -> BoxFuture<'_, Result<(), StartError>> {
        Box::pin(self.open_and_run(cluster_id, directory_id))
    }

    async fn open_and_run(&self, cluster_id: ClusterId, directory_id: DirectoryId) -> Result<(), StartError> {
        self.node.cluster_id.send_replace(Some(cluster_id));
        let stand_down = watch::Sender::new(None);
        let room = Arc::new(Room::default());
        let opened = open(&self.node, &self.disk, &room, cluster_id, directory_id, stand_down.subscribe());
        let (raft, identity) = opened.await?;
        // When to elect is decided in `elections`.
        raft.runtime_config().elect(false);
        let tuning = &self.node.config.tuning;
        let running = Running {
            controller: Controller::start(
                raft.clone(),
                self.node.config.node_id,
                self.node.image.subscribe(),
                room.clone(),
                tuning.commands_queued_max,
                &self.node.tasks,
            ),
            sessions: Sessions::new(tuning.broker_session, Instant::now()),
            elections: Elections::default(),
            stand_down,
            raft: raft.clone(),
            identity,
            room: room.clone(),
            membership_changes: tokio::sync::Mutex::new(()),
        };
        if self.node.running.set(running).is_err() {
            return Err(StartError::Config("the quorum was started twice".to_owned()));
        }
        let tasks = &self.node.tasks;
        tasks.spawn("tell who leads", tell_who_leads(raft.clone()));
        tasks.spawn("watch the metadata's room", stop_the_clock_without_room(raft, room));
        self.spawn_membership();
        tasks.spawn("stand for election", campaign::stand(self.node.clone()));
        tasks.spawn("hold the session", session::hold(self.node.clone()));
        tasks.spawn("fence the silent", fencing::fence_the_silent(self.node.clone()));
        tasks.spawn("fence the gone", fencing::fence_the_gone(self.node.clone()));
        tasks.spawn("tend the voters", voters::tend(self.node.clone()));
        tasks.spawn("do the controller's chores", chores::tend(self.node.clone()));
        tasks.spawn("tell whom this node misses", self.node.clone().tell_the_missed());
        if let Some(registration) = self.node.config.registration.clone() {
            tasks.spawn("keep the registration", broker::run(self.node.clone(), registration, directory_id));
        }
        Ok(())
    }

    /// Forms the quorum or joins it, as long as that takes.
    fn spawn_membership(&self) {
        let node = self.node.clone();
        self.node.tasks.spawn("be a member", async move {
            let Some(running) = node.running.get() else { return };
            let mut stopping = node.stopping.subscribe();
            let member = async {
                if node.config.voter {
                    node.form(running).await?;
                }
                node.join(running).await
            };
            tokio::select! {
                result = member => if let Err(error) = result {
                    tracing::error!(%error, "this node can't become a member of the metadata quorum");
                },
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        });
    }

    /// Through what everything of this broker is to be begun that runs beside its caller.
    pub fn tasks(&self) -> &Tasks {
        &self.node.tasks
    }

    /// The image, now and after each change.
    pub fn image(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.node.image.subscribe()
    }

    /// Carries a command to the active controller. Returns once it is committed and in this node's image,
    /// after 10 seconds at the latest. A command whose answer got lost is sent again: one with ids (new
    /// topics) is known again then, others may answer that it is already so.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn submit(&self, command: Command) -> BoxFuture<'_, Result<Reply, SubmitError>> {
        self.submit_within(command, SUBMIT_LIMIT)
    }

    /// The same with another time limit.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn submit_within(
        &self,
        command: Command,
        limit: Duration,
    ) -> BoxFuture<'_, Result<Reply, SubmitError>> {
        Box::pin(async move { self.node.submit(&command, limit).await })
    }

    /// The quorum as the active controller sees it: for DescribeQuorum.
    ///
    /// # Errors
    /// When no active controller answers within 10 seconds.
    pub fn describe(&self) -> BoxFuture<'_, Result<QuorumDescription, SubmitError>> {
        Box::pin(self.node.describe(SUBMIT_LIMIT))
    }

    /// Gives the vote to a node that has joined (all brokers do), on the disk `directory_id` if one is named,
    /// and waits until it has caught up and votes: for AddRaftVoter.
    ///
    /// # Errors
    /// See [`VotersError`].
    pub fn add_voter(
        &self,
        id: BrokerId,
        directory_id: Option<DirectoryId>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<(), VotersError>> {
        Box::pin(self.node.change_voters(VoterChange::Add(id, directory_id), limit))
    }

    /// Takes the vote from a node, dead or alive, and waits until that is so: for RemoveRaftVoter.
    ///
    /// # Errors
    /// See [`VotersError`].
    pub fn remove_voter(
        &self,
        id: BrokerId,
        directory_id: Option<DirectoryId>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<(), VotersError>> {
        Box::pin(self.node.change_voters(VoterChange::Remove(id, directory_id), limit))
    }

    /// Makes these nodes the voters, and nobody else, and waits until that is so.
    ///
    /// # Errors
    /// See [`VotersError`].
    pub fn set_voters(
        &self,
        voters: BTreeSet<BrokerId>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<(), VotersError>> {
        Box::pin(self.node.change_voters(VoterChange::Set(voters), limit))
    }

    /// The active controller, as far as this node knows.
    pub fn active_controller(&self) -> Option<BrokerId> {
        self.node.active_controller()
    }

    /// The metadata quorum that this node follows, if it follows one.
    pub fn quorum_id(&self) -> Option<QuorumId> {
        self.node.memory.lineage().map(|lineage| lineage.id)
    }

    /// What is wrong with the metadata quorum as far as this node knows, for people, with what to do; none if
    /// nothing is.
    pub fn trouble(&self) -> Option<String> {
        self.node.trouble()
    }

    /// What is wrong if this node is the active controller of a quorum that no other broker follows, while
    /// others of this cluster follow another one: what it says of the cluster isn't to be believed.
    pub fn leads_beside_another(&self) -> Option<String> {
        let alone = self.node.image.borrow().brokers.len() <= 1 && self.node.is_active();
        self.trouble().filter(|_| alone && self.node.memory.conflict().is_some())
    }

    /// The epoch of this broker's registration with the active controller; none before the first.
    pub fn broker_epoch(&self) -> Option<BrokerEpoch> {
        *self.node.broker_epoch.borrow()
    }

    /// Waits until the consensus fails, as when the metadata log can't be written. It mostly never does.
    pub fn failed(&self) -> BoxFuture<'_, QuorumFailed> {
        Box::pin(self.wait_for_failure())
    }

    async fn wait_for_failure(&self) -> QuorumFailed {
        if let Some(running) = self.node.running.get() {
            let mut metrics = running.raft.metrics();
            loop {
                let state = metrics.borrow_and_update().running_state.clone();
                if let Err(fatal) = state
                    && !*self.node.stopping.borrow()
                {
                    return QuorumFailed { reason: fatal.to_string() };
                }
                if metrics.changed().await.is_err() {
                    break;
                }
            }
        }
        std::future::pending().await
    }

    /// Waits until this node has to start again, to follow another quorum or to rebuild its own, and says
    /// why. It mostly never has to.
    pub fn has_to_start_again(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let mut reasons = self.node.start_again.subscribe();
            let reason = reasons.wait_for(Option::is_some).await.map(|reason| reason.clone());
            match reason {
                Ok(reason) => reason.unwrap_or_default(),
                // The sender is a part of the node.
                Err(_) => std::future::pending().await,
            }
        })
    }

    /// Tells the active controller that this broker is about to stop, while it still serves: its leaderships
    /// move to replicas in sync, so that clients are told of the new leaders before connections end. Says how
    /// many partitions it still leads, as nobody else can; none if nobody answered in time.
    pub fn step_aside(&self) -> BoxFuture<'_, Option<usize>> {
        Box::pin(broker::step_aside(&self.node))
    }

    /// Tells the active controller that this broker stops, so that its leaderships end or move at once, hands
    /// over if this node is the active controller, then stops the quorum's tasks.
    pub fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.node.departure.send_replace(Departure::SayingGoodbye);
            broker::say_goodbye(&self.node).await;
            self.node.departure.send_replace(Departure::Leaves);
            if let Some(running) = self.node.running.get() {
                self.node.hand_over(running, None).await;
            }
            self.abort().await;
        })
    }

    /// Stops without a word to the others, as a crash would.
    pub fn abort(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.node.stopping.send_replace(true);
            let Some(running) = self.node.running.get() else { return };
            running.room.close();
            if let Err(error) = running.raft.shutdown().await {
                tracing::warn!(%error, "the metadata quorum did not stop in order");
            }
        })
    }
}

fn check(config: &QuorumConfig) -> Result<(), StartError> {
    let wrong = |text: String| Err(StartError::Config(text));
    if config.node_id.0 < 0 {
        return wrong(format!("node.id is {}: use 0 or more", config.node_id));
    }
    match &config.voters {
        Voters::Static(voters) if voters.is_empty() => {
            wrong("controller.quorum.voters names nobody".to_owned())
        }
        Voters::Bootstrap(addresses) if addresses.is_empty() => wrong(
            "neither controller.quorum.voters nor controller.quorum.bootstrap.servers names a node"
                .to_owned(),
        ),
        Voters::Static(voters) => {
            let listed = voters.iter().any(|voter| voter.id == config.node_id);
            let id = config.node_id;
            match (listed, config.voter) {
                (false, true) => wrong(format!(
                    "node.id {id} has the process role controller and is not in controller.quorum.voters: add it there"
                )),
                (true, false) => wrong(format!(
                    "node.id {id} is in controller.quorum.voters and lacks the process role controller: add it"
                )),
                _ => Ok(()),
            }
        }
        Voters::Bootstrap(_) => Ok(()),
    }
}

async fn open(
    node: &Node,
    disk: &Arc<dyn Disk>,
    room: &Arc<Room>,
    cluster_id: ClusterId,
    directory_id: DirectoryId,
    stand_down: watch::Receiver<Option<Vote>>,
) -> Result<(Raft, Identity), StartError> {
    let folder = node.folder();
    let failed =
        |error: &dyn std::fmt::Display| StartError::Log { path: folder.clone(), reason: error.to_string() };
    recovery::carry_out(node, disk, &folder, cluster_id, directory_id).map_err(|error| failed(&error))?;
    if node.memory.lineage().is_none() && log_store::exists(&folder) {
        // A log from before quorums had identities.
        let unnamed = Lineage::unnamed(cluster_id);
        node.memory.remember(unnamed).map_err(|error| failed(&error))?;
    }
    // Before the log's folder is made, so that later starts know too.
    node.memory.remember_loss().map_err(|error| failed(&error))?;
    let (log, machine) = open_files(node, disk, room, &folder, cluster_id).map_err(|error| failed(&error))?;
    let identity = identity::load(disk.as_ref(), &folder, directory_id).map_err(|error| failed(&error))?;
    let network = Network {
        cluster_id,
        peers: node.peers.clone(),
        addresses: node.addresses.clone(),
        contacts: node.contacts.clone(),
        memory: node.memory.clone(),
        stand_down,
        tasks: node.tasks.clone(),
    };
    let config = raft_config(&node.config.tuning).validate().map_err(|error| failed(&error))?;
    let raft = Raft::new(node.config.node_id, Arc::new(config), network, log, machine);
    Ok((raft.await.map_err(|error| failed(&error))?, identity))
}

fn open_files(
    node: &Node,
    disk: &Arc<dyn Disk>,
    room: &Arc<Room>,
    folder: &Path,
    cluster_id: ClusterId,
) -> std::io::Result<(LogStore, StateMachine)> {
    disk.create_dir(folder)?;
    disk.sync_dir(&node.config.log_dir)?;
    let machine = StateMachine::open(disk.clone(), folder, cluster_id, node.image.clone(), room.clone())?;
    let segment_bytes = node.config.tuning.log_segment_bytes;
    Ok((LogStore::open(disk.clone(), folder, segment_bytes, room.clone(), &node.tasks)?, machine))
}

fn raft_config(tuning: &Tuning) -> openraft::Config {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    openraft::Config {
        cluster_name: "ottla".to_owned(),
        heartbeat_interval: ms(tuning.raft_heartbeat),
        // Only how long a promise holds and how long a vote may take: its own elections are off.
        election_timeout_min: ms(LEASE),
        election_timeout_max: ms(LEASE) + 1,
        install_snapshot_timeout: 10_000,
        max_payload_entries: 128,
        replication_lag_threshold: tuning.snapshot_after_entries + tuning.entries_kept,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(tuning.snapshot_after_entries),
        snapshot_max_chunk_size: 1 << 20,
        max_in_snapshot_log_to_keep: tuning.entries_kept,
        ..openraft::Config::default()
    }
}

/// Keeps openraft's clock from ticking while openraft waits for room, as ticks that it doesn't take pile up.
/// Ends with the consensus.
async fn stop_the_clock_without_room(raft: Raft, room: Arc<Room>) {
    let (mut waiting, mut metrics) = (room.waiting(), raft.metrics());
    let ended = metrics.wait_for(|metrics| metrics.running_state.is_err());
    let ticking = async {
        while waiting.changed().await.is_ok() {
            let waits = *waiting.borrow_and_update() > 0;
            raft.runtime_config().tick(!waits);
        }
    };
    tokio::select! {
        () = ticking => {}
        _ = ended => {}
    }
}

/// Logs each change of the active controller, until the consensus ends.
async fn tell_who_leads(raft: Raft) {
    let mut metrics = raft.server_metrics();
    let mut told = None;
    loop {
        let now = {
            let metrics = metrics.borrow_and_update();
            metrics.current_leader.map(|leader| (leader, metrics.vote.leader_id().term))
        };
        if let Some((leader, term)) = now
            && told != now
        {
            tracing::info!(controller = leader.0, term, "following the active controller");
            told = now;
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tuning, Voter, Voters};

    const CLUSTER: ClusterId = ClusterId([9; 16]);

    /// openraft updates one view of itself after the other; ours is the first.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_hears_of_an_election_finds_its_outcome() {
        for _ in 0..30 {
            let dir = tempfile::tempdir().unwrap();
            let (id, address) = (BrokerId(1), "127.0.0.1:1".to_owned());
            let config = QuorumConfig {
                node_id: id,
                voter: true,
                cluster_id: Some(CLUSTER),
                voters: Voters::Static(vec![Voter { id, address: address.clone() }]),
                others: Vec::new(),
                formatted: false,
                control_address: address,
                registration: None,
                log_dir: dir.path().to_owned(),
                tuning: Tuning::default(),
            };
            let quorum = Quorum::new(config).unwrap();
            quorum.start(CLUSTER, DirectoryId([1; 16])).await.unwrap();
            let node = quorum.node.clone();
            let heard = tokio::task::spawn_blocking(move || {
                let server = node.running.get().unwrap().raft.server_metrics();
                while server.borrow().current_leader.is_none() {
                    std::hint::spin_loop();
                }
                node.is_active()
            });
            assert!(heard.await.unwrap());
            quorum.stop().await;
        }
    }
}
