//! What is asked of the group coordinator, without versions: where versions differ, a request says how.

use std::sync::Arc;

use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

use super::ids::{Generation, GroupId, InstanceId, MemberId};

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A member joins, or joins again.
    JoinGroup(JoinGroup),
    /// A member asks for its assignment; the leader brings all of them.
    SyncGroup(SyncGroup),
    /// A member says that it is alive.
    Heartbeat(Heartbeat),
    /// Members leave, or are made to.
    LeaveGroup(LeaveGroup),
    /// Offsets are committed.
    OffsetCommit(OffsetCommit),
    /// Committed offsets are read.
    OffsetFetch(OffsetFetch),
    /// Committed offsets are deleted.
    OffsetDelete(OffsetDelete),
    /// Groups are deleted, with their offsets.
    DeleteGroups(DeleteGroups),
    /// Which groups there are.
    ListGroups(ListGroups),
    /// What groups are like.
    DescribeGroups(DescribeGroups),
    /// Partitions have been deleted: no group needs their offsets any more. The broker asks this itself.
    ForgetPartitions(ForgetPartitions),
}

/// Where a member's requests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its client id.
    pub id: Arc<str>,
    /// Its address.
    pub host: Arc<str>,
}

/// A protocol that a member supports: an assignor, for consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name.
    pub name: Arc<str>,
    /// What the member says of itself: its subscription, for consumers.
    pub metadata: Arc<[u8]>,
}

/// A member joins.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinGroup {
    /// The group.
    pub group: GroupId,
    /// The member's id; none if it has none yet.
    pub member: Option<MemberId>,
    /// Its instance id, if it is a static member.
    pub instance: Option<InstanceId>,
    /// Where it is.
    pub client: Client,
    /// How long it may be silent, in ms.
    pub session_timeout_ms: i64,
    /// How long it may take to join again, in ms. For clients that don't say, the session time-out.
    pub rebalance_timeout_ms: u64,
    /// The kind of member.
    pub protocol_type: String,
    /// What it supports, what it likes best first.
    pub protocols: Vec<Protocol>,
    /// Whether the client knows MEMBER_ID_REQUIRED.
    pub knows_member_id_required: bool,
    /// Whether the client knows that it may be a leader that need not assign.
    pub knows_skip_assignment: bool,
    /// The random part of the member's id, if it gets one: never the same twice.
    pub fresh_id: String,
}

/// A member asks for its assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncGroup {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// Its instance id.
    pub instance: Option<InstanceId>,
    /// The generation that it has joined.
    pub generation: Generation,
    /// The protocol type that it believes to be the group's; old clients don't say.
    pub protocol_type: Option<String>,
    /// The protocol that it believes to be selected; old clients don't say.
    pub protocol: Option<String>,
    /// What each member is assigned; from the leader only.
    pub assignments: Vec<(MemberId, Arc<[u8]>)>,
}

/// A member says that it is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The group.
    pub group: GroupId,
    /// The member.
    pub member: MemberId,
    /// Its instance id.
    pub instance: Option<InstanceId>,
    /// The generation that it is in.
    pub generation: Generation,
}

/// Members leave. Why they do is the server's to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroup {
    /// The group.
    pub group: GroupId,
    /// Who leaves.
    pub members: Vec<Leaving>,
}

/// A member that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Its id; none if an administrator removes it by its instance id.
    pub member: Option<MemberId>,
    /// Its instance id.
    pub instance: Option<InstanceId>,
}

/// Offsets are committed: by a member, or by somebody in no generation.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetCommit {
    /// The group.
    pub group: GroupId,
    /// The member; none for simple consumers and administrators.
    pub member: Option<MemberId>,
    /// Its instance id.
    pub instance: Option<InstanceId>,
    /// The generation that it is in; −1 for simple consumers and administrators.
    pub generation: Generation,
    /// How long to keep the offsets, in ms. Only old clients say.
    pub retention_ms: Option<u64>,
    /// What to commit.
    pub offsets: Vec<OffsetToCommit>,
}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The topic.
    pub topic: TopicName,
    /// Its id; zero if it isn't known.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next record to read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What to say beside it.
    pub metadata: Option<Arc<str>>,
}

/// Committed offsets are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetch {
    /// The group.
    pub group: GroupId,
    /// Of which partitions; none for all that there are.
    pub partitions: Option<Vec<TopicPartition>>,
    /// Whether to wait until nothing newer is on its way.
    pub require_stable: bool,
    /// How many bytes the reply may take up; see [`super::Reply::Needs`].
    pub granted_bytes: usize,
}

/// Committed offsets are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDelete {
    /// The group.
    pub group: GroupId,
    /// Of which partitions.
    pub partitions: Vec<TopicPartition>,
}

/// Groups are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroups {
    /// Which.
    pub groups: Vec<GroupId>,
}

/// Groups are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListGroups {
    /// Only those in one of these states, by Kafka's names in any case; all if it is empty.
    pub states: Vec<String>,
    /// Only those of one of these types, by Kafka's names in any case; all if it is empty.
    pub types: Vec<String>,
    /// How many bytes the reply may take up; see [`super::Reply::Needs`].
    pub granted_bytes: usize,
}

/// Groups are described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroups {
    /// Which.
    pub groups: Vec<GroupId>,
    /// How many bytes the reply may take up; see [`super::Reply::Needs`].
    pub granted_bytes: usize,
}

/// Partitions have been deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetPartitions {
    /// Which.
    pub partitions: Vec<TopicPartition>,
}
