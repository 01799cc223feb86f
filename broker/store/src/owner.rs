//! Whose a folder is: what its `partition.metadata` says, and where that is damaged, what the checkpoint or
//! the journal does.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{
    DELETE_SUFFIX, FileKind, JournalKey, LeaderEpochs, PartitionMetadata, STRAY_SUFFIX, partition_folder,
    renamed_folder,
};
use ottla_types::{Offset, TopicId, TopicPartition};

use crate::disk::{DirEntry, Disk, OpenMode, is_passing, read_file, replace_file};
use crate::error::StoreError;
use crate::load::{Recovery, is_temporary};
use crate::partition::{Identity, Shared};
use crate::patient::PatientDisk;

/// As long as any other.
const EMPTY_IDENTITY: PartitionMetadata = PartitionMetadata { topic_id: TopicId([0; 16]) };

/// So many of the 22 characters of a topic id that are in their places are no chance: that is one in 2^96.
const LIKE_ID_BYTES: usize = 16;

/// A partition's folder, by its name.
pub(crate) struct Folder {
    path: PathBuf,
    name: TopicPartition,
    file: IdentityFile,
    /// What the checkpoint says that it is.
    saved: Option<TopicId>,
}

impl Folder {
    fn key(&self, topic_id: TopicId) -> JournalKey {
        (topic_id, self.name.partition)
    }

    /// Whose it is, if anything but the journal says so. The checkpoint's word counts more than that of a
    /// file that is damaged, and no more than that of another topic's, which somebody has put there.
    fn said(&self) -> Option<TopicId> {
        match (self.file.topic_id(), self.saved) {
            (Some(found), Some(saved)) if found != saved && !self.file.resembles(saved) => None,
            (found, saved) => saved.or(found),
        }
    }
}

impl Recovery<'_> {
    /// A partition's folder.
    pub(crate) fn folder(&self, path: PathBuf, name: TopicPartition) -> Result<Folder, StoreError> {
        let disk = &PatientDisk(self.shared);
        let file = path.join(PartitionMetadata::FILE);
        let saved = self.saved.topic_ids.get(&name).copied();
        // Only what the checkpoint says was surely synced; somebody may have written the file by hand.
        if saved.is_none()
            && let Ok(open) = disk.open(&file, OpenMode::Existing)
        {
            open.sync().and_then(|()| open.drop_cache()).map_err(StoreError::io("sync", &file))?;
            self.shared.sync_dir(&path).map_err(StoreError::io("sync", &path))?;
        }
        Ok(Folder { file: IdentityFile::read(disk, &path)?, path, name, saved })
    }

    /// The folders that are some topic's. Leftovers go or are put aside; what nobody knows the owner of stays
    /// as it is, and so does what is known of it.
    ///
    /// # Errors
    /// When two folders are the same partition's, or the journal has records that may be of one whose topic
    /// isn't known: they would be gone with the next start.
    pub(crate) fn owned(&self, folders: Vec<Folder>) -> Result<Vec<(PathBuf, Identity)>, StoreError> {
        let said: HashSet<JournalKey> =
            folders.iter().filter_map(|folder| Some(folder.key(folder.said()?))).collect();
        let mut unclaimed: HashSet<JournalKey> =
            self.replay.keys_with_entries().filter(|key| !said.contains(key)).collect();
        let mut owners: HashMap<JournalKey, (PathBuf, bool)> = HashMap::new();
        let mut owned = Vec::with_capacity(folders.len());
        let mut nameless = Vec::new();
        for folder in folders {
            let like = unclaimed.iter().find(|key| {
                folder.saved.is_none() && key.1 == folder.name.partition && folder.file.resembles(key.0)
            });
            let Some(topic_id) = like.map(|key| key.0).or(folder.said()) else {
                nameless.push(folder);
                continue;
            };
            unclaimed.remove(&folder.key(topic_id));
            let this = (folder.path.clone(), folder.saved == Some(topic_id));
            if let Some(other) = owners.insert(folder.key(topic_id), this.clone()) {
                let is_sure = this.1 != other.1;
                // In an order that the next start tells too.
                let (known, other) =
                    if (!this.1, &this.0) < (!other.1, &other.0) { (this, other) } else { (other, this) };
                return Err(StoreError::SamePartition { known: known.0, other: other.0, is_sure, topic_id });
            }
            if folder.file.topic_id() != Some(topic_id) {
                self.heal(&folder.path, topic_id);
            }
            let TopicPartition { topic, partition } = folder.name;
            owned.push((folder.path, Identity { topic, topic_id, partition }));
        }
        nameless.into_iter().try_for_each(|folder| self.leave(folder, &unclaimed))?;
        Ok(owned)
    }

    /// Writes a damaged `partition.metadata` anew. It is no error when that can't be done.
    fn heal(&self, folder: &Path, topic_id: TopicId) {
        let text = PartitionMetadata { topic_id }.encode();
        let disk = &PatientDisk(self.shared);
        let healed = replace_file(disk, folder, PartitionMetadata::FILE, text.as_bytes());
        tracing::error!(folder = %folder.display(), %topic_id, ?healed, "partition.metadata was damaged, and is written anew");
    }

    /// A folder that nobody knows the owner of. One that never said it durably is a leftover: nothing in it
    /// was acknowledged, as the topic id is synced before anything is.
    fn leave(&self, folder: Folder, unclaimed: &HashSet<JournalKey>) -> Result<(), StoreError> {
        let disk = &PatientDisk(self.shared);
        let Folder { path, name, file, saved } = folder;
        let files = disk.list(&path).map_err(StoreError::io("list", &path))?;
        let recovery_point = self.saved.recovery_points.get(&name);
        if recovery_point.is_none() && file.may_be_unsynced() {
            if may_go(&files) {
                return remove_folder(disk, &path);
            }
            let unique = disk.random_id().map_err(StoreError::io("name", &path))?;
            let aside =
                self.shared.dir.join(renamed_folder(&name.topic, name.partition, unique, STRAY_SUFFIX));
            tracing::error!(folder = %path.display(), aside = %aside.display(), "no readable partition.metadata, put aside");
            disk.rename(&path, &aside).map_err(StoreError::io("rename", &path))?;
            return disk.sync_dir(&self.shared.dir).map_err(StoreError::io("sync", &self.shared.dir));
        }
        let mut candidates: Vec<TopicId> = unclaimed
            .iter()
            .filter(|key| key.1 == name.partition)
            .map(|key| key.0)
            .filter(|id| saved.is_none_or(|saved| *id == saved || file.topic_id() == Some(*id)))
            .collect();
        candidates.sort_unstable();
        // A start before this one left it, and found nothing of it in the journal; nor was anything added
        // since.
        let was_left = self.is_sealed && recovery_point.is_some() && saved.is_none();
        let is_lost_soon = !candidates.is_empty() && !was_left;
        let why = StoreError::NoIdentity {
            path: path.join(PartitionMetadata::FILE),
            found: file.topic_id(),
            expected: saved,
            candidates,
        };
        if is_lost_soon {
            return Err(why);
        }
        let said = [recovery_point, self.saved.starts.get(&name)].into_iter().flatten();
        if may_go(&files) && said.max().is_none_or(|offset| *offset == Offset(0)) {
            return remove_folder(disk, &path);
        }
        tracing::error!(%why, "a partition stays offline");
        self.shared.keep_offsets(name);
        Ok(())
    }
}

/// What a folder's `partition.metadata` holds.
struct IdentityFile {
    bytes: Vec<u8>,
    /// Whether there is a file that the disk can't read.
    is_unreadable: bool,
}

impl IdentityFile {
    fn read(disk: &dyn Disk, folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(PartitionMetadata::FILE);
        match read_file(disk, &path, 4_096) {
            Ok(bytes) => Ok(Self { bytes, is_unreadable: false }),
            // It passes, and says nothing of what the file holds.
            Err(error) if is_passing(&error) => Err(StoreError::io("read", path)(error)),
            Err(error) => {
                Ok(Self { bytes: Vec::new(), is_unreadable: error.kind() != io::ErrorKind::NotFound })
            }
        }
    }

    fn topic_id(&self) -> Option<TopicId> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        PartitionMetadata::decode(text).ok().map(|metadata| metadata.topic_id)
    }

    /// Whether it may never have been synced: what was written so may be nothing but zeros after a power
    /// loss, or short, or not there.
    fn may_be_unsynced(&self) -> bool {
        let is_short = self.bytes.len() < EMPTY_IDENTITY.encode().len();
        !self.is_unreadable && (is_short || self.bytes.iter().all(|byte| *byte == 0))
    }

    /// Whether it is that topic's, damaged: too much of it is as it was for chance.
    fn resembles(&self, topic_id: TopicId) -> bool {
        let text = PartitionMetadata { topic_id }.encode().into_bytes();
        let id_at = text.len() - topic_id.to_string().len() - 1;
        let same = self.bytes.iter().zip(&text).skip(id_at).filter(|(a, b)| a == b).count();
        same >= LIKE_ID_BYTES
    }
}

/// Refuses a name whose folder has records, and didn't say when the store was opened which topic's they are,
/// or doesn't now. With the next start what is known of it counts again.
pub(crate) fn check_name(shared: &Arc<Shared>, name: &TopicPartition) -> Result<(), StoreError> {
    let disk = &*shared.disk;
    let folder = shared.dir.join(partition_folder(&name.topic, name.partition));
    let files = match disk.list(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files.map_err(StoreError::io("list", &folder))?,
    };
    let file = IdentityFile::read(disk, &folder)?;
    let is_damaged = file.topic_id().is_none() && !file.may_be_unsynced();
    if shared.is_kept(name) || (has_records(&files) && is_damaged) {
        let path = folder.join(PartitionMetadata::FILE);
        let (expected, candidates) = (None, Vec::new());
        return Err(StoreError::NoIdentity { path, found: file.topic_id(), expected, candidates });
    }
    Ok(())
}

/// Frees the name of a partition that isn't there from a folder that is: one that nobody wants any more goes,
/// and so does one without records and others' files. Any other may be all that there is of a log that couldn't be put aside,
/// and gets another name.
pub(crate) fn clear_name(
    shared: &Arc<Shared>,
    name: &TopicPartition,
    is_unwanted: bool,
) -> Result<(), StoreError> {
    let disk = &*shared.disk;
    let folder = shared.dir.join(partition_folder(&name.topic, name.partition));
    let files = match disk.list(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Whatever is in it must not be taken for the new partition's.
        files => files.map_err(StoreError::io("list", &folder))?,
    };
    if files.is_empty() {
        return Ok(());
    }
    let is_kept = !is_unwanted && !may_go(&files);
    let suffix = if is_kept { STRAY_SUFFIX } else { DELETE_SUFFIX };
    let unique = disk.random_id().map_err(StoreError::io("name", &folder))?;
    let renamed = shared.dir.join(renamed_folder(&name.topic, name.partition, unique, suffix));
    disk.rename(&folder, &renamed).map_err(StoreError::io("rename", &folder))?;
    shared.sync_dir(&shared.dir).map_err(StoreError::io("sync", &shared.dir))?;
    if is_kept {
        tracing::error!(folder = %folder.display(), aside = %renamed.display(), "nobody knows these records, put aside");
        return Ok(());
    }
    remove_folder(disk, &renamed)
}

/// Whether a folder is what a partition leaves that never had a record. Somebody may have put something else
/// into it, or have made it for something else.
fn may_go(files: &[DirEntry]) -> bool {
    let is_own = |file: &DirEntry| {
        let name = file.name.as_str();
        let is_small = [PartitionMetadata::FILE, LeaderEpochs::FILE].contains(&name);
        !file.is_dir && (is_small || is_temporary(name) || FileKind::parse(name).is_some())
    };
    !has_records(files) && files.iter().all(is_own)
}

fn has_records(files: &[DirEntry]) -> bool {
    let mut with_bytes = files.iter().filter(|file| file.bytes > 0);
    with_bytes.any(|file| matches!(FileKind::parse(&file.name), Some((FileKind::Log, _))))
}

/// Removes a folder and the files in it.
pub(crate) fn remove_folder(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
    remove_folder_unless(disk, folder, &|| false)
}

/// The same, but leaves what is left once `is_stopped` says so.
pub(crate) fn remove_folder_unless(
    disk: &dyn Disk,
    folder: &Path,
    is_stopped: &dyn Fn() -> bool,
) -> Result<(), StoreError> {
    for entry in disk.list(folder).map_err(StoreError::io("list", folder))? {
        let path = folder.join(&entry.name);
        if is_stopped() {
            return Ok(());
        }
        if entry.is_dir {
            remove_folder_unless(disk, &path, is_stopped)?;
        } else {
            disk.remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    disk.remove_dir(folder).map_err(StoreError::io("remove", folder))
}
