//! What the group coordinator answers, without versions.

use std::fmt;
use std::sync::Arc;

use ottla_types::TopicPartition;

use crate::coordinator::Unavailable;

use super::ids::{Generation, GroupId, InstanceId, MemberId};
use super::record::OffsetAndMetadata;
use super::refusal::{AdminRefusal, JoinRefusal, MemberRefusal, PartitionRefusal};

/// An answer, each to the request of its name.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The generation that the member is in.
    JoinGroup(Result<Joined, JoinRefusal>),
    /// Its assignment.
    SyncGroup(Result<Synced, MemberRefusal>),
    /// It lives.
    Heartbeat(Result<(), MemberRefusal>),
    /// What came of each member, in the order of the request.
    LeaveGroup(Result<Vec<LeftMember>, MemberRefusal>),
    /// What came of each offset, in the order of the request.
    OffsetCommit(Result<Vec<Result<(), PartitionRefusal>>, MemberRefusal>),
    /// The offsets: in the order of the request, or all that there are.
    OffsetFetch(Result<Vec<FetchedOffset>, Unavailable>),
    /// What came of each partition, in the order of the request.
    OffsetDelete(Result<Vec<Result<(), PartitionRefusal>>, AdminRefusal>),
    /// What came of each group, in the order of the request.
    DeleteGroups(Vec<(GroupId, Result<(), AdminRefusal>)>),
    /// The groups that match, by id.
    ListGroups(Result<Vec<ListedGroup>, Unavailable>),
    /// Each group, in the order of the request. One that is named twice is told twice, and held once.
    DescribeGroups(Result<Vec<Arc<DescribedGroup>>, Unavailable>),
    /// How many offsets were removed.
    ForgetPartitions(Result<usize, Unavailable>),
    /// To a request whose reply isn't bounded by it: it would take up so many bytes, more than are granted,
    /// so it wasn't made. Whoever asks again with so many granted gets it, unless it has grown since.
    Needs(usize),
}

/// A member is in a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its id.
    pub member: MemberId,
    /// The generation.
    pub generation: Generation,
    /// The kind of members.
    pub protocol_type: Option<String>,
    /// The protocol that was selected.
    pub protocol: Option<String>,
    /// Who assigns.
    pub leader: Option<MemberId>,
    /// All members, for the leader; nobody for others.
    pub members: Vec<JoinedMember>,
    /// The leader needs not assign: the assignment of this generation stands.
    pub skip_assignment: bool,
}

/// A member, as the leader is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member: MemberId,
    /// Its instance id.
    pub instance: Option<InstanceId>,
    /// What it said of itself for the selected protocol.
    pub metadata: Arc<[u8]>,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The kind of members.
    pub protocol_type: Option<String>,
    /// The protocol that was selected.
    pub protocol: Option<String>,
    /// What it is assigned; empty if the leader assigned it nothing.
    pub assignment: Arc<[u8]>,
}

/// What came of a member that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    /// The id that the request named.
    pub member: Option<MemberId>,
    /// The instance id that the request named.
    pub instance: Option<InstanceId>,
    /// Whether it left.
    pub outcome: Result<(), MemberRefusal>,
}

/// An offset that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// What is committed; none if nothing is.
    pub committed: Option<OffsetAndMetadata>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub group: GroupId,
    /// The kind of its members; empty if there never was one.
    pub protocol_type: String,
    /// Its state.
    pub state: GroupState,
    /// Its type.
    pub group_type: GroupType,
}

/// A group in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its id.
    pub group: GroupId,
    /// Its state; Dead if there is no such group. Newer clients are told GROUP_ID_NOT_FOUND then.
    pub state: GroupState,
    /// The kind of its members; empty if there never was one.
    pub protocol_type: String,
    /// The selected protocol, once the group is stable; else empty.
    pub protocol: String,
    /// Its members, by id.
    pub members: Vec<DescribedMember>,
}

/// A member in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member: MemberId,
    /// Its instance id.
    pub instance: Option<InstanceId>,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its client's host.
    pub client_host: Arc<str>,
    /// What it said of itself for the selected protocol, once the group is stable; else empty.
    pub metadata: Arc<[u8]>,
    /// What it is assigned.
    pub assignment: Arc<[u8]>,
}

/// A group's state, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// It has no members, but perhaps offsets.
    Empty,
    /// Members join.
    PreparingRebalance,
    /// They wait for the leader's assignment.
    CompletingRebalance,
    /// Each has its assignment.
    Stable,
    /// There is no such group.
    Dead,
}

impl GroupState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Empty, Self::PreparingRebalance, Self::CompletingRebalance, Self::Stable, Self::Dead];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A group's type, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupType {
    /// Members assign among themselves.
    Classic,
}

impl GroupType {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
        }
    }
}

impl Reply {
    /// A reply of the same kind that says why there is none.
    pub(super) fn failed(self, why: Unavailable) -> Self {
        match self {
            Self::JoinGroup(_) => Self::JoinGroup(Err(JoinRefusal::Unavailable(why))),
            Self::SyncGroup(_) => Self::SyncGroup(Err(why.into())),
            Self::Heartbeat(_) => Self::Heartbeat(Err(why.into())),
            Self::LeaveGroup(_) => Self::LeaveGroup(Err(why.into())),
            Self::OffsetCommit(_) => Self::OffsetCommit(Err(why.into())),
            Self::OffsetFetch(_) => Self::OffsetFetch(Err(why)),
            Self::OffsetDelete(_) => Self::OffsetDelete(Err(AdminRefusal::Unavailable(why))),
            Self::DeleteGroups(groups) => {
                // Whose deletion was refused is refused still.
                let refused = groups
                    .into_iter()
                    .map(|(group, outcome)| (group, outcome.and(Err(AdminRefusal::Unavailable(why)))));
                Self::DeleteGroups(refused.collect())
            }
            Self::ListGroups(_) => Self::ListGroups(Err(why)),
            Self::DescribeGroups(_) => Self::DescribeGroups(Err(why)),
            Self::ForgetPartitions(_) => Self::ForgetPartitions(Err(why)),
            // Nobody waits for this one.
            Self::Needs(bytes) => Self::Needs(bytes),
        }
    }
}
