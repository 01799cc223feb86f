//! What a consumer group writes into `__consumer_offsets`: the contents of Kafka's records, not their bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_types::TopicName;

use super::super::ids::{GroupId, InstanceId, MemberEpoch, MemberId};
use super::super::request::Client;
use super::assign::Assignor;
use super::current::CurrentAssignment;
use super::partitions::Assignment;

/// A record of a consumer group. Without a value it is a tombstone: what the key names is no more.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerGroupRecord {
    /// The group, which is in the key of each.
    pub group: GroupId,
    /// What it says.
    pub fact: Fact,
}

/// What a record says, by Kafka's names without their `ConsumerGroup`.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Type 3: the group's epoch.
    Metadata(Option<GroupEpoch>),
    /// Type 5: a member.
    MemberMetadata(MemberId, Option<MemberMetadata>),
    /// Type 6: for which epoch the target assignment was made.
    TargetAssignmentMetadata(Option<TargetEpoch>),
    /// Type 7: what a member is to have.
    TargetAssignmentMember(MemberId, Option<Assignment>),
    /// Type 8: what a member has.
    CurrentMemberAssignment(MemberId, Option<CurrentAssignment>),
}

/// A group's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupEpoch {
    /// It grows whenever members, subscriptions or topics change.
    pub epoch: MemberEpoch,
    /// A hash of the topics that it reads, as they were in that epoch; 0 if it isn't known.
    pub metadata_hash: i64,
}

/// The epoch of a target assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetEpoch {
    /// The group's epoch that it was made for.
    pub epoch: MemberEpoch,
    /// When it was made, in ms since 1970; 0 if it isn't known.
    pub timestamp_ms: i64,
}

/// A member, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its instance id, if it is a static member.
    pub instance: Option<InstanceId>,
    /// Its rack.
    pub rack: Option<Arc<str>>,
    /// Where it is.
    pub client: Client,
    /// The topics that it reads.
    pub topics: BTreeSet<TopicName>,
    /// How long it may take to give partitions up, in ms; −1 if it isn't known.
    pub rebalance_timeout_ms: i32,
    /// The assignor that it wants.
    pub assignor: Option<Assignor>,
}
