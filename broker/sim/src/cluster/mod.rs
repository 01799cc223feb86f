//! Whole clusters under seeded schedules: the shipped replicas, metadata and stores over a simulated network,
//! disks and time, with kills, power losses, pauses, cuts and people's commands; the promises are checked at
//! every step.
//!
//! One thread and one source of numbers: the same seed gives the same trace. The metadata quorum is modelled
//! as a log that commits, stalls and changes its leader (openraft itself runs with real processes);
//! everything else that decides is the code that is shipped. Not here: sockets, sessions and tokio, which the
//! server adds around the same calls.

mod admin;
mod batch;
mod clients;
mod faults;
mod follow;
mod healing;
mod hosting;
mod judge;
mod lagging;
mod life;
mod net;
mod node;
mod plan;
mod quorum;
mod retain;
mod sending;
mod serve;
mod sole_voter;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use ottla_types::{BrokerId, PartitionIndex, PlantedBug, TopicId};

use crate::Violation;
use crate::disk::PlantedBug as DiskBug;

pub use trace::TRACE_LINES_MAX;

/// A partition, by the id of its topic.
type Key = (TopicId, PartitionIndex);

/// A partition in a trace: the beginning of its topic's id, and its number.
struct Named(Key);

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, second, ..] = self.0.0.0;
        write!(f, "{first:02x}{second:02x}-{}", self.0.1)
    }
}

/// How a cluster is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterOptions {
    /// Keep the trace's last lines, at the cost of time. What happens is the same.
    pub trace: bool,
    /// A bug to be switched on in the replicas or the metadata.
    pub bug: Option<PlantedBug>,
    /// A bug to be switched on in the disks.
    pub disk_bug: Option<DiskBug>,
}

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterReport {
    /// Over all events, in order.
    pub digest: u32,
    /// The last lines of the trace, if it was asked for.
    pub trace: Vec<String>,
    /// Events.
    pub events: u64,
    /// Batches that were acknowledged by `acks=all`.
    pub acknowledged: u64,
    /// Batches that consumers read.
    pub read: u64,
    /// Leaders that were elected.
    pub elections: u64,
    /// Faults that were made.
    pub faults: u64,
    /// Truncations of followers.
    pub truncations: u64,
    /// Unclean elections.
    pub unclean: u64,
    /// Batches that retention deleted.
    pub let_go: u64,
    /// Quorums that went on after their only voter's disk was lost.
    pub recovered: u64,
    /// Partitions that no disk had any more, at the end.
    pub lost: u64,
}

/// Runs the cluster that `seed` describes to its end.
///
/// # Errors
/// The first promise that was broken, with the last lines of the trace if it was asked for.
pub fn run_cluster(seed: u64, options: ClusterOptions) -> Result<ClusterReport, Violation> {
    ottla_types::plant(options.bug);
    let mut cluster = world::Cluster::new(seed, options);
    let result = cluster.run();
    ottla_types::plant(None);
    match result {
        Ok(()) => Ok(cluster.report()),
        Err(Violation(what)) => {
            let lines = cluster.trace.lines().join("\n  ");
            Err(Violation(format!("seed {seed} at {} ms: {what}\n  {lines}", cluster.now)))
        }
    }
}

fn broker_id(node: usize) -> BrokerId {
    BrokerId(i32::try_from(node).expect("clusters are small") + 1)
}

fn node_of(broker: BrokerId) -> usize {
    usize::try_from(broker.0 - 1).expect("brokers are numbered from 1")
}
