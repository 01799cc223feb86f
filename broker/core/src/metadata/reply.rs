//! What the active controller answers.

use std::fmt;

use ottla_types::{BrokerEpoch, BrokerId, LeaderEpoch, MetadataVersion, PartitionEpoch, ProducerId, TopicId};
use serde::{Deserialize, Serialize};

use super::replica_command::AlterPartitionError;

/// The answer to a command, once it is committed. The variant follows the command's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To RegisterBroker: the new epoch.
    BrokerRegistered(BrokerEpoch),
    /// To FenceBroker, UnfenceBroker, DrainBroker and UnregisterBroker.
    BrokerChanged,
    /// To ControlledShutdown.
    BrokerStopping {
        /// How many partitions it still leads, as nobody else can. Zero: it may go.
        leading: usize,
    },
    /// To CreateTopics, in its order.
    TopicsCreated(Vec<TopicResult<CreatedTopic>>),
    /// To DeleteTopics, in its order.
    TopicsDeleted(Vec<TopicResult<DeletedTopic>>),
    /// To CreatePartitions, in its order.
    PartitionsCreated(Vec<TopicResult<()>>),
    /// To AlterTopicConfigs, in its order.
    TopicConfigsAltered(Vec<TopicResult<()>>),
    /// To AllocateProducerIds.
    ProducerIdsAllocated(AllocatedProducerIds),
    /// To SubmitAssignments.
    AssignmentsAccepted,
    /// To ApplyTopic.
    TopicApplied(AppliedTopic),
    /// To AlterPartitions, in its order: the epoch of the state that is asked for.
    PartitionsAltered(Vec<Result<PartitionEpoch, AlterPartitionError>>),
    /// To ElectLeaders, in its order.
    LeadersElected(Vec<Result<ElectedLeader, ElectionError>>),
    /// To ReassignPartitions, in its order.
    PartitionsReassigned(Vec<TopicResult<()>>),
    /// To AlterBrokerConfigs, in its order.
    BrokerConfigsAltered(Vec<TopicResult<()>>),
}

/// A leader that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ElectedLeader {
    /// The leader.
    pub leader: BrokerId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// What may be lost by it, for people; none if nothing.
    pub may_lose: Option<String>,
}

/// Why a partition keeps its leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ElectionError {
    /// Kafka's kind of error.
    pub kind: ElectionErrorKind,
    /// What is wrong and what to do, for people.
    pub message: String,
}

/// Kafka's error codes for elections, by their names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElectionErrorKind {
    /// UNKNOWN_TOPIC_OR_PARTITION
    UnknownTopicOrPartition,
    /// ELECTION_NOT_NEEDED
    ElectionNotNeeded,
    /// PREFERRED_LEADER_NOT_AVAILABLE
    PreferredLeaderNotAvailable,
    /// ELIGIBLE_LEADERS_NOT_AVAILABLE
    EligibleLeadersNotAvailable,
    /// INVALID_REQUEST: the broker that is named holds no replica.
    InvalidRequest,
}

/// The outcome for one topic of several.
pub type TopicResult<T> = Result<T, TopicError>;

/// A topic that was created (or, with `validate_only`, would be: its id is then zero).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas each has.
    pub replication_factor: i16,
}

/// A topic that was deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeletedTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
}

/// Producer ids that belong to the asking broker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocatedProducerIds {
    /// The first.
    pub first: ProducerId,
    /// How many.
    pub count: u32,
}

/// A topic that is as asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppliedTopic {
    /// Its id; zero when it would be created and the command only checks.
    pub id: TopicId,
    /// Whether anything had to change.
    pub changed: bool,
}

/// Why one topic of a command was left alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicError {
    /// Kafka's kind of error.
    pub kind: TopicErrorKind,
    /// What is wrong and what to do, for people.
    pub message: String,
}

impl TopicError {
    /// An error of this kind.
    pub fn new(kind: TopicErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TopicError {}

/// Kafka's error codes for topics, by their names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicErrorKind {
    /// TOPIC_ALREADY_EXISTS
    TopicAlreadyExists,
    /// INVALID_TOPIC_EXCEPTION
    InvalidTopic,
    /// INVALID_PARTITIONS
    InvalidPartitions,
    /// INVALID_REPLICATION_FACTOR
    InvalidReplicationFactor,
    /// INVALID_REPLICA_ASSIGNMENT
    InvalidReplicaAssignment,
    /// INVALID_CONFIG
    InvalidConfig,
    /// INVALID_REQUEST
    InvalidRequest,
    /// UNKNOWN_TOPIC_OR_PARTITION
    UnknownTopicOrPartition,
    /// UNKNOWN_TOPIC_ID
    UnknownTopicId,
    /// POLICY_VIOLATION: a limit of this cluster
    PolicyViolation,
    /// NO_REASSIGNMENT_IN_PROGRESS
    NoReassignmentInProgress,
}

/// Why a whole command was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rejection {
    /// DUPLICATE_BROKER_REGISTRATION: the id belongs to a live broker with another disk.
    DuplicateBrokerRegistration {
        /// The id.
        id: BrokerId,
    },
    /// BROKER_ID_NOT_REGISTERED
    BrokerNotRegistered {
        /// The id.
        id: BrokerId,
    },
    /// STALE_BROKER_EPOCH: another registration came after this one.
    StaleBrokerEpoch {
        /// The id.
        id: BrokerId,
        /// The epoch that was given.
        given: BrokerEpoch,
        /// The epoch of today.
        current: BrokerEpoch,
    },
    /// The metadata changed since the version that the command was computed from.
    StaleMetadataVersion {
        /// The version that was given.
        given: MetadataVersion,
        /// The version of the last change.
        changed: MetadataVersion,
    },
    /// The topic of this name isn't the one that was meant: it was deleted, and maybe created again.
    AnotherTopic {
        /// The name.
        name: String,
        /// The id that was expected.
        expected: TopicId,
        /// The id that it has, if it exists.
        current: Option<TopicId>,
    },
    /// A rule of the cluster forbids it now: what it is, and what to do.
    NotNow {
        /// For people.
        message: String,
    },
    /// The topic, its partitions or its configuration can't be so.
    Topic(TopicError),
    /// INVALID_REQUEST: the command itself makes no sense.
    Invalid {
        /// What is wrong.
        message: String,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateBrokerRegistration { id } => write!(
                f,
                "broker {id} is already registered by a live process with another disk: \
                 stop that one, or give this one another node.id"
            ),
            Self::BrokerNotRegistered { id } => write!(f, "broker {id} is not registered"),
            Self::StaleBrokerEpoch { id, given, current } => {
                write!(f, "broker {id} has registered again: epoch {given} is older than {current}")
            }
            Self::StaleMetadataVersion { given, changed } => write!(
                f,
                "the metadata changed at version {changed}, after version {given} that this was computed from: \
                 look again and repeat"
            ),
            Self::AnotherTopic { name, expected, current: Some(current) } => {
                write!(f, "topic {name:?} has id {current}, not {expected}: it was deleted and created again")
            }
            Self::AnotherTopic { name, expected, current: None } => {
                write!(f, "topic {name:?} with id {expected} does not exist: it was deleted")
            }
            Self::Topic(error) => error.fmt(f),
            Self::Invalid { message } | Self::NotNow { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for Rejection {}

impl From<TopicError> for Rejection {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}
