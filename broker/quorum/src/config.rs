//! What a node of the quorum is told.

use std::path::PathBuf;
use std::time::Duration;

use ottla_core::metadata::{Endpoint, IncarnationId};
use ottla_types::{BrokerId, ClusterId};

/// What a node of the quorum is told. Checked by [`crate::Quorum::new`].
#[derive(Clone, Debug)]
pub struct QuorumConfig {
    /// `node.id`
    pub node_id: BrokerId,
    /// Whether this node votes: `process.roles` has `controller`.
    pub voter: bool,
    /// The cluster's id, if it is configured or known from `meta.properties`. Without one, the voter with the
    /// lowest id mints it when it forms the cluster, and all others learn it.
    pub cluster_id: Option<ClusterId>,
    /// `controller.quorum.voters`, or `controller.quorum.bootstrap.servers`.
    pub voters: Voters,
    /// More addresses of control listeners: those of brokers that didn't form the quorum and may know of it.
    /// They are asked before this node forms one.
    pub others: Vec<String>,
    /// The data folder was this broker's before this start: if it has partitions and remembers no quorum, it
    /// is from before there was [`crate::NEW_FOLDER`] and has lost its metadata log.
    pub formatted: bool,
    /// The advertised address of this node's CONTROLLER listener, `host:port`.
    pub control_address: String,
    /// What this node registers as a broker; none if `process.roles` is only `controller`.
    pub registration: Option<Registration>,
    /// The data folder that gets `__cluster_metadata-0/`.
    pub log_dir: PathBuf,
    /// Times and limits.
    pub tuning: Tuning,
}

/// How the voters are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voters {
    /// By `controller.quorum.voters`: `id@host:port`, all of them.
    Static(Vec<Voter>),
    /// By `controller.quorum.bootstrap.servers`: `host:port` of all voters; their ids are asked for.
    Bootstrap(Vec<String>),
}

/// A voter and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Its control listener, `host:port`.
    pub address: String,
}

/// What a broker registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Drawn at random at each start.
    pub incarnation: IncarnationId,
    /// Advertised listeners for clients and brokers.
    pub listeners: Vec<Endpoint>,
    /// `broker.rack`
    pub rack: Option<String>,
    /// The last process closed the data folder in order.
    pub clean_shutdown: bool,
    /// `min.insync.replicas`, if it is configured.
    pub min_insync_replicas: Option<usize>,
    /// `default.replication.factor`, if it is configured.
    pub default_replication_factor: Option<usize>,
    /// `ottla.ack.durability` is `written`.
    pub acks_written: bool,
}

/// Times and limits of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How often the active controller tells the others that it is there.
    pub raft_heartbeat: Duration,
    /// When a voter stands for election: once it heard nothing of the active controller for a time drawn
    /// between this …
    pub election_timeout_min: Duration,
    /// … and this.
    pub election_timeout_max: Duration,
    /// How often a broker says that it is alive.
    pub broker_heartbeat: Duration,
    /// After how long without that it is fenced.
    pub broker_session: Duration,
    /// A snapshot is taken after this many entries of the log.
    pub snapshot_after_entries: u64,
    /// How many entries before a snapshot stay in the log, so that a slow node needs no snapshot.
    pub entries_kept: u64,
    /// At which size in bytes a segment of the log ends. Twice as much is allocated for the last one: on a
    /// disk that others have filled the metadata goes on for at least this much, for topics to be deleted and
    /// settings to be changed.
    pub log_segment_bytes: u64,
    /// How many commands wait at the active controller; more are refused.
    pub commands_queued_max: usize,
    /// How long a node that would form the quorum tries to reach the brokers that don't form it.
    pub others_patience: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            raft_heartbeat: Duration::from_millis(150),
            // For controllers that freeze or are cut off. One that crashed is replaced at once.
            election_timeout_min: Duration::from_millis(750),
            election_timeout_max: Duration::from_millis(1_000),
            broker_heartbeat: Duration::from_millis(500),
            broker_session: Duration::from_secs(2),
            snapshot_after_entries: 5_000,
            entries_kept: 1_000,
            log_segment_bytes: 4 << 20,
            commands_queued_max: 1_000,
            others_patience: Duration::from_secs(10),
        }
    }
}
