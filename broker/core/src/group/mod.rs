//! The group coordinator: classic consumer groups and committed offsets, as Kafka's coordinator keeps them in
//! one partition of `__consumer_offsets`.
//!
//! [`Groups`] is the [`crate::coordinator::Machine`]. Offsets are replicated state: decided as records, and
//! replayed. A classic group is soft state: joins and syncs are events in and answers out, and only its
//! outcome, a generation with its assignment, is a record. Not here: records as bytes, versions of requests,
//! which partition a group belongs to, authorization.
//!
//! Groups of other kinds come in beside `classic`, as a variant of what `groups` holds and of what a decision
//! does with a group (`after`).

mod after;
mod classic;
mod config;
pub mod consumer;
mod groups;
mod ids;
mod offsets;
mod record;
mod refusal;
mod reply;
mod request;
mod stats;
#[cfg(test)]
mod tests;

pub use config::GroupConfig;
pub use groups::Groups;
pub use ids::{Generation, GroupId, InstanceId, MemberEpoch, MemberId};
pub use record::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetAndMetadata, OffsetCommitKey, Record,
};
pub use refusal::{AdminRefusal, JoinRefusal, MemberRefusal, PartitionRefusal};
pub use reply::{
    DescribedGroup, DescribedMember, FetchedOffset, GroupState, GroupType, Joined, JoinedMember, LeftMember,
    ListedGroup, Reply, Synced,
};
pub use request::{
    Client, DeleteGroups, DescribeGroups, ForgetPartitions, Heartbeat, JoinGroup, LeaveGroup, Leaving,
    ListGroups, OffsetCommit, OffsetDelete, OffsetFetch, OffsetToCommit, Protocol, Request, SyncGroup,
};
pub use stats::{GroupStats, Stats};
