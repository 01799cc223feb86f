//! All bugs that can be planted, and the seeds that find them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_types::PlantedBug;

use crate::cluster::{ClusterOptions, run_cluster};
use crate::disk::PlantedBug as DiskBug;
use crate::schedule::run_store;

/// In so many seeds a bug has to be found.
pub const SEEDS_PER_BUG: u64 = 2_000;

/// A bug that is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// In the replicas or the controller; clusters find it.
    Cluster(PlantedBug),
    /// In the store, played by its disk; a store's life finds it.
    Store(DiskBug),
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(bug) => write!(f, "{bug:?}:{}", bug.description()),
            Self::Store(bug) => write!(f, "{bug:?}, of the store"),
        }
    }
}

impl Planted {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let store = [
            DiskBug::SkipSyncOfSegments,
            DiskBug::SkipSyncOfFolders,
            DiskBug::SkipSyncOfIdentity,
            DiskBug::SwallowSyncErrors,
            DiskBug::KeepCleanMark,
            DiskBug::KeepCacheAfterCrash,
        ];
        let clusters = PlantedBug::ALL.iter().copied().map(Self::Cluster);
        clusters.chain(store.map(Self::Store)).collect()
    }

    /// Whether this seed finds it: a promise is broken, or an assertion of the product.
    pub fn is_found_by(self, seed: u64) -> bool {
        let run = || match self {
            Self::Cluster(bug) => {
                run_cluster(seed, ClusterOptions { bug: Some(bug), ..ClusterOptions::default() }).is_err()
            }
            Self::Store(bug) => run_store(seed, 120, Some(bug)).is_err(),
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or(true)
    }

    /// The first seed from `first` on that finds it, of as many as a bug is given.
    pub fn find(self, first: u64) -> Option<u64> {
        (first..first + SEEDS_PER_BUG).find(|seed| self.is_found_by(*seed))
    }
}
