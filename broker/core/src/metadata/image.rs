//! What a broker knows of the cluster: a value that is cheap to clone and never changes under a reader.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use ottla_types::{
    BrokerEpoch, BrokerId, ClusterId, DirectoryId, LeaderEpoch, MetadataVersion, PartitionEpoch,
    PartitionIndex, ProducerId, TopicId, TopicName,
};
use serde::{Deserialize, Serialize};

/// The cluster's metadata at one version. Clones share everything.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataImage {
    /// The cluster that this is about.
    pub cluster_id: ClusterId,
    /// The offset in the metadata log up to which this image holds everything.
    pub version: MetadataVersion,
    /// The offset of the last entry that changed something; at most `version`.
    pub changed: MetadataVersion,
    /// Every broker that ever registered, fenced ones too.
    pub brokers: OrdMap<BrokerId, Arc<BrokerImage>>,
    /// The topics by id.
    pub topics: OrdMap<TopicId, Arc<TopicImage>>,
    /// The ids of the topics by name.
    pub topic_ids: OrdMap<TopicName, TopicId>,
    /// The first producer id that was never given out.
    pub next_producer_id: ProducerId,
    /// The epoch that the next registration of a broker gets.
    pub next_broker_epoch: BrokerEpoch,
    /// The partitions of all topics.
    pub partition_count: usize,
}

impl MetadataImage {
    /// The image of a new cluster, without brokers and topics, at version 0.
    pub fn new(cluster_id: ClusterId) -> Self {
        Self {
            cluster_id,
            version: MetadataVersion(0),
            changed: MetadataVersion(0),
            brokers: OrdMap::new(),
            topics: OrdMap::new(),
            topic_ids: OrdMap::new(),
            next_producer_id: ProducerId(0),
            next_broker_epoch: BrokerEpoch(1),
            partition_count: 0,
        }
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    /// One partition, by its topic's name.
    pub fn partition(&self, topic: &str, index: PartitionIndex) -> Option<&PartitionImage> {
        self.topic(topic)?.partition(index)
    }

    /// The broker of this id, fenced or not.
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<BrokerImage>> {
        self.brokers.get(&id)
    }

    /// The brokers that serve clients: registered and not fenced.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// Whether the replica at `position` of `partition` is on a live broker that still has the disk the
    /// replica was put on. Only such a replica may lead.
    pub fn is_online(&self, partition: &PartitionImage, position: usize) -> bool {
        let (Some(id), Some(directory)) =
            (partition.replicas.get(position), partition.directories.get(position))
        else {
            return false;
        };
        self.broker(*id).is_some_and(|broker| !broker.fenced && broker.directory_id == *directory)
    }

    /// The replicas of `partition` that can't be reached or whose disk is gone.
    pub fn offline_replicas(&self, partition: &PartitionImage) -> Vec<BrokerId> {
        let offline = |&(position, _): &(usize, &BrokerId)| !self.is_online(partition, position);
        partition.replicas.iter().enumerate().filter(offline).map(|(_, id)| *id).collect()
    }

    /// How many replicas of `partition` have to be in sync for its records to be acknowledged.
    pub fn min_insync_replicas(&self, topic: &TopicImage, partition: &PartitionImage) -> usize {
        let set = topic.config.get("min.insync.replicas").and_then(|value| value.parse().ok());
        set.unwrap_or(1).clamp(1, partition.replicas.len().max(1))
    }

    /// The partitions that have a replica on this disk of this broker: exactly those that it must hold logs of.
    ///
    /// A partition of the broker that was put on another disk is not among them: its records are gone or
    /// elsewhere, and an empty log in their place would hide that.
    pub fn partitions_on(
        &self,
        broker: BrokerId,
        directory: DirectoryId,
    ) -> impl Iterator<Item = (&Arc<TopicImage>, PartitionIndex, &PartitionImage)> {
        self.topics.values().flat_map(move |topic| {
            let numbered = topic.partitions.iter().enumerate();
            numbered.filter(move |(_, partition)| partition.is_on(broker, directory)).map(
                move |(index, partition)| {
                    (topic, PartitionIndex(i32::try_from(index).expect("limited when created")), partition)
                },
            )
        })
    }
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerImage {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Issued at this registration.
    pub epoch: BrokerEpoch,
    /// The process that registered: another one after each start.
    pub incarnation: IncarnationId,
    /// The disk that it has.
    pub directory_id: DirectoryId,
    /// Where clients reach it, by listener name; as advertised.
    pub listeners: Vec<Endpoint>,
    /// Where brokers and operators reach its control API, `host:port`.
    pub control_address: String,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Fenced: silent, stopping, or not yet caught up. It leads nothing and isn't shown to clients.
    pub fenced: bool,
    /// It said that it is stopping.
    pub in_controlled_shutdown: bool,
}

impl BrokerImage {
    /// The advertised address of the listener with this name (as in the configuration, upper case).
    pub fn listener(&self, name: &str) -> Option<&Endpoint> {
        self.listeners.iter().find(|listener| listener.name == name)
    }
}

/// An advertised listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name, upper case.
    pub name: String,
    /// A host name or address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// How it is secured.
    pub security_protocol: SecurityProtocol,
}

/// How a listener is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Kafka's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which process registered; drawn at random when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IncarnationId(pub u128);

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    /// Its id, never used again.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// What was set on the topic itself; see [`crate::config`] for the rest.
    pub config: BTreeMap<String, String>,
    /// The partitions, by index.
    pub partitions: Vec<PartitionImage>,
}

impl TopicImage {
    /// The partition with this index.
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    /// The partitions with their indexes.
    pub fn numbered(&self) -> impl Iterator<Item = (PartitionIndex, &PartitionImage)> {
        (0..).map(PartitionIndex).zip(&self.partitions)
    }
}

/// A partition's replicas and leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionImage {
    /// The brokers that hold it, the preferred leader first. Distinct, never empty.
    pub replicas: Vec<BrokerId>,
    /// The disk that each replica was put on, in the order of `replicas`.
    pub directories: Vec<DirectoryId>,
    /// The replicas in sync; never empty: without a live one, the last that was.
    pub isr: Vec<BrokerId>,
    /// The leader, one of `isr`; none while no replica in sync is online.
    pub leader: Option<BrokerId>,
    /// Counts the leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes of this partition.
    pub partition_epoch: PartitionEpoch,
}

impl PartitionImage {
    /// Whether a replica is on this disk of this broker.
    pub fn is_on(&self, broker: BrokerId, directory: DirectoryId) -> bool {
        self.replicas.iter().zip(&self.directories).any(|replica| replica == (&broker, &directory))
    }
}
