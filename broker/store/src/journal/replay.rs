//! What the journal says after an unclean stop: for each partition the writes to repeat, and how far it was
//! durable.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{
    FileKind, JournalCuts, JournalEntry, JournalKey, JournalVoid, decode_cuts, decode_void, read_journal,
};
use ottla_types::Offset;

use super::files::{FILLING_FILE, SPARE_FILE, file_name, parse_name};
use super::{CUT_CHANGES, CUTS_FILE};
use crate::changes::{Changes, OFFSET_CHANGES};
use crate::disk::{Disk, DiskFile, OpenMode, read_file};
use crate::error::StoreError;

/// No file of the journal is larger, unless it is damaged.
const FILE_BYTES_MAX: usize = 4 << 30;

/// What is left out of the checks, for the simulation's planted bugs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ignore {
    pub(crate) cuts: bool,
    pub(crate) generation: bool,
    /// What a group takes.
    pub(crate) limit: bool,
    /// Changes of single logs.
    pub(crate) changes: bool,
    /// That changes of single logs are to be synced.
    pub(crate) syncs_of_changes: bool,
}

impl Ignore {
    /// The generation that the groups of a file have to be of.
    fn expected(self, of_file: u64) -> Option<u64> {
        if self.generation { None } else { Some(of_file) }
    }

    /// What is void of a log's entries.
    fn void_of(self, cuts: &JournalCuts, key: JournalKey) -> JournalVoid {
        if self.cuts { JournalVoid::default() } else { cuts.get(&key).copied().unwrap_or_default() }
    }

    /// What was added, in files of changes, to a file that speaks of all logs.
    pub(crate) fn added<T>(self, changes: &[T]) -> &[T] {
        if self.changes { &[] } else { changes }
    }
}

/// The journal's entries, for each partition in their order.
#[derive(Default)]
pub(crate) struct Replay {
    /// The logs that were cut lately, perhaps not to the end, or of which segments were replaced.
    cuts: JournalCuts,
    /// What is to be written stays there until its partition asks for it: a journal may be larger than the
    /// memory.
    files: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    entries: HashMap<JournalKey, Vec<(usize, JournalEntry)>>,
}

/// What was repeated for one partition.
#[derive(Default)]
pub(crate) struct Replayed {
    /// Everything below it was durable.
    pub(crate) durable_to: Offset,
    /// The segments that were written to; they are not synced.
    pub(crate) files: HashMap<Offset, Arc<dyn DiskFile>>,
    /// The number of the newest entry.
    pub(crate) newest: u64,
}

/// What was found in the journal's folder.
pub(super) struct FoundJournal {
    pub(super) replay: Replay,
    pub(super) cuts: JournalCuts,
    /// The cuts that were added to those.
    pub(super) cut_changes: Changes,
    /// The newest generation that left a trace.
    pub(super) generation: u64,
    /// The generations whose files are there.
    pub(super) files: Vec<u64>,
}

pub(super) fn read(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    clean: bool,
    ignore: Ignore,
) -> Result<FoundJournal, StoreError> {
    if clean {
        remove(&**disk, folder)?;
    }
    let open_changes = || Changes::open(disk, folder, CUT_CHANGES, !ignore.syncs_of_changes);
    let (cut_changes, added) = open_changes()?;
    if clean {
        let (replay, cuts) = (Replay::default(), JournalCuts::new());
        return Ok(FoundJournal { replay, cuts, cut_changes, generation: 0, files: Vec::new() });
    }
    let disk = &**disk;
    let names = disk.list(folder).map_err(StoreError::io("list", folder))?;
    let files: Vec<u64> = names.iter().filter_map(|entry| parse_name(&entry.name)).collect();
    for entry in names.iter().filter(|entry| [SPARE_FILE, FILLING_FILE].contains(&entry.name.as_str())) {
        let path = folder.join(&entry.name);
        disk.remove_file(&path).map_err(StoreError::io("remove", path))?;
    }
    let newest_file = files.iter().copied().max().unwrap_or(0);
    let Some((mut cuts, added)) = read_cuts(disk, folder)?.zip(added) else {
        // Old entries may be void, and repeating them would harm what was written since: now, and at a later
        // start, when the cuts are those that came since.
        tracing::error!(path = %folder.join(CUTS_FILE).display(), "corrupt; the journal can't be used");
        remove(disk, folder)?;
        let (replay, cuts, cut_changes) = (Replay::default(), JournalCuts::new(), open_changes()?.0);
        return Ok(FoundJournal { replay, cuts, cut_changes, generation: newest_file, files: Vec::new() });
    };
    for (key, void) in ignore.added(&added).iter().filter_map(|void| decode_void(void)) {
        let known = cuts.entry(key).or_default();
        *known = known.after(void);
    }
    let newest_cut = cuts.values().map(|void| void.newest() >> 32).max().unwrap_or(0);
    let generation = newest_file.max(newest_cut);
    let mut replay = Replay { cuts: cuts.clone(), ..Replay::default() };
    for &generation in &files {
        replay.add_file(disk, folder, generation, &cuts, ignore)?;
    }
    Ok(FoundJournal { replay, cuts, cut_changes, generation, files })
}

/// Removes all files: those of cuts last, as the others are worth nothing without them. Changes of offsets
/// stay: they are the checkpoints'.
pub(super) fn remove(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
    let mut names = disk.list(folder).map_err(StoreError::io("list", folder))?;
    names.retain(|entry| !entry.name.starts_with(OFFSET_CHANGES));
    let (cuts, files): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|entry| entry.name == CUTS_FILE || entry.name.starts_with(CUT_CHANGES));
    for group in [files, cuts] {
        for entry in &group {
            let path = folder.join(&entry.name);
            disk.remove_file(&path).map_err(StoreError::io("remove", path))?;
        }
        if !group.is_empty() {
            disk.sync_dir(folder).map_err(StoreError::io("sync", folder))?;
        }
    }
    Ok(())
}

/// The cuts; `None` when the file is damaged.
fn read_cuts(disk: &dyn Disk, folder: &Path) -> Result<Option<JournalCuts>, StoreError> {
    let path = folder.join(CUTS_FILE);
    match read_file(disk, &path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok().and_then(|text| decode_cuts(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(JournalCuts::new())),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
}

impl Replay {
    fn add_file(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        generation: u64,
        cuts: &JournalCuts,
        ignore: Ignore,
    ) -> Result<(), StoreError> {
        let path = folder.join(file_name(generation));
        let file = disk.open(&path, OpenMode::Existing).map_err(StoreError::io("open", &path))?;
        // A sync that failed must not deceive: what the cache holds may never have reached the disk.
        file.sync().and_then(|()| file.drop_cache()).map_err(StoreError::io("sync", &path))?;
        let bytes = read_file(disk, &path, FILE_BYTES_MAX).map_err(StoreError::io("read", &path))?;
        let content = read_journal(&bytes, ignore.expected(generation));
        for damaged in &content.damaged {
            tracing::error!(path = %path.display(), from = damaged.start, to = damaged.end, "journal damaged");
        }
        let at = self.files.len();
        for entry in content.entries {
            if ignore.void_of(cuts, entry.key).counts(entry.number) {
                self.entries.entry(entry.key).or_default().push((at, entry));
            }
        }
        self.files.push((path, file));
        Ok(())
    }

    /// The partitions that there are entries or cuts of, and the number of each one's newest entry.
    pub(crate) fn newest(&self) -> impl Iterator<Item = (JournalKey, u64)> {
        let cut = self.cuts.keys().map(|key| (*key, 0));
        cut.chain(self.entries.iter().map(|(key, entries)| {
            let newest = entries.iter().map(|entry| entry.1.number).max();
            (*key, newest.unwrap_or(0))
        }))
    }

    /// The partitions that there are entries of.
    pub(crate) fn keys_with_entries(&self) -> impl Iterator<Item = JournalKey> {
        self.entries.keys().copied()
    }

    /// Where the log was cut, if that may not be on disk yet.
    pub(crate) fn cut_to(&self, key: JournalKey) -> Option<Offset> {
        Some(self.cuts.get(&key)?.cut?.durable_to)
    }

    /// Repeats the writes of one partition that lie past its recovery point and its log start. Those to
    /// segments that were replaced since say how far it was durable, and no more.
    pub(crate) fn apply(
        &self,
        disk: &dyn Disk,
        folder: &Path,
        key: JournalKey,
        recovery_point: Offset,
        log_start: Offset,
    ) -> Result<Replayed, StoreError> {
        let void = self.cuts.get(&key).copied().unwrap_or_default();
        let durable_to = self.cut_to(key).map_or(recovery_point, |cut_to| recovery_point.max(cut_to));
        let mut replayed = Replayed { durable_to, ..Replayed::default() };
        let entries = || self.entries.get(&key).into_iter().flatten();
        // A segment that retention let go is not made again; one that is kept is kept whole.
        let past_start = entries().filter(|(_, entry)| entry.next_offset > log_start);
        let kept: BTreeSet<Offset> =
            past_start.filter_map(|(_, entry)| Some(entry.write.as_ref()?.segment)).collect();
        for (file, entry) in entries() {
            replayed.newest = replayed.newest.max(entry.number);
            replayed.durable_to = replayed.durable_to.max(entry.next_offset);
            let Some(write) = &entry.write else { continue };
            let is_settled = void.is_settled(entry.number, entry.next_offset);
            if entry.next_offset <= recovery_point || is_settled {
                continue;
            }
            let mode =
                if kept.contains(&write.segment) { OpenMode::CreateIfMissing } else { OpenMode::Existing };
            let path = folder.join(FileKind::Log.file_name(write.segment));
            let segment = match replayed.files.get(&write.segment) {
                Some(segment) => Arc::clone(segment),
                None => match disk.open(&path, mode) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    opened => opened.map_err(StoreError::io("open", &path))?,
                },
            };
            let bytes = self.read(*file, &write.bytes)?;
            segment.write_at(write.position, &[&bytes]).map_err(StoreError::io("write", path))?;
            replayed.files.insert(write.segment, segment);
        }
        Ok(replayed)
    }

    /// The bytes of an entry. They were looked at when the file was opened; what the disk does to them since,
    /// the batches' own checksums find.
    fn read(&self, file: usize, range: &Range<usize>) -> Result<Vec<u8>, StoreError> {
        let (path, file) = &self.files[file];
        let mut bytes = vec![0; range.len()];
        let read = file.read_at(range.start as u64, &mut bytes).map_err(StoreError::io("read", path))?;
        if read < bytes.len() {
            return Err(StoreError::io("read", path)(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        Ok(bytes)
    }
}
