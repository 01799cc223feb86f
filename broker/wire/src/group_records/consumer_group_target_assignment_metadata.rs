//! ConsumerGroupTargetAssignmentMetadata: the epoch that a group's target assignment was made for.

use ottla_wire_derive::Message;

/// Which group.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "none")]
pub struct ConsumerGroupTargetAssignmentMetadataKey<'a> {
    /// The group.
    pub group_id: &'a str,
}

/// The assignment's epoch.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ConsumerGroupTargetAssignmentMetadataValue {
    /// The group's epoch that it was made for.
    pub assignment_epoch: i32,
    /// When it was made, in milliseconds since 1970; 0 from before Kafka 4.3.
    #[kafka(tag = 0)]
    pub assignment_timestamp: i64,
}
