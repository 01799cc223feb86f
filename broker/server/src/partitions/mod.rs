//! The partitions that this broker holds, kept in step with the metadata.

mod following;
#[cfg(test)]
mod following_tests;
mod from_future;
mod high_watermarks;
mod manager;
#[cfg(test)]
mod manager_tests;
mod openings;
#[cfg(test)]
mod openings_tests;
mod partition;
#[cfg(test)]
mod partition_tests;
mod purgatory;
#[cfg(test)]
mod purgatory_tests;
mod ready;
#[cfg(test)]
mod rebuilt_tests;
mod standing;
mod streams;
#[cfg(test)]
pub mod test_support;

pub use following::{DecidedCut, Followed};
pub use manager::{Partitions, Totals};
pub use openings::Openings;
pub use partition::{AppendOrigin, Partition, ProduceError, RequiredAcks, Throttled};
pub use purgatory::{Crowds, PurgatoryPlace, Woken};
pub use ready::{PartitionKey, ReadyList};
pub use standing::{LogOffsetSnapshot, Standing};
pub use streams::{Opened, Streams};
