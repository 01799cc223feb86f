//! Reading: file ranges of whole batches, found through the index, never past what may be shown, never
//! corrupt.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{
    BatchError, ByteSource, Depth, FileKind, HEADER_BYTES, IndexEntry, LeaderEpochs, ScanEnd, ScannedBatch,
    partition_point, scan,
};
use ottla_types::{LeaderEpoch, Offset};

use crate::damage::ScanStop;
use crate::disk::{DiskFile, OpenMode, is_unreadable};
use crate::error::ReadError;
use crate::partition::{PartitionLog, State};
use crate::segment::Segment;

/// How far a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpTo {
    /// To the log's end: replicas, which sync for themselves.
    End,
    /// To the durable end: whoever reads a log that has no replicas.
    Durable,
    /// To this offset, which is durable: consumers read to the high watermark.
    Offset(Offset),
}

/// Whole batches as a range of a file, for `sendfile`.
#[derive(Clone)]
pub struct ReadSlice {
    /// The segment.
    pub file: Arc<dyn DiskFile>,
    /// The first byte.
    pub position: u64,
    /// The number of bytes.
    pub len: usize,
    /// The offset of the first record; it may be less than what was asked for.
    pub base_offset: Offset,
    /// The offset after the last record.
    pub next_offset: Offset,
    /// Whether it reaches to the end of what may be read of the segment: what comes next is in another one.
    pub ends_file: bool,
}

impl ReadSlice {
    /// The file's descriptor for `sendfile`; `None` on a simulated disk.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.fd()
    }

    /// Copies the bytes.
    ///
    /// # Errors
    /// Those of the disk; `UnexpectedEof` when the log was cut meanwhile.
    pub fn to_bytes(&self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.len];
        if self.file.read_at(self.position, &mut bytes)? < self.len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(bytes.into())
    }
}

impl std::fmt::Debug for ReadSlice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { position, len, base_offset, next_offset, .. } = self;
        write!(f, "offsets {base_offset}..{next_offset} at {position}, {len} bytes")
    }
}

/// A file as a source for scans.
pub(crate) struct FileSource {
    pub(crate) file: Arc<dyn DiskFile>,
    /// Whether what the disk can't read is zeros, which no checksum fits: so it is damage like any other,
    /// known by its place, and repaired alike. Not where a log ends by what is read.
    has_bad_sectors_as_zeros: bool,
}

/// What disks read and fail to read at once, at the most.
const PAGE_BYTES: u64 = 4_096;

impl ByteSource for FileSource {
    type Error = io::Error;

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read_at(position, buffer) {
            Err(error) if self.has_bad_sectors_as_zeros && is_unreadable(&error) => {
                self.read_pages(position, buffer)
            }
            read => read,
        }
    }
}

impl FileSource {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, has_bad_sectors_as_zeros: false }
    }

    /// One for who looks for damage.
    pub(crate) fn with_bad_sectors_as_zeros(file: Arc<dyn DiskFile>) -> Self {
        Self { file, has_bad_sectors_as_zeros: true }
    }

    /// Reads page by page.
    fn read_pages(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self.file.bytes()?.saturating_sub(position).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            let at = position + done as u64;
            let to_next_page = (PAGE_BYTES - at % PAGE_BYTES) as usize;
            let page = &mut buffer[done..wanted.min(done + to_next_page)];
            done += match self.file.read_at(at, page) {
                Err(error) if is_unreadable(&error) => {
                    page.fill(0);
                    page.len()
                }
                Ok(0) => break,
                read => read?,
            };
        }
        Ok(done)
    }
}

impl State {
    /// The first of the batches whose epoch isn't the one that began there.
    pub(crate) fn first_foreign_epoch<'b>(&self, batches: &'b [SeenEpoch]) -> Option<&'b SeenEpoch> {
        batches.iter().find(|batch| is_of_foreign_epoch(&self.epochs, batch))
    }
}

/// Whether a batch's epoch isn't the one that began there.
pub(crate) fn is_of_foreign_epoch(epochs: &LeaderEpochs, batch: &SeenEpoch) -> bool {
    let Some((_, known_from)) = epochs.entries().first() else { return false };
    // The last offset, as the log may start within a batch.
    batch.last_offset >= *known_from && epochs.epoch_at(batch.last_offset) != Some(batch.epoch)
}

/// A batch that was read, as far as its epoch is concerned.
pub(crate) struct SeenEpoch {
    position: u64,
    base_offset: Offset,
    last_offset: Offset,
    epoch: LeaderEpoch,
}

impl SeenEpoch {
    pub(crate) fn of(batch: &ScannedBatch) -> Self {
        let header = batch.header();
        let (base_offset, last_offset) = (header.base_offset(), header.last_offset());
        Self { position: batch.position, base_offset, last_offset, epoch: header.leader_epoch() }
    }

    /// A scan ends there, as the epoch is wrong.
    pub(crate) fn stop(&self) -> ScanEnd {
        let stopped_by = Some(BatchError::LeaderEpoch(self.epoch.0));
        ScanEnd { position: self.position, next_offset: self.base_offset, stopped_by }
    }
}

/// A segment as it was when the read began.
pub(crate) struct SegmentView {
    pub(crate) base: Offset,
    pub(crate) path: PathBuf,
    pub(crate) source: FileSource,
    /// The bytes that may be read, whole batches.
    pub(crate) limit: u64,
    /// The offset at `limit`.
    pub(crate) limit_offset: Offset,
    /// No batch that reaches past this offset may be read; it may lie before `limit_offset`.
    until: Offset,
    /// Where a batch begins that isn't after the wanted offset, if it is known.
    hint: Option<(Offset, u64)>,
    /// Where the log goes on behind the last known damage before the wanted offset.
    behind_damage: Option<(Offset, u64)>,
    pub(crate) incarnation: u64,
    index: Option<Arc<dyn DiskFile>>,
    index_written: usize,
    index_pending: Vec<IndexEntry>,
}

impl PartitionLog {
    /// Finds up to `max_bytes` of whole batches, beginning with the one that holds `from`; one at least
    /// when `at_least_one`, however large it is. `None` when there is nothing (yet), or nothing that small.
    ///
    /// # Errors
    /// When `from` is out of range or the batch there is corrupt.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        at_least_one: bool,
        up_to: UpTo,
    ) -> Result<Option<ReadSlice>, ReadError> {
        let Some(view) = self.view(from, up_to)? else { return Ok(None) };
        match self.read_in(&view, from, max_bytes, at_least_one) {
            // The log was cut meanwhile; what there is now, the next read tells.
            Err(_) if view.incarnation != self.state.lock().incarnation => Ok(None),
            result => result,
        }
    }

    fn read_in(
        &self,
        view: &SegmentView,
        from: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Option<ReadSlice>, ReadError> {
        let (position, first) = self.locate(view, from)?;
        let base_offset = first.header().base_offset();
        if first.header().next_offset() > view.until {
            // Unless it is a damaged header that says so.
            self.verify(view, position..first.end(), base_offset, first.header().next_offset())?;
            return Ok(None);
        }
        let (end, next_offset) = view.extent(&first, max_bytes)?;
        let (end, next_offset) = match end {
            end if end > position => (end, next_offset),
            _ if at_least_one => (first.end(), first.header().next_offset()),
            _ => return Ok(None),
        };
        let (end, next_offset) = self.verify(view, position..end, base_offset, next_offset)?;
        self.remember(view, next_offset, end);
        assert!(
            position < end && base_offset < next_offset,
            "what is read is whole batches, and one at least"
        );
        assert!(end <= view.limit, "{end} lies behind what may be read, {}", view.limit);
        let len = (end - position) as usize;
        let ends_file = end == view.limit;
        Ok(Some(ReadSlice {
            file: Arc::clone(&view.source.file),
            position,
            len,
            base_offset,
            next_offset,
            ends_file,
        }))
    }

    /// As [`Self::read`], but copies the bytes; empty when there are none.
    ///
    /// # Errors
    /// Those of [`Self::read`], and of the disk.
    pub fn read_bytes(&self, from: Offset, max_bytes: usize, up_to: UpTo) -> Result<Bytes, ReadError> {
        let Some(slice) = self.read(from, max_bytes, true, up_to)? else { return Ok(Bytes::new()) };
        let bytes = slice.to_bytes();
        bytes.map_err(|source| ReadError::Io { path: self.state.lock().folder.clone(), source })
    }

    /// The segment with `from`; `None` when `from` is just where the readable log ends.
    pub(crate) fn view(&self, from: Offset, up_to: UpTo) -> Result<Option<SegmentView>, ReadError> {
        self.view_locked(&self.state.lock(), from, up_to)
    }

    pub(crate) fn view_locked(
        &self,
        state: &State,
        from: Offset,
        up_to: UpTo,
    ) -> Result<Option<SegmentView>, ReadError> {
        if state.deleted {
            return Err(ReadError::Deleted);
        }
        let (start, durable) = (self.log_start_offset(), self.durable_end_offset());
        let end = state.end();
        let durable_only = up_to != UpTo::End && !self.is_written_enough();
        let limit_offset = if durable_only { durable.min(end) } else { end };
        let until = match up_to {
            UpTo::Offset(until) => until.min(limit_offset),
            UpTo::End | UpTo::Durable => limit_offset,
        };
        if from < start || from > end {
            return Err(ReadError::OutOfRange { from, start, end });
        }
        if from >= until {
            return Ok(None);
        }
        let at = state.segment_of(from);
        let segment = &state.segments[at];
        let whole = segment.end <= limit_offset;
        let (limit, limit_offset) =
            if whole { (segment.bytes, segment.end) } else { (segment.durable_bytes, segment.durable_end) };
        let until = until.min(limit_offset);
        if from >= until {
            return Ok(None);
        }
        assert!(segment.base <= from, "{from} lies in segment {}", segment.base);
        assert!(limit <= segment.bytes && limit_offset <= segment.end, "what may be read was written");
        let base = segment.base;
        let (index_written, index_pending) = (segment.index.written, segment.index.pending.clone());
        let path = state.path(FileKind::Log, base);
        let file = self.file(state, FileKind::Log, base, OpenMode::Existing);
        let file = file.map_err(|source| ReadError::Io { path: path.clone(), source })?;
        if let Some(damage) = state.damage_at(from) {
            let (position, error) = (damage.positions.start, damage.error.clone());
            return Err(ReadError::Corrupt { path, position, error });
        }
        let mut damaged = state.damaged.iter().filter(|damage| damage.segment == base);
        let behind_damage = damaged.rfind(|damage| damage.offsets.end <= from);
        let behind_damage = behind_damage.map(|damage| (damage.offsets.end, damage.positions.end));
        let incarnation = state.incarnation;
        let hint = state.read_hints.iter().find(|hint| hint.0 == from && hint.1 == base && hint.2 < limit);
        let hint = hint.map(|hint| (hint.0, hint.2));
        let index = match hint {
            None if index_written > 0 => self.file(state, FileKind::Index, base, OpenMode::Existing).ok(),
            _ => None,
        };
        let source = FileSource::with_bad_sectors_as_zeros(file);
        Ok(Some(SegmentView {
            base,
            path,
            source,
            limit,
            limit_offset,
            until,
            hint,
            behind_damage,
            incarnation,
            index,
            index_written,
            index_pending,
        }))
    }

    /// The batch that holds `from`. Damage before it is noted and stepped over.
    pub(crate) fn locate(&self, view: &SegmentView, from: Offset) -> Result<(u64, ScannedBatch), ReadError> {
        let mut start = view.start(from);
        loop {
            let stop = match view.locate_from(start, from)? {
                Ok(batch) => return Ok((batch.position, batch)),
                Err(stop) => stop,
            };
            let (position, error) = (stop.position, stop.error.clone());
            let damage = self.found_damage(view, stop)?;
            if from < damage.offsets.end || damage.positions.end >= view.limit {
                return Err(view.corrupt(position, error));
            }
            start = (damage.offsets.end, damage.positions.end);
        }
    }

    fn remember(&self, view: &SegmentView, offset: Offset, position: u64) {
        let mut state = self.state.lock();
        let hint = (offset, view.base, position);
        if view.incarnation != state.incarnation || state.read_hints.contains(&hint) {
            return;
        }
        let at = state.read_hint_next % state.read_hints.len();
        state.read_hints[at] = hint;
        state.read_hint_next = at + 1;
    }

    /// Checks the CRCs of `range` unless that was done before; returns the end of the good part.
    fn verify(
        &self,
        view: &SegmentView,
        range: Range<u64>,
        base_offset: Offset,
        next_offset: Offset,
    ) -> Result<(u64, Offset), ReadError> {
        if view.segment_in(&mut self.state.lock()).is_some_and(|segment| segment.is_verified(&range)) {
            return Ok((range.end, next_offset));
        }
        let mut epochs = Vec::new();
        let mut end = view.scan(range.clone(), base_offset, Depth::Crc, |batch| {
            epochs.push(SeenEpoch::of(batch));
            true
        })?;
        // No CRC covers the leader epoch, but it is known where each one begins.
        if let Some(batch) = self.state.lock().first_foreign_epoch(&epochs) {
            end = batch.stop();
        }
        if let Some(error) = end.stopped_by.clone() {
            let stop = ScanStop { position: end.position, offset: end.next_offset, error };
            self.found_damage(view, stop)?;
        }
        match end.stopped_by {
            Some(error) if end.position == range.start => Err(view.corrupt(end.position, error)),
            _ => {
                if let Some(segment) = view.segment_in(&mut self.state.lock()) {
                    segment.set_verified(range.start..end.position);
                }
                Ok((end.position, end.next_offset))
            }
        }
    }
}

impl SegmentView {
    /// Its segment, unless the log was cut since: one that begins at the same offset may be another one then.
    fn segment_in<'s>(&self, state: &'s mut State) -> Option<&'s mut Segment> {
        let is_current = self.incarnation == state.incarnation;
        state.segments.iter_mut().find(|segment| is_current && segment.base == self.base)
    }

    pub(crate) fn corrupt(&self, position: u64, error: ottla_log::BatchError) -> ReadError {
        ReadError::Corrupt { path: self.path.clone(), position, error }
    }

    fn io_error(&self, source: io::Error) -> ReadError {
        ReadError::Io { path: self.path.clone(), source }
    }

    pub(crate) fn scan(
        &self,
        positions: Range<u64>,
        first_offset: Offset,
        depth: Depth,
        visit: impl FnMut(&ScannedBatch) -> bool,
    ) -> Result<ScanEnd, ReadError> {
        scan(&self.source, positions, first_offset, depth, visit).map_err(|source| self.io_error(source))
    }

    /// Where to begin to look for `from`.
    pub(crate) fn start(&self, from: Offset) -> (Offset, u64) {
        let floor = self.hint.unwrap_or_else(|| self.floor(from));
        self.behind_damage.map_or(floor, |behind| behind.max(floor))
    }

    /// The batch that holds `from`, by headers, or where they end before that.
    pub(crate) fn locate_from(
        &self,
        start: (Offset, u64),
        from: Offset,
    ) -> Result<Result<ScannedBatch, ScanStop>, ReadError> {
        let mut found = None;
        let end = self.scan(start.1..self.limit, start.0, Depth::Headers, |batch| {
            if batch.header().last_offset() >= from {
                found = Some(*batch);
            }
            found.is_none()
        })?;
        let error = end.stopped_by.unwrap_or(BatchError::Truncated { needed: HEADER_BYTES, present: 0 });
        Ok(found.ok_or(ScanStop { position: end.position, offset: end.next_offset, error }))
    }

    /// Where to begin to look for `from`: the offset and position of a batch. An index entry is trusted only
    /// when a batch with its last offset stands where it points to.
    fn floor(&self, from: Offset) -> (Offset, u64) {
        self.entry_before(|entry| self.last_offset(entry) <= from).unwrap_or((self.base, 0))
    }

    /// The batch of the last index entry for which `fits`.
    fn entry_before(&self, fits: impl Fn(&IndexEntry) -> bool) -> Option<(Offset, u64)> {
        let count = self.index_written + self.index_pending.len();
        let below = partition_point(count, |at| Ok::<_, io::Error>(fits(&self.entry(at)?))).ok()?;
        let entry = self.entry(below.checked_sub(1)?).ok()?;
        let mut header = [0; HEADER_BYTES];
        let position = u64::from(entry.position);
        if position >= self.limit || self.source.read_at(position, &mut header).ok()? < header.len() {
            return None;
        }
        let header = ottla_log::BatchHeader::new(&header)?;
        let base = header.base_offset();
        let sound = ottla_log::check_header(header).is_ok()
            && header.last_offset().0 == self.base.0 + i64::from(entry.relative_offset)
            && base >= self.base;
        sound.then_some((base, position))
    }

    /// The last offset of an entry's batch.
    fn last_offset(&self, entry: &IndexEntry) -> Offset {
        Offset(self.base.0 + i64::from(entry.relative_offset))
    }

    fn entry(&self, at: usize) -> io::Result<IndexEntry> {
        if let Some(pending) = at.checked_sub(self.index_written) {
            return Ok(self.index_pending[pending]);
        }
        let file = self.index.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = [0; IndexEntry::BYTES];
        if file.read_at((at * IndexEntry::BYTES) as u64, &mut bytes)? < bytes.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(IndexEntry::decode(bytes))
    }

    /// The end of the last whole batch within `max_bytes` of `first` that may be read, and the offset there.
    fn extent(&self, first: &ScannedBatch, max_bytes: usize) -> Result<(u64, Offset), ReadError> {
        let most = first.position.saturating_add(max_bytes as u64);
        if self.limit <= most && self.limit_offset <= self.until {
            return Ok((self.limit, self.limit_offset));
        }
        let entry = self
            .entry_before(|entry| u64::from(entry.position) <= most && self.last_offset(entry) < self.until);
        let (offset, position) = match entry {
            Some((offset, position)) if position > first.position => (offset, position),
            _ => (first.header().base_offset(), first.position),
        };
        let mut end = (position, offset);
        self.scan(position..self.limit, offset, Depth::Headers, |batch| {
            let within = batch.end() <= most && batch.header().next_offset() <= self.until;
            if within {
                end = (batch.end(), batch.header().next_offset());
            }
            within
        })?;
        Ok(end)
    }
}
