//! What can go wrong, one type an operation.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use ottla_log::{BatchError, SequenceError, TextError};
use ottla_types::{BrokerId, ClusterId, LeaderEpoch, Offset, TopicId};
use thiserror::Error;

use crate::disk::is_passing;

/// The data folder can't be opened, or a partition can't be created or deleted.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It belongs to another cluster.
    #[error(
        "the data folder {dir:?} belongs to cluster {found}, this broker to {expected}: point log.dirs at this \
         cluster's directory, or at an empty one to start without data"
    )]
    ForeignCluster {
        /// The data folder.
        dir: PathBuf,
        /// The cluster in its meta.properties.
        found: ClusterId,
        /// The cluster of this broker.
        expected: ClusterId,
    },
    /// It belongs to another broker.
    #[error(
        "the data folder {dir:?} belongs to node.id {found}, this broker is node.id {expected}: each broker needs \
         its own log.dirs; correct node.id or log.dirs"
    )]
    ForeignNode {
        /// The data folder.
        dir: PathBuf,
        /// The node in its meta.properties.
        found: BrokerId,
        /// This node.
        expected: BrokerId,
    },
    /// meta.properties can't be read.
    #[error(
        "{path:?} is corrupt ({error}): restore it from a backup or write it again with the right cluster.id, node.id, \
         directory.id and version=1; to give up the data instead, empty the directory"
    )]
    CorruptMeta {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: TextError,
    },
    /// There are partitions but no meta.properties.
    #[error(
        "the data folder {dir:?} holds {found:?} but no meta.properties: restore that file, or point log.dirs at an \
         empty directory"
    )]
    MissingMeta {
        /// The data folder.
        dir: PathBuf,
        /// Something in it.
        found: String,
    },
    /// It is empty, and no cluster id was given to format it for.
    #[error("the data folder {dir:?} is empty and the cluster id is not known yet")]
    NotFormatted {
        /// The data folder.
        dir: PathBuf,
    },
    /// Another process has it open.
    #[error("the data folder {dir:?} is in use by another process: stop that broker, or correct log.dirs")]
    Locked {
        /// The data folder.
        dir: PathBuf,
    },
    /// The partition's folder belongs to another topic of the same name.
    #[error("{folder:?} belongs to topic id {found}, not to {expected}: it has to be deleted first")]
    ForeignTopic {
        /// The folder.
        folder: PathBuf,
        /// The topic id in its partition.metadata.
        found: TopicId,
        /// The one that was asked for.
        expected: TopicId,
    },
    /// It isn't known any more which topic's the records of a folder are.
    #[error("{path:?} {}; then restart the broker{}", of_topics(*found, *expected, candidates), of_candidates(candidates))]
    NoIdentity {
        /// Its partition.metadata.
        path: PathBuf,
        /// The topic that it says now.
        found: Option<TopicId>,
        /// The topic that the checkpoint says.
        expected: Option<TopicId>,
        /// The topics whose records may be in the folder, as the journal has more of them that no folder is
        /// of.
        candidates: Vec<TopicId>,
    },
    /// Two folders say that they are the same partition's.
    #[error(
        "{known:?} and {other:?} are both of topic id {topic_id}: move the one that is a copy out of the data folder{}",
        if *is_sure { ", the checkpoint knows the first" } else { "" }
    )]
    SamePartition {
        /// The one that the checkpoint knows as that, if it knows one.
        known: PathBuf,
        /// The other.
        other: PathBuf,
        /// Whether the checkpoint knows the first, and not the other.
        is_sure: bool,
        /// The topic.
        topic_id: TopicId,
    },
    /// The disk failed.
    #[error("{action} {path:?}: {error}{}", remedy(error))]
    Io {
        /// What was done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The operating system's reason. As it stands in the message it is no `source`, which would be said
        /// again.
        error: io::Error,
    },
    /// A write or sync failed before: nothing more is written until the broker has been restarted.
    #[error("the store stopped after a disk error: restart the broker once the disk is sound")]
    Failed,
    /// The store is being closed: nothing is changed any more.
    #[error("the store is being closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { action, path, error }
    }

    /// Whether it is gone once there is room.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Io { error, .. } if is_passing(error))
    }
}

fn of_topics(found: Option<TopicId>, expected: Option<TopicId>, candidates: &[TopicId]) -> String {
    match (found, expected) {
        (Some(found), Some(expected)) => {
            let way = if candidates.is_empty() {
                "but move the folder out of the data folder (it may come back after a start without it)"
            } else {
                "but move the folder back to its own name. The journal has records of a topic whose folder isn't in its \
                 place; a start without that folder loses them"
            };
            format!(
                "says topic id {found}, and the checkpoint says {expected}: if the records are {expected}'s, put its file \
                 back; if they are {found}'s, never write another id beside them, {way}"
            )
        }
        (Some(found), None) => format!("says topic id {found}, and said none when the broker started"),
        (None, _) => "is damaged, and doesn't say whose records lie beside it: put another replica's file of that name in its \
                      place, or write it by hand (the lines `version: 0` and `topic_id: ID`), but don't remove it; or, if a \
                      replica in sync leads the partition, move the folder out of the data folder"
            .to_owned(),
    }
}

/// So many topics are named in an error.
const NAMED_MAX: usize = 3;

fn of_candidates(candidates: &[TopicId]) -> String {
    if candidates.is_empty() {
        return String::new();
    }
    let mut ids: Vec<String> = candidates.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if candidates.len() > NAMED_MAX {
        ids.push(format!("one of {} more", candidates.len() - NAMED_MAX));
    }
    format!("; the journal has records that may be its own, of topic id {}", ids.join(" or "))
}

/// What to do about it, if it isn't the disk that fails.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; see that the broker's user may write there, or correct log.dirs"
        }
        _ => "",
    }
}

/// Records can't be appended; nothing was, and reads go on.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The bytes are no acceptable batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The producer's epoch or sequence isn't the next one.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A batch with its own offsets doesn't begin at the log's end.
    #[error("the batch begins at offset {given}, the log ends at {expected}")]
    Offset {
        /// The log's end.
        expected: Offset,
        /// The batch's base offset.
        given: Offset,
    },
    /// A later leader has written: the one that appends is deposed.
    #[error("leader epoch {given} is before {current}, which the log has already")]
    Epoch {
        /// The newest epoch in the log.
        current: LeaderEpoch,
        /// The one that was given.
        given: LeaderEpoch,
    },
    /// The disk is full; the next append may succeed.
    #[error("no space left on the disk of {folder:?}: free some, or lower retention.bytes")]
    NoSpace {
        /// The partition's folder.
        folder: PathBuf,
    },
    /// Too many files are open; the next append may succeed.
    #[error("too many open files to write to {folder:?}: raise the limit of this process (ulimit -n)")]
    OutOfFiles {
        /// The partition's folder.
        folder: PathBuf,
    },
    /// A write or sync failed: nothing more is written until the broker has been restarted.
    #[error("the store stopped after a disk error: restart the broker once the disk is sound")]
    Failed,
    /// The partition was deleted.
    #[error("the partition was deleted")]
    Deleted,
    /// The log is being cut or repaired, and a later append may succeed; or the store is being closed.
    #[error("the log is being cut, repaired or closed: try again")]
    Busy,
}

/// Records can't be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The offset is before the first or after the last record.
    #[error("offset {from} is out of range: the log holds {start} up to {end}")]
    OutOfRange {
        /// What was asked for.
        from: Offset,
        /// The first offset.
        start: Offset,
        /// The offset after the last.
        end: Offset,
    },
    /// The records there are damaged and are not served.
    #[error("{path:?} is corrupt at byte {position}: {error}")]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// The batch's first byte.
        position: u64,
        /// What is wrong with it.
        error: BatchError,
    },
    /// The disk failed.
    #[error("read {path:?}: {source}")]
    Io {
        /// The segment.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The partition was deleted.
    #[error("the partition was deleted")]
    Deleted,
}

/// Damaged records can't be replaced; they stay, and aren't served.
#[derive(Debug, Error)]
pub enum RepairError {
    /// The bytes are no batches.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// They aren't those that are damaged.
    #[error("offsets {} to {} aren't a damaged range", given.start, given.end)]
    NotDamaged {
        /// What was given.
        given: Range<Offset>,
    },
    /// No leader of that epoch wrote there.
    #[error("no leader of epoch {given} wrote there")]
    Epoch {
        /// The epoch in a batch.
        given: LeaderEpoch,
    },
    /// They don't fit into the place.
    #[error("{needed} bytes are damaged, {given} were given")]
    Length {
        /// The damaged bytes.
        needed: u64,
        /// What was given.
        given: u64,
    },
    /// A segment ends in the damage and can't be closed before the next checkpoint, which was asked for.
    #[error("the journal may still repeat what was there: not before the next checkpoint")]
    NotYet,
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A write or sync failed, so what is on the disk isn't known: the broker has to end and recover.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{action} {path:?}: {reason}; stopping, as a failed write is never repeated")]
pub struct FatalError {
    /// What was done.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// The operating system's reason.
    pub reason: String,
}

impl FatalError {
    pub(crate) fn new(action: &'static str, path: impl Into<PathBuf>, reason: &io::Error) -> Self {
        Self { action, path: path.into(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn the_systems_reason_is_said_once() {
        let said = |kind: io::ErrorKind| {
            let error = StoreError::io("lock", "/data/.lock")(kind.into());
            let source = error.source().map(|source| format!(": {source}"));
            error.to_string() + &source.unwrap_or_default()
        };
        assert_eq!(
            said(io::ErrorKind::PermissionDenied),
            "lock \"/data/.lock\": permission denied; see that the broker's user may write there, or correct log.dirs"
        );
        assert_eq!(said(io::ErrorKind::TimedOut), "lock \"/data/.lock\": timed out");
    }
}
