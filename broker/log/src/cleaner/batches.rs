//! The batches of a segment one after the other, each whole and checked, in memory for one of them.
//!
//! Other than [`crate::scan`] this takes holes between offsets, as an earlier cleaning leaves them. Offsets
//! still rise: the base offset isn't covered by the CRC.

use std::ops::Range;

use ottla_types::Offset;

use super::error::CleanerError;
use crate::header::{BatchHeader, HEADER_BYTES};
use crate::recovery::ByteSource;
use crate::validate::{BatchError, check_batch, check_header};

/// How much memory a cleaning takes, beside its offset map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanerLimits {
    /// What is read together of a segment (`log.cleaner.io.buffer.size`); a larger batch takes its own size.
    pub buffer_bytes: usize,
    /// What the records of one batch may take once they are decompressed.
    pub inflated_bytes_max: usize,
}

/// A part of a segment that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPart {
    /// Its bytes, from the first one of a batch on.
    pub positions: Range<u64>,
    /// The least offset that may stand there.
    pub first_offset: Offset,
    /// The offset that no batch reaches: where the next segment begins.
    pub end_offset: Offset,
}

/// Reads batches forwards.
pub(super) struct SegmentBatches<'s, S: ByteSource + ?Sized> {
    source: &'s S,
    end: u64,
    end_offset: Offset,
    /// Where the next batch begins, and the least offset that it may have.
    position: u64,
    next_offset: Offset,
    /// What was read ahead; the next batch begins at `at`.
    buffer: Vec<u8>,
    at: usize,
    /// What is read together, if no batch has more.
    buffer_bytes: usize,
    /// The batch that was read last.
    last: (u64, Offset),
}

impl<'s, S: ByteSource + ?Sized> SegmentBatches<'s, S> {
    /// Reads `part` of the source, `buffer_bytes` together (`log.cleaner.io.buffer.size`).
    pub(super) fn new(source: &'s S, part: &SegmentPart, buffer_bytes: usize) -> Self {
        let SegmentPart { positions, first_offset, end_offset } = part;
        assert!(positions.start <= positions.end && first_offset <= end_offset, "{part:?} is a part");
        Self {
            source,
            end: positions.end,
            end_offset: *end_offset,
            position: positions.start,
            next_offset: *first_offset,
            buffer: Vec::new(),
            at: 0,
            buffer_bytes: buffer_bytes.max(HEADER_BYTES),
            last: (positions.start, *first_offset),
        }
    }

    /// The next batch, whose checksum is right; none at the end.
    pub(super) fn next_batch(&mut self) -> Result<Option<&[u8]>, CleanerError<S::Error>> {
        if self.position == self.end {
            return Ok(None);
        }
        let header = *self.read(HEADER_BYTES)?;
        let bytes = self.check(BatchHeader::from(&header)).map_err(|error| self.here(error))?;
        self.fill(bytes)?;
        let batch = self.buffer.get(self.at..self.at + bytes).unwrap_or(&self.buffer[self.at..]);
        if let Err(error) = check_batch(batch) {
            return Err(self.here(error));
        }
        let from = self.at;
        self.last = (self.position, BatchHeader::from(&header).base_offset());
        self.at += bytes;
        self.position += bytes as u64;
        self.next_offset = BatchHeader::from(&header).next_offset();
        Ok(Some(&self.buffer[from..from + bytes]))
    }

    #[cfg(test)]
    pub(super) fn buffer_capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// An error of the batch that was read last.
    pub(super) fn in_last(&self, error: BatchError) -> CleanerError<S::Error> {
        let (position, offset) = self.last;
        CleanerError::Batch { position, offset, error }
    }

    fn here(&self, error: BatchError) -> CleanerError<S::Error> {
        CleanerError::Batch { position: self.position, offset: self.next_offset, error }
    }

    /// Checks a header; returns the bytes that its batch has, if that many are there.
    fn check(&self, header: BatchHeader<'_>) -> Result<usize, BatchError> {
        check_header(header)?;
        if header.base_offset() < self.next_offset || header.next_offset() > self.end_offset {
            return Err(BatchError::Offsets {
                base_offset: header.base_offset().0,
                last_offset_delta: header.last_offset_delta(),
                records_count: header.records_count(),
            });
        }
        Ok(header.batch_bytes())
    }

    /// The bytes from the next batch on.
    fn left(&self) -> usize {
        usize::try_from(self.end - self.position).unwrap_or(usize::MAX)
    }

    fn read(&mut self, needed: usize) -> Result<&[u8; HEADER_BYTES], CleanerError<S::Error>> {
        self.fill(needed)?;
        let present = self.buffer.len() - self.at;
        let truncated = self.here(BatchError::Truncated { needed, present });
        self.buffer[self.at..].first_chunk().ok_or(truncated)
    }

    /// Sees to it that so many bytes from the next batch on are in the buffer; fewer only at the end.
    fn fill(&mut self, needed: usize) -> Result<(), CleanerError<S::Error>> {
        if self.buffer.len() - self.at >= needed {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let present = self.buffer.len();
        let wanted = needed.max(self.buffer_bytes).min(self.left()).max(present);
        if self.buffer.capacity() > self.buffer_bytes.max(wanted) {
            self.buffer.shrink_to(wanted);
        }
        self.buffer.reserve_exact(wanted - present);
        self.buffer.resize(wanted, 0);
        let position = self.position + present as u64;
        let read = self.source.read_at(position, &mut self.buffer[present..]).map_err(CleanerError::Io)?;
        self.buffer.truncate(present + read);
        assert!(self.buffer.len() <= needed.max(self.buffer_bytes), "one batch, or one buffer, is in memory");
        Ok(())
    }
}
