//! Why the quorum can't start, and why a command has no reply.

use std::path::PathBuf;
use std::time::Duration;

use ottla_core::metadata::Rejection;

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
        path: PathBuf,
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

/// This node's consensus has ended, mostly because its disk failed. The node can't go on: it has to end and
/// start again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the metadata quorum of this node has stopped: {reason}; start the node again when its disk is well")]
pub struct QuorumFailed {
    /// What the consensus says.
    pub reason: String,
}

/// Why a request over the control API about this broker failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ControlError(pub String);
