//! What the metadata log holds: facts, in the order in which they came true.
//!
//! Records are kept as JSON in the log, so fields may be added with a default, but never change their meaning.

use std::collections::BTreeMap;

use ottla_types::{
    BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, ProducerId, TopicId, TopicName,
};
use serde::{Deserialize, Serialize};

use super::image::{BrokerImage, PartitionImage};

/// A change of the metadata that was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A broker registered, with its new epoch.
    BrokerRegistered(BrokerImage),
    /// A broker went into or out of service.
    BrokerChanged(BrokerChange),
    /// Partitions have other leaders, or none. One record holds all that one cause moves.
    LeadersChanged(Vec<LeaderChange>),
    /// A topic exists, without partitions yet.
    TopicCreated {
        /// Its id.
        id: TopicId,
        /// Its name.
        name: TopicName,
        /// Its configuration.
        config: BTreeMap<String, String>,
    },
    /// A topic has more partitions, numbered on from those that it had.
    PartitionsCreated {
        /// The topic.
        topic: TopicId,
        /// The new partitions.
        partitions: Vec<PartitionImage>,
    },
    /// A topic has this configuration, as a whole.
    TopicConfigured {
        /// The topic.
        topic: TopicId,
        /// Its configuration.
        config: BTreeMap<String, String>,
    },
    /// A topic is gone.
    TopicDeleted {
        /// The topic.
        topic: TopicId,
    },
    /// The producer ids below this one are given out.
    ProducerIdsAllocated {
        /// The first id that is free.
        next: ProducerId,
    },
    /// The broker epochs below this one are given out (snapshots only).
    BrokerEpochsIssued {
        /// The next epoch.
        next: BrokerEpoch,
    },
}

/// A broker's new state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerChange {
    /// The broker.
    pub id: BrokerId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// Whether it is out of service.
    pub fenced: bool,
    /// Whether it asked to stop.
    pub in_controlled_shutdown: bool,
}

/// A partition's new leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaderChange {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number.
    pub partition: PartitionIndex,
    /// The leader, if any.
    pub leader: Option<BrokerId>,
    /// The replicas in sync.
    pub isr: Vec<BrokerId>,
    /// The new leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// The new partition epoch.
    pub partition_epoch: PartitionEpoch,
}
