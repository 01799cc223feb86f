//! What can be asked of the active controller. Randomness (ids) is part of the command.

use std::collections::BTreeMap;

use ottla_types::{BrokerEpoch, BrokerId, DirectoryId, MetadataVersion, PartitionIndex, TopicId};
use serde::{Deserialize, Serialize};

use super::image::{Endpoint, IncarnationId};
use super::replica_command::{
    AlterPartitions, DrainBroker, ElectLeaders, ReassignPartitions, UnregisterBroker,
};

/// A change of the metadata that someone asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A broker starts.
    RegisterBroker(RegisterBroker),
    /// A broker was silent for too long.
    FenceBroker(FenceBroker),
    /// A broker has caught up.
    UnfenceBroker(UnfenceBroker),
    /// A broker is about to stop.
    ControlledShutdown(ControlledShutdown),
    /// New topics.
    CreateTopics(CreateTopics),
    /// Topics and their records go.
    DeleteTopics(DeleteTopics),
    /// Topics grow.
    CreatePartitions(CreatePartitions),
    /// Configurations of topics change.
    AlterTopicConfigs(AlterTopicConfigs),
    /// A broker needs ids for producers.
    AllocateProducerIds(AllocateProducerIds),
    /// Partitions go to brokers, as computed from a version of the metadata.
    SubmitAssignments(SubmitAssignments),
    /// A topic is made what a manifest says.
    ApplyTopic(ApplyTopic),
    /// A leader says who is in sync.
    AlterPartitions(AlterPartitions),
    /// Other replicas shall lead.
    ElectLeaders(ElectLeaders),
    /// Partitions move to other brokers, or don't any more.
    ReassignPartitions(ReassignPartitions),
    /// A broker is to be emptied, or isn't any more.
    DrainBroker(DrainBroker),
    /// A broker that is gone is forgotten.
    UnregisterBroker(UnregisterBroker),
    /// What is set on brokers while they run changes.
    AlterBrokerConfigs(AlterBrokerConfigs),
}

/// A broker's registration. It stays fenced until it has caught up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterBroker {
    /// Its `node.id`.
    pub id: BrokerId,
    /// The process; a registration again by the same one only gets a new epoch.
    pub incarnation: IncarnationId,
    /// The disk.
    pub directory_id: DirectoryId,
    /// Advertised listeners.
    pub listeners: Vec<Endpoint>,
    /// The control API, `host:port`.
    pub control_address: String,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The process before this one closed the disk in order, so all that it wrote is there. Without that,
    /// topics with `ack.durability=written` don't trust the replica.
    #[serde(default)]
    pub clean_shutdown: bool,
    /// `min.insync.replicas`, if it is configured; the cluster's default from now on.
    #[serde(default)]
    pub min_insync_replicas: Option<usize>,
    /// `default.replication.factor`, if it is configured; the cluster's default from now on.
    #[serde(default)]
    pub default_replication_factor: Option<usize>,
    /// `ottla.ack.durability` is `written`; the cluster's default from now on.
    #[serde(default)]
    pub acks_written: bool,
}

impl RegisterBroker {
    /// A registration that says no more than it has to: whoever knows more of the broker adds it.
    pub fn new(id: BrokerId, incarnation: IncarnationId, directory_id: DirectoryId) -> Self {
        Self {
            id,
            incarnation,
            directory_id,
            listeners: Vec::new(),
            control_address: String::new(),
            rack: None,
            clean_shutdown: false,
            min_insync_replicas: None,
            default_replication_factor: None,
            acks_written: false,
        }
    }
}

/// Takes a broker out of service. Its leaderships move, or end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FenceBroker {
    /// The broker.
    pub id: BrokerId,
    /// The registration that was silent; a newer one is left alone.
    pub epoch: BrokerEpoch,
}

/// Takes a broker into service. It leads again what nobody else can.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnfenceBroker {
    /// The broker.
    pub id: BrokerId,
    /// The registration that has caught up.
    pub epoch: BrokerEpoch,
}

/// A broker is about to stop: its leaderships go to others, and it leaves the ISRs that are large enough
/// without it. It stays in service for what only it can lead, until it is fenced; the reply says how much
/// that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlledShutdown {
    /// The broker.
    pub id: BrokerId,
    /// Its registration.
    pub epoch: BrokerEpoch,
}

/// Creates topics, each for itself: one may fail and another not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateTopics {
    /// The topics.
    pub topics: Vec<NewTopic>,
    /// Only check.
    pub validate_only: bool,
    /// `num.partitions`, for topics that say −1.
    pub default_partitions: i32,
    /// `default.replication.factor`, for topics that say −1; −1 here: not configured, see
    /// [`super::MetadataImage::default_replication_factor`].
    pub default_replication_factor: i16,
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTopic {
    /// The name, as it was sent.
    pub name: String,
    /// A fresh random id.
    pub id: TopicId,
    /// How many partitions; −1: the default, or `assignments` say it.
    pub partitions: i32,
    /// How many replicas; −1: the default, or `assignments` say it.
    pub replication_factor: i16,
    /// Replicas by hand; empty: by placement.
    pub assignments: Vec<NewPartitionAssignment>,
    /// Configuration; a value of none means unset.
    pub config: Vec<(String, Option<String>)>,
}

/// The replicas of a partition with a given index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewPartitionAssignment {
    /// The partition's number.
    pub partition: PartitionIndex,
    /// The brokers, the preferred leader first.
    pub replicas: Vec<BrokerId>,
}

/// Names a topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TopicSelector {
    /// By name.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// Deletes topics, each for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteTopics {
    /// The topics.
    pub topics: Vec<TopicSelector>,
}

/// Adds partitions to topics, each for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreatePartitions {
    /// The topics.
    pub topics: Vec<NewPartitions>,
    /// Only check.
    pub validate_only: bool,
    /// Where placement starts: any number, so that a retried command decides the same.
    pub seed: u64,
}

/// A topic that grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewPartitions {
    /// The topic.
    pub name: String,
    /// The partitions that it shall have in all.
    pub count: i32,
    /// Replicas of the added partitions, in order; none: by placement.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// Changes topics' configurations, each for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlterTopicConfigs {
    /// The topics.
    pub topics: Vec<TopicConfigChange>,
    /// Only check.
    pub validate_only: bool,
}

/// The change of one topic's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicConfigChange {
    /// The topic.
    pub name: String,
    /// What changes.
    pub change: ConfigChange,
}

/// Changes what is set on brokers while they run, each for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlterBrokerConfigs {
    /// The changes.
    pub brokers: Vec<BrokerConfigChange>,
    /// Only check.
    pub validate_only: bool,
}

/// A change of what is set on one broker, or on all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerConfigChange {
    /// The broker; none: all that don't say otherwise.
    pub id: Option<BrokerId>,
    /// What changes.
    pub change: ConfigChange,
}

/// A change of a configuration, as a whole or key by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ConfigChange {
    /// This is the whole configuration; what is not here is unset (AlterConfigs).
    Replace(BTreeMap<String, String>),
    /// Only these keys change (IncrementalAlterConfigs).
    Incremental(Vec<(String, ConfigOperation)>),
}

/// The change of one configuration key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ConfigOperation {
    /// Sets the value.
    Set(String),
    /// Back to the default.
    Delete,
    /// Adds the items to a list.
    Append(String),
    /// Takes the items out of a list.
    Subtract(String),
}

/// Gives a broker a block of producer ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocateProducerIds {
    /// The broker.
    pub id: BrokerId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// How many ids, 1 to 100,000.
    pub count: u32,
}

/// Gives partitions to brokers, all or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmitAssignments {
    /// The version that this was computed from; a change since then refuses it.
    pub version: MetadataVersion,
    /// The partitions. One that exists is reassigned; one past the last is added.
    pub partitions: Vec<ReplicaAssignment>,
}

/// The replicas of a partition, by its topic's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaAssignment {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: PartitionIndex,
    /// The brokers, the preferred leader first.
    pub replicas: Vec<BrokerId>,
}

/// Creates the topic or brings its partitions and configuration to what is asked, all or nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplyTopic {
    /// The topic.
    pub name: String,
    /// A fresh random id, for when it is created.
    pub new_id: TopicId,
    /// The whole configuration.
    pub config: BTreeMap<String, String>,
    /// Replicas of all partitions, by index. Existing ones that have others are reassigned.
    pub assignments: Vec<Vec<BrokerId>>,
    /// The version that the assignments were computed from; none: whatever it is.
    pub version: Option<MetadataVersion>,
    /// The topic must have this id.
    pub expected_id: Option<TopicId>,
    /// Only check.
    pub validate_only: bool,
}
