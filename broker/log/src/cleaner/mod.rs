//! Log compaction by the rules of Apache Kafka 4: of each key the last value stays.
//!
//! A round over one log is: [`log_to_clean`] says which part of it is worth it; an [`OffsetMapBuilder`] reads
//! the dirty segments into an [`OffsetMap`]; [`group_segments`] says which segments become one; and for each
//! group a [`BatchFilter`] reads the old batches and gives the new ones. What is read twice are the dirty
//! segments, and one batch at a time is in memory.
//!
//! Bytes come through [`crate::ByteSource`], times and all that is known of the log are arguments. Not here:
//! files, and how new segments take the place of old ones (ottla-store); the index of aborted transactions,
//! whose entries [`CleanedTransactions`] is given.

mod batches;
mod cleanable;
mod contents;
mod error;
mod filter;
#[cfg(test)]
mod filter_tests;
mod groups;
mod mapping;
#[cfg(test)]
mod mapping_tests;
mod offset_map;
#[cfg(test)]
mod property_tests;
mod rewrite;
mod stats;
#[cfg(test)]
mod test_support;
mod transactions;

pub use batches::{CleanerLimits, SegmentPart};
pub use cleanable::{CleanableLog, CleanableSegment, LogToClean, filthiest, log_to_clean};
pub use error::CleanerError;
pub use filter::{BatchFilter, CleaningRound, Holes};
pub use groups::{SegmentLimits, group_segments};
pub use mapping::{Mapped, OffsetMapBuilder};
pub use offset_map::{OffsetMap, OffsetMapFull};
pub use stats::CleanerStats;
pub use transactions::{AbortedTransaction, CleanedTransactions};
