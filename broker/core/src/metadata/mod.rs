//! The cluster's metadata: commands → records → image.
//!
//! `MetadataImage::decide` turns a [`Command`] into [`Record`]s and a [`Reply`], or a [`Rejection`], and changes
//! nothing. `MetadataImage::replay` is the only change. The reply may be told once the records are committed.

mod check;
mod command;
mod decide;
mod image;
mod record;
mod replay;
mod reply;
mod snapshot;

#[cfg(test)]
mod tests;

pub use command::{
    AllocateProducerIds, AlterTopicConfigs, ApplyTopic, Command, ConfigChange, ConfigOperation,
    ControlledShutdown, CreatePartitions, CreateTopics, DeleteTopics, FenceBroker, NewPartitionAssignment,
    NewPartitions, NewTopic, RegisterBroker, ReplicaAssignment, SubmitAssignments, TopicConfigChange,
    TopicSelector, UnfenceBroker,
};
pub use decide::{Decision, PARTITIONS_MAX, PARTITIONS_PER_COMMAND_MAX, REPLICATION_FACTOR_MAX};
pub use image::{
    BrokerImage, Endpoint, IncarnationId, MetadataImage, PartitionImage, SecurityProtocol, TopicImage,
};
pub use record::{BrokerChange, LeaderChange, Record};
pub use reply::{
    AllocatedProducerIds, AppliedTopic, CreatedTopic, DeletedTopic, Rejection, Reply, TopicError,
    TopicErrorKind, TopicResult,
};
