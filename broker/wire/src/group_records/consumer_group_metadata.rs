//! ConsumerGroupMetadata: a group of the consumer protocol is there, and in which epoch.

use ottla_wire_derive::Message;

/// Which group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct ConsumerGroupMetadataKey<'a> {
    /// The group.
    pub group_id: &'a str,
}

/// The group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ConsumerGroupMetadataValue {
    /// Its epoch.
    pub epoch: i32,
    /// A hash of the topics that it reads, as they were in that epoch; 0 from before Kafka 4.1, and if
    /// unknown.
    #[kafka(tag = 0)]
    pub metadata_hash: i64,
}
