//! What the metadata log holds: facts, in the order in which they came true.
//!
//! Records are kept as JSON in the log, so fields may be added with a default, but never change their
//! meaning.

use std::collections::BTreeMap;

use ottla_types::{
    BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, PartitionEpoch, PartitionIndex, ProducerId, TopicId,
    TopicName,
};
use serde::{Deserialize, Serialize};

use super::image::{BrokerImage, ClusterDefaults, PartitionImage, UncleanElection};

/// A change of the metadata that was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A broker registered, with its new epoch.
    BrokerRegistered(BrokerImage),
    /// A broker went into or out of service.
    BrokerChanged(BrokerChange),
    /// A broker that was gone and empty is forgotten.
    BrokerUnregistered {
        /// The broker.
        id: BrokerId,
    },
    /// What was set on one broker, or on all of them, as a whole.
    BrokerConfigured {
        /// The broker; none: all of them.
        id: Option<BrokerId>,
        /// Its configuration.
        config: BTreeMap<String, String>,
    },
    /// Topics that don't say otherwise have this.
    DefaultsChanged(ClusterDefaults),
    /// Partitions have other leaders (or none), replicas in sync, or replicas. One record holds all that one
    /// cause changes. It was called `LeadersChanged` before there was replication.
    #[serde(alias = "LeadersChanged")]
    PartitionsChanged(Vec<PartitionChange>),
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
    /// Whether it is being emptied.
    #[serde(default)]
    pub draining: bool,
}

/// A partition's new state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionChange {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number.
    pub partition: PartitionIndex,
    /// The leader, if any.
    pub leader: Option<BrokerId>,
    /// The replicas in sync.
    pub isr: Vec<BrokerId>,
    /// The replicas that aren't in sync and may lead all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elr: Vec<BrokerId>,
    /// Who led before nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_known_leader: Option<BrokerId>,
    /// The leader epoch: a greater one if the leader changes or a replica is gone.
    pub leader_epoch: LeaderEpoch,
    /// The new partition epoch.
    pub partition_epoch: PartitionEpoch,
    /// Where the replicas are, if that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicasChange>,
    /// That an administrator let a replica lead that may lack records, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean: Option<UncleanElection>,
}

/// Where a partition's replicas are, and where they move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicasChange {
    /// The brokers.
    pub replicas: Vec<BrokerId>,
    /// Their disks.
    pub directories: Vec<DirectoryId>,
    /// Those that are being added.
    #[serde(default)]
    pub adding: Vec<BrokerId>,
    /// Those that are being removed.
    #[serde(default)]
    pub removing: Vec<BrokerId>,
    /// The brokers before the reassignment; empty without one.
    #[serde(default)]
    pub original: Vec<BrokerId>,
}
