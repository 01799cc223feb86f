//! What becomes of what one request names twice: the same as in Apache Kafka. The class that decides it there
//! stands beside it.
//!
//! - Fetch, in a session or not: the last one counts, in the place of the first (`FetchRequest.fetchData`).
//! - Produce: the last one counts, whichever topic's entry it is in; the others are neither appended nor
//!   answered (`KafkaApis.handleProduceRequest`).
//! - ListOffsets: the partition is refused with INVALID_REQUEST, once (`ListOffsetsRequest`,
//!   `ReplicaManager`).
//! - OffsetForLeaderEpoch: each is answered by itself (`ReplicaManager.lastOffsetForLeaderEpoch`).
//! - Metadata, DescribeTopicPartitions, DescribeLogDirs: it is told once (`KafkaApis`, and for the second
//!   `DescribeTopicPartitionsRequestHandler`).
//! - CreateTopics, CreatePartitions, DeleteTopics: the topic is refused with INVALID_REQUEST, once
//!   (`ControllerApis`).
//! - AlterConfigs, IncrementalAlterConfigs: each is refused with INVALID_REQUEST, and so is a resource that
//!   names a setting twice (`ConfigAdminManager.preprocess`).
//! - AlterPartitionReassignments, ElectLeaders: each is answered by itself, in order
//!   (`ReplicationControlManager`).
//! - DescribeConfigs, FindCoordinator: each is answered by itself (`ConfigHelper`, `KafkaApis`).
//! - DescribeQuorum: all is refused unless the one partition is named once
//!   (`RaftUtil.hasValidTopicPartition`).
//!
//! Only ListPartitionReassignments differs: it tells each partition once, where Apache Kafka tells it as
//! often as it is named (`ReplicationControlManager`), as the answer wouldn't be bounded otherwise.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The last value of each key, in the place where the key came first.
pub fn last_of_each<K: Eq + Hash, V>(values: impl IntoIterator<Item = (K, V)>) -> Vec<V> {
    let mut places = HashMap::new();
    let mut last = Vec::new();
    for (key, value) in values {
        let place = *places.entry(key).or_insert(last.len());
        match last.get_mut(place) {
            Some(before) => *before = value,
            None => last.push(value),
        }
    }
    last
}

/// The values of each key, which are in the order in which they came first.
pub fn grouped<K: Eq + Hash + Copy, V>(values: impl IntoIterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut places = HashMap::new();
    let mut groups: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in values {
        let place = *places.entry(key).or_insert(groups.len());
        if place == groups.len() {
            groups.push((key, Vec::new()));
        }
        groups[place].1.push(value);
    }
    groups
}

/// The values whose key is there once; and the keys that are there more than once, each once, in the order in
/// which they came first.
pub fn once_or_more<K: Eq + Hash + Copy, V>(values: impl IntoIterator<Item = (K, V)>) -> (Vec<V>, Vec<K>) {
    let (mut once, mut more) = (Vec::new(), Vec::new());
    for (key, mut values) in grouped(values) {
        match values.len() {
            1 => once.append(&mut values),
            _ => more.push(key),
        }
    }
    (once, more)
}

/// The keys that are there more than once.
pub fn repeated<K: Eq + Hash + Copy>(keys: impl IntoIterator<Item = K>) -> HashSet<K> {
    let mut seen = HashSet::new();
    keys.into_iter().filter(|key| !seen.insert(*key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_counts_in_the_place_of_the_first() {
        assert_eq!(last_of_each([(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd'), (1, 'e')]), ['e', 'b', 'd']);
    }

    #[test]
    fn what_is_there_twice_is_found_once() {
        assert_eq!(repeated([1, 2, 1, 3, 1, 2]), HashSet::from([1, 2]));
        assert!(repeated([1, 2, 3]).is_empty());
    }

    #[test]
    fn what_is_there_once_is_told_from_what_is_there_more_often() {
        let values = [(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd'), (1, 'e'), (3, 'f'), (4, 'g')];
        assert_eq!(grouped(values)[..2], [(1, vec!['a', 'c', 'e']), (2, vec!['b'])]);
        assert_eq!(once_or_more(values), (vec!['b', 'g'], vec![1, 3]));
    }
}
