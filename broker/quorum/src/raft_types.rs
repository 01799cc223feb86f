//! What openraft is told about our types.

use std::io::Cursor;

use openraft::TokioRuntime;
use ottla_core::metadata::Record;
use ottla_types::{BrokerId, DirectoryId, MetadataVersion};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// The metadata quorum: node ids are broker ids, an entry holds the records of a batch of commands.
    pub TypeConfig:
        D = Change,
        R = Applied,
        NodeId = BrokerId,
        Node = Member,
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
pub type StoredMembership = openraft::StoredMembership<BrokerId, Member>;
/// A failure of the log or a snapshot.
pub type StorageError = openraft::StorageError<BrokerId>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::SnapshotMeta<BrokerId, Member>;
/// A snapshot and what it covers.
pub type Snapshot = openraft::Snapshot<TypeConfig>;
/// What a node knows of itself and the others.
pub type RaftMetrics = openraft::RaftMetrics<BrokerId, Member>;

/// A node of the quorum as its log names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its control listener, `host:port`.
    pub addr: String,
    /// Which log it has. Messages are for this one only.
    #[serde(default)]
    pub identity: Identity,
    /// It is to vote: the active controller makes it a voter once it has caught up.
    #[serde(default)]
    pub wanted: bool,
    /// It has the process role controller: the active controller may give it the vote unasked.
    #[serde(default)]
    pub controller: bool,
    /// An administrator took the vote from it, so that only one gives it back.
    #[serde(default)]
    pub dismissed: bool,
}

/// Which log a node has. A node that lost its log comes back as another one, with the same id and another
/// identity: what the old one promised and acknowledged, the new one knows nothing of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The disk.
    pub disk: DirectoryId,
    /// The folder of the log, named at random when it is made.
    pub folder: DirectoryId,
}

impl Identity {
    /// Whether a message for `addressee` is for this log. Members from before there were identities have
    /// none.
    pub fn is(&self, addressee: &Self) -> bool {
        self == addressee || *addressee == Self::default()
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.disk, self.folder)
    }
}

/// The part of that which is about who leads and votes: it changes seldom.
pub type RaftServerMetrics = openraft::metrics::RaftServerMetrics<BrokerId, Member>;

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
