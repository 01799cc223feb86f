//! The cluster's metadata: commands → records → image.
//!
//! `MetadataImage::decide` turns a [`Command`] into [`Record`]s and a [`Reply`], or a [`Rejection`], and
//! changes nothing. `MetadataImage::replay` is the only change. The reply may be told once the records are
//! committed.

mod check;
mod command;
mod decide;
mod image;
mod index;
mod internal;
mod record;
mod replay;
mod replica_command;
mod reply;
mod snapshot;
mod succession;

#[cfg(test)]
mod tests;

pub use command::{
    AllocateProducerIds, AlterBrokerConfigs, AlterTopicConfigs, ApplyTopic, BrokerConfigChange, Command,
    ConfigChange, ConfigOperation, ControlledShutdown, CreatePartitions, CreateTopics, DeleteTopics,
    FenceBroker, NewPartitionAssignment, NewPartitions, NewTopic, RegisterBroker, ReplicaAssignment,
    SubmitAssignments, TopicConfigChange, TopicSelector, UnfenceBroker,
};
pub use decide::{Decision, PARTITIONS_MAX, PARTITIONS_PER_COMMAND_MAX, REPLICATION_FACTOR_MAX};
pub use image::{
    BrokerImage, ClusterDefaults, Endpoint, IncarnationId, MIN_INSYNC_REPLICAS, MetadataImage,
    PartitionImage, REPLICATION_FACTOR, SecurityProtocol, TopicImage, UncleanElection,
};
pub use index::{BrokerLoad, Index};
pub use internal::{INTERNAL_TOPICS, OFFSETS_TOPIC, is_internal};
pub use record::{BrokerChange, PartitionChange, Record, ReplicasChange};
pub use replica_command::{
    AlterPartition, AlterPartitionError, AlterPartitions, DrainBroker, ElectLeaders, Election, ElectionKind,
    IsrMember, ReassignPartitions, Reassignment, UnregisterBroker,
};
pub use reply::{
    AllocatedProducerIds, AppliedTopic, CreatedTopic, DeletedTopic, ElectedLeader, ElectionError,
    ElectionErrorKind, Rejection, Reply, TopicError, TopicErrorKind, TopicResult,
};
