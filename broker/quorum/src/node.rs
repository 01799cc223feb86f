//! What the parts of a running node share.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ottla_control::proto;
use ottla_core::metadata::{Command, MetadataImage, Rejection, Reply, TopicSelector, UnfenceBroker};
use ottla_store::Disk;
use ottla_types::{BrokerEpoch, BrokerId, ClusterId, MetadataVersion};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout_at;
use tonic::{Code, Status};

use crate::addresses::Addresses;
use crate::backoff::Backoff;
use crate::config::{QuorumConfig, Voters};
use crate::contacts::Contacts;
use crate::controller::{Controller, Outcome, Unavailable};
use crate::elections::Elections;
use crate::error::SubmitError;
use crate::lineage::{self, Lineage, Memory, Relation};
use crate::peers::{Peers, Sender};
use crate::raft_types::{Identity, Raft, RaftMetrics, RaftServerMetrics, Vote};
use crate::room::Room;
use crate::sessions::Sessions;
use crate::tasks::Tasks;

/// How far a node is with stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It stays.
    Stays,
    /// It says goodbye, for which it needs an active controller.
    SayingGoodbye,
    /// It has done that, and will be active controller no more.
    Leaves,
}

/// One node: its configuration, its connections and, once started, its consensus.
pub struct Node {
    pub config: QuorumConfig,
    /// What runs beside callers.
    pub tasks: Tasks,
    pub peers: Arc<Peers>,
    pub contacts: Arc<Contacts>,
    pub addresses: Arc<Addresses>,
    /// Which quorum it follows.
    pub memory: Arc<Memory>,
    /// Once it is known.
    pub cluster_id: watch::Sender<Option<ClusterId>>,
    pub image: watch::Sender<Arc<MetadataImage>>,
    pub broker_epoch: watch::Sender<Option<BrokerEpoch>>,
    /// How far it is with stopping in order.
    pub departure: watch::Sender<Departure>,
    pub stopping: watch::Sender<bool>,
    /// When this node was made.
    pub began: Instant,
    /// The address of the active controller, as another node said.
    pub told_leader: watch::Sender<Option<String>>,
    /// Why this node has to start again, if it has to.
    pub start_again: watch::Sender<Option<String>>,
    pub running: OnceLock<Running>,
}

/// What there is once the log is open.
pub struct Running {
    pub raft: Raft,
    pub controller: Controller,
    pub sessions: Sessions,
    pub elections: Elections,
    /// In favour of whom this node stands down, if it does.
    pub stand_down: watch::Sender<Option<Vote>>,
    /// Which log this node has.
    pub identity: Identity,
    /// Whether its disk has room for more.
    pub room: Arc<Room>,
    /// Held while this node changes the members of the quorum: openraft refuses a second change meanwhile.
    pub membership_changes: Mutex<()>,
}

impl Node {
    /// Reads which quorum it follows. Its connections are carried by `runtime`.
    ///
    /// # Errors
    /// The disk's, and `InvalidData`.
    pub fn new(disk: Arc<dyn Disk>, config: QuorumConfig, runtime: Handle) -> io::Result<Self> {
        let image = MetadataImage::new(config.cluster_id.unwrap_or_default());
        let configured = match &config.voters {
            Voters::Static(voters) => voters.iter().map(|voter| (voter.id, voter.address.clone())).collect(),
            Voters::Bootstrap(_) => BTreeMap::new(),
        };
        let folder = config.log_dir.join(ottla_log::METADATA_FOLDER);
        let has_log = crate::log_store::exists(&folder);
        let memory = Memory::open(disk, &config.log_dir, has_log, config.formatted)?;
        Ok(Self {
            memory: Arc::new(memory),
            peers: Arc::new(Peers::new(runtime)),
            contacts: Arc::new(Contacts::default()),
            addresses: Arc::new(Addresses::new(configured)),
            cluster_id: watch::Sender::new(config.cluster_id),
            image: watch::Sender::new(Arc::new(image)),
            broker_epoch: watch::Sender::new(None),
            departure: watch::Sender::new(Departure::Stays),
            stopping: watch::Sender::new(false),
            began: Instant::now(),
            told_leader: watch::Sender::new(None),
            start_again: watch::Sender::new(None),
            running: OnceLock::new(),
            tasks: Tasks::default(),
            config,
        })
    }

    /// The folder of the metadata log.
    pub fn folder(&self) -> PathBuf {
        self.config.log_dir.join(ottla_log::METADATA_FOLDER)
    }

    pub fn metrics(&self) -> Option<RaftMetrics> {
        Some(self.running.get()?.raft.metrics().borrow().clone())
    }

    /// Who leads the consensus, by the vote that this node follows. openraft updates this first, and
    /// `metrics` a moment later: whoever is woken by the one and looks at the other would miss the change for
    /// good.
    pub fn server(&self) -> Option<RaftServerMetrics> {
        Some(self.running.get()?.raft.server_metrics().borrow().clone())
    }

    pub fn active_controller(&self) -> Option<BrokerId> {
        self.server()?.current_leader
    }

    /// Whether this node is the active controller, as far as it knows.
    pub fn is_active(&self) -> bool {
        self.active_controller() == Some(self.config.node_id)
    }

    /// The active controller and its address.
    pub fn leader(&self) -> Option<(BrokerId, String)> {
        self.leader_of(&self.server()?)
    }

    /// The active controller that `metrics` names, and its address.
    pub fn leader_of(&self, metrics: &RaftServerMetrics) -> Option<(BrokerId, String)> {
        let leader = metrics.current_leader?;
        let address = match metrics.membership_config.membership().get_node(&leader) {
            Some(member) => self.addresses.of(leader, &member.addr),
            None => self.addresses.known(leader)?,
        };
        Some((leader, address))
    }

    /// Whether a quorum was formed, as far as this node knows: it must never form another one.
    pub fn is_initialized(&self) -> bool {
        self.memory.knows_of_one() || self.has_log()
    }

    /// Whether its log says that a quorum was formed.
    pub fn has_log(&self) -> bool {
        match self.metrics() {
            Some(metrics) => metrics.last_log_index.is_some() || metrics.current_term > 0,
            None => crate::log_store::exists(&self.folder()),
        }
    }

    /// Refuses a message of another cluster.
    pub fn check_cluster(&self, theirs: &str) -> Result<ClusterId, Status> {
        let ours = *self.cluster_id.borrow();
        match ours {
            Some(ours) if ours.to_string() == theirs => Ok(ours),
            Some(ours) => Err(Status::failed_precondition(format!(
                "node {} is of cluster {ours}, and the message is of cluster {theirs}: check the addresses of the \
                 controllers, or the data folder",
                self.config.node_id
            ))),
            None => Err(Status::unavailable("this node does not know its cluster yet: try again")),
        }
    }

    /// Refuses what a node of another quorum says.
    ///
    /// # Errors
    /// `FailedPrecondition`, with what to do.
    pub fn check_quorum(&self, theirs: Option<&proto::Lineage>) -> Result<(), Status> {
        let (Some(ours), Some(theirs)) = (self.memory.lineage(), self.lineage_of(theirs)) else {
            return Ok(());
        };
        match ours.relation(&theirs) {
            Relation::Same => Ok(()),
            relation => Err(self.other_quorum(&ours, &theirs, relation)),
        }
    }

    /// Whether a message of the consensus is of the quorum that this node follows. If it follows none, it
    /// does so from now on, which is on its disk when this returns.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is of another one, with what to do; `Unavailable` when the disk has no
    /// room.
    pub async fn follow_quorum(&self, theirs: Option<&proto::Lineage>) -> Result<(), Status> {
        let Some(theirs) = self.lineage_of(theirs) else {
            return Err(Status::unavailable("this node does not know its cluster yet: try again"));
        };
        let Some(ours) = self.memory.lineage() else {
            let memory = self.memory.clone();
            let remembered = self
                .tasks
                .spawn_blocking("write down the metadata quorum", move || memory.remember(theirs))
                .await;
            let remembered = remembered.map_err(io::Error::other).and_then(|remembered| remembered);
            return remembered.map_err(|error| {
                tracing::error!(%error, "the metadata quorum that this node is to follow can't be written down");
                Status::unavailable(error.to_string())
            });
        };
        match ours.relation(&theirs) {
            Relation::Same => Ok(()),
            Relation::Successor(end) => Err(self.follow_successor(theirs, end).await),
            relation => Err(self.other_quorum(&ours, &theirs, relation)),
        }
    }

    fn other_quorum(&self, ours: &Lineage, theirs: &Lineage, relation: Relation) -> Status {
        let me = self.config.node_id;
        self.memory.hear(theirs, "a message");
        let why = match relation {
            Relation::Predecessor => "which this one succeeds: start the sender again",
            Relation::Same | Relation::Successor(_) | Relation::Foreign => {
                "which it doesn't follow: see `ottla quorum recover`"
            }
        };
        Status::failed_precondition(format!(
            "node {me} follows the metadata quorum {}, and the message is of {}, {why}",
            ours.id, theirs.id
        ))
    }

    /// A lineage as it came in a message. Nodes from before there were any say none; all of a cluster have
    /// the same one.
    fn lineage_of(&self, theirs: Option<&proto::Lineage>) -> Option<Lineage> {
        match theirs {
            Some(theirs) => lineage::from_proto(Some(theirs)),
            None => (*self.cluster_id.borrow()).map(Lineage::unnamed),
        }
    }

    /// The quorum that this node follows, as messages carry it.
    pub fn quorum(&self) -> Option<proto::Lineage> {
        self.memory.lineage().as_ref().map(Into::into)
    }

    /// Of which cluster and quorum this node's messages are.
    pub fn sender(&self) -> Sender {
        Sender { cluster_id: self.known_cluster_id(), quorum: self.quorum() }
    }

    /// Refuses what would have openraft write while it stands still for lack of room: it would wait with the
    /// rest, without limit.
    pub fn check_room(&self, running: &Running) -> Result<(), Status> {
        if running.room.is_short() {
            return Err(unavailable(&Unavailable::NoRoom(self.config.node_id)));
        }
        Ok(())
    }

    /// Refuses messages of the consensus once this node is to leave its quorum: what it took or promised from
    /// then on, it would take along.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn check_it_stays(&self) -> Result<(), Status> {
        match self.start_again.borrow().as_ref() {
            Some(next) => {
                Err(Status::unavailable(format!("node {} starts again: {next}", self.config.node_id)))
            }
            None => Ok(()),
        }
    }

    /// What there is once the node has started.
    pub fn running(&self) -> Result<&Running, Status> {
        self.running.get().ok_or_else(|| Status::unavailable("this node is starting: try again"))
    }

    /// The cluster's id as messages carry it.
    pub fn known_cluster_id(&self) -> String {
        self.cluster_id.borrow().unwrap_or_default().to_string()
    }

    /// Asks the active controller until it answers or the time is up: at its address, or here if that is
    /// none.
    pub async fn at_the_active_controller<T, F>(
        &self,
        limit: Duration,
        ask: impl Fn(Option<String>) -> F,
    ) -> Result<T, SubmitError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let attempts = async {
            let mut backoff = Backoff::for_peers();
            loop {
                let answer = match self.leader() {
                    Some((leader, address)) => {
                        ask(Some(address).filter(|_| leader != self.config.node_id)).await
                    }
                    None => Err(Status::unavailable("no active controller is known")),
                };
                match answer {
                    Ok(answer) => return answer,
                    Err(status) => tracing::debug!(%status, "the active controller did not answer"),
                }
                backoff.pause().await;
            }
        };
        tokio::time::timeout(limit, attempts).await.map_err(|_| SubmitError::TimedOut(limit))
    }

    /// Carries a command to the active controller until there is an outcome or the time is up, then waits for
    /// this node's image to have it.
    ///
    /// A command whose answer got lost may have been carried out and is sent again. All commands bear that:
    /// decided again, they change nothing more, but for registrations and blocks of producer ids, of which
    /// one is then unused. What is told the second time may be that it is so already.
    pub async fn submit(&self, command: &Command, limit: Duration) -> Result<Reply, SubmitError> {
        let deadline = tokio::time::Instant::now() + limit;
        let running = self.running.get().ok_or(SubmitError::NotRunning)?;
        let mut stopping = self.stopping.subscribe();
        let attempts = async {
            let mut backoff = Backoff::for_peers();
            let (mut command, image) = (Cow::Borrowed(command), self.image.borrow().clone());
            loop {
                match self.attempt(running, &command).await {
                    Ok(outcome) => return Ok(outcome),
                    Err(Unavailable::Stopped) => return Err(SubmitError::NotRunning),
                    Err(reason) => tracing::debug!(%reason, "no outcome yet"),
                }
                command = Cow::Owned(pinned(command.into_owned(), &image));
                backoff.pause().await;
            }
        };
        let stopped = async {
            // An error means that the node is gone.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let outcome = tokio::select! {
            outcome = timeout_at(deadline, attempts) => outcome.map_err(|_| SubmitError::TimedOut(limit))??,
            () = stopped => return Err(SubmitError::NotRunning),
        };
        let (outcome, version) = outcome;
        timeout_at(deadline, self.wait_for(version)).await.map_err(|_| SubmitError::TimedOut(limit))?;
        outcome.map_err(SubmitError::Rejected)
    }

    pub async fn wait_for(&self, version: MetadataVersion) {
        let mut image = self.image.subscribe();
        // The sender is a part of `self`.
        let _ = image.wait_for(|image| image.version >= version).await;
    }

    /// One try: here, if this node is the active controller, else there.
    async fn attempt(&self, running: &Running, command: &Command) -> Result<Outcome, Unavailable> {
        let (leader, address) = self.leader().ok_or(Unavailable::NotActive(None))?;
        if leader == self.config.node_id {
            return running.controller.decide(command.clone()).await;
        }
        // A controller that froze answers nothing: then another one is elected, which is to be asked instead.
        let mut metrics = running.raft.server_metrics();
        let replaced = metrics.wait_for(|metrics| metrics.current_leader != Some(leader));
        let forwarded = tokio::select! {
            forwarded = self.forward(&address, command) => forwarded,
            _ = replaced => Err(Status::unavailable("there is another active controller")),
        };
        forwarded.map_err(|status| {
            tracing::debug!(%status, leader = leader.0, "the active controller did not take the command");
            Unavailable::NotActive(Some(leader))
        })
    }

    async fn forward(&self, address: &str, command: &Command) -> Result<Outcome, Status> {
        let encoded = serde_json::to_vec(command).map_err(|error| Status::internal(error.to_string()))?;
        let request = proto::SubmitRequest {
            cluster_id: self.known_cluster_id(),
            command: encoded,
            quorum: self.quorum(),
        };
        let response = self.peers.client(address)?.submit(request).await?.into_inner();
        let outcome: Result<Reply, Rejection> =
            serde_json::from_slice(&response.outcome).map_err(|error| Status::internal(error.to_string()))?;
        Ok((outcome, MetadataVersion(response.metadata_version)))
    }

    /// A node says that it lives; only the active controller answers. A broker that is fenced is taken into
    /// service.
    pub async fn heartbeat(
        &self,
        id: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<proto::HeartbeatResponse, Status> {
        let running = self.running()?;
        let leader = self.active_controller();
        if leader != Some(self.config.node_id) {
            return Err(unavailable(&Unavailable::NotActive(leader)));
        }
        if epoch.0 == 0 {
            return Ok(proto::HeartbeatResponse { fenced: true, register: false });
        }
        let image = self.image.borrow().clone();
        let Some(broker) = image.broker(id).filter(|broker| broker.epoch == epoch) else {
            // A broker's registration is in its own image before it sends this, but perhaps not yet in that
            // of an active controller that was just elected: asked again, it either is or never will be.
            self.check_room(running)?;
            let confirmed = running.raft.ensure_linearizable().await.is_ok();
            let known = self.image.borrow().broker(id).is_some_and(|broker| broker.epoch == epoch);
            return match (confirmed, known) {
                (true, false) => Ok(proto::HeartbeatResponse { fenced: true, register: true }),
                _ => Err(Status::unavailable("the active controller is catching up: try again")),
            };
        };
        running.sessions.hear(id, epoch, Instant::now());
        if !broker.fenced {
            return Ok(proto::HeartbeatResponse { fenced: false, register: false });
        }
        if broker.in_controlled_shutdown {
            return Ok(proto::HeartbeatResponse { fenced: true, register: false });
        }
        let unfence = Command::UnfenceBroker(UnfenceBroker { id, epoch });
        let (outcome, _) = running.controller.decide(unfence).await.map_err(|reason| unavailable(&reason))?;
        Ok(proto::HeartbeatResponse { fenced: outcome.is_err(), register: false })
    }
}

/// A command as it is sent again: it deletes the topics that had these names when it was sent first, and none
/// that were created since.
fn pinned(mut command: Command, image: &MetadataImage) -> Command {
    if let Command::DeleteTopics(delete) = &mut command {
        for selector in &mut delete.topics {
            if let TopicSelector::Name(name) = selector
                && let Some(topic) = image.topic(name)
            {
                *selector = TopicSelector::Id(topic.id);
            }
        }
    }
    command
}

/// The gRPC status of a controller that can't help.
pub fn unavailable(reason: &Unavailable) -> Status {
    let code = match reason {
        Unavailable::Busy => Code::ResourceExhausted,
        Unavailable::NotActive(_) | Unavailable::NoRoom(_) | Unavailable::Stopped => Code::Unavailable,
    };
    Status::new(code, reason.to_string())
}
