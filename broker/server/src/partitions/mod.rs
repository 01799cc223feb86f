//! The partitions that this broker holds, kept in step with the metadata.

mod manager;
mod partition;
mod waiters;

pub use manager::Partitions;
pub use partition::{Partition, Waited};
