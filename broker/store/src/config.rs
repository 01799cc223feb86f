//! How a store is opened: what its caller says, and the bugs that a simulation plants.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_log::LogConfig;
use ottla_types::{BrokerId, ClusterId};

use crate::error::FatalError;

/// Called once, when a write or sync has failed.
pub type FatalHook = Arc<dyn Fn(&FatalError) + Send + Sync>;

/// Who drives the commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committer {
    /// A thread of the store: what is appended becomes durable by itself.
    Thread,
    /// The caller, by [`crate::Store::commit_now`] and [`crate::Store::checkpoint`]: for simulations.
    Manual,
}

/// How a store is opened.
#[derive(Clone)]
pub struct StoreConfig {
    /// The data folder; created when it doesn't exist.
    pub dir: PathBuf,
    /// The cluster that it has to belong to; `None` accepts the one that the directory names.
    /// An empty directory is formatted for it.
    pub cluster_id: Option<ClusterId>,
    /// The broker that it has to belong to.
    pub node_id: BrokerId,
    /// The name and the content of a file that is to be there before an empty directory counts as formatted.
    pub formatted_with: Option<(&'static str, &'static str)>,
    /// The settings of partitions that are found, until [`crate::Store::set_config`] says better.
    pub default_config: LogConfig,
    /// Called once when a write or sync has failed; the broker has to end then.
    pub on_fatal: FatalHook,
    /// The files that are held open at most, beyond those with unsynced bytes.
    pub open_files_max: usize,
    /// Who drives the commits.
    pub committer: Committer,
    /// How often recovery points are written while there is something new.
    pub checkpoint_interval: Duration,
    /// The size of one of the journal's two files in bytes: segments are synced whenever one is full. With 0
    /// there is no journal, and each segment is synced for itself.
    pub journal_file_bytes: u64,
    /// How long an idempotent producer is remembered after it was last heard: Kafka's
    /// `producer.id.expiration.ms`, which counts from the time of its records there.
    pub producer_expiration: Duration,
    /// How many partitions are synced, opened or closed at once.
    pub sync_threads: usize,
    /// A bug that a simulation plants.
    #[doc(hidden)]
    pub bug: Option<StoreBug>,
}

impl StoreConfig {
    /// The defaults for a directory: any cluster, a thread that commits, and an error log line when the disk
    /// fails.
    pub fn new(dir: impl Into<PathBuf>, node_id: BrokerId) -> Self {
        Self {
            dir: dir.into(),
            cluster_id: None,
            node_id,
            formatted_with: None,
            default_config: LogConfig::default(),
            on_fatal: Arc::new(|_| {}),
            open_files_max: 4_096,
            committer: Committer::Thread,
            checkpoint_interval: Duration::from_secs(30),
            journal_file_bytes: 128 << 20,
            producer_expiration: Duration::from_secs(24 * 3_600),
            sync_threads: 4,
            bug: None,
        }
    }
}

/// The bugs that the simulation plants to see whether it finds them: what the store then leaves out.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreBug {
    /// Journal files are used again before the segments are synced.
    ReleaseBeforeSync,
    /// Journal files are used again and nothing says any more how far the segments were durable.
    ReleaseWithoutMarks,
    /// The journal is replayed without looking at cuts.
    ReplayWithoutCuts,
    /// A log is cut without making its entries void.
    CutWithoutFence,
    /// Groups of an older generation are taken for new ones.
    IgnoreGeneration,
    /// A small append goes to the journal though a large one before it isn't synced.
    OvertakeUnsynced,
    /// The journal isn't replayed.
    SkipReplay,
    /// A group of the journal takes whatever comes.
    GroupWithoutLimit,
    /// Files that were opened stay open.
    KeepFilesOpen,
    /// What follows a cut goes to the places in the file where something else was.
    WriteOverWhatWasCut,
    /// What changed for single logs since the last checkpoint is forgotten.
    IgnoreChanges,
    /// What changes for single logs isn't synced.
    SkipSyncOfChanges,
}
