//! What becomes of a partition that one request names twice: the same as in Apache Kafka.
//!
//! | request | rule |
//! |---|---|
//! | Fetch, in a session or not | the last one counts, in the place of the first |
//! | Produce | the last one counts: the others are neither appended nor answered |
//! | ListOffsets | each is refused with INVALID_REQUEST |
//! | OffsetForLeaderEpoch, DescribeLogDirs, AlterPartitionReassignments, ElectLeaders | each is answered by itself |
//! | CreateTopics, DeleteTopics, CreatePartitions, AlterConfigs | the topic is refused with INVALID_REQUEST |
//!
//! Only the first three keep something for each partition while they wait, or could be answered twice with different things.

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
}
