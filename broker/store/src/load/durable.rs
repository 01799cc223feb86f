//! The part of a segment that is known to be durable: nothing of it is cut, what is damaged is stepped over.

use std::ops::{Range, RangeInclusive};

use ottla_log::{Depth, FileKind};
use ottla_types::Offset;

use super::{Loader, NOTHING_THERE};
use crate::damage::Damage;
use crate::error::StoreError;
use crate::known_damage::find_batch;
use crate::segment::Segment;

/// A closed segment's time index ends with its greatest time: once nothing else of the segment is read,
/// nothing else says it. One that was looked through may lack that entry.
pub(super) fn finish_closed(segments: &mut [Segment]) {
    let closed = segments.len().saturating_sub(1);
    segments[..closed].iter_mut().for_each(Segment::finish_time_index);
}

impl Loader<'_> {
    /// A segment of which nothing is known yet but how old its file is: what counts where records have no
    /// time.
    pub(super) fn segment(&self, base: Offset) -> Segment {
        let modified_ms = self.files.modified_ms.get(&base).copied().unwrap_or(0);
        let segment = Segment::new(base, self.recovery.config.index_interval_bytes, modified_ms);
        Segment { time_is_known: false, ..segment }
    }

    /// When durable records are gone or damaged at the log's end, the log goes on behind them. Nothing is
    /// missing where all up to there was let go.
    pub(super) fn cover_durable(
        &mut self,
        segments: &mut Vec<Segment>,
        log_start: Offset,
    ) -> Result<(), StoreError> {
        let last = segments.last_mut().expect("`load_segments` makes one where there is none");
        if last.end >= self.durable_to {
            return Ok(());
        }
        if log_start >= self.durable_to {
            let gone: Vec<_> = segments.drain(..).map(|segment| (segment.base, segment.bytes)).collect();
            self.remove_segments(&gone)?;
            segments.push(self.new_segment(self.durable_to)?);
            return Ok(());
        }
        let damage = self.missing(last, self.durable_to);
        self.note_damage(damage);
        last.end = self.durable_to;
        last.durable_end = self.durable_to;
        let segment = self.new_segment(self.durable_to)?;
        if segments.last().is_some_and(|last| last.base == segment.base) {
            return Ok(());
        }
        segments.push(segment);
        assert!(segments.last().is_some_and(|last| last.end >= self.durable_to), "nothing durable is cut");
        Ok(())
    }

    /// Walks what was durable, from the last index entry that can be trusted. What is damaged there stays,
    /// and is stepped over. Checksums are looked at, as a header that is damaged would lead astray, and what
    /// follows would be cut like a torn tail.
    pub(super) fn walk_durable(&mut self, segment: &mut Segment, bytes: u64) -> Result<(), StoreError> {
        while segment.end < self.durable_to && segment.bytes < bytes {
            self.walk_known(segment, bytes)?;
            let is_whole = segment.end >= self.durable_to || segment.bytes >= bytes;
            if is_whole || !self.step_over(segment, bytes)? {
                break;
            }
        }
        Ok(())
    }

    fn walk_known(&mut self, segment: &mut Segment, bytes: u64) -> Result<(), StoreError> {
        let (durable_to, recovery_point) = (self.durable_to, self.recovery_point);
        let (mut epochs, mut changed) = (std::mem::take(&mut self.epochs), false);
        let walked = self.walk(segment.base, segment.bytes..bytes, segment.end, Depth::Crc, |batch| {
            let header = batch.header();
            // A commit ends with a batch, so one that reaches past it has a damaged header.
            if header.next_offset() > durable_to {
                return false;
            }
            let base_offset = header.base_offset();
            segment.push_batch(header, base_offset, header.max_timestamp());
            if base_offset >= recovery_point && epochs.epoch_at(base_offset) != Some(header.leader_epoch()) {
                changed |= epochs.assign(header.leader_epoch(), base_offset);
            }
            header.next_offset() < durable_to
        });
        self.epochs = epochs;
        self.epochs_changed |= changed;
        walked.map(|_| ())
    }

    /// Goes on behind damage. Returns whether there is a batch.
    fn step_over(&mut self, segment: &mut Segment, bytes: u64) -> Result<bool, StoreError> {
        let offsets = Offset(segment.end.0 + 1)..=self.durable_to;
        let Some((position, offset)) = self.find_batch(segment.base, segment.bytes..bytes, offsets)? else {
            return Ok(false);
        };
        self.note_damage(Damage {
            offsets: segment.end..offset,
            segment: segment.base,
            positions: segment.bytes..position,
            error: NOTHING_THERE,
            hides_producers: false,
        });
        assert!(position > segment.bytes && offset > segment.end, "damage takes bytes and offsets");
        segment.set_recovered(position, offset);
        Ok(true)
    }

    /// The next whole batch after the damaged one at the beginning of `positions`, with a base offset among
    /// `offsets`.
    pub(super) fn find_batch(
        &self,
        base: Offset,
        positions: Range<u64>,
        offsets: RangeInclusive<Offset>,
    ) -> Result<Option<(u64, Offset)>, StoreError> {
        find_batch(&self.known_records(base)?, positions, offsets)
            .map_err(StoreError::io("read", self.path(FileKind::Log, base)))
    }
}
