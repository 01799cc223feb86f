//! What the group coordinator writes into `__consumer_offsets`: the contents of Kafka's records of these
//! names, not their bytes.

use std::sync::Arc;

use ottla_types::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

use super::ids::{Generation, GroupId, InstanceId, MemberId};

/// A record. Without a value it is a tombstone: what the key names is no more.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An offset that a group has committed.
    OffsetCommit {
        /// Whose, and of what.
        key: OffsetCommitKey,
        /// The offset; none removes it.
        value: Option<OffsetAndMetadata>,
    },
    /// A classic group's generation.
    GroupMetadata {
        /// Which group.
        key: GroupMetadataKey,
        /// Its members and assignment; none removes the group, its offsets not.
        value: Option<GroupMetadataValue>,
    },
}

/// What a record, or a member in one, takes up beside its texts, in bytes: no less than its struct.
const RECORD_BYTES: usize = 256;

/// What a record, or a member in one, takes up in the log beside its texts, in bytes: no less than all
/// lengths and numbers.
pub(super) const LOG_BYTES: usize = 128;

impl Record {
    /// Bytes of memory that it takes up, about.
    pub(super) fn bytes(&self) -> usize {
        let texts = match self {
            Self::OffsetCommit { key, value } => {
                let metadata = value.as_ref().map_or(0, |value| value.metadata.len());
                key.group.as_str().len() + key.topic.as_str().len() + metadata
            }
            Self::GroupMetadata { key, value } => {
                let members = value.iter().flat_map(|value| &value.members).map(MemberMetadata::bytes);
                key.group.as_str().len() + members.sum::<usize>()
            }
        };
        RECORD_BYTES + texts
    }

    /// Bytes that it takes up in a batch, at most.
    pub(super) fn log_bytes(&self) -> usize {
        let texts = match self {
            Self::OffsetCommit { key, value } => {
                key.text_bytes() + value.as_ref().map_or(0, |v| v.metadata.len())
            }
            Self::GroupMetadata { key, value } => {
                key.group.as_str().len() + value.as_ref().map_or(0, GroupMetadataValue::log_bytes)
            }
        };
        LOG_BYTES + texts
    }
}

/// The key of a committed offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetCommitKey {
    /// The group.
    pub group: GroupId,
    /// The topic, by name: its id is in the value.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
}

impl OffsetCommitKey {
    /// Bytes of its names.
    pub(super) fn text_bytes(&self) -> usize {
        self.group.as_str().len() + self.topic.as_str().len()
    }
}

/// A committed offset, Kafka's `OffsetCommitValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next record that the group will read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read; none if it isn't known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the consumer says beside it.
    pub metadata: Arc<str>,
    /// When it was committed, in ms since 1970.
    pub commit_timestamp_ms: i64,
    /// When it expires, in ms since 1970, if the consumer said so. Only old clients do.
    pub expire_timestamp_ms: Option<i64>,
    /// The topic's id; zero if the consumer committed by name and nobody knew it.
    pub topic_id: TopicId,
}

/// The key of a group's record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupMetadataKey {
    /// The group.
    pub group: GroupId,
}

/// A generation of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadataValue {
    /// The kind of its members, "consumer" for consumers; empty if there never was one.
    pub protocol_type: String,
    /// The generation.
    pub generation: Generation,
    /// The protocol that was selected; none without members.
    pub protocol: Option<String>,
    /// The member that assigns; none without members.
    pub leader: Option<MemberId>,
    /// When the group came into the state that it was written in, in ms since 1970; old records don't say.
    pub current_state_timestamp_ms: Option<i64>,
    /// The members.
    pub members: Vec<MemberMetadata>,
}

impl GroupMetadataValue {
    fn log_bytes(&self) -> usize {
        let leader = self.leader.as_ref().map_or(0, |id| id.as_str().len());
        let members = self.members.iter().map(MemberMetadata::log_bytes).sum::<usize>();
        self.protocol_type.len() + self.protocol.as_ref().map_or(0, String::len) + leader + members
    }
}

/// A member in a group's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its id.
    pub member: MemberId,
    /// Its instance id, if it is a static member.
    pub instance: Option<InstanceId>,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its client's host.
    pub client_host: Arc<str>,
    /// How long it may take to rejoin, in ms.
    pub rebalance_timeout_ms: u64,
    /// How long it may be silent, in ms.
    pub session_timeout_ms: u64,
    /// What it said of itself for the selected protocol.
    pub subscription: Arc<[u8]>,
    /// What it is assigned.
    pub assignment: Arc<[u8]>,
}

impl MemberMetadata {
    fn log_bytes(&self) -> usize {
        let instance = self.instance.as_ref().map_or(0, |id| id.as_str().len());
        let client = self.client_id.len() + self.client_host.len();
        let bytes = self.subscription.len() + self.assignment.len();
        LOG_BYTES + self.member.as_str().len() + instance + client + bytes
    }

    fn bytes(&self) -> usize {
        RECORD_BYTES + self.member.as_str().len() + self.subscription.len() + self.assignment.len()
    }
}
