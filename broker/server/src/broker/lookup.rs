//! From what a client names to the partition that this broker leads, or why there is none.

use std::sync::Arc;

use ottla_core::metadata::{MetadataImage, TopicImage};
use ottla_types::{LeaderEpoch, PartitionIndex, TopicId};
use ottla_wire::Uuid;

use super::Broker;
use crate::partitions::Partition;

/// A topic as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By id.
    Id(TopicId),
}

/// A partition that this broker leads.
#[derive(Debug, Clone)]
pub struct Led {
    /// The partition.
    pub partition: Arc<Partition>,
    /// The epoch in which it leads.
    pub leader_epoch: LeaderEpoch,
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
        let image = self.image();
        let topic = topic.find(&image).ok_or(match topic {
            TopicRef::Name(_) => Unavailable::UnknownTopic,
            TopicRef::Id(_) => Unavailable::UnknownTopicId,
        })?;
        let state = topic.partition(index).ok_or(Unavailable::UnknownPartition)?;
        if known_epoch.0 >= 0 && known_epoch < state.leader_epoch {
            return Err(Unavailable::FencedEpoch);
        }
        if known_epoch > state.leader_epoch {
            return Err(Unavailable::UnknownEpoch);
        }
        if state.leader != Some(self.config.node_id) {
            return Err(Unavailable::NotLeader);
        }
        let partition = self.partitions.get(topic.id, index).ok_or(Unavailable::NotOpen)?;
        Ok(Led { partition, leader_epoch: state.leader_epoch })
    }

    /// The leader of a partition and its epoch, if there is one: a hint for clients that came to the wrong broker.
    pub fn leader(&self, topic: TopicRef<'_>, index: PartitionIndex) -> Option<(i32, LeaderEpoch)> {
        let image = self.image();
        let state = topic.find(&image)?.partition(index)?;
        Some((state.leader?.0, state.leader_epoch))
    }
}
