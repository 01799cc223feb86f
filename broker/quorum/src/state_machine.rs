//! Committed entries become the image that everybody sees.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{OptionalSend, RaftSnapshotBuilder, StorageIOError};
use ottla_core::metadata::MetadataImage;
use ottla_store::Disk;
use ottla_types::{ClusterId, MetadataVersion};
use tokio::sync::watch;

use crate::raft_types::{
    Applied, Change, Entry, EntryPayload, LogId, Snapshot, SnapshotMeta, StorageError, StoredMembership,
    TypeConfig,
};
use crate::room::Room;
use crate::snapshot_file;

/// What waits for room, as the log says.
const SNAPSHOT: &str = "a metadata snapshot";

/// The image under construction, and where its snapshots are.
pub struct StateMachine {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    image: MetadataImage,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    published: watch::Sender<Arc<MetadataImage>>,
    room: Arc<Room>,
}

impl StateMachine {
    /// Starts from the newest snapshot in `folder`, or from a new cluster's image. On a full disk snapshots
    /// wait in `room`.
    ///
    /// # Errors
    /// The disk's, and `InvalidData` for a damaged snapshot.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        cluster_id: ClusterId,
        published: watch::Sender<Arc<MetadataImage>>,
        room: Arc<Room>,
    ) -> io::Result<Self> {
        let (image, meta) = match snapshot_file::load(disk.as_ref(), folder)? {
            Some(bytes) => snapshot_file::decode(cluster_id, &bytes)?,
            None => (MetadataImage::new(cluster_id), SnapshotMeta::default()),
        };
        published.send_replace(Arc::new(image.clone()));
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            image,
            last_applied: meta.last_log_id,
            membership: meta.last_membership,
            published,
            room,
        })
    }

    fn apply_entry(&mut self, entry: Entry) -> Applied {
        let version = MetadataVersion(entry.log_id.index);
        self.last_applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Normal(Change { base, records }) if base >= self.image.changed => {
                self.image.apply(version, &records);
                Applied::Accepted
            }
            EntryPayload::Normal(_) => {
                self.image.apply(version, &[]);
                Applied::Refused
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                self.image.apply(version, &[]);
                Applied::Nothing
            }
            EntryPayload::Blank => {
                self.image.apply(version, &[]);
                Applied::Nothing
            }
        }
    }
}

/// All that a log says, whether it was committed or not.
pub struct Replayed {
    /// The metadata.
    pub image: MetadataImage,
    /// Who votes and who learns.
    pub membership: StoredMembership,
    /// The last entry.
    pub last: Option<LogId>,
}

/// Replays `entries`, which aren't known to be committed, upon the newest snapshot in `folder`.
///
/// # Errors
/// The disk's, and `InvalidData` for a damaged snapshot and for entries that don't follow it.
pub fn replayed(
    disk: Arc<dyn Disk>,
    folder: &Path,
    cluster_id: ClusterId,
    entries: Vec<Entry>,
) -> io::Result<Replayed> {
    let published = watch::Sender::new(Arc::new(MetadataImage::new(cluster_id)));
    let mut machine = StateMachine::open(disk, folder, cluster_id, published, Arc::default())?;
    for entry in entries {
        let next = machine.last_applied.map_or(0, |last| last.index + 1);
        if entry.log_id.index > next {
            let text = format!("entries {next} to {} of the metadata log are missing", entry.log_id.index);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if entry.log_id.index == next {
            machine.apply_entry(entry);
        }
    }
    Ok(Replayed { image: machine.image, membership: machine.membership, last: machine.last_applied })
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let applied = entries.into_iter().map(|entry| self.apply_entry(entry)).collect();
        self.published.send_replace(Arc::new(self.image.clone()));
        Ok(applied)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let term = self.last_applied.map_or(0, |log_id| log_id.leader_id.term);
        let index = self.last_applied.map_or(0, |log_id| log_id.index);
        SnapshotBuilder {
            disk: self.disk.clone(),
            folder: self.folder.clone(),
            room: self.room.clone(),
            image: self.image.clone(),
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
                snapshot_id: format!("{term}-{index}"),
            },
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let failed = |error: io::Error| StorageIOError::write_snapshot(Some(meta.signature()), &error);
        let (image, inner) = snapshot_file::decode(self.image.cluster_id, &bytes).map_err(failed)?;
        let (disk, folder, room) = (self.disk.clone(), self.folder.clone(), self.room.clone());
        blocking(move || {
            room.wait_for(SNAPSHOT, move || snapshot_file::save(disk.as_ref(), &folder, &inner, &bytes))
        })
        .await
        .map_err(failed)?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.image = image;
        self.published.send_replace(Arc::new(self.image.clone()));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let (disk, folder, cluster_id) = (self.disk.clone(), self.folder.clone(), self.image.cluster_id);
        let read = blocking(move || {
            let Some(bytes) = snapshot_file::load(disk.as_ref(), &folder)? else { return Ok(None) };
            let (_, meta) = snapshot_file::decode(cluster_id, &bytes)?;
            Ok(Some(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
        });
        read.await.map_err(|error| StorageIOError::read_snapshot(None, &error).into())
    }
}

/// Writes a snapshot of one image, while the next entries are applied.
pub struct SnapshotBuilder {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    room: Arc<Room>,
    image: MetadataImage,
    meta: SnapshotMeta,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let (disk, folder, room) = (self.disk.clone(), self.folder.clone(), self.room.clone());
        let (image, meta) = (self.image.clone(), self.meta.clone());
        let written = blocking(move || {
            let bytes = snapshot_file::encode(&image, &meta)?;
            room.wait_aside(SNAPSHOT, || snapshot_file::save(disk.as_ref(), &folder, &meta, &bytes))?;
            Ok(bytes)
        });
        let bytes = written
            .await
            .map_err(|error| StorageIOError::write_snapshot(Some(self.meta.signature()), &error))?;
        tracing::info!(snapshot = self.meta.snapshot_id, bytes = bytes.len(), "took a metadata snapshot");
        Ok(Snapshot { meta: self.meta.clone(), snapshot: Box::new(Cursor::new(bytes)) })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;
    use ottla_core::metadata::{Command, Record};
    use ottla_store::RealDisk;
    use ottla_types::BrokerId;

    use super::*;
    use crate::test_commands::register;

    const CLUSTER: ClusterId = ClusterId([6; 16]);

    fn open(dir: &tempfile::TempDir) -> (StateMachine, watch::Receiver<Arc<MetadataImage>>) {
        let published = watch::Sender::new(Arc::new(MetadataImage::new(CLUSTER)));
        let seen = published.subscribe();
        (
            StateMachine::open(Arc::new(RealDisk), dir.path(), CLUSTER, published, Arc::default()).unwrap(),
            seen,
        )
    }

    fn entry(index: u64, payload: EntryPayload) -> Entry {
        Entry { log_id: LogId::new(CommittedLeaderId::new(1, BrokerId(0)), index), payload }
    }

    fn registration(image: &MetadataImage, id: i32) -> Vec<Record> {
        image.decide(&Command::RegisterBroker(register(BrokerId(id)))).records
    }

    #[tokio::test]
    async fn a_decision_upon_an_older_image_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (mut machine, seen) = open(&dir);
        let empty = seen.borrow().clone();
        let change = |base, id| {
            EntryPayload::Normal(Change { base: MetadataVersion(base), records: registration(&empty, id) })
        };
        let entries = [
            entry(1, EntryPayload::Blank),
            // Decided before the blank entry, which changed nothing.
            entry(2, change(0, 7)),
            // Decided before that one, which did: both would give out the same broker epoch.
            entry(3, change(1, 8)),
            entry(4, change(0, 9)),
        ];
        let applied = machine.apply(entries).await.unwrap();
        assert_eq!(applied, [Applied::Nothing, Applied::Accepted, Applied::Refused, Applied::Refused]);
        let image = seen.borrow().clone();
        assert_eq!(image.brokers.keys().collect::<Vec<_>>(), [&BrokerId(7)]);
        assert_eq!((image.version, image.changed), (MetadataVersion(4), MetadataVersion(2)));
        let again =
            EntryPayload::Normal(Change { base: MetadataVersion(2), records: registration(&image, 8) });
        assert_eq!(machine.apply([entry(5, again)]).await.unwrap(), [Applied::Accepted]);
    }

    #[tokio::test]
    async fn a_snapshot_is_sent_installed_and_opened() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut machine, seen) = open(&one);
        let records = registration(&seen.borrow(), 7);
        let change = EntryPayload::Normal(Change { base: MetadataVersion(0), records });
        machine.apply([entry(9, change)]).await.unwrap();
        let built = machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
        let current = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!((&current.meta, current.snapshot.get_ref()), (&built.meta, built.snapshot.get_ref()));

        let (mut follower, followed) = open(&other);
        follower.install_snapshot(&built.meta, built.snapshot).await.unwrap();
        assert_eq!(*followed.borrow(), *seen.borrow());
        let (mut reopened, followed) = open(&other);
        assert_eq!(*followed.borrow(), *seen.borrow());
        assert_eq!(reopened.applied_state().await.unwrap().0, built.meta.last_log_id);
    }
}
