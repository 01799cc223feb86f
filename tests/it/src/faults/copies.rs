//! Whether all replicas of the topic under load hold the same bytes on their disks: whatever was damaged, cut
//! short or lost has to be mended by then, also what no client ever read.

use super::broker::Broker;
use super::disk::Volume;

/// A partition's segments, one after the other; none if there is no such log.
fn log(volume: &Volume, topic: &str, partition: usize) -> Option<Vec<u8>> {
    let folder = format!("/{topic}-{partition}/");
    let segments = volume.find(|path| path.contains(&folder) && path.ends_with(".log"));
    let bytes = segments.iter().map(|(_, number, _)| volume.content(*number));
    (!segments.is_empty()).then(|| bytes.collect::<Vec<_>>().concat())
}

/// The bytes in the logs of a topic on a disk.
pub fn bytes(volume: &Volume, topic: &str, partitions: usize) -> u64 {
    (0..partitions).filter_map(|partition| log(volume, topic, partition)).map(|log| log.len() as u64).sum()
}

/// The first difference between the replicas of a topic, in words; none if they are equal.
pub fn difference(brokers: &[Broker], topic: &str, partitions: usize, replicas: usize) -> Option<String> {
    (0..partitions).find_map(|partition| {
        let logs: Vec<(usize, Vec<u8>)> = brokers
            .iter()
            .filter_map(|broker| Some((broker.id(), log(&broker.disk.volume(), topic, partition)?)))
            .collect();
        if logs.len() < replicas {
            return Some(format!("{topic}-{partition} is on {} disks, not on {replicas}", logs.len()));
        }
        let (first, expected) = logs.first()?;
        let (other, found) = logs.iter().find(|(_, log)| log != expected)?;
        let at = expected.iter().zip(found).position(|(a, b)| a != b);
        Some(format!(
            "{topic}-{partition} differs: {} bytes on broker {first}, {} on broker {other}, the same up to {}",
            expected.len(),
            found.len(),
            at.unwrap_or(expected.len().min(found.len()))
        ))
    })
}
