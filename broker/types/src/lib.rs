//! Offsets, epochs and ids of the broker: newtypes without logic.
//!
//! Not here: anything that decides something. An offset, an epoch and an index never share a type.

#![warn(missing_docs)]

mod ids;
mod numbers;
mod planted;

pub use ids::{ClusterId, DirectoryId, IdError, QuorumId, TopicId, TopicName};
pub use numbers::{
    BrokerEpoch, BrokerId, LeaderEpoch, MetadataVersion, Offset, PartitionEpoch, PartitionIndex,
    ProducerEpoch, ProducerId, TopicPartition,
};
#[cfg(feature = "planted-bugs")]
pub use planted::plant;
pub use planted::{PlantedBug, planted};
