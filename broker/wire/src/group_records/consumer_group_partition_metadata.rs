//! ConsumerGroupPartitionMetadata: the topics that a group reads. Since Kafka 4.1 the hash in the group's own
//! record takes its place; it is only read, and removed.

use ottla_wire_derive::Message;

use crate::codec::Uuid;

/// Which group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct ConsumerGroupPartitionMetadataKey<'a> {
    /// The group.
    pub group_id: &'a str,
}

/// The topics.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ConsumerGroupPartitionMetadataValue<'a> {
    /// The topics.
    pub topics: Vec<TopicMetadata<'a>>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TopicMetadata<'a> {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The topic's name.
    pub topic_name: &'a str,
    /// How many partitions it has.
    pub num_partitions: i32,
    /// Where they are; empty if no broker names its rack, and after Kafka 4.0.
    pub partition_metadata: Vec<PartitionMetadata<'a>>,
}

/// Where a partition is.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct PartitionMetadata<'a> {
    /// The partition's index.
    pub partition: i32,
    /// The racks of its replicas.
    pub racks: Vec<&'a str>,
}
