//! A partition as clients are told of it: one place for Metadata and DescribeTopicPartitions.

use ottla_core::metadata::{MetadataImage, PartitionImage};
use ottla_types::BrokerId;
use ottla_wire::ErrorCode;

/// A partition in the terms of Kafka's protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// LEADER_NOT_AVAILABLE without a leader.
    pub error: ErrorCode,
    /// The leader's node id, −1 without one.
    pub leader_id: i32,
    /// The leader's epoch, or the last one's.
    pub leader_epoch: i32,
    /// All replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// Those that aren't in sync and still have everything that was acknowledged.
    pub elr: Vec<i32>,
    /// Who led last, without a leader.
    pub last_known_leader: Option<i32>,
    /// Those that can't be reached, or whose disk is gone.
    pub offline: Vec<i32>,
}

/// What clients are told of the partition `state`.
pub fn told(image: &MetadataImage, state: &PartitionImage) -> PartitionDescription {
    PartitionDescription {
        error: if state.leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable },
        leader_id: state.leader.map_or(-1, |leader| leader.0),
        leader_epoch: state.leader_epoch.0,
        replicas: ids(&state.replicas),
        isr: ids(&state.isr),
        elr: ids(&state.elr),
        last_known_leader: state.last_known_leader.map(|leader| leader.0),
        offline: ids(&image.offline_replicas(state)),
    }
}

impl PartitionDescription {
    /// The same, without a leader for the moment if it is one of `doubted`: clients then ask again soon.
    pub fn in_doubt_of(self, doubted: &[BrokerId]) -> Self {
        if !doubted.iter().any(|id| id.0 == self.leader_id) {
            return self;
        }
        Self { error: ErrorCode::LeaderNotAvailable, leader_id: -1, ..self }
    }
}

/// Node ids as the protocol has them.
pub fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|id| id.0).collect()
}

/// What is said of partitions, by their topics; what follows one another under one name stands together.
pub fn by_topic<'a, T>(partitions: impl Iterator<Item = (&'a str, T)>) -> Vec<(&'a str, Vec<T>)> {
    let mut topics: Vec<(&'a str, Vec<T>)> = Vec::new();
    for (topic, partition) in partitions {
        match topics.last_mut().filter(|last| last.0 == topic) {
            Some((_, partitions)) => partitions.push(partition),
            None => topics.push((topic, vec![partition])),
        }
    }
    topics
}
