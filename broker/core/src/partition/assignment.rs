//! A partition's state in one metadata image, as its replicas need it.

use ottla_types::{
    BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, PartitionEpoch, PartitionIndex, PlantedBug, planted,
};

use crate::metadata::{MetadataImage, PartitionImage, TopicImage};

/// What one image says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The leader, if there is one.
    pub leader: Option<BrokerId>,
    /// Counts the leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes.
    pub partition_epoch: PartitionEpoch,
    /// The replicas, the preferred leader first.
    pub replicas: Vec<Peer>,
    /// The replicas in sync; may be empty.
    pub isr: Vec<BrokerId>,
    /// Those that aren't in sync and still have everything that was acknowledged (KIP-966); may be empty.
    pub elr: Vec<BrokerId>,
    /// How many have to be in sync for the high watermark to move; 1 or more.
    pub min_insync_replicas: usize,
}

/// One replica's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The broker.
    pub broker: BrokerId,
    /// The disk that the replica was put on.
    pub directory: DirectoryId,
    /// The broker's registration of today; none if it never registered.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Whether the broker is in service with that disk, and may join those in sync.
    pub may_join: bool,
}

impl Assignment {
    /// What `image` says of a partition of `topic`; none if there is no such partition.
    pub fn of(image: &MetadataImage, topic: &TopicImage, index: PartitionIndex) -> Option<Self> {
        let partition = topic.partition(index)?;
        let min_insync_replicas = image.min_insync_replicas(topic, partition);
        assert!(min_insync_replicas > 0, "at least the leader is in sync");
        assert_eq!(partition.directories.len(), partition.replicas.len(), "each replica is on a disk");
        let replicas = partition.replicas.iter().enumerate();
        Some(Self {
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            replicas: replicas.map(|(position, id)| peer(image, partition, position, *id)).collect(),
            isr: partition.isr.clone(),
            elr: partition.elr.clone(),
            min_insync_replicas,
        })
    }

    /// A replica's place.
    pub fn peer(&self, broker: BrokerId) -> Option<&Peer> {
        self.replicas.iter().find(|peer| peer.broker == broker)
    }

    /// Whether so few are in sync that nothing is acknowledged.
    pub fn is_under_minimum(&self) -> bool {
        self.isr.len() < self.minimum_that_counts()
    }

    fn minimum_that_counts(&self) -> usize {
        if planted(PlantedBug::IgnoreMinInsyncReplicas) { 0 } else { self.min_insync_replicas }
    }
}

fn peer(image: &MetadataImage, partition: &PartitionImage, position: usize, broker: BrokerId) -> Peer {
    let registered = image.broker(broker);
    Peer {
        broker,
        directory: partition.directories[position],
        broker_epoch: registered.map(|broker| broker.epoch),
        may_join: image.is_online(partition, position)
            && registered.is_some_and(|broker| !broker.in_controlled_shutdown),
    }
}
