//! Snapshots: the records that make an image, in record batches, in a file named as Kafka names it.
//!
//! The first record says what the snapshot covers; the others are metadata records. Every batch has its
//! checksum, so a damaged snapshot is refused, never half believed.

use std::io;
use std::path::Path;

use ottla_core::metadata::{MetadataImage, Record};
use ottla_log::{BatchBuilder, HEADER_BYTES, Records, check_batch};
use ottla_store::{Disk, read_file, replace_file};
use ottla_types::{ClusterId, LeaderEpoch, MetadataVersion, Offset};
use serde::{Deserialize, Serialize};

use crate::raft_types::SnapshotMeta;

/// The largest snapshot, in bytes: 200,000 partitions take about 40 MB.
pub const SNAPSHOT_BYTES_MAX: usize = 512 << 20;

/// How many records go into one batch.
const RECORDS_PER_BATCH: usize = 200;

const SUFFIX: &str = ".checkpoint";

/// The first record of a snapshot.
#[derive(Serialize, Deserialize)]
struct Header {
    cluster_id: ClusterId,
    changed: MetadataVersion,
    meta: SnapshotMeta,
}

/// A snapshot's bytes.
///
/// # Errors
/// When a value can't be encoded: a bug.
pub fn encode(image: &MetadataImage, meta: &SnapshotMeta) -> io::Result<Vec<u8>> {
    let header = Header { cluster_id: image.cluster_id, changed: image.changed, meta: meta.clone() };
    let mut values = vec![serde_json::to_vec(&header)?];
    for record in image.records() {
        values.push(serde_json::to_vec(&record)?);
    }
    let mut bytes = Vec::new();
    let mut offset = 0;
    for chunk in values.chunks(RECORDS_PER_BATCH) {
        let start = BatchBuilder::new(Offset(offset), LeaderEpoch(0));
        let batch = chunk.iter().fold(start, |batch, value| batch.record(0, None, Some(value)));
        bytes.extend_from_slice(&batch.build());
        offset += chunk.len() as i64;
    }
    Ok(bytes)
}

/// The image in a snapshot's bytes, and what it covers.
///
/// # Errors
/// `InvalidData` when the bytes are damaged or of another cluster.
pub fn decode(cluster_id: ClusterId, bytes: &[u8]) -> io::Result<(MetadataImage, SnapshotMeta)> {
    let wrong =
        |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("metadata snapshot: {what}"));
    let mut header: Option<Header> = None;
    let mut records: Vec<Record> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let batch = check_batch(rest).map_err(|error| wrong(error.to_string()))?;
        let length = batch.batch_bytes();
        for record in Records::new(batch, &rest[HEADER_BYTES..length]) {
            let value = record.map_err(|error| wrong(error.to_string()))?.value.unwrap_or_default();
            if header.is_none() {
                header = Some(serde_json::from_slice(value)?);
            } else {
                records.push(serde_json::from_slice(value)?);
            }
        }
        rest = &rest[length..];
    }
    let header = header.ok_or_else(|| wrong("it is empty".to_owned()))?;
    if header.cluster_id != cluster_id {
        return Err(wrong(format!("it is of cluster {}, this is {cluster_id}", header.cluster_id)));
    }
    let version = MetadataVersion(header.meta.last_log_id.map_or(0, |log_id| log_id.index));
    let image = MetadataImage::from_records(cluster_id, version, header.changed, &records);
    image.check().map_err(wrong)?;
    Ok((image, header.meta))
}

fn file_name(meta: &SnapshotMeta) -> String {
    let (end, term) = meta.last_log_id.map_or((0, 0), |log_id| (log_id.index + 1, log_id.leader_id.term));
    format!("{end:020}-{term:010}{SUFFIX}")
}

/// Writes a snapshot durably, then removes the older ones.
///
/// # Errors
/// The disk's.
pub fn save(disk: &dyn Disk, folder: &Path, meta: &SnapshotMeta, bytes: &[u8]) -> io::Result<()> {
    let name = file_name(meta);
    replace_file(disk, folder, &name, bytes)?;
    for old in names(disk, folder)?.into_iter().filter(|other| *other < name) {
        disk.remove_file(&folder.join(old))?;
    }
    Ok(())
}

/// The newest snapshot's bytes.
///
/// # Errors
/// The disk's.
pub fn load(disk: &dyn Disk, folder: &Path) -> io::Result<Option<Vec<u8>>> {
    match names(disk, folder)?.last() {
        Some(newest) => read_file(disk, &folder.join(newest), SNAPSHOT_BYTES_MAX).map(Some),
        None => Ok(None),
    }
}

/// The names of the snapshots, the newest last.
fn names(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<String>> {
    let entries = disk.list(folder)?.into_iter().map(|entry| entry.name);
    let mut names: Vec<String> = entries.filter(|name| name.ends_with(SUFFIX)).collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use ottla_core::metadata::{Command, IncarnationId, RegisterBroker};
    use ottla_store::RealDisk;
    use ottla_types::BrokerId;

    use super::*;
    use crate::raft_types::LogId;
    use crate::test_commands::register;

    const CLUSTER: ClusterId = ClusterId([4; 16]);

    fn image(brokers: i32) -> MetadataImage {
        let mut image = MetadataImage::new(CLUSTER);
        for id in 0..brokers {
            let command = Command::RegisterBroker(RegisterBroker {
                incarnation: IncarnationId(u128::MAX),
                control_address: "here:1".to_owned(),
                ..register(BrokerId(id))
            });
            let records = image.decide(&command).records;
            image.apply(MetadataVersion(image.version.0 + 1), &records);
        }
        image
    }

    fn meta(image: &MetadataImage) -> SnapshotMeta {
        let leader = openraft::CommittedLeaderId::new(3, BrokerId(1));
        SnapshotMeta { last_log_id: Some(LogId::new(leader, image.version.0)), ..Default::default() }
    }

    #[test]
    fn a_snapshot_is_the_image_again() {
        for brokers in [0, 1, 1_000] {
            let image = image(brokers);
            let bytes = encode(&image, &meta(&image)).unwrap();
            assert_eq!(decode(CLUSTER, &bytes).unwrap(), (image.clone(), meta(&image)));
        }
    }

    #[test]
    fn damaged_and_foreign_snapshots_are_refused() {
        let image = image(3);
        let bytes = encode(&image, &meta(&image)).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            // The offset and the leader epoch aren't covered by the checksum, and mean nothing here.
            assert!(at < 8 || (12..16).contains(&at) || decode(CLUSTER, &bad).is_err(), "byte {at}");
            assert!(decode(CLUSTER, &bytes[..at]).is_err(), "cut at {at}");
        }
        let foreign = decode(ClusterId([5; 16]), &bytes).unwrap_err().to_string();
        assert!(foreign.contains("it is of cluster"), "{foreign}");
    }

    #[test]
    fn only_the_newest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        for brokers in 1..4 {
            let image = image(brokers);
            let bytes = encode(&image, &meta(&image)).unwrap();
            save(&RealDisk, dir.path(), &meta(&image), &bytes).unwrap();
            assert_eq!(load(&RealDisk, dir.path()).unwrap(), Some(bytes));
        }
        assert_eq!(names(&RealDisk, dir.path()).unwrap(), ["00000000000000000004-0000000003.checkpoint"]);
    }
}
