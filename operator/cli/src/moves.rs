//! Partitions on their way to other brokers, and how far they are: what `reassign` and `drain` print.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_client::{Client, MovingPartition};

/// How often the cluster is asked how far it is.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A partition by its topic's name and its index.
pub type PartitionKey = (String, i32);

/// Bytes that are copied, of all that are to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// So many are there.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// How many partitions and bytes have moved, of all that were on their way when one began to look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    partitions: BTreeMap<PartitionKey, Copied>,
    moving: BTreeSet<PartitionKey>,
}

impl Progress {
    /// Takes note of the partitions that still move; who is missing has arrived.
    pub fn note(&mut self, moving: BTreeMap<PartitionKey, Copied>) {
        self.moving = moving.keys().cloned().collect();
        for (key, copied) in moving {
            let known = self.partitions.entry(key).or_default();
            known.total = known.total.max(copied.total);
            known.done = copied.done.min(known.total);
        }
        for (key, copied) in &mut self.partitions {
            if !self.moving.contains(key) {
                copied.done = copied.total;
            }
        }
    }

    /// Whether nothing moves any more.
    pub fn is_over(&self) -> bool {
        self.moving.is_empty()
    }

    /// In words, as `2 of 5 partitions, 1.5 MiB of 4.0 MiB`.
    pub fn words(&self) -> String {
        let arrived = self.partitions.len() - self.moving.len();
        let done = self.partitions.values().map(|copied| copied.done).sum();
        let total = self.partitions.values().map(|copied| copied.total).sum();
        let count = self.partitions.len();
        format!("{arrived} of {count} partitions, {} of {}", bytes(done), bytes(total))
    }
}

/// Measures how far these partitions are: each replica that is added against the largest that was there
/// before. A broker that doesn't answer counts as one that has nothing yet.
pub async fn measure(client: &Client, moving: &[MovingPartition]) -> BTreeMap<PartitionKey, Copied> {
    let mut asked: BTreeMap<i32, Vec<(&str, i32)>> = BTreeMap::new();
    for partition in moving {
        for broker in &partition.replicas {
            asked.entry(*broker).or_default().push((&partition.topic, partition.partition));
        }
    }
    let mut sizes: BTreeMap<i32, BTreeMap<PartitionKey, u64>> = BTreeMap::new();
    for (broker, partitions) in asked {
        sizes.insert(broker, client.partition_sizes(broker, Some(&partitions)).await.unwrap_or_default());
    }
    moving.iter().map(|partition| (key(partition), copied(partition, &sizes))).collect()
}

/// The partition's name.
pub fn key(partition: &MovingPartition) -> PartitionKey {
    (partition.topic.clone(), partition.partition)
}

fn copied(partition: &MovingPartition, sizes: &BTreeMap<i32, BTreeMap<PartitionKey, u64>>) -> Copied {
    let key = key(partition);
    let size = |broker: &i32| sizes.get(broker).and_then(|sizes| sizes.get(&key)).copied().unwrap_or(0);
    let there = partition.replicas.iter().filter(|broker| !partition.adding.contains(broker));
    let whole = there.map(size).max().unwrap_or(0);
    let done = partition.adding.iter().map(|broker| size(broker).min(whole)).sum();
    Copied { done, total: whole * partition.adding.len() as u64 }
}

/// A size for people.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(entries: &[(i32, u64, u64)]) -> BTreeMap<PartitionKey, Copied> {
        entries
            .iter()
            .map(|&(index, done, total)| (("t".to_owned(), index), Copied { done, total }))
            .collect()
    }

    #[test]
    fn who_is_no_longer_moving_has_arrived_whole() {
        let mut progress = Progress::default();
        progress.note(at(&[(0, 0, 2048), (1, 1024, 2048)]));
        assert_eq!(progress.words(), "0 of 2 partitions, 1.0 KiB of 4.0 KiB");
        progress.note(at(&[(1, 1536, 2048)]));
        assert_eq!(progress.words(), "1 of 2 partitions, 3.5 KiB of 4.0 KiB");
        assert!(!progress.is_over());
        progress.note(at(&[]));
        assert_eq!(progress.words(), "2 of 2 partitions, 4.0 KiB of 4.0 KiB");
        assert!(progress.is_over());
    }

    #[test]
    fn a_replica_counts_against_the_largest_that_was_there() {
        let partition = MovingPartition {
            topic: "t".to_owned(),
            partition: 0,
            replicas: vec![3, 4, 1, 2],
            adding: vec![3, 4],
            removing: vec![1, 2],
        };
        let size = |bytes| BTreeMap::from([(("t".to_owned(), 0), bytes)]);
        // Broker 3 has all that broker 1 has; a segment more doesn't count. Broker 4 doesn't answer.
        let sizes = BTreeMap::from([(1, size(100)), (2, size(90)), (3, size(120))]);
        assert_eq!(copied(&partition, &sizes), Copied { done: 100, total: 200 });
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let sizes = [(5, "5 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")];
        for (count, words) in sizes {
            assert_eq!(bytes(count), words);
        }
    }
}
