//! What a broker knows of the cluster: a value that is cheap to clone and never changes under a reader.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use ottla_types::{
    BrokerEpoch, BrokerId, ClusterId, DirectoryId, LeaderEpoch, MetadataVersion, PartitionEpoch,
    PartitionIndex, ProducerId, TopicId, TopicName,
};
use serde::{Deserialize, Serialize};

use super::index::Index;

/// The cluster's metadata at one version. Clones share everything.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataImage {
    /// The cluster that this is about.
    pub cluster_id: ClusterId,
    /// The offset in the metadata log up to which this image holds everything.
    pub version: MetadataVersion,
    /// The offset of the last entry that changed something; at most `version`.
    pub changed: MetadataVersion,
    /// Every registered broker, fenced ones too.
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
    /// What follows from all topics, so that few are dealt with without a look at the others.
    pub index: Index,
    /// What topics have that don't say otherwise, where it is a matter of the whole cluster.
    pub defaults: ClusterDefaults,
    /// What was set on brokers while they ran, of one or (none) of all of them; see
    /// [`crate::config::BROKER_CONFIGS`].
    pub broker_configs: OrdMap<Option<BrokerId>, BTreeMap<String, String>>,
}

/// What topics have that don't say otherwise. One source for all brokers, as safety depends on it: the last
/// registration of a broker says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterDefaults {
    /// `min.insync.replicas`
    pub min_insync_replicas: usize,
    /// `default.replication.factor`; none if it isn't configured: 3, or as many as there are brokers.
    #[serde(default)]
    pub replication_factor: Option<usize>,
    /// `ottla.ack.durability` is `written`.
    #[serde(default)]
    pub acks_written: bool,
}

impl Default for ClusterDefaults {
    fn default() -> Self {
        Self { min_insync_replicas: MIN_INSYNC_REPLICAS, replication_factor: None, acks_written: false }
    }
}

/// `min.insync.replicas`, if nobody configures it.
pub const MIN_INSYNC_REPLICAS: usize = 2;

/// `default.replication.factor`, if nobody configures it and there are as many brokers.
pub const REPLICATION_FACTOR: usize = 3;

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
            index: Index::default(),
            defaults: ClusterDefaults::default(),
            broker_configs: OrdMap::new(),
        }
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    /// The topics that differ from those of `before`: as they were, if they were, and as they are, if they
    /// are. What both images share isn't looked at.
    pub fn topics_changed_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (Option<&'a Arc<TopicImage>>, Option<&'a Arc<TopicImage>>)> {
        before.topics.diff(&self.topics).map(|difference| match difference {
            DiffItem::Add(_, new) => (None, Some(new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
            DiffItem::Remove(_, old) => (Some(old), None),
        })
    }

    /// Every partition. A command about few topics has no use for it: that would cost the more the more there
    /// are.
    pub(super) fn every_partition(
        &self,
    ) -> impl Iterator<Item = (&Arc<TopicImage>, PartitionIndex, &PartitionImage)> {
        #[cfg(test)]
        super::tests::count_a_walk();
        self.topics
            .values()
            .flat_map(|topic| topic.numbered().map(move |(index, partition)| (topic, index, partition)))
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

    /// How many replicas must be in sync for records of `partition` to be acknowledged and seen: the topic's
    /// `min.insync.replicas`, else the cluster's, but never more than the partition has replicas.
    ///
    /// The controller (who stays eligible to lead?) and the leader (may the high watermark move?) both go by
    /// it. Replicas that a reassignment adds don't count before it is complete: a topic that grows from one
    /// replica to three is acknowledged by one until then.
    pub fn min_insync_replicas(&self, topic: &TopicImage, partition: &PartitionImage) -> usize {
        self.configured_min_insync_replicas(topic).min(partition.replication_factor()).max(1)
    }

    pub(super) fn configured_min_insync_replicas(&self, topic: &TopicImage) -> usize {
        let set_on_brokers = self.broker_configs.get(&None);
        min_insync_replicas_in(&topic.config)
            .or_else(|| min_insync_replicas_in(set_on_brokers?))
            .unwrap_or(self.defaults.min_insync_replicas)
    }

    /// Whether acks=all of `topic` promises the page cache only: `ack.durability` is `written`.
    pub fn acks_written(&self, topic: &TopicImage) -> bool {
        match topic.config.get("ack.durability").map(|value| value.trim()) {
            Some("written") => true,
            Some("synced") => false,
            _ => self.defaults.acks_written,
        }
    }

    /// What is in force on a broker of what can be set while it runs: its own value, else that of all
    /// brokers, else the default.
    ///
    /// # Panics
    /// When there is no such configuration; see [`crate::config::BROKER_CONFIGS`].
    pub fn broker_config(&self, id: BrokerId, name: &str) -> &str {
        let default =
            crate::config::broker_definition(name).expect("callers name what BROKER_CONFIGS has").default;
        self.set_on_broker(id, name).unwrap_or(default)
    }

    /// The same, if it was set while brokers run.
    pub fn set_on_broker(&self, id: BrokerId, name: &str) -> Option<&str> {
        let set = [Some(id), None].iter().find_map(|key| self.broker_configs.get(key)?.get(name));
        set.map(String::as_str)
    }

    /// How many replicas a new topic gets that doesn't say.
    pub fn default_replication_factor(&self) -> usize {
        let brokers = self.brokers.values().filter(|broker| !broker.draining).count();
        self.defaults.replication_factor.unwrap_or_else(|| REPLICATION_FACTOR.min(brokers.max(1)))
    }

    /// Whether `broker` holds a replica of `partition`, is live, and still has the disk that the replica was
    /// put on. Only then may it lead or be in sync.
    pub fn is_replica_online(&self, partition: &PartitionImage, broker: BrokerId) -> bool {
        let position = partition.replicas.iter().position(|id| *id == broker);
        position.is_some_and(|position| self.is_online(partition, position))
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
        let replicas = partition.replicas.iter().enumerate();
        replicas.filter(|(position, _)| !self.is_online(partition, *position)).map(|(_, id)| *id).collect()
    }

    /// The partitions that have a replica on this disk of this broker: exactly those that it must hold logs
    /// of.
    ///
    /// A partition of the broker that was put on another disk is not among them: its records are gone or
    /// elsewhere, and an empty log in their place would hide that.
    pub fn partitions_on(
        &self,
        broker: BrokerId,
        directory: DirectoryId,
    ) -> impl Iterator<Item = (&Arc<TopicImage>, PartitionIndex, &PartitionImage)> {
        self.every_partition().filter(move |(_, _, partition)| partition.is_on(broker, directory))
    }
}

/// What a configuration says of `min.insync.replicas`.
fn min_insync_replicas_in(config: &BTreeMap<String, String>) -> Option<usize> {
    config.get("min.insync.replicas")?.trim().parse().ok()
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
    /// Fenced: silent, stopping, or not yet caught up. It leads nothing, and clients are soon no longer told
    /// of it.
    pub fenced: bool,
    /// It said that it is stopping. Until it is fenced it hands its leaderships over.
    pub in_controlled_shutdown: bool,
    /// It is being emptied: nothing is placed on it, and what it holds moves away.
    #[serde(default)]
    pub draining: bool,
}

impl BrokerImage {
    /// Whether it serves and means to go on: neither fenced nor stopping. Only then a replica on it joins the
    /// ISR.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

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
    /// The brokers that hold it, the preferred leader first. Distinct, never empty. During a reassignment:
    /// those that it shall have, then those that are being removed.
    pub replicas: Vec<BrokerId>,
    /// The disk that each replica was put on, in the order of `replicas`.
    pub directories: Vec<DirectoryId>,
    /// The replicas in sync, in the order of `replicas`. Empty while none is online.
    pub isr: Vec<BrokerId>,
    /// The replicas that aren't in sync and still have everything that was acknowledged, as the high
    /// watermark can't have moved since they were: the ISR is below its minimum since then (KIP-966). Any of
    /// them may lead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elr: Vec<BrokerId>,
    /// Who led before nobody did. None while there is a leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_known_leader: Option<BrokerId>,
    /// The leader, one of `isr`; none while no replica in sync or eligible is online.
    pub leader: Option<BrokerId>,
    /// Counts the leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes of this partition.
    pub partition_epoch: PartitionEpoch,
    /// The replicas that a reassignment adds; a part of `replicas`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adding: Vec<BrokerId>,
    /// The replicas that a reassignment removes; the end of `replicas`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removing: Vec<BrokerId>,
    /// The replicas before the reassignment that is under way, to which it goes back when it is cancelled.
    /// Empty without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub original: Vec<BrokerId>,
    /// The last time that an administrator let a replica lead that may lack acknowledged records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean: Option<UncleanElection>,
}

/// An administrator's decision to go on without records that may have been acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UncleanElection {
    /// The replica that was named.
    pub replica: BrokerId,
    /// The leader epoch that began with it.
    pub leader_epoch: LeaderEpoch,
    /// The replicas that were known to have everything, and were given up.
    pub given_up: Vec<BrokerId>,
    /// The replica began with an empty log: its disk wasn't the recorded one.
    pub empty: bool,
}

impl fmt::Display for UncleanElection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replica, leader_epoch, given_up, empty } = self;
        let what = if *empty { "all records that were here" } else { "the records that it lacks" };
        write!(
            f,
            "broker {replica} leads from epoch {leader_epoch} by an administrator's word: {what} are lost"
        )?;
        if given_up.is_empty() {
            return Ok(());
        }
        let given_up: Vec<String> = given_up.iter().map(ToString::to_string).collect();
        write!(f, "; broker {} had all that was acknowledged", given_up.join(", "))
    }
}

impl PartitionImage {
    /// Whether a replica is on this disk of this broker.
    pub fn is_on(&self, broker: BrokerId, directory: DirectoryId) -> bool {
        self.replicas.iter().zip(&self.directories).any(|replica| replica == (&broker, &directory))
    }

    /// The disk that the replica of `broker` was put on.
    pub fn directory_of(&self, broker: BrokerId) -> Option<DirectoryId> {
        let position = self.replicas.iter().position(|id| *id == broker)?;
        self.directories.get(position).copied()
    }

    /// Whether the replica of `broker` is known to have everything that was acknowledged.
    pub fn is_complete(&self, broker: BrokerId) -> bool {
        self.isr.contains(&broker) || self.elr.contains(&broker)
    }

    /// Whether its replicas are being moved.
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas that it has once its reassignment, if any, is complete; the preferred leader first.
    pub fn target(&self) -> &[BrokerId] {
        assert!(
            self.removing.len() <= self.replicas.len(),
            "what is removed is a part of {:?}",
            self.replicas
        );
        &self.replicas[..self.replicas.len() - self.removing.len()]
    }

    /// How many replicas it has, without those that a reassignment only just adds.
    pub fn replication_factor(&self) -> usize {
        self.replicas.len() - self.adding.len()
    }
}
