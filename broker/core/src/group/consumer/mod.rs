//! Consumer groups of KIP-848, whose coordinator assigns. Not in force yet: [`super::Groups`] doesn't hold any.
//!
//! A group has an epoch, which grows with each change of its members, their subscriptions or the topics. For
//! each epoch an assignor makes a target assignment. Each member moves to its target by itself, from heartbeat to
//! heartbeat: it gives up what it isn't to have any more, and gets what others have given up.
//!
//! The rules:
//! 1. A partition is assigned to a member only once nobody else has it: whoever had it has said that it gave it
//!    up, has left, or was fenced.
//! 2. A member is in the epoch of the target that it has given up everything for. Who names another epoch is
//!    fenced, but for the one before, whose end it may not have heard of.

pub mod assign;
mod current;
mod group;
mod heartbeat;
mod ownership;
mod partitions;
mod record;
#[cfg(test)]
mod tests;
mod topics;

pub use current::{CurrentAssignment, FencedEpoch, MemberState, Reconciliation};
pub use group::{ConsumerGroup, ConsumerGroupState};
pub use heartbeat::{ConsumerGroupHeartbeat, Heard, HeartbeatRefusal};
pub use ownership::Ownership;
pub use partitions::{Assignment, Owned};
pub use record::{ConsumerGroupRecord, Fact, GroupEpoch, MemberMetadata, TargetEpoch};
pub use topics::Topics;
