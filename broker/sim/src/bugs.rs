//! All bugs that can be planted, and what finds each: a seed, or a schedule that was written for it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_store::StoreBug;
use ottla_types::PlantedBug;

use crate::Violation;
use crate::cluster::{ClusterOptions, run_cluster};
use crate::disk::PlantedBug as DiskBug;
use crate::schedule::run_store;
use crate::script::schedule_for;

/// In so many seeds a bug is looked for.
pub const SEEDS_PER_BUG: u64 = 2_000;

/// The steps of a store's life, where bugs are looked for.
const STORE_STEPS: u64 = 120;

/// A bug that is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// In the replicas or the controller; clusters find it, or schedules.
    Cluster(PlantedBug),
    /// In the store, or played by its disk; a store's life finds it.
    Store(DiskBug),
}

/// What finds a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finder {
    /// The run of this seed.
    Seed(u64),
    /// [`schedule_for`] it.
    Schedule,
}

const STORE_BUGS: [DiskBug; 19] = [
    DiskBug::SkipSyncOfSegments,
    DiskBug::SkipSyncOfFolders,
    DiskBug::SkipSyncOfIdentity,
    DiskBug::SwallowSyncErrors,
    DiskBug::KeepCleanMark,
    DiskBug::KeepCacheAfterCrash,
    DiskBug::SkipSyncOfJournal,
    DiskBug::InStore(StoreBug::ReleaseBeforeSync),
    DiskBug::InStore(StoreBug::ReleaseWithoutMarks),
    DiskBug::InStore(StoreBug::ReplayWithoutCuts),
    DiskBug::InStore(StoreBug::CutWithoutFence),
    DiskBug::InStore(StoreBug::IgnoreGeneration),
    DiskBug::InStore(StoreBug::OvertakeUnsynced),
    DiskBug::InStore(StoreBug::SkipReplay),
    DiskBug::InStore(StoreBug::GroupWithoutLimit),
    DiskBug::InStore(StoreBug::KeepFilesOpen),
    DiskBug::InStore(StoreBug::WriteOverWhatWasCut),
    DiskBug::InStore(StoreBug::IgnoreChanges),
    DiskBug::InStore(StoreBug::SkipSyncOfChanges),
];

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
        let clusters = PlantedBug::ALL.iter().copied().map(Self::Cluster);
        clusters.chain(STORE_BUGS.map(Self::Store)).collect()
    }

    /// Runs a finder with the bug, or without any.
    ///
    /// # Errors
    /// The promise that was broken; an assertion of the product counts too.
    pub fn run(self, finder: Finder, is_planted: bool) -> Result<(), Violation> {
        let result = catch_unwind(AssertUnwindSafe(|| match (self, finder) {
            (Self::Cluster(bug), Finder::Schedule) => {
                let schedule = schedule_for(bug).unwrap_or_else(|| panic!("{bug:?} has no schedule"));
                ottla_types::plant(is_planted.then_some(bug));
                let result = schedule();
                ottla_types::plant(None);
                result
            }
            (Self::Cluster(bug), Finder::Seed(seed)) => {
                let options = ClusterOptions { bug: is_planted.then_some(bug), ..ClusterOptions::default() };
                run_cluster(seed, options).map(|_| ())
            }
            (Self::Store(bug), Finder::Seed(seed)) => {
                run_store(seed, STORE_STEPS, is_planted.then_some(bug)).map(|_| ())
            }
            (Self::Store(bug), Finder::Schedule) => panic!("{bug:?} has no schedule"),
        }));
        ottla_types::plant(None);
        result.unwrap_or_else(|_| Err(Violation("an assertion failed".to_owned())))
    }

    /// The schedule that was written for it, or the first seed from `first` on that finds it, of as many as a
    /// bug is given.
    pub fn find(self, first: u64) -> Option<Finder> {
        if let Self::Cluster(bug) = self
            && schedule_for(bug).is_some()
        {
            return self.run(Finder::Schedule, true).is_err().then_some(Finder::Schedule);
        }
        let mut seeds = (first..first + SEEDS_PER_BUG).map(Finder::Seed);
        seeds.find(|seed| self.run(*seed, true).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What finds each bug. A bug without a line here doesn't compile; `cargo xtask sim --bugs` looks for
    /// another seed when the schedule of all seeds has changed.
    fn finder(planted: Planted) -> Finder {
        match planted {
            Planted::Cluster(bug) => cluster_finder(bug),
            Planted::Store(bug) => Finder::Seed(store_seed(bug)),
        }
    }

    fn cluster_finder(bug: PlantedBug) -> Finder {
        match bug {
            PlantedBug::SkipDivergenceCheck
            | PlantedBug::AskWithoutLastEpoch
            | PlantedBug::SkipTruncation
            | PlantedBug::IgnoreSilentMembers
            | PlantedBug::JoinBelowHighWatermark
            | PlantedBug::AcknowledgeAfterDeposed
            | PlantedBug::AcknowledgeAtHighWatermark
            | PlantedBug::ServeBeyondHighWatermark
            | PlantedBug::LagUntilAllIsThere
            | PlantedBug::ElectWithoutNewEpoch
            | PlantedBug::KeepEligibleTooLong => Finder::Seed(0),
            PlantedBug::JoinWhileLagging | PlantedBug::ReuseWipedDisk => Finder::Seed(1),
            PlantedBug::DropLeavingMembersEarly => Finder::Seed(3),
            PlantedBug::ElectOutOfSync => Finder::Seed(4),
            PlantedBug::CountUnsyncedLeader => Finder::Seed(5),
            PlantedBug::AcknowledgeInOtherEpoch => Finder::Seed(6),
            PlantedBug::IgnoreJoiningMembers | PlantedBug::JoinBelowEpochStart => Finder::Seed(8),
            PlantedBug::FetchBeforeSync => Finder::Seed(14),
            PlantedBug::LagByNewestRecord => Finder::Seed(15),
            PlantedBug::RetentionBehindPartition => Finder::Seed(8),
            PlantedBug::RetainPastHighWatermark => Finder::Seed(11),
            PlantedBug::KeepBehindOwnEpoch => Finder::Seed(318),
            PlantedBug::SettleProposalsByAnyImage => Finder::Seed(661),
            PlantedBug::AcceptBatchesOfLaterEpoch
            | PlantedBug::AcceptAnswerOnOlderLog
            | PlantedBug::AcceptStaleFetchAnswer
            | PlantedBug::TrustWhereLogStarts
            | PlantedBug::TrustWithoutEpoch
            | PlantedBug::CountBeforeCut
            | PlantedBug::IgnoreMinInsyncReplicas
            | PlantedBug::TruncateToHighWatermark
            | PlantedBug::SkipFetchEpochCheck
            | PlantedBug::CompareOffsetsOnly
            | PlantedBug::KeepAcknowledgementsOfOldEpoch
            | PlantedBug::KeepAfterPowerLoss
            | PlantedBug::AcceptStaleBrokerEpochInFetch
            | PlantedBug::AcceptForeignDirectoryInFetch
            | PlantedBug::RefuseWithoutNewEpoch
            | PlantedBug::AcceptStaleBrokerEpochInIsr
            | PlantedBug::SkipPartitionEpochCheck
            | PlantedBug::CompleteMoveTooEarly => Finder::Schedule,
        }
    }

    fn store_seed(bug: DiskBug) -> u64 {
        match bug {
            DiskBug::SkipSyncOfSegments
            | DiskBug::SkipSyncOfFolders
            | DiskBug::SkipSyncOfIdentity
            | DiskBug::SwallowSyncErrors => 0,
            DiskBug::KeepCleanMark => 5,
            DiskBug::KeepCacheAfterCrash => 2,
            DiskBug::SkipSyncOfJournal => 8,
            DiskBug::InStore(bug) => match bug {
                StoreBug::ReplayWithoutCuts | StoreBug::CutWithoutFence | StoreBug::KeepFilesOpen => 0,
                StoreBug::SkipReplay => 1,
                StoreBug::WriteOverWhatWasCut => 158,
                StoreBug::IgnoreGeneration => 37,
                StoreBug::ReleaseWithoutMarks => 124,
                StoreBug::OvertakeUnsynced => 145,
                StoreBug::ReleaseBeforeSync => 253,
                StoreBug::GroupWithoutLimit => 783,
                StoreBug::IgnoreChanges | StoreBug::SkipSyncOfChanges => 0,
            },
        }
    }

    #[test]
    fn each_planted_bug_is_found_and_nothing_else() {
        let mut missed = Vec::new();
        for planted in Planted::all() {
            let finder = finder(planted);
            planted
                .run(finder, false)
                .unwrap_or_else(|violation| panic!("{planted:?}: {finder:?}: {violation}"));
            // What is changed may have moved it to another seed.
            if planted.run(finder, true).is_ok() && planted.find(0).is_none() {
                missed.push((planted, finder));
            }
        }
        assert!(missed.is_empty(), "not found any more: {missed:?}; see `cargo xtask sim --bugs`");
    }
}
