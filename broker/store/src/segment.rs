//! One segment in memory: sizes, and which index entries are still to be written. Its files are opened when
//! needed.

use std::ops::Range;

use ottla_log::{BatchHeader, Entries, IndexEntry, IndexPacer, TimeIndexEntry, relative_offset};
use ottla_types::Offset;

use crate::held::HeldFile;

/// Reads copy the entries in memory, so they are kept few.
const ENTRIES_IN_MEMORY: usize = 64;

/// The entries of one index: some in the file, the newest still in memory.
#[derive(Clone, Debug)]
pub(crate) struct IndexState<E> {
    /// The entries in the file.
    pub(crate) written: usize,
    /// Those after them.
    pub(crate) pending: Vec<E>,
}

impl<E> IndexState<E> {
    pub(crate) fn new(written: usize) -> Self {
        Self { written, pending: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.written + self.pending.len()
    }
}

pub(crate) struct Segment {
    pub(crate) base: Offset,
    /// The offset after its last record. Invariant: where the next segment begins, if there is one.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// The bytes that are known to be on disk, here or in the journal. Invariant: no more than `bytes`.
    pub(crate) durable_bytes: u64,
    /// The offset after the last record of those.
    pub(crate) durable_end: Offset,
    pub(crate) index: IndexState<IndexEntry>,
    pub(crate) time_index: IndexState<TimeIndexEntry>,
    /// Whether the index files have writes that weren't synced.
    pub(crate) index_unsynced: bool,
    pub(crate) pacer: IndexPacer,
    /// Whether this process wrote or read all of it, so that its greatest timestamp is known without its time
    /// index.
    pub(crate) time_is_known: bool,
    /// The greatest timestamp that was found when it was read for that.
    pub(crate) read_max_ms: Option<i64>,
    /// The greatest timestamp of the first batch.
    pub(crate) first_timestamp_ms: Option<i64>,
    pub(crate) created_ms: i64,
    /// When its file was last written to.
    pub(crate) modified_ms: i64,
    /// The bytes before `own_from` whose CRCs were checked since the store was opened.
    pub(crate) verified: Range<u64>,
    /// The bytes from here on were written by this process.
    pub(crate) own_from: u64,
    /// Held while it has unsynced bytes, be they in the journal or not.
    pub(crate) unsynced: Option<HeldFile>,
    /// Its tail was cut: what follows goes to another file.
    pub(crate) was_cut: bool,
}

impl Segment {
    pub(crate) fn new(base: Offset, interval_bytes: u32, created_ms: i64) -> Self {
        Self {
            base,
            end: base,
            bytes: 0,
            durable_bytes: 0,
            durable_end: base,
            index: IndexState::new(0),
            time_index: IndexState::new(0),
            index_unsynced: false,
            pacer: IndexPacer::new(interval_bytes),
            time_is_known: true,
            read_max_ms: None,
            first_timestamp_ms: None,
            created_ms,
            modified_ms: created_ms,
            verified: 0..0,
            own_from: 0,
            unsynced: None,
            was_cut: false,
        }
    }

    /// Takes note of a batch at the segment's end: index entries, timestamps, sizes.
    pub(crate) fn push_batch(&mut self, header: BatchHeader<'_>, base_offset: Offset, max_timestamp_ms: i64) {
        let last_offset = Offset(base_offset.0 + i64::from(header.last_offset_delta()));
        let relative = relative_offset(self.base, last_offset)
            .expect("`must_roll` closes a segment before its offsets grow too far");
        let position = u32::try_from(self.bytes)
            .expect("`segment.bytes`, up to which it takes a batch, is less than 2 GiB");
        assert_eq!(base_offset, self.end, "batches follow each other without a gap");
        let entries = self.pacer.on_batch(relative, position, header.batch_bytes() as u64, max_timestamp_ms);
        self.push_entries(entries);
        self.first_timestamp_ms.get_or_insert(max_timestamp_ms);
        self.bytes += header.batch_bytes() as u64;
        self.end = Offset(last_offset.0 + 1);
    }

    fn push_entries(&mut self, entries: Entries) {
        self.index.pending.extend(entries.index);
        self.time_index.pending.extend(entries.time);
    }

    /// Sets what recovery found: all of it is on disk, none of it was written by this process.
    pub(crate) fn set_recovered(&mut self, bytes: u64, end: Offset) {
        (self.bytes, self.durable_bytes, self.own_from) = (bytes, bytes, bytes);
        (self.end, self.durable_end) = (end, end);
    }

    /// Takes note that it ends at `end` from now on, after its first `bytes`, which are on disk.
    pub(crate) fn cut(&mut self, bytes: u64, end: Offset) {
        assert!(
            bytes <= self.bytes && end <= self.end,
            "{end} at {bytes} isn't before the end of segment {}",
            self.base
        );
        (self.bytes, self.durable_bytes) = (bytes, bytes);
        (self.end, self.durable_end) = (end, end);
        self.own_from = self.own_from.min(bytes);
        self.verified = self.verified.start.min(bytes)..self.verified.end.min(bytes);
        self.unsynced = None;
        self.was_cut = true;
    }

    /// Lets go the index entries that are still in memory: they are made again from the log.
    pub(crate) fn forget_pending_entries(&mut self) {
        self.index.pending.clear();
        self.time_index.pending.clear();
    }

    /// Its index files go.
    pub(crate) fn forget_indexes(&mut self) {
        (self.index, self.time_index) = (IndexState::new(0), IndexState::new(0));
    }

    /// Takes note that its first `bytes`, up to `end`, are on disk.
    pub(crate) fn set_durable(&mut self, bytes: u64, end: Offset) {
        assert!(
            bytes <= self.bytes && end <= self.end,
            "what is durable of segment {} was written",
            self.base
        );
        if bytes > self.durable_bytes {
            (self.durable_bytes, self.durable_end) = (bytes, end);
        }
    }

    /// Adds the entry for the greatest timestamp: when the segment is closed.
    pub(crate) fn finish_time_index(&mut self) {
        self.time_index.pending.extend(self.pacer.pending_time());
    }

    /// Whether so many index entries are in memory that they should be written.
    pub(crate) fn has_many_entries(&self) -> bool {
        self.index.pending.len().max(self.time_index.pending.len()) >= ENTRIES_IN_MEMORY
    }

    /// Whether index entries are still in memory only.
    pub(crate) fn has_pending_entries(&self) -> bool {
        !self.index.pending.is_empty() || !self.time_index.pending.is_empty()
    }

    /// Whether its index files lack something, on disk or at all.
    pub(crate) fn has_index_news(&self) -> bool {
        self.index_unsynced || self.has_pending_entries()
    }

    /// The greatest timestamp and the last offset of its batch.
    pub(crate) fn max_timestamp(&self) -> Option<TimeIndexEntry> {
        self.pacer.max_timestamp()
    }

    /// Whether all of `range` was checked or written by this process.
    pub(crate) fn is_verified(&self, range: &Range<u64>) -> bool {
        let checked_to = if self.verified.contains(&range.start) { self.verified.end } else { range.start };
        range.end <= checked_to || checked_to >= self.own_from
    }

    /// Takes note that the CRCs in `range` are right.
    pub(crate) fn set_verified(&mut self, range: Range<u64>) {
        assert!(
            range.start <= range.end && range.end <= self.bytes,
            "{range:?} lies in segment {}",
            self.base
        );
        let touches = range.start <= self.verified.end && self.verified.start <= range.end;
        if touches && !self.verified.is_empty() {
            self.verified = self.verified.start.min(range.start)..self.verified.end.max(range.end);
        } else {
            self.verified = range;
        }
    }
}
