//! What can be asked of the active controller about replicas: who is in sync, who leads, and where they are.

use std::fmt;

use ottla_types::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId};
use serde::{Deserialize, Serialize};

/// A leader says which replicas of its partitions are in sync.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlterPartitions {
    /// The leader.
    pub broker: BrokerId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The partitions, each for itself.
    pub partitions: Vec<AlterPartition>,
}

/// The replicas in sync of one partition: compare and set on both epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlterPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number.
    pub partition: PartitionIndex,
    /// The epoch that the leader leads in.
    pub leader_epoch: LeaderEpoch,
    /// The epoch of the state that this follows.
    pub partition_epoch: PartitionEpoch,
    /// Who is in sync, the leader among them.
    pub isr: Vec<IsrMember>,
}

/// A replica in sync, as the leader knows it (KIP-903).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsrMember {
    /// The broker.
    pub broker: BrokerId,
    /// The registration with which it fetched. An older one may have lost what it had.
    pub broker_epoch: BrokerEpoch,
}

/// Why one partition of AlterPartitions stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlterPartitionError {
    /// UNKNOWN_TOPIC_ID
    UnknownTopicId,
    /// UNKNOWN_TOPIC_OR_PARTITION: the topic has no such partition.
    UnknownPartition,
    /// FENCED_LEADER_EPOCH: another leader was elected.
    FencedLeaderEpoch,
    /// NOT_CONTROLLER: the leader knows an epoch that this controller doesn't, which is no controller any
    /// more.
    NotController,
    /// INVALID_UPDATE_VERSION: the partition changed since the state that this follows.
    InvalidUpdateVersion,
    /// INVALID_REQUEST: the sender isn't the leader, or a member is named twice or is no replica.
    InvalidRequest,
    /// INELIGIBLE_REPLICA: this one is fenced, stopping, registered again, or has another disk.
    IneligibleReplica(BrokerId),
}

impl fmt::Display for AlterPartitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTopicId => f.write_str("there is no topic with this id"),
            Self::UnknownPartition => f.write_str("the topic has no such partition"),
            Self::FencedLeaderEpoch => f.write_str("another leader was elected"),
            Self::NotController => f.write_str("the controller doesn't know this epoch yet"),
            Self::InvalidUpdateVersion => f.write_str("the partition has changed since"),
            Self::InvalidRequest => {
                f.write_str("only the leader says who is in sync, itself and other replicas")
            }
            Self::IneligibleReplica(id) => write!(
                f,
                "broker {id} can't be in sync: it is fenced, stopping, has registered again, or has another disk"
            ),
        }
    }
}

impl std::error::Error for AlterPartitionError {}

/// Asks for other leaders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ElectLeaders {
    /// The partitions, each for itself.
    pub elections: Vec<Election>,
}

/// One partition that shall have another leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Election {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number.
    pub partition: PartitionIndex,
    /// Who.
    pub kind: ElectionKind,
}

/// Which replica shall lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElectionKind {
    /// The first one, if it is in sync.
    Preferred,
    /// This one, although it may lack acknowledged records, as none that has them is online. An
    /// administrator's word.
    Unclean {
        /// The replica's broker.
        replica: BrokerId,
    },
}

/// Moves partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReassignPartitions {
    /// The partitions, each for itself.
    pub partitions: Vec<Reassignment>,
}

/// Where one partition goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reassignment {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number.
    pub partition: PartitionIndex,
    /// The brokers that it shall be on, the preferred leader first; none: back to where it was.
    pub replicas: Option<Vec<BrokerId>>,
}

/// Begins or ends the emptying of a broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainBroker {
    /// The broker.
    pub id: BrokerId,
    /// Whether it is to be emptied.
    pub draining: bool,
}

/// Forgets a broker that is gone and holds nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnregisterBroker {
    /// The broker.
    pub id: BrokerId,
}
