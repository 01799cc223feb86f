//! Why a request is refused: one enum an operation, each variant one of Kafka's error codes.

use std::fmt;

use crate::coordinator::Unavailable;

use super::ids::{Generation, GroupId, InstanceId, MemberId};

/// Why a member doesn't join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// The coordinator can't serve now.
    Unavailable(Unavailable),
    /// INVALID_GROUP_ID: it is empty.
    InvalidGroupId,
    /// INVALID_SESSION_TIMEOUT
    InvalidSessionTimeout {
        /// What was asked for.
        given_ms: i64,
        /// `group.min.session.timeout.ms`.
        min_ms: u64,
        /// `group.max.session.timeout.ms`.
        max_ms: u64,
    },
    /// MEMBER_ID_REQUIRED: join again with this id.
    MemberIdRequired(MemberId),
    /// GROUP_MAX_SIZE_REACHED: there are too many members.
    GroupMaxSizeReached {
        /// `group.max.size`.
        members_max: usize,
    },
    /// GROUP_MAX_SIZE_REACHED: too many were given a member id and haven't joined with it.
    PendingJoinsReached {
        /// The most of them in a group.
        pending_joins_max: usize,
    },
    /// GROUP_MAX_SIZE_REACHED: the members say too much of themselves.
    GroupBytesReached {
        /// The most bytes of a group's members.
        bytes_max: usize,
    },
    /// GROUP_MAX_SIZE_REACHED: all groups of the broker together take up as much memory as they may.
    StateBytesReached,
    /// INCONSISTENT_GROUP_PROTOCOL: the group's members are of another kind, or no protocol is common to all.
    InconsistentGroupProtocol,
    /// UNKNOWN_MEMBER_ID: join again without one.
    UnknownMemberId(MemberId),
    /// FENCED_INSTANCE_ID: another member has this instance id.
    FencedInstanceId(InstanceId),
    /// REBALANCE_IN_PROGRESS: the member asked again, which took this request's place.
    Superseded,
}

impl From<Unavailable> for JoinRefusal {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why)
    }
}

impl fmt::Display for JoinRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => why.fmt(f),
            Self::InvalidGroupId => f.write_str("the group id is empty; set group.id"),
            Self::InvalidSessionTimeout { given_ms, min_ms, max_ms } => {
                write!(f, "the session timeout is {given_ms} ms; it must be {min_ms} to {max_ms}")
            }
            Self::MemberIdRequired(id) => write!(f, "join again as member {id}"),
            Self::GroupMaxSizeReached { members_max } => {
                write!(f, "the group has {members_max} members, as group.max.size allows")
            }
            Self::PendingJoinsReached { pending_joins_max } => {
                write!(f, "{pending_joins_max} are about to join the group already; try again later")
            }
            Self::GroupBytesReached { bytes_max } => {
                write!(f, "the members' subscriptions would take more than {bytes_max} bytes")
            }
            Self::StateBytesReached => f.write_str(
                "the broker's groups take up as much memory as ottla.group.state.max.bytes allows",
            ),
            Self::InconsistentGroupProtocol => {
                f.write_str("the group's members have another protocol type, or none of these protocols")
            }
            Self::UnknownMemberId(id) => {
                write!(f, "the group has no member {id:?}; join without a member id")
            }
            Self::FencedInstanceId(id) => write!(f, "another member has taken over the instance id {id}"),
            Self::Superseded => f.write_str("the member sent this request again"),
        }
    }
}

/// Why a member's request is refused: a sync, a heartbeat or a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberRefusal {
    /// The coordinator can't serve now.
    Unavailable(Unavailable),
    /// INVALID_GROUP_ID: it is empty.
    InvalidGroupId,
    /// GROUP_ID_NOT_FOUND; ILLEGAL_GENERATION for clients that don't know this code. Commits only.
    GroupIdNotFound(GroupId),
    /// UNKNOWN_MEMBER_ID
    UnknownMemberId(MemberId),
    /// FENCED_INSTANCE_ID: another member has this instance id.
    FencedInstanceId(InstanceId),
    /// ILLEGAL_GENERATION
    IllegalGeneration {
        /// What the member said.
        given: Generation,
        /// What it is.
        current: Generation,
    },
    /// INCONSISTENT_GROUP_PROTOCOL: the group selected another. Syncs only.
    InconsistentGroupProtocol,
    /// REBALANCE_IN_PROGRESS: join again.
    RebalanceInProgress,
}

impl fmt::Display for MemberRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => why.fmt(f),
            Self::InvalidGroupId => f.write_str("the group id is empty; set group.id"),
            Self::GroupIdNotFound(group) => write!(f, "there is no group {group:?}"),
            Self::UnknownMemberId(id) => write!(f, "the group has no member {id:?}; join it first"),
            Self::FencedInstanceId(id) => write!(f, "another member has taken over the instance id {id}"),
            Self::IllegalGeneration { given, current } => {
                write!(f, "the generation is {current}, not {given}; join again")
            }
            Self::InconsistentGroupProtocol => f.write_str("the group has selected another protocol"),
            Self::RebalanceInProgress => f.write_str("the group is rebalancing; join again"),
        }
    }
}

impl From<Unavailable> for MemberRefusal {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why)
    }
}

/// Why a group, or its offsets, can't be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRefusal {
    /// The coordinator can't serve now.
    Unavailable(Unavailable),
    /// INVALID_GROUP_ID: it is empty.
    InvalidGroupId,
    /// GROUP_ID_NOT_FOUND
    GroupIdNotFound(GroupId),
    /// NON_EMPTY_GROUP
    NonEmptyGroup(GroupId),
}

impl fmt::Display for AdminRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => why.fmt(f),
            Self::InvalidGroupId => f.write_str("the group id is empty"),
            Self::GroupIdNotFound(group) => write!(f, "there is no group {group:?}"),
            Self::NonEmptyGroup(group) => write!(f, "the group {group:?} has members; stop them first"),
        }
    }
}

/// Why one partition of a request about offsets is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionRefusal {
    /// OFFSET_METADATA_TOO_LARGE, of a commit.
    OffsetMetadataTooLarge {
        /// How long it is.
        given_bytes: usize,
        /// `offset.metadata.max.bytes`.
        max_bytes: usize,
    },
    /// GROUP_SUBSCRIBED_TO_TOPIC, of a deletion.
    GroupSubscribedToTopic,
}

impl fmt::Display for PartitionRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OffsetMetadataTooLarge { given_bytes, max_bytes } => {
                write!(f, "the offset's metadata has {given_bytes} bytes; {max_bytes} are allowed")
            }
            Self::GroupSubscribedToTopic => f.write_str("the group's members are subscribed to the topic"),
        }
    }
}
