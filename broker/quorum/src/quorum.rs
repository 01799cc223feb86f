//! The handle of a running node.

use std::sync::Arc;
use std::time::Duration;

use ottla_control::proto;
use ottla_core::metadata::{Command, MetadataImage, Rejection, Reply};
use ottla_types::{BrokerId, ClusterId, DirectoryId};
use tokio::sync::watch;

use crate::config::QuorumConfig;

/// A node of the quorum. Clones are handles of the same node.
#[derive(Clone)]
pub struct Quorum {
    _config: Arc<QuorumConfig>,
}

/// Why a command has no reply.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// The active controller refused the command. Nothing changed.
    #[error(transparent)]
    Rejected(Rejection),
    /// No active controller answered in time. The command may still take effect, or not.
    #[error("the active controller did not answer within {} ms: try again", .0.as_millis())]
    TimedOut(Duration),
    /// This node is stopping, or hasn't started.
    #[error("this node's quorum is not running")]
    NotRunning,
}

/// Why the quorum can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration makes no sense; the text names the key and what to do.
    #[error("{0}")]
    Config(String),
    /// The metadata log or its snapshots can't be read or written.
    #[error("metadata log in {path}: {reason}")]
    Log {
        /// The folder.
        path: std::path::PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The node belongs to another cluster than its peers.
    #[error("{0}")]
    AnotherCluster(String),
    /// The consensus itself failed.
    #[error("metadata quorum: {0}")]
    Raft(String),
}

/// What the server tells about itself over the control API.
pub trait BrokerControl: Send + Sync + 'static {
    /// Health and readiness; id and metadata version are filled in by the quorum.
    fn health(&self) -> proto::BrokerHealth;

    /// Sets the log's filter; answers with the one before.
    ///
    /// # Errors
    /// When the filter can't be read: the text says why.
    fn set_log_level(&self, filter: &str) -> Result<String, ControlError>;
}

/// Why a request over the control API about this broker failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ControlError(pub String);

impl Quorum {
    /// Checks the configuration. Nothing runs yet, but [`Self::services`] answers who this node is.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn new(config: QuorumConfig) -> Result<Self, StartError> {
        Ok(Self { _config: Arc::new(config) })
    }

    /// The services `Control` and `Quorum`, for the CONTROLLER listener. It must listen before `cluster_id` is
    /// asked for, so that nodes find each other.
    pub fn services(&self, broker: Arc<dyn BrokerControl>) -> tonic::service::Routes {
        let _ = broker;
        unimplemented!()
    }

    /// The cluster's id, for formatting the data directory: the configured one, or the one that the other nodes
    /// have or agree on. Waits for them, so give it a deadline.
    ///
    /// # Errors
    /// When the peers belong to another cluster.
    pub async fn cluster_id(&self) -> Result<ClusterId, StartError> {
        unimplemented!()
    }

    /// Opens the metadata log, joins or forms the quorum, and (if this is a broker) registers with the disk
    /// `directory_id` and goes on telling that it lives. Returns once the log is open; the image follows.
    ///
    /// # Errors
    /// When the metadata log can't be opened.
    pub async fn start(&self, cluster_id: ClusterId, directory_id: DirectoryId) -> Result<(), StartError> {
        let _ = (cluster_id, directory_id);
        unimplemented!()
    }

    /// The image, now and after each change.
    pub fn image(&self) -> watch::Receiver<Arc<MetadataImage>> {
        unimplemented!()
    }

    /// Carries a command to the active controller. Returns once it is committed and in this node's image, after
    /// 10 seconds at the latest.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit(&self, command: Command) -> Result<Reply, SubmitError> {
        let _ = command;
        unimplemented!()
    }

    /// The same with another time limit.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit_within(&self, command: Command, limit: Duration) -> Result<Reply, SubmitError> {
        let _ = (command, limit);
        unimplemented!()
    }

    /// The active controller, as far as this node knows.
    pub fn active_controller(&self) -> Option<BrokerId> {
        unimplemented!()
    }

    /// The epoch of this broker's registration with the active controller; none before the first.
    pub fn broker_epoch(&self) -> Option<ottla_types::BrokerEpoch> {
        unimplemented!()
    }

    /// Tells the active controller that this broker stops, so that its leaderships move at once, then stops the
    /// quorum's tasks and syncs.
    pub async fn stop(&self) {}
}
