//! The partitions that this broker holds, kept in step with the metadata.

mod high_watermarks;
mod manager;
#[cfg(test)]
mod manager_tests;
mod openings;
mod partition;
#[cfg(test)]
mod partition_tests;
mod ready;
#[cfg(test)]
mod rebuilt_tests;
mod streams;
#[cfg(test)]
mod test_support;
mod waiters;

pub use manager::{Partitions, Totals};
pub use openings::Openings;
pub use partition::{Followed, Partition, ProduceError, Standing, Throttled};
pub use ready::{PartitionKey, ReadyList};
pub use streams::{Opened, Streams};
pub use waiters::{Crowds, Place, Woken};
