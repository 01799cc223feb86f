//! What the disk says of each log's recovery point and start, and how far it is clean: a file with a
//! checksum, written as a whole at each checkpoint, and the changes since, a line each. Kafka's own
//! checkpoint files say the same to Kafka's tools; they count only where the file with the checksum is
//! missing or damaged.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{
    CLEANER_OFFSET_FILE, LOG_START_FILE, OffsetChange, OffsetCheckpoint, RECOVERY_POINT_FILE,
    SEALED_OFFSETS_FILE, SavedOffsets, SealedOffsets, decode_offset_change, encode_offset_change,
    encode_offsets,
};
use ottla_types::{Offset, TopicId, TopicPartition};
use parking_lot::{Mutex, RwLock};

use crate::changes::{Changes, OFFSET_CHANGES, Unsaved};
use crate::disk::Disk;
use crate::error::{FatalError, StoreError};
use crate::journal::Ignore;
use crate::meta::{load_offsets, load_sealed_offsets, save};

/// With so many bytes of changes all is written anew, or with as many as that takes.
const CHANGES_BYTES_MAX: u64 = 1 << 20;

/// A log as these files know it.
pub(crate) trait SavedLog {
    /// What they may say of it now. `None` once it is deleted.
    fn to_save(&self) -> Option<ToSave>;
}

/// What the files say of a log.
pub(crate) struct ToSave {
    pub(crate) name: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) recovery_point: Offset,
    pub(crate) start: Offset,
    pub(crate) cleaned: Option<Offset>,
}

pub(crate) struct OffsetFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    changes: Changes,
    known: Mutex<OffsetsOnDisk>,
    /// Held for reading while a change is written and noted, and for writing while stock is taken: so
    /// what is in an older file of changes is in the stock too.
    stock: RwLock<()>,
    /// Held by who writes the files.
    saving: Mutex<()>,
}

#[derive(Default)]
struct OffsetsOnDisk {
    /// What the files of all partitions say, or their newest ones will: no more than that.
    files: SealedOffsets,
    /// The bytes of those.
    file_bytes: u64,
    /// The changes that the files don't say yet, of each log in their order: those before stock was taken,
    /// and since.
    older: HashMap<TopicPartition, Vec<OffsetChange>>,
    newer: HashMap<TopicPartition, Vec<OffsetChange>>,
    /// The partitions that can't be opened: once they can be, what is said of them counts again.
    kept: HashSet<TopicPartition>,
    /// Whether the files may say something else already: they are being written, or an older process has
    /// changed them.
    is_unsure: bool,
}

impl OffsetsOnDisk {
    fn get(&self, name: &TopicPartition) -> SavedOffsets {
        let files = SavedOffsets {
            recovery_point: self.files.recovery_points.get(name).copied(),
            start: self.files.starts.get(name).copied(),
            cleaned: self.files.cleaned.get(name).copied(),
        };
        let changes =
            [&self.older, &self.newer].into_iter().filter_map(|changes| changes.get(name)).flatten();
        changes.fold(files, |said, change| said.after(*change))
    }
}

impl OffsetFiles {
    /// Reads what the disk says, and whether the file with the checksum says it; the changes lie in `folder`.
    /// Where it can't be read, nothing is said: that costs time, no records.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        folder: &Path,
        ignore: Ignore,
    ) -> Result<(Self, SealedOffsets, bool), StoreError> {
        let (changes, read) = Changes::open(disk, folder, OFFSET_CHANGES, !ignore.syncs_of_changes)?;
        let sealed = load_sealed_offsets(&**disk, dir);
        let mut said = match &read {
            Some(_) => sealed.clone().unwrap_or_else(|| SealedOffsets {
                recovery_points: load_offsets(&**disk, dir, RECOVERY_POINT_FILE),
                starts: load_offsets(&**disk, dir, LOG_START_FILE),
                ..SealedOffsets::default()
            }),
            None => SealedOffsets::default(),
        };
        let is_sealed = sealed.is_some() && read.is_some();
        let read = read.unwrap_or_default();
        for (name, change) in ignore.added(&read).iter().filter_map(|change| decode_offset_change(change)) {
            let before = SavedOffsets {
                recovery_point: said.recovery_points.get(&name).copied(),
                start: said.starts.get(&name).copied(),
                cleaned: said.cleaned.get(&name).copied(),
            };
            let after = before.after(change);
            if change == OffsetChange::Forgotten {
                said.topic_ids.remove(&name);
            }
            let SealedOffsets { recovery_points, starts, cleaned, .. } = &mut said;
            let all =
                [(recovery_points, after.recovery_point), (starts, after.start), (cleaned, after.cleaned)];
            for (offsets, offset) in all {
                match offset {
                    Some(offset) => offsets.insert(name.clone(), offset),
                    None => offsets.remove(&name),
                };
            }
        }
        let is_unsure = sealed.is_none() || !changes.is_empty();
        let known = OffsetsOnDisk { files: said.clone(), is_unsure, ..OffsetsOnDisk::default() };
        // Right away, as room was just freed: the journal's spare file is gone.
        changes.prepare().map_err(|error| match error {
            Unsaved::NotNow(error) => error,
            Unsaved::Fatal(FatalError { action, path, reason }) => {
                StoreError::io(action, path)(io::Error::other(reason))
            }
        })?;
        let files = Self {
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
            changes,
            known: Mutex::new(known),
            stock: RwLock::new(()),
            saving: Mutex::new(()),
        };
        Ok((files, said, is_sealed))
    }

    /// What the disk says of a log, at the least.
    pub(crate) fn get(&self, name: &TopicPartition) -> SavedOffsets {
        self.known.lock().get(name)
    }

    /// Goes on saying what is said of a partition that isn't among the logs.
    pub(crate) fn keep(&self, name: TopicPartition) {
        self.known.lock().kept.insert(name);
    }

    /// Whether there are any such.
    pub(crate) fn keeps_any(&self) -> bool {
        !self.known.lock().kept.is_empty()
    }

    /// Whether that is so, and it wasn't forgotten since.
    pub(crate) fn is_kept(&self, name: &TopicPartition) -> bool {
        self.known.lock().kept.contains(name)
    }

    /// Whether there are so many changes that the files should be written anew.
    pub(crate) fn has_many_changes(&self) -> bool {
        let limit = self.known.lock().file_bytes.max(CHANGES_BYTES_MAX);
        self.changes.bytes() > limit
    }

    /// Writes a change of one log, durably, unless the disk says that already. Whoever changes one log does
    /// it alone.
    pub(crate) fn change(&self, name: &TopicPartition, change: OffsetChange) -> Result<(), Unsaved> {
        let _stock = self.stock.read();
        let is_said = {
            let known = self.known.lock();
            let before = known.get(name);
            !known.is_unsure && before.after(change) == before
        };
        if !is_said {
            self.changes.append(&encode_offset_change(name, change))?;
        }
        let mut known = self.known.lock();
        if !is_said {
            known.newer.entry(name.clone()).or_default().push(change);
        }
        if change == OffsetChange::Forgotten {
            known.kept.remove(name);
        }
        Ok(())
    }

    /// Writes all files, where something has changed, and lets the changes go that they hold.
    ///
    /// # Errors
    /// When the disk fails, or has no room for the changes that follow.
    pub(crate) fn save<L: SavedLog>(&self, logs: &[Arc<L>]) -> Result<(), Unsaved> {
        let _one = self.saving.lock();
        let stock = self.take_stock(logs)?;
        let mut file_bytes = 0;
        if stock.was_unsure || stock.offsets != stock.before {
            // The first one, as it is what counts.
            let text = stock.offsets.seal();
            save(&*self.disk, &self.dir, SEALED_OFFSETS_FILE, &text)?;
        }
        let mut write = |file, offsets: &OffsetCheckpoint, before: &OffsetCheckpoint| {
            let text = encode_offsets(offsets);
            file_bytes += text.len() as u64;
            let is_said = !stock.was_unsure && offsets == before;
            if is_said { Ok(()) } else { save(&*self.disk, &self.dir, file, &text) }
        };
        write(LOG_START_FILE, &stock.offsets.starts, &stock.before.starts)?;
        write(RECOVERY_POINT_FILE, &stock.offsets.recovery_points, &stock.before.recovery_points)?;
        write(CLEANER_OFFSET_FILE, &stock.offsets.cleaned, &stock.before.cleaned)?;
        self.changes.remove_before(stock.generation)?;
        let mut known = self.known.lock();
        (known.files, known.file_bytes) = (stock.offsets, file_bytes);
        known.older.clear();
        known.is_unsure = false;
        Ok(())
    }

    /// Before the store is closed for good.
    pub(crate) fn end_changes(&self) {
        self.changes.remove_unused();
    }

    fn take_stock<L: SavedLog>(&self, logs: &[Arc<L>]) -> Result<Stock, Unsaved> {
        let _stock = self.stock.write();
        let generation = self.changes.begin_generation()?;
        let mut known = self.known.lock();
        for (name, changes) in std::mem::take(&mut known.newer) {
            known.older.entry(name).or_default().extend(changes);
        }
        let was_unsure = std::mem::replace(&mut known.is_unsure, true);
        let mut offsets = SealedOffsets::default();
        for log in logs {
            let Some(ToSave { name, topic_id, recovery_point, start, cleaned }) = log.to_save() else {
                continue;
            };
            offsets.cleaned.extend(cleaned.map(|cleaned| (name.clone(), cleaned)));
            // Never back by itself: a removal under way has written its log start here first.
            let start = start.max(known.get(&name).start.unwrap_or_default());
            assert!(
                recovery_point.0 >= 0 && start.0 >= 0,
                "{name:?} has no such offsets: {recovery_point}, {start}"
            );
            if start > Offset(0) {
                offsets.starts.insert(name.clone(), start);
            }
            offsets.topic_ids.insert(name.clone(), topic_id);
            offsets.recovery_points.insert(name, recovery_point);
        }
        for name in &known.kept {
            let said = known.get(name);
            let topic_id = known.files.topic_ids.get(name);
            offsets.topic_ids.extend(topic_id.map(|topic_id| (name.clone(), *topic_id)));
            offsets.recovery_points.extend(said.recovery_point.map(|offset| (name.clone(), offset)));
            offsets.starts.extend(said.start.map(|offset| (name.clone(), offset)));
            offsets.cleaned.extend(said.cleaned.map(|offset| (name.clone(), offset)));
        }
        // A partition that was made since has changes that go with the older files; what lies below its start
        // is gone.
        for name in known.older.keys().filter(|name| !offsets.recovery_points.contains_key(name)) {
            if let Some(start) = known.get(name).start.filter(|start| *start > Offset(0)) {
                offsets.starts.insert(name.clone(), start);
            }
        }
        Ok(Stock { generation, was_unsure, before: known.files.clone(), offsets })
    }
}

/// What the files are to say.
struct Stock {
    /// The changes from this generation on aren't in it.
    generation: u64,
    was_unsure: bool,
    before: SealedOffsets,
    offsets: SealedOffsets,
}
