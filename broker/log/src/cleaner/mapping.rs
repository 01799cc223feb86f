//! The first pass of a cleaning: which offset is the last one of each key in the dirty part of the log.

use ottla_types::Offset;

use super::batches::{CleanerLimits, SegmentBatches, SegmentPart};
use super::contents::{inflate, read_marker, records};
use super::error::CleanerError;
use super::offset_map::OffsetMap;
use super::stats::CleanerStats;
use super::transactions::CleanedTransactions;
use crate::header::BatchHeader;
use crate::recovery::ByteSource;
use crate::validate::BatchError;

/// How far a segment went into an offset map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// All of it.
    Whole,
    /// Only up to [`OffsetMap::latest_offset`]: the map is full, and no later segment goes in.
    Full,
}

/// Makes the offset map of one cleaning from the dirty segments, oldest first.
#[derive(Debug)]
pub struct OffsetMapBuilder<'a> {
    map: &'a mut OffsetMap,
    first_dirty_offset: Offset,
    limits: CleanerLimits,
    transactions: CleanedTransactions,
    is_full: bool,
}

impl<'a> OffsetMapBuilder<'a> {
    /// Begins, in an empty map. What stands below `first_dirty_offset` was cleaned before, and is left out.
    pub fn new(map: &'a mut OffsetMap, first_dirty_offset: Offset, limits: CleanerLimits) -> Self {
        map.clear();
        Self { map, first_dirty_offset, limits, transactions: CleanedTransactions::default(), is_full: false }
    }

    /// Where what the log's index knows of aborted transactions is added, before the segments are read that
    /// it speaks of.
    pub fn transactions(&mut self) -> &mut CleanedTransactions {
        &mut self.transactions
    }

    /// Puts the keys of a part of a segment into the map, each at its last offset: neither those of control
    /// batches nor what was aborted.
    ///
    /// A segment that went in whole is complete up to where the next one begins, whatever its last batch was.
    ///
    /// # Errors
    /// Those of the source, and batches that are torn or corrupt.
    ///
    /// # Panics
    /// When the map was full before.
    pub fn add<S: ByteSource + ?Sized>(
        &mut self,
        source: &S,
        part: &SegmentPart,
        stats: &mut CleanerStats,
    ) -> Result<Mapped, CleanerError<S::Error>> {
        assert!(!self.is_full, "nothing is left out of {:?}", self.map);
        assert!(self.map.is_behind(part.first_offset), "{part:?} follows what {:?} has", self.map);
        let mut batches = SegmentBatches::new(source, part, self.limits.buffer_bytes);
        while let Some(batch) = batches.next_batch()? {
            let mapped = self.add_batch(batch, stats);
            stats.map_bytes_read += batch.len() as u64;
            match mapped {
                Ok(Mapped::Whole) => {}
                Ok(Mapped::Full) => {
                    self.is_full = true;
                    return Ok(Mapped::Full);
                }
                Err(error) => return Err(batches.in_last(error)),
            }
        }
        let last = Offset(part.end_offset.0 - 1);
        if last >= self.first_dirty_offset && self.map.is_behind(last) {
            self.map.advance_to(last);
        }
        Ok(Mapped::Whole)
    }

    fn add_batch(&mut self, batch: &[u8], stats: &mut CleanerStats) -> Result<Mapped, BatchError> {
        let header = BatchHeader::new(batch).expect("a checked batch has its header");
        let last = header.last_offset();
        let is_left_out = if header.is_control() {
            self.transactions.on_marker(header, read_marker(batch, self.limits.inflated_bytes_max)?);
            true
        } else {
            self.transactions.on_batch(header)
        };
        if is_left_out || last < self.first_dirty_offset {
            stats.map_records_read += u64::from(header.records_count().unsigned_abs());
        } else {
            let inflated = inflate(batch, self.limits.inflated_bytes_max)?;
            for record in records(header, &inflated) {
                let record = record?;
                if let Some(key) = record.key
                    && record.offset >= self.first_dirty_offset
                    && self.map.put(key, record.offset).is_err()
                {
                    return Ok(Mapped::Full);
                }
                stats.map_records_read += 1;
            }
        }
        if last >= self.first_dirty_offset && self.map.is_behind(last) {
            self.map.advance_to(last);
        }
        Ok(Mapped::Whole)
    }
}
