//! What openraft is told about our types.

use std::io::Cursor;

use openraft::{BasicNode, TokioRuntime};
use ottla_core::metadata::Record;
use ottla_types::{BrokerId, MetadataVersion};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// The metadata quorum: node ids are broker ids, an entry holds the records of a batch of commands.
    pub TypeConfig:
        D = Change,
        R = Applied,
        NodeId = BrokerId,
        Node = BasicNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = TokioRuntime,
);

/// Our consensus.
pub type Raft = openraft::Raft<TypeConfig>;
/// An entry of the log.
pub type Entry = openraft::Entry<TypeConfig>;
/// What an entry holds.
pub type EntryPayload = openraft::EntryPayload<TypeConfig>;
/// Where an entry is: term, leader, index.
pub type LogId = openraft::LogId<BrokerId>;
/// A vote.
pub type Vote = openraft::Vote<BrokerId>;
/// Who votes and who learns, and from which entry on.
pub type StoredMembership = openraft::StoredMembership<BrokerId, BasicNode>;
/// A failure of the log or a snapshot.
pub type StorageError = openraft::StorageError<BrokerId>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::SnapshotMeta<BrokerId, BasicNode>;
/// A snapshot and what it covers.
pub type Snapshot = openraft::Snapshot<TypeConfig>;
/// What a node knows of itself and the others.
pub type RaftMetrics = openraft::RaftMetrics<BrokerId, BasicNode>;

/// Records that were decided upon one image, to be replayed on just that one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The version of the image that the controller decided upon.
    pub base: MetadataVersion,
    /// What becomes true.
    pub records: Vec<Record>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// It had nothing for the image.
    Nothing,
    /// Its records are in the image.
    Accepted,
    /// The image had changed since the decision, so the entry was left out, everywhere.
    Refused,
}
