//! From what a client names to the partition that this broker leads, or why there is none.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_core::metadata::{MetadataImage, TopicImage};
use ottla_core::partition::RoleKind;
use ottla_types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId};
use ottla_wire::Uuid;
use ottla_wire::messages::{LeaderIdAndEpoch, NodeEndpoint};

use super::Broker;
use crate::partitions::{Partition, Standing};

/// A topic as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By id.
    Id(TopicId),
}

/// A partition that this broker serves, mostly as its leader.
#[derive(Debug, Clone)]
pub struct Led {
    /// The partition.
    pub partition: Arc<Partition>,
    /// The epoch in which it leads.
    pub leader_epoch: LeaderEpoch,
    /// Its role and what consumers may know.
    pub standing: Standing,
}

/// Why a partition isn't served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There is no topic of this name.
    #[error("there is no such topic")]
    UnknownTopic,
    /// There is no topic of this id.
    #[error("there is no topic of this id")]
    UnknownTopicId,
    /// The topic has no such partition.
    #[error("the topic has no such partition")]
    UnknownPartition,
    /// Another broker leads it, or none.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// This broker leads it and hasn't opened it yet.
    #[error("this broker is still opening the partition")]
    NotOpen,
    /// The client knows an older leader.
    #[error("the leader epoch is older than the partition's")]
    FencedEpoch,
    /// The client knows a newer leader than this broker.
    #[error("the leader epoch is newer than the one known here")]
    UnknownEpoch,
}

impl<'a> TopicRef<'a> {
    /// What a request names, by id or by name as its version says.
    pub fn new(by_id: bool, name: &'a str, id: Uuid) -> Self {
        if by_id { Self::Id(TopicId(id)) } else { Self::Name(name) }
    }

    /// The topic in `image`.
    pub fn find(self, image: &MetadataImage) -> Option<&Arc<TopicImage>> {
        match self {
            Self::Name(name) => image.topic(name),
            Self::Id(id) => image.topics.get(&id),
        }
    }
}

impl Broker {
    /// The partition, if this broker leads it.
    ///
    /// # Errors
    /// Why it isn't served here.
    pub fn led_partition(&self, topic: TopicRef<'_>, index: PartitionIndex) -> Result<Led, Unavailable> {
        self.led_partition_in(topic, index, LeaderEpoch(-1))
    }

    /// The same, for a client that knows the leader of `known_epoch`; −1: of none.
    ///
    /// # Errors
    /// Why it isn't served here.
    pub fn led_partition_in(
        &self,
        topic: TopicRef<'_>,
        index: PartitionIndex,
        known_epoch: LeaderEpoch,
    ) -> Result<Led, Unavailable> {
        let led = self.held_partition_in(topic, index, known_epoch)?;
        if led.standing.role == RoleKind::Leader { Ok(led) } else { Err(Unavailable::NotLeader) }
    }

    /// The same, whether this broker leads the partition or follows a leader.
    ///
    /// # Errors
    /// Why it isn't served here.
    pub fn held_partition_in(
        &self,
        topic: TopicRef<'_>,
        index: PartitionIndex,
        known_epoch: LeaderEpoch,
    ) -> Result<Led, Unavailable> {
        let image = self.image();
        let topic = topic.find(&image).ok_or(match topic {
            TopicRef::Name(_) => Unavailable::UnknownTopic,
            TopicRef::Id(_) => Unavailable::UnknownTopicId,
        })?;
        let state = topic.partition(index).ok_or(Unavailable::UnknownPartition)?;
        let partition = self.partitions.get(topic.id, index);
        let standing = partition.as_ref().map(|partition| partition.standing());
        // The replica's own word goes before the image's, which it may not have followed yet.
        let leader_epoch = match &standing {
            Some(standing) if standing.role != RoleKind::Offline => standing.leader_epoch,
            _ => state.leader_epoch,
        };
        if known_epoch.0 >= 0 && known_epoch < leader_epoch {
            return Err(Unavailable::FencedEpoch);
        }
        if known_epoch > leader_epoch {
            return Err(Unavailable::UnknownEpoch);
        }
        match (partition, standing) {
            (Some(partition), Some(standing)) if standing.role != RoleKind::Offline => {
                Ok(Led { partition, leader_epoch, standing })
            }
            _ if state.leader == Some(self.config.node_id) => Err(Unavailable::NotOpen),
            _ => Err(Unavailable::NotLeader),
        }
    }

    /// The leader of a partition and its epoch, if there is one: a hint for clients that came to the wrong
    /// broker.
    pub fn leader(&self, topic: TopicRef<'_>, index: PartitionIndex) -> Option<LeaderIdAndEpoch> {
        let image = self.image();
        let state = topic.find(&image)?.partition(index)?;
        Some(LeaderIdAndEpoch { leader_id: state.leader?.0, leader_epoch: state.leader_epoch.0 })
    }

    /// Where these leaders are reached by the listener of this name, each once.
    pub fn endpoints(
        &self,
        listener: &str,
        leaders: impl Iterator<Item = LeaderIdAndEpoch>,
    ) -> Vec<NodeEndpoint<'static>> {
        let ids: BTreeSet<i32> = leaders.map(|leader| leader.leader_id).filter(|id| *id >= 0).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let image = self.image();
        ids.into_iter()
            .filter_map(|id| {
                let broker = image.broker(BrokerId(id))?;
                let address = broker.listener(listener)?;
                Some(NodeEndpoint {
                    node_id: id,
                    host: address.host.clone().into(),
                    port: i32::from(address.port),
                    rack: broker.rack.clone().map(Into::into),
                })
            })
            .collect()
    }

    /// The replica that a consumer in `rack` should rather read from: one in that rack that is in sync and
    /// has the record at `from`, if the leader isn't there itself (KIP-392).
    pub fn preferred_replica(&self, led: &Led, from: Offset, rack: &str) -> Option<BrokerId> {
        let config = &self.config;
        let is_asked = !rack.is_empty() && led.standing.role == RoleKind::Leader;
        if !is_asked || !config.replication.reads_by_rack || config.rack.as_deref() == Some(rack) {
            return None;
        }
        let image = self.image();
        led.partition.with_replica(|replica| {
            let isr = &replica.assignment()?.isr;
            let mut followers = replica.followers();
            followers
                .find(|(id, progress)| {
                    let broker = image.broker(*id).filter(|broker| broker.is_active());
                    let is_there = broker.is_some_and(|broker| broker.rack.as_deref() == Some(rack));
                    is_there && isr.contains(id) && progress.acknowledged >= from
                })
                .map(|(id, _)| id)
        })
    }
}
