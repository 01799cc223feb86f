//! Opening the partitions of a data folder: what a clean shutdown left is trusted, after a crash the tails
//! are scanned, torn ones cut, indexes rebuilt.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use ottla_log::{
    DELETE_SUFFIX, FileKind, FolderName, JournalKey, LeaderEpochs, LogConfig, OffsetCheckpoint,
    PartitionMetadata, ProducerStates, STRAY_SUFFIX, parse_folder, partition_folder, renamed_folder,
};
use ottla_types::{Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

use crate::config::StoreBug;
use crate::disk::{DirEntry, Disk, OpenMode, is_passing, read_file, replace_file};
use crate::error::StoreError;
use crate::journal::{JOURNAL_FOLDER, Replayed, Slot};
use crate::load::{KnownBounds, Recovery, load_log};
use crate::parallel::each;
use crate::partition::{Identity, Loaded, PartitionLog, Shared, State};
use crate::patient::PatientDisk;
use crate::segment::Segment;

/// The folder of the cluster's metadata log: named as a partition's, but the quorum keeps it.
const METADATA_FOLDER: &str = "__cluster_metadata-0";

type Partitions = HashMap<(TopicId, PartitionIndex), Arc<PartitionLog>>;

/// What was found in a data folder.
pub(crate) struct Recovered {
    pub(crate) partitions: Partitions,
    /// The folders of partitions that were being deleted.
    pub(crate) deleted: Vec<PathBuf>,
}

impl Recovery<'_> {
    /// Opens all partitions, and puts aside what has no identity.
    pub(crate) fn run(&self) -> Result<Recovered, StoreError> {
        let (disk, dir) = (&*self.shared.disk, &self.shared.dir);
        let partitions = Mutex::new(HashMap::new());
        let deleted = Mutex::new(Vec::new());
        let nameless = Mutex::new(Vec::new());
        let entries = disk.list(dir).map_err(StoreError::io("list", dir))?;
        each(&entries, self.threads, |entry| {
            let path = dir.join(&entry.name);
            if !entry.is_dir || entry.name == METADATA_FOLDER || entry.name == JOURNAL_FOLDER {
                return Ok(());
            }
            match parse_folder(&entry.name) {
                FolderName::Deleted => deleted.lock().push(path),
                FolderName::Other => {}
                FolderName::Partition(topic, partition) => match self.whose(&path, &topic, partition)? {
                    Whose::Topic(topic_id) => {
                        let log = self.open(&path, Identity { topic, topic_id, partition })?;
                        partitions.lock().insert((topic_id, partition), log);
                    }
                    Whose::Nobodys => {}
                    Whose::Unknown(file) => nameless.lock().push((path, topic, partition, file)),
                },
            }
            Ok(())
        })?;
        let mut partitions = partitions.into_inner();
        for (path, topic, partition, file) in nameless.into_inner() {
            if let Some(topic_id) = self.likely_topic(&path, &topic, partition, &file, &partitions)? {
                let log = self.open(&path, Identity { topic, topic_id, partition })?;
                partitions.insert((topic_id, partition), log);
            }
        }
        if !self.clean {
            // The last process may have ended before its names were synced.
            disk.sync_dir(dir).map_err(StoreError::io("sync", dir))?;
        }
        Ok(Recovered { partitions, deleted: deleted.into_inner() })
    }

    fn open(&self, folder: &Path, who: Identity) -> Result<Arc<PartitionLog>, StoreError> {
        let name = TopicPartition { topic: who.topic.clone(), partition: who.partition };
        let is_its_own = self.saved.topic_ids.get(&name).is_none_or(|saved| *saved == who.topic_id);
        let saved = |offsets: &OffsetCheckpoint| {
            offsets.get(&name).copied().filter(|_| is_its_own).unwrap_or_default()
        };
        let (recovery_point, log_start) = (saved(&self.saved.recovery_points), saved(&self.saved.starts));
        let key = (who.topic_id, who.partition);
        let replayed = self.replayed(folder, key, recovery_point, log_start)?;
        assert!(replayed.durable_to >= recovery_point, "the journal takes nothing back");
        let durable_to = replayed.durable_to;
        let cut_to = self.replay.cut_to(key);
        let known = KnownBounds { recovery_point, durable_to, log_start, cut_to, epochs: None };
        let mut loaded = load_log(self, folder, known)?;
        self.hold_replayed(&mut loaded, replayed, folder)?;
        let end = loaded.state.end();
        if log_start > end {
            // Records up to there were lost with all before them. Those that come in their place must not be
            // let go.
            self.shared.lower_offsets(&name, end)?;
        }
        if !self.clean && end > durable_to {
            // What was found behind the durable end is shown from now on, so it is never a torn tail again.
            let _ = self.shared.journal.mark(key, &mut loaded.state.slot, end);
        }
        Ok(PartitionLog::new(Arc::clone(self.shared), who, self.config.clone(), loaded))
    }

    /// Repeats what the journal says of a log.
    fn replayed(
        &self,
        folder: &Path,
        key: JournalKey,
        recovery_point: Offset,
        log_start: Offset,
    ) -> Result<Replayed, StoreError> {
        if self.shared.bug == Some(StoreBug::SkipReplay) {
            return Ok(Replayed { durable_to: recovery_point, ..Replayed::default() });
        }
        self.replay.apply(&*self.shared.disk, folder, key, recovery_point, log_start)
    }

    /// What was repeated from the journal stays in it until the segments are synced: by the next checkpoint,
    /// unless too many files would be held open until then.
    fn hold_replayed(
        &self,
        loaded: &mut Loaded,
        replayed: Replayed,
        folder: &Path,
    ) -> Result<(), StoreError> {
        let state = &mut loaded.state;
        state.slot.newest = replayed.newest;
        if replayed.files.is_empty() {
            return Ok(());
        }
        (state.touched, state.folder_unsynced) = (true, true);
        state.segments_synced_to = loaded.recovery_point;
        for segment in &mut state.segments {
            let Some(file) = replayed.files.get(&segment.base) else { continue };
            let (held, too_many) = self.shared.hold(file);
            if too_many {
                file.sync()
                    .map_err(StoreError::io("sync", folder.join(FileKind::Log.file_name(segment.base))))?;
            } else {
                segment.unsynced = Some(held);
            }
        }
        Ok(())
    }

    /// Whose a folder is. One that never said it durably is a leftover: nothing in it was acknowledged, as
    /// the topic id is synced before anything is.
    fn whose(
        &self,
        folder: &Path,
        topic: &TopicName,
        partition: PartitionIndex,
    ) -> Result<Whose, StoreError> {
        let disk = &PatientDisk(self.shared);
        let path = folder.join(PartitionMetadata::FILE);
        let name = TopicPartition { topic: topic.clone(), partition };
        // A partition that is in the checkpoint had its identity synced by then.
        let is_in_checkpoint = self.saved.recovery_points.contains_key(&name);
        if !self.clean
            && !is_in_checkpoint
            && let Ok(file) = disk.open(&path, OpenMode::Existing)
        {
            file.sync().and_then(|()| file.drop_cache()).map_err(StoreError::io("sync", &path))?;
            self.shared.sync_dir(folder).map_err(StoreError::io("sync", folder))?;
        }
        let file = IdentityFile::read(disk, folder)?;
        match (file.topic_id(), self.saved.topic_ids.get(&name).copied()) {
            (Some(found), Some(saved)) if found != saved && !file.resembles(saved) => {
                // A topic of the same name that was made since would have the old one forgotten first.
                tracing::warn!(path = %path.display(), topic_id = %found, expected = %saved, "another topic's folder was put there");
                self.shared.forget_offsets(&name)?;
                return Ok(Whose::Topic(found));
            }
            (found, Some(saved)) => {
                if found != Some(saved) {
                    self.heal(folder, saved);
                }
                return Ok(Whose::Topic(saved));
            }
            (Some(found), None) => return Ok(Whose::Topic(found)),
            (None, None) if is_in_checkpoint || !file.may_be_unsynced() => return Ok(Whose::Unknown(file)),
            (None, None) => {}
        }
        let files = disk.list(folder).map_err(StoreError::io("list", folder))?;
        if !has_records(&files) {
            remove_folder(disk, folder)?;
            return Ok(Whose::Nobodys);
        }
        let unique = disk.random_id().map_err(StoreError::io("name", folder))?;
        let aside = self.shared.dir.join(renamed_folder(topic, partition, unique, STRAY_SUFFIX));
        tracing::error!(folder = %folder.display(), aside = %aside.display(), "no readable partition.metadata, put aside");
        disk.rename(folder, &aside).map_err(StoreError::io("rename", folder))?;
        disk.sync_dir(&self.shared.dir).map_err(StoreError::io("sync", &self.shared.dir))?;
        Ok(Whose::Nobodys)
    }

    /// Writes a damaged `partition.metadata` anew. It is no error when that can't be done.
    fn heal(&self, folder: &Path, topic_id: TopicId) {
        let text = PartitionMetadata { topic_id }.encode();
        let disk = &PatientDisk(self.shared);
        let healed = replace_file(disk, folder, PartitionMetadata::FILE, text.as_bytes());
        tracing::error!(folder = %folder.display(), %topic_id, ?healed, "partition.metadata was damaged, and is written anew");
    }

    /// Whose a folder is that can't say it any more: the journal may name a topic that no other folder is of.
    /// If nothing does, the folder stays as it is, and so does what is known of it: `None`.
    ///
    /// # Errors
    /// When the journal has records that may be this folder's: they would be gone with the next start.
    fn likely_topic(
        &self,
        folder: &Path,
        topic: &TopicName,
        partition: PartitionIndex,
        file: &IdentityFile,
        known: &Partitions,
    ) -> Result<Option<TopicId>, StoreError> {
        let disk = &PatientDisk(self.shared);
        let of_others = self.replay.keys_with_entries().filter(|key| !known.contains_key(key));
        let candidates: Vec<TopicId> = of_others.filter(|key| key.1 == partition).map(|key| key.0).collect();
        if let Some(topic_id) = candidates.iter().copied().find(|candidate| file.resembles(*candidate)) {
            self.heal(folder, topic_id);
            return Ok(Some(topic_id));
        }
        let why = StoreError::NoIdentity { path: folder.join(PartitionMetadata::FILE), candidates };
        if matches!(&why, StoreError::NoIdentity { candidates, .. } if !candidates.is_empty()) {
            return Err(why);
        }
        let files = disk.list(folder).map_err(StoreError::io("list", folder))?;
        if has_records(&files) {
            tracing::error!(%why, "a partition stays offline");
            self.shared.keep_offsets(TopicPartition { topic: topic.clone(), partition });
        } else {
            remove_folder(disk, folder)?;
        }
        Ok(None)
    }
}

/// Whose a folder is.
enum Whose {
    Topic(TopicId),
    /// A leftover, which is gone or put aside by now.
    Nobodys,
    /// It said it, and can't be read: what is in it may be all that there is of acknowledged records.
    Unknown(IdentityFile),
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
        let differ = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        let id_at = text.len() - topic_id.to_string().len() - 1;
        let found = self.bytes.get(id_at..).unwrap_or_default();
        let of_id = found.len().min(text.len() - id_at);
        of_id >= LIKE_ID_BYTES && of_id - differ(found, &text[id_at..]) >= LIKE_ID_BYTES
    }
}

/// So many of the 22 characters of a topic id that are in their places are no chance: that is one in 2^96.
const LIKE_ID_BYTES: usize = 16;

/// As long as any other.
const EMPTY_IDENTITY: PartitionMetadata = PartitionMetadata { topic_id: TopicId([0; 16]) };

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

/// Refuses a name whose folder has records, and didn't say when the store was opened which topic's they are,
/// or doesn't now. With the next start what is known of it counts again.
pub(crate) fn check_name(shared: &Arc<Shared>, name: &TopicPartition) -> Result<(), StoreError> {
    let disk = &*shared.disk;
    let folder = shared.dir.join(partition_folder(&name.topic, name.partition));
    let files = match disk.list(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files.map_err(StoreError::io("list", &folder))?,
    };
    if !has_records(&files) {
        return Ok(());
    }
    let is_damaged = || {
        let file = IdentityFile::read(disk, &folder)?;
        Ok::<bool, StoreError>(file.topic_id().is_none() && !file.may_be_unsynced())
    };
    if shared.is_kept(name) || is_damaged()? {
        let path = folder.join(PartitionMetadata::FILE);
        return Err(StoreError::NoIdentity { path, candidates: Vec::new() });
    }
    Ok(())
}

/// Frees the name of a partition that isn't there from a folder that is: one that nobody wants any more goes,
/// and so does one without records. Any other may be all that there is of a log that couldn't be put aside,
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
    let is_kept = !is_unwanted && has_records(&files);
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

fn has_records(files: &[DirEntry]) -> bool {
    let mut with_bytes = files.iter().filter(|file| file.bytes > 0);
    with_bytes.any(|file| matches!(FileKind::parse(&file.name), Some((FileKind::Log, _))))
}

/// Creates the folder of a new partition, whose name is free. Its names become durable with its first commit.
pub(crate) fn create_partition(
    shared: &Arc<Shared>,
    topic: TopicName,
    topic_id: TopicId,
    partition: PartitionIndex,
    config: LogConfig,
) -> Result<Arc<PartitionLog>, StoreError> {
    let disk = &*shared.disk;
    let folder = shared.dir.join(partition_folder(&topic, partition));
    disk.create_dir(&folder).map_err(StoreError::io("create", &folder))?;
    let metadata_path = folder.join(PartitionMetadata::FILE);
    let log_path = folder.join(FileKind::Log.file_name(Offset(0)));
    let mut unsynced_files = Vec::new();
    let made = (|| {
        for path in [&metadata_path, &log_path] {
            unsynced_files.push((path.clone(), disk.open(path, OpenMode::CreateNew)?));
        }
        unsynced_files[0].1.write_at(0, &[PartitionMetadata { topic_id }.encode().as_bytes()])
    })();
    if let Err(error) = made {
        // What else is in the folder is another's.
        let made = unsynced_files.iter().map(|(path, _)| disk.remove_file(path));
        if let Err(error) = made.fold(Ok(()), Result::and).and_then(|()| disk.remove_dir(&folder)) {
            tracing::warn!(folder = %folder.display(), %error, "folder of a partition that could not be created is left over");
        }
        return Err(StoreError::io("create", &folder)(error));
    }
    let state = State {
        folder,
        segments: vec![Segment::new(Offset(0), config.index_interval_bytes, 0)],
        epochs: LeaderEpochs::default(),
        epochs_unsaved: false,
        producers: ProducerStates::default(),
        heard_again: false,
        snapshot_at: None,
        unsynced_files,
        folder_unsynced: true,
        parent_unsynced: Some(shared.root_changed()),
        segments_synced_to: Offset(0),
        touched: true,
        read_hints: Default::default(),
        read_hint_next: 0,
        deleted: false,
        closed_at: None,
        finished: false,
        incarnation: 0,
        // Its names have to be synced before anything of it is acknowledged.
        direct: true,
        slot: Slot::default(),
        damaged: Vec::new(),
    };
    let who = Identity { topic, topic_id, partition };
    let loaded = Loaded { state, start: Offset(0), recovery_point: Offset(0) };
    Ok(PartitionLog::new(Arc::clone(shared), who, config, loaded))
}
