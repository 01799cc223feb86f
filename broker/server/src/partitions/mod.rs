//! The partitions that this broker holds, kept in step with the metadata.

<<<<<<< HEAD
mod following;
#[cfg(test)]
mod following_tests;
=======
mod from_future;
>>>>>>> internal-topics
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
mod streams;
#[cfg(test)]
mod test_support;

pub use following::{DecidedCut, Followed};
pub use manager::{Partitions, Totals};
pub use openings::Openings;
pub use partition::{
    AppendOrigin, LogOffsetSnapshot, Partition, ProduceError, RequiredAcks, Standing, Throttled,
};
pub use purgatory::{Crowds, PurgatoryPlace, Woken};
pub use ready::{PartitionKey, ReadyList};
pub use streams::{Opened, Streams};
