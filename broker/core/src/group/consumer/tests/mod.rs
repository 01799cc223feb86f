//! What consumer groups promise.

mod heartbeats;
mod moving;

use ottla_types::{PartitionIndex, TopicId};

use super::Assignment;

pub fn topic(index: u8) -> TopicId {
    TopicId([index; 16])
}

/// Partitions by topic: `1:0,1 2:0`.
pub fn partitions(text: &str) -> Vec<(TopicId, PartitionIndex)> {
    let topics = text.split_whitespace().flat_map(|word| {
        let (id, all) = word.split_once(':').unwrap();
        let id = topic(id.parse().unwrap());
        all.split(',').map(move |partition| (id, PartitionIndex(partition.parse().unwrap())))
    });
    topics.collect()
}

pub fn assignment(text: &str) -> Assignment {
    partitions(text).into_iter().collect()
}
