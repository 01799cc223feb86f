//! Opening the partitions of a data folder: what a clean shutdown left is trusted, after a crash the tails
//! are scanned, torn ones cut, indexes rebuilt.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use ottla_log::{
    FileKind, FolderName, JournalKey, LeaderEpochs, LogConfig, PartitionMetadata, ProducerStates,
    parse_folder, partition_folder,
};
use ottla_types::{Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

use crate::config::StoreBug;
use crate::disk::OpenMode;
use crate::error::StoreError;
use crate::journal::{JOURNAL_FOLDER, Replayed, Slot};
use crate::load::{KnownBounds, Recovery, load_log};
use crate::owner::Folder;
use crate::parallel::each;
use crate::partition::{Identity, Loaded, PartitionLog, Shared, State};
use crate::patient::PatientDisk;
use crate::segment::Segment;
use crate::swap_file::finish_swaps;

/// The folder of the cluster's metadata log: named as a partition's, but the quorum keeps it.
const METADATA_FOLDER: &str = "__cluster_metadata-0";

type Partitions = HashMap<(TopicId, PartitionIndex), Arc<PartitionLog>>;

/// What was found in a data folder.
pub(crate) struct Recovered {
    pub(crate) partitions: Partitions,
    /// The folders of partitions that were being deleted.
    pub(crate) deleted: Vec<PathBuf>,
    /// Whether the checkpoint doesn't say yet what was found out about whose folders are.
    pub(crate) wants_checkpoint: bool,
}

impl Recovery<'_> {
    /// Opens all partitions, and puts aside what has no identity.
    pub(crate) fn run(&self) -> Result<Recovered, StoreError> {
        let (disk, dir) = (&*self.shared.disk, &self.shared.dir);
        let (folders, deleted) = self.folders()?;
        // Before any is opened: the journal's records must not be repeated in another's folder.
        let owned = self.owned(folders)?;
        let wants_checkpoint = self.shared.keeps_offsets() && !self.is_sealed
            || owned.iter().any(|(_, who)| self.is_unsaid(who));
        let partitions = Mutex::new(HashMap::new());
        each(&owned, self.threads, |(path, who)| {
            let log = self.open(path, who.clone())?;
            partitions.lock().insert((who.topic_id, who.partition), log);
            Ok(())
        })?;
        if !self.clean {
            // The last process may have ended before its names were synced.
            disk.sync_dir(dir).map_err(StoreError::io("sync", dir))?;
        }
        Ok(Recovered { partitions: partitions.into_inner(), deleted, wants_checkpoint })
    }

    /// Whether the checkpoint says something of a partition, and not whose it is.
    fn is_unsaid(&self, who: &Identity) -> bool {
        let name = TopicPartition { topic: who.topic.clone(), partition: who.partition };
        self.saved.recovery_points.contains_key(&name) && !self.saved.topic_ids.contains_key(&name)
    }

    /// The folders of partitions, and those of partitions that were being deleted.
    fn folders(&self) -> Result<(Vec<Folder>, Vec<PathBuf>), StoreError> {
        let dir = &self.shared.dir;
        let folders = Mutex::new(Vec::new());
        let deleted = Mutex::new(Vec::new());
        let entries = self.shared.disk.list(dir).map_err(StoreError::io("list", dir))?;
        each(&entries, self.threads, |entry| {
            let path = dir.join(&entry.name);
            if !entry.is_dir || entry.name == METADATA_FOLDER || entry.name == JOURNAL_FOLDER {
                return Ok(());
            }
            match parse_folder(&entry.name) {
                FolderName::Deleted => deleted.lock().push(path),
                FolderName::Other => {}
                FolderName::Partition(topic, partition) => {
                    let folder = self.folder(path, TopicPartition { topic, partition })?;
                    folders.lock().push(folder);
                }
            }
            Ok(())
        })?;
        Ok((folders.into_inner(), deleted.into_inner()))
    }

    fn open(&self, folder: &Path, who: Identity) -> Result<Arc<PartitionLog>, StoreError> {
        let name = TopicPartition { topic: who.topic.clone(), partition: who.partition };
        let recovery_point = self.saved.recovery_points.get(&name).copied().unwrap_or_default();
        let log_start = self.saved.starts.get(&name).copied().unwrap_or_default();
        let key = (who.topic_id, who.partition);
        if !self.clean {
            // Before anything is written to files of the names that it speaks of.
            finish_swaps(&PatientDisk(self.shared), folder)?;
        }
        let replayed = self.replayed(folder, key, recovery_point, log_start)?;
        assert!(replayed.durable_to >= recovery_point, "the journal takes nothing back");
        let durable_to = replayed.durable_to;
        let cut_to = self.replay.cut_to(key);
        let known = KnownBounds { recovery_point, durable_to, log_start, cut_to, epochs: None };
        let mut loaded = load_log(self, folder, known)?;
        self.hold_replayed(&mut loaded, replayed, folder)?;
        let end = loaded.state.end();
        let cleaned = self.saved.cleaned.get(&name).copied();
        loaded.cleaned = cleaned.map(|cleaned| cleaned.min(end));
        if log_start > end || cleaned > Some(end) {
            // Records up to there were lost, perhaps with all before them. Those that come in their place must
            // not be let go, nor taken for clean.
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
    let loaded = Loaded { state, start: Offset(0), recovery_point: Offset(0), cleaned: None };
    Ok(PartitionLog::new(Arc::clone(shared), who, config, loaded))
}
