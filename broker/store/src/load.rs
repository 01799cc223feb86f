//! Opening one partition's folder: segments, indexes, epochs and producers, with a scan where the disk may
//! hold less than was written.
//!
//! Two offsets say what is known. Below the recovery point the files beside the segments are complete too.
//! Below the durable end, which the journal may have raised since, the records were durable, so nothing there
//! is ever cut: if it is damaged, it stays, is named as damage, and reads there say so. What lies past both
//! may be torn, and is cut there.

mod durable;
mod producers;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{
    BatchError, CLEANED_SUFFIX, Depth, FileKind, HEADER_BYTES, IndexEntry, IndexPacer, LeaderEpochs,
    LogConfig, ScanEnd, ScannedBatch, SealedOffsets, TimeIndexEntry, parse_swap_name, scan,
};
use ottla_types::Offset;

use crate::damage::Damage;
use crate::disk::{Disk, DiskFile, OpenMode, read_file};
use crate::error::StoreError;
use crate::journal::{Replay, Slot};
use crate::partition::{Loaded, Shared, State};
use crate::patient::PatientDisk;
use crate::read::FileSource;
use crate::segment::{IndexState, Segment};
use crate::swap_file::finish_swaps;

/// No snapshot or epoch file is larger, unless it is damaged.
const SIDE_BYTES_MAX: usize = 256 << 20;

/// Whether a file of this name is half made, or not needed any more: once no swap file says otherwise.
pub(crate) fn is_temporary(name: &str) -> bool {
    [".tmp", ".deleted", CLEANED_SUFFIX, ".swap"].iter().any(|end| name.ends_with(end))
}

/// What is wrong where a batch should be and none is.
const NOTHING_THERE: BatchError = BatchError::Truncated { needed: HEADER_BYTES, present: 0 };

/// What is known when the partitions are opened.
pub(crate) struct Recovery<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    /// Whether the last process closed the directory.
    pub(crate) clean: bool,
    pub(crate) saved: SealedOffsets,
    /// Whether that is from the file with the checksum, and its changes.
    pub(crate) is_sealed: bool,
    pub(crate) config: LogConfig,
    pub(crate) replay: Replay,
    /// How many folders are opened at once.
    pub(crate) threads: usize,
}

/// What is known of a log before it is opened.
#[derive(Clone, Debug)]
pub(crate) struct KnownBounds {
    pub(crate) recovery_point: Offset,
    /// Not below the recovery point.
    pub(crate) durable_to: Offset,
    pub(crate) log_start: Offset,
    /// Where the log was being cut, if it was: its files may be shorter than on disk.
    pub(crate) cut_to: Option<Offset>,
    /// Its epochs, if they needn't be read.
    pub(crate) epochs: Option<LeaderEpochs>,
}

/// A folder's files, by kind.
#[derive(Default)]
struct FolderFiles {
    logs: Vec<(Offset, u64)>,
    modified_ms: BTreeMap<Offset, i64>,
    snapshots: Vec<Offset>,
    indexes: Vec<(FileKind, Offset, u64)>,
    temporary: Vec<String>,
    has_swap: bool,
}

struct Loader<'a> {
    recovery: &'a Recovery<'a>,
    disk: &'a dyn Disk,
    folder: &'a Path,
    recovery_point: Offset,
    durable_to: Offset,
    files: FolderFiles,
    epochs: LeaderEpochs,
    epochs_changed: bool,
    damaged: Vec<Damage>,
    /// Segments with bytes that can't be read at their end, and where these begin.
    unreadable: Vec<(Offset, u64)>,
    /// Whether records were taken in that nothing but the files tell of.
    has_tail: bool,
    cut_to: Option<Offset>,
}

/// Opens a folder: its state and the log start offset.
pub(crate) fn load_log(
    recovery: &Recovery<'_>,
    folder: &Path,
    known: KnownBounds,
) -> Result<Loaded, StoreError> {
    let disk = &PatientDisk(recovery.shared);
    let KnownBounds { recovery_point, durable_to, log_start, cut_to, epochs } = known;
    assert!(recovery_point <= durable_to, "what is complete is durable");
    let mut loader = Loader {
        recovery,
        disk,
        folder,
        recovery_point,
        durable_to,
        files: list_whole(recovery, disk, folder)?,
        epochs: LeaderEpochs::default(),
        epochs_changed: false,
        damaged: Vec::new(),
        unreadable: Vec::new(),
        has_tail: cut_to.is_some(),
        cut_to,
    };
    loader.remove_leftovers()?;
    loader.remove_before(log_start)?;
    loader.load_epochs(epochs)?;
    let mut segments = loader.load_segments(log_start)?;
    loader.cover_durable(&mut segments, log_start)?;
    durable::finish_closed(&mut segments);
    let active = segments.last().expect("`load_segments` makes one where there is none");
    let (base, end) = (active.base, active.end);
    let start = log_start.max(segments[0].base).min(end);
    loader.trim_epochs(start, end);
    let (producers, snapshot_at) = loader.load_producers(&segments, end)?;
    loader.damaged.sort_by_key(|damage| damage.offsets.start);
    if loader.has_tail {
        // The last process may have ended before its names were synced.
        recovery.shared.sync_dir(folder).map_err(StoreError::io("sync", folder))?;
    }
    // Names that were made since the checkpoint may not have been synced.
    let folder_unsynced = !recovery.clean && base > Offset(0) && base >= recovery_point;
    let touched =
        loader.epochs_changed || end > recovery_point || segments.iter().any(Segment::has_index_news);
    let mut state = State {
        folder: folder.to_owned(),
        segments,
        epochs: loader.epochs,
        epochs_unsaved: loader.epochs_changed,
        producers,
        heard_again: false,
        snapshot_at,
        unsynced_files: Vec::new(),
        folder_unsynced,
        parent_unsynced: None,
        segments_synced_to: end,
        touched,
        read_hints: Default::default(),
        read_hint_next: 0,
        deleted: false,
        closed_at: None,
        finished: false,
        incarnation: 0,
        direct: false,
        slot: Slot::default(),
        damaged: loader.damaged,
    };
    state.assert_chain(start);
    state.note_hidden_producers(start);
    let recovery_point = if recovery.clean { end } else { recovery_point.min(end) };
    Ok(Loaded { state, start, recovery_point, cleaned: None })
}

/// Lists a folder in which no segments are being replaced.
fn list_whole(recovery: &Recovery<'_>, disk: &dyn Disk, folder: &Path) -> Result<FolderFiles, StoreError> {
    let files = list(disk, folder)?;
    if !files.has_swap {
        return Ok(files);
    }
    assert!(recovery.clean, "a swap is completed before a journal is replayed, and before a log is cut");
    finish_swaps(disk, folder)?;
    list(disk, folder)
}

fn list(disk: &dyn Disk, folder: &Path) -> Result<FolderFiles, StoreError> {
    let mut files = FolderFiles::default();
    for entry in disk.list(folder).map_err(StoreError::io("list", folder))? {
        match FileKind::parse(&entry.name) {
            Some((FileKind::Log, base)) => {
                files.logs.push((base, entry.bytes));
                files.modified_ms.insert(base, entry.modified_ms);
            }
            Some((FileKind::Snapshot, base)) => files.snapshots.push(base),
            Some((kind, base)) => files.indexes.push((kind, base, entry.bytes)),
            None if parse_swap_name(&entry.name).is_some() => files.has_swap = true,
            None if is_temporary(&entry.name) => files.temporary.push(entry.name),
            None => {}
        }
    }
    assert!(files.logs.is_sorted(), "a folder is listed in order, and segments' names sort as offsets do");
    Ok(files)
}

impl Loader<'_> {
    fn path(&self, kind: FileKind, base: Offset) -> PathBuf {
        self.folder.join(kind.file_name(base))
    }

    fn open(&self, kind: FileKind, base: Offset, mode: OpenMode) -> Result<Arc<dyn DiskFile>, StoreError> {
        let path = self.path(kind, base);
        self.disk.open(&path, mode).map_err(StoreError::io("open", path))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        self.disk.remove_file(&path).map_err(StoreError::io("remove", path))
    }

    /// Removes half-made files, and indexes whose segment is gone.
    fn remove_leftovers(&self) -> Result<(), StoreError> {
        for name in &self.files.temporary {
            self.remove(name)?;
        }
        for (kind, base, _) in &self.files.indexes {
            if !self.files.logs.iter().any(|log| log.0 == *base) {
                self.remove(&kind.file_name(*base))?;
            }
        }
        Ok(())
    }

    /// Removes segments that retention let go: their removal may not have reached the disk, or only some of
    /// it.
    fn remove_before(&mut self, log_start: Offset) -> Result<(), StoreError> {
        let passed = self.files.logs.windows(2).take_while(|two| two[1].0 <= log_start).count();
        let gone: Vec<_> = self.files.logs.drain(..passed).collect();
        if gone.is_empty() { Ok(()) } else { self.remove_segments(&gone) }
    }

    /// Reads the epochs' file; when it is damaged, they are taken from the batches. Where the disk can't read
    /// these either, nobody says them any more: a leader without epochs has its followers cut all that they
    /// have.
    fn load_epochs(&mut self, known: Option<LeaderEpochs>) -> Result<(), StoreError> {
        if let Some(epochs) = known {
            // Their file may say something else by now: it is written anew.
            (self.epochs, self.epochs_changed) = (epochs, true);
            return Ok(());
        }
        let path = self.folder.join(LeaderEpochs::FILE);
        let text = read_file(self.disk, &path, SIDE_BYTES_MAX);
        let decoded =
            text.ok().and_then(|bytes| LeaderEpochs::decode(std::str::from_utf8(&bytes).ok()?).ok());
        if let Some(epochs) = decoded {
            self.epochs = epochs;
            self.epochs_changed = self.forget_unknown_epochs();
            return Ok(());
        }
        for at in 0..self.files.logs.len() {
            let (base, bytes) = self.files.logs[at];
            let source = FileSource::new(self.open(FileKind::Log, base, OpenMode::Existing)?);
            scan(&source, 0..bytes, base, Depth::Headers, |batch| {
                self.epochs.assign(batch.header().leader_epoch(), batch.header().base_offset());
                true
            })
            .map_err(StoreError::io("read", self.path(FileKind::Log, base)))?;
        }
        self.epochs_changed = !self.epochs.entries().is_empty();
        self.forget_unknown_epochs();
        Ok(())
    }

    /// The epochs may be newer than what is known of the log; its batches say them again.
    ///
    /// So may those from before a cut, if their file wasn't replaced in time. The log may have grown past the
    /// cut since, in an epoch that is older than what was cut.
    fn forget_unknown_epochs(&mut self) -> bool {
        let cut_to = self.cut_to.map_or(self.durable_to, |cut_to| cut_to.max(self.recovery_point));
        !self.recovery.clean && self.epochs.truncate_to(self.durable_to.min(cut_to))
    }

    /// Forgets the epochs that a log from `start` to `end` has no records of.
    fn trim_epochs(&mut self, start: Offset, end: Offset) {
        self.epochs_changed |= self.epochs.truncate_to(end) | self.epochs.advance_start(start);
        if start == end && self.recovery_point < end && !self.recovery.clean {
            // Of records that are gone only the epochs' file tells, and it may be older than the last ones
            // were: a follower that names an older epoch than it had is told to cut what is acknowledged. Who
            // has no records need name none.
            self.epochs_changed |= !std::mem::take(&mut self.epochs).entries().is_empty();
        }
    }

    /// Walks a part of the log that isn't cut, whatever is found: what the disk can't read of it is damage
    /// like any other.
    fn walk(
        &self,
        base: Offset,
        positions: Range<u64>,
        first_offset: Offset,
        depth: Depth,
        visit: impl FnMut(&ScannedBatch) -> bool,
    ) -> Result<ScanEnd, StoreError> {
        scan(&self.known_records(base)?, positions, first_offset, depth, visit)
            .map_err(StoreError::io("read", self.path(FileKind::Log, base)))
    }

    fn known_records(&self, base: Offset) -> Result<FileSource, StoreError> {
        Ok(FileSource::with_bad_sectors_as_zeros(self.open(FileKind::Log, base, OpenMode::Existing)?))
    }

    /// Opens all segments; after a crash those that reach past the recovery point are scanned, and what
    /// follows the first torn batch goes.
    fn load_segments(&mut self, log_start: Offset) -> Result<Vec<Segment>, StoreError> {
        let logs = std::mem::take(&mut self.files.logs);
        let mut segments: Vec<Segment> = Vec::with_capacity(logs.len().max(1));
        for (at, &(base, bytes)) in logs.iter().enumerate() {
            let next = logs.get(at + 1).map(|log| log.0);
            let is_known = next.is_some_and(|next| self.recovery.clean || next <= self.recovery_point);
            let has_times =
                bytes == 0 || self.index_entries(FileKind::TimeIndex, base, TimeIndexEntry::BYTES) > 0;
            let segment = match next {
                Some(end) if is_known && has_times => self.known_segment(base, bytes, end)?,
                _ => self.scanned_segment(base, bytes, next)?,
            };
            let end = segment.end;
            segments.push(segment);
            let gap_to = next.filter(|next| end != *next);
            if gap_to.is_some_and(|next| !self.keep_after_gap(&mut segments, next)) {
                self.remove_segments(&logs[at + 1..])?;
                break;
            }
        }
        if segments.is_empty() {
            segments.push(self.new_segment(log_start)?);
        }
        Ok(segments)
    }

    /// A segment that ends before the next one begins: below the durable end it is damaged and stays.
    fn keep_after_gap(&mut self, segments: &mut [Segment], next: Offset) -> bool {
        let last = segments.last_mut().expect("the caller has just pushed one");
        let keep = next <= self.durable_to && last.end < next;
        if keep {
            let damage = self.missing(last, next);
            self.note_damage(damage);
            last.end = next;
            last.durable_end = next;
        }
        keep
    }

    fn remove_segments(&self, logs: &[(Offset, u64)]) -> Result<(), StoreError> {
        for (base, bytes) in logs {
            tracing::warn!(folder = %self.folder.display(), %base, bytes, "segment removed");
            self.remove(&FileKind::Log.file_name(*base))?;
            for (kind, _, _) in self.files.indexes.iter().filter(|index| index.1 == *base) {
                self.remove(&kind.file_name(*base))?;
            }
        }
        self.disk.sync_dir(self.folder).map_err(StoreError::io("sync", self.folder))
    }

    fn new_segment(&self, base: Offset) -> Result<Segment, StoreError> {
        let file = self.open(FileKind::Log, base, OpenMode::CreateIfMissing)?;
        file.sync().map_err(StoreError::io("sync", self.path(FileKind::Log, base)))?;
        self.disk.sync_dir(self.folder).map_err(StoreError::io("sync", self.folder))?;
        Ok(self.segment(base))
    }

    fn note_damage(&mut self, damage: Damage) {
        tracing::error!(
            folder = %self.folder.display(), from = %damage.offsets.start, to = %damage.offsets.end,
            "durable records are missing or corrupt; they are not served"
        );
        self.damaged.push(damage);
    }

    /// The damage at the end of a segment whose records should go on to `next`.
    fn missing(&self, segment: &Segment, next: Offset) -> Damage {
        let unreadable = self.unreadable.iter().find(|unreadable| unreadable.0 == segment.base);
        let from = unreadable.map_or(segment.bytes, |unreadable| unreadable.1);
        Damage {
            offsets: segment.end..next,
            segment: segment.base,
            positions: from..segment.bytes,
            error: NOTHING_THERE,
            hides_producers: false,
        }
    }

    fn index_entries(&self, kind: FileKind, base: Offset, entry_bytes: usize) -> usize {
        let found = self.files.indexes.iter().find(|index| index.0 == kind && index.1 == base);
        found.map_or(0, |index| index.2 as usize / entry_bytes)
    }

    fn time_entry(&self, base: Offset, at: usize) -> Option<TimeIndexEntry> {
        let mut bytes = [0; TimeIndexEntry::BYTES];
        let file = self.open(FileKind::TimeIndex, base, OpenMode::Existing).ok()?;
        let read = file.read_at((at * TimeIndexEntry::BYTES) as u64, &mut bytes).ok()?;
        (read == bytes.len()).then(|| TimeIndexEntry::decode(bytes))
    }

    /// A closed segment that is known to be whole: nothing of it is read but its greatest timestamp.
    fn known_segment(&self, base: Offset, bytes: u64, end: Offset) -> Result<Segment, StoreError> {
        let mut segment = self.segment(base);
        segment.index = IndexState::new(self.index_entries(FileKind::Index, base, IndexEntry::BYTES));
        let times = self.index_entries(FileKind::TimeIndex, base, TimeIndexEntry::BYTES);
        segment.time_index = IndexState::new(times);
        let last = times.checked_sub(1).and_then(|at| self.time_entry(base, at));
        segment.pacer = IndexPacer::resume(self.recovery.config.index_interval_bytes, last, last);
        segment.set_recovered(bytes, end);
        Ok(segment)
    }

    /// The active segment, or one that may be torn: walked from the last index entry that can be trusted, up
    /// to the durable end, and then as far as it is whole.
    fn scanned_segment(
        &mut self,
        base: Offset,
        mut bytes: u64,
        next: Option<Offset>,
    ) -> Result<Segment, StoreError> {
        let file = self.open(FileKind::Log, base, OpenMode::Existing)?;
        let path = self.path(FileKind::Log, base);
        if self.cut_to.is_some() {
            file.sync().map_err(StoreError::io("sync", &path))?;
        }
        let mut segment = self.segment(base);
        let (offset, position) = self.trusted_start(&mut segment, &file, bytes)?;
        segment.set_recovered(position, offset);
        self.walk_durable(&mut segment, bytes)?;
        if segment.end < self.durable_to && next == Some(segment.end) && segment.bytes < bytes {
            // No record is missing: these are the remains of a write that failed.
            let end = ScanEnd { position: segment.bytes, next_offset: segment.end, stopped_by: None };
            self.cut_torn(&path, &file, bytes, &end)?;
            bytes = segment.bytes;
        }
        if segment.end < self.durable_to {
            // The next segment goes on, or what can't be read there is damaged: all of it stays.
            self.unreadable.push((base, segment.bytes));
            segment.set_recovered(bytes, segment.end);
            self.first_timestamp(&mut segment)?;
            return Ok(segment);
        }
        if !self.recovery.clean && segment.bytes < bytes {
            // What the page cache holds past the durable end may be on disk or not: look at what the disk
            // has.
            file.sync().map_err(StoreError::io("sync", &path))?;
            file.drop_cache().map_err(StoreError::io("read", &path))?;
            bytes = file.bytes().map_err(StoreError::io("read", &path))?.max(segment.bytes);
            self.has_tail = true;
        }
        let checked_from = segment.bytes;
        let end = self.walk_tail(&mut segment, bytes)?;
        if end.position < bytes {
            self.cut_torn(&path, &file, bytes, &end)?;
        }
        segment.set_recovered(end.position, segment.end);
        if !self.recovery.clean {
            segment.verified = checked_from..end.position;
        }
        self.first_timestamp(&mut segment)?;
        Ok(segment)
    }

    fn walk_tail(&mut self, segment: &mut Segment, bytes: u64) -> Result<ScanEnd, StoreError> {
        let depth = if self.recovery.clean { Depth::Headers } else { Depth::Crc };
        let mut epochs = std::mem::take(&mut self.epochs);
        let mut changed = false;
        // The log ends by what is read there, so what can't be read ends nothing.
        let source = FileSource::new(self.open(FileKind::Log, segment.base, OpenMode::Existing)?);
        let end = scan(&source, segment.bytes..bytes, segment.end, depth, |batch| {
            let header = batch.header();
            segment.push_batch(header, header.base_offset(), header.max_timestamp());
            changed |= epochs.assign(header.leader_epoch(), header.base_offset());
            true
        })
        .map_err(StoreError::io("read", self.path(FileKind::Log, segment.base)))?;
        self.epochs = epochs;
        self.epochs_changed |= changed;
        Ok(end)
    }

    /// Cuts what follows the last good batch: it lies past the recovery point.
    fn cut_torn(
        &self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        bytes: u64,
        end: &ScanEnd,
    ) -> Result<(), StoreError> {
        let reason = end.stopped_by.as_ref().map_or(String::new(), ToString::to_string);
        let cut = bytes - end.position;
        tracing::warn!(path = %path.display(), from = end.position, bytes = cut, reason, "torn tail cut");
        file.truncate(end.position).map_err(StoreError::io("truncate", path))?;
        file.sync().map_err(StoreError::io("sync", path))
    }

    fn first_timestamp(&self, segment: &mut Segment) -> Result<(), StoreError> {
        if segment.first_timestamp_ms.is_some() || segment.bytes == 0 {
            return Ok(());
        }
        let (base, bytes) = (segment.base, segment.bytes);
        let first = self.walk(base, 0..bytes, base, Depth::Headers, |batch| {
            segment.first_timestamp_ms = Some(batch.header().max_timestamp());
            false
        });
        first.map(|_| ())
    }

    /// Where the scan of a segment begins: at the batch of the last index entry up to the recovery point, if
    /// the indexes are sound; entries behind it are dropped. Otherwise at the segment's beginning.
    fn trusted_start(
        &self,
        segment: &mut Segment,
        log: &Arc<dyn DiskFile>,
        bytes: u64,
    ) -> Result<(Offset, u64), StoreError> {
        let base = segment.base;
        let fresh = (base, 0);
        let trusted = self.trusted_entries(base, log, bytes);
        let (index, times, start) = trusted.unwrap_or((0, 0, fresh));
        for (kind, keep, entry_bytes) in
            [(FileKind::Index, index, IndexEntry::BYTES), (FileKind::TimeIndex, times, TimeIndexEntry::BYTES)]
        {
            if self.index_entries(kind, base, 1) != keep * entry_bytes {
                let path = self.path(kind, base);
                let file = self.open(kind, base, OpenMode::CreateIfMissing)?;
                file.truncate((keep * entry_bytes) as u64).map_err(StoreError::io("truncate", path))?;
                segment.index_unsynced = true;
            }
        }
        segment.index = IndexState::new(index);
        segment.time_index = IndexState::new(times);
        let last = times.checked_sub(1).and_then(|at| self.time_entry(base, at));
        segment.pacer = IndexPacer::resume(self.recovery.config.index_interval_bytes, last, last);
        Ok(start)
    }

    fn trusted_entries(
        &self,
        base: Offset,
        log: &Arc<dyn DiskFile>,
        bytes: u64,
    ) -> Option<(usize, usize, (Offset, u64))> {
        let clean = self.recovery.clean;
        let limit = if clean { Offset(i64::MAX) } else { self.recovery_point };
        let offset = |relative: u32| Offset(base.0 + i64::from(relative));
        let index = self.read_entries(FileKind::Index, base, IndexEntry::decode)?;
        let rises = index
            .windows(2)
            .all(|two| two[0].relative_offset < two[1].relative_offset && two[0].position < two[1].position);
        let index: Vec<_> =
            index.into_iter().take_while(|entry| offset(entry.relative_offset) < limit).collect();
        if clean && index.is_empty() {
            let times = self.read_entries(FileKind::TimeIndex, base, TimeIndexEntry::decode)?;
            return Some((0, times.len(), (base, 0)));
        }
        let last = index.last().filter(|last| rises && u64::from(last.position) < bytes)?;
        let position = u64::from(last.position);
        let mut found = None;
        let mut header = [0; ottla_log::HEADER_BYTES];
        if log.read_at(position, &mut header).ok()? == header.len() {
            let header = ottla_log::BatchHeader::new(&header)?;
            let sound = ottla_log::check_header(header).is_ok()
                && header.last_offset() == offset(last.relative_offset);
            found = sound.then(|| header.base_offset());
        }
        let start = (found?, position);
        let times = self.read_entries(FileKind::TimeIndex, base, TimeIndexEntry::decode)?;
        let rises = times.windows(2).all(|two| {
            two[0].timestamp_ms < two[1].timestamp_ms && two[0].relative_offset < two[1].relative_offset
        });
        let kept = times.iter().take_while(|entry| clean || entry.relative_offset <= last.relative_offset);
        rises.then_some((index.len(), kept.count(), start))
    }

    fn read_entries<E, const N: usize>(
        &self,
        kind: FileKind,
        base: Offset,
        decode: fn([u8; N]) -> E,
    ) -> Option<Vec<E>> {
        let bytes = match read_file(self.disk, &self.path(kind, base), SIDE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes.ok()?,
        };
        Some(bytes.as_chunks::<N>().0.iter().map(|entry| decode(*entry)).collect())
    }
}
