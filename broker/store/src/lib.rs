//! Segments on disk over a small [`Disk`] trait: appending, group commit, reading, recovery, retention.
//!
//! The folders are Apache Kafka's, and its tools read them. Records become durable by two threads: one writes
//! and syncs the journal's groups, which hold small appends of all partitions, the other syncs segments in
//! place. What isn't durable is not shown to consumers. A failed write or sync is never repeated: the store
//! stops, tells the broker by [`StoreConfig::on_fatal`], and the next start recovers from checksums. Not
//! here: tokio, replication, who leads. Formats and rules are ottla-log's.

mod append;
#[cfg(test)]
mod blocking_tests;
#[cfg(test)]
mod broken_files_tests;
mod changes;
#[cfg(test)]
mod changes_tests;
mod commit;
mod config;
mod cut;
mod damage;
#[cfg(test)]
mod damage_tests;
mod disk;
#[cfg(test)]
mod each_failure_tests;
mod error;
#[cfg(test)]
mod failing_disk_tests;
mod held;
mod journal;
mod known_damage;
#[cfg(test)]
mod limits_tests;
mod load;
mod meta;
#[cfg(test)]
mod missing_tests;
mod offsets;
mod owner;
mod parallel;
mod partition;
mod patient;
#[cfg(test)]
mod place_tests;
mod read;
mod real;
mod recover;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod removal_tests;
mod removals;
mod repair;
mod retain;
mod scrub;
mod segment;
mod shared;
mod side;
mod store;
#[cfg_attr(not(test), expect(dead_code, reason = "the cleaner, which makes new segments, comes next"))]
mod swap;
mod swap_file;
#[cfg(test)]
mod swap_file_tests;
#[cfg(test)]
mod swap_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
mod time;
#[cfg(test)]
mod time_tests;
#[cfg(test)]
mod unreadable_tests;
mod upkeep;

pub use append::{Appended, Checked};
#[doc(hidden)]
pub use config::StoreBug;
pub use config::{Committer, FatalHook, StoreConfig};
pub use damage::DamageHook;
pub use disk::{DirEntry, Disk, DiskFile, DiskLock, OpenMode, is_no_space, read_file, replace_file};
pub use error::{AppendError, FatalError, ReadError, RepairError, StoreError};
pub use meta::{closed_cleanly, read_meta};
pub use ottla_log::{AckDurability, LogConfig, TimestampType};
pub use partition::{DurableHook, PartitionLog};
pub use read::{ReadSlice, UpTo};
pub use real::RealDisk;
pub use retain::SegmentFromFuture;
pub use scrub::ScrubReport;
pub use shared::StoreMemory;
pub use store::Store;
pub use time::TimestampOffset;
