//! What producers have written: from a snapshot, and from the batches behind it.

use ottla_log::{Depth, FileKind, ProducerStates, ScanEnd, decode_snapshot};
use ottla_types::Offset;

use super::{Loader, NOTHING_THERE, SIDE_BYTES_MAX};
use crate::damage::Damage;
use crate::disk::read_file;
use crate::error::StoreError;
use crate::segment::Segment;

impl Loader<'_> {
    /// The producers at the log's end: from the newest good snapshot, and the batches after it.
    pub(super) fn load_producers(
        &mut self,
        segments: &[Segment],
        end: Offset,
    ) -> Result<(ProducerStates, Option<Offset>), StoreError> {
        let mut best = None;
        for &at in self.files.snapshots.iter().rev() {
            let path = self.path(FileKind::Snapshot, at);
            let decoded =
                read_file(self.disk, &path, SIDE_BYTES_MAX).ok().map(|bytes| decode_snapshot(&bytes));
            match decoded {
                // It may be read another time, unless the log was cut before it.
                None if at <= end && at >= segments[0].base => {}
                // An older one lacks what records that are gone said.
                Some(Ok(states)) if at <= end && at >= segments[0].base => {
                    best = Some((at, states));
                    break;
                }
                _ => self.remove(&FileKind::Snapshot.file_name(at))?,
            }
        }
        let (from, mut states) = match best {
            Some((at, states)) => (at, states),
            None => (Offset(0), ProducerStates::default()),
        };
        if !self.recovery.clean {
            // Nothing says what was heard after it was written.
            states.forget_heard();
        }
        let snapshot_at = (!states.is_empty() || from > Offset(0)).then_some(from);
        for segment in segments.iter().filter(|segment| segment.end > from && segment.end > segment.base) {
            self.replay_producers(segment, from, &mut states)?;
        }
        Ok((states, snapshot_at))
    }

    /// Takes in what producers have written to a segment from `from` on. What is passed over there is damage,
    /// known or not: a segment that is known to be whole isn't looked through when it is opened.
    fn replay_producers(
        &mut self,
        segment: &Segment,
        from: Offset,
        states: &mut ProducerStates,
    ) -> Result<(), StoreError> {
        let (mut offset, mut position) = self.replay_start(segment, from)?;
        loop {
            // A damaged header must not say what a producer has written; what comes behind it may.
            let end = self.walk(segment.base, position..segment.bytes, offset, Depth::Crc, |batch| {
                let header = batch.header();
                if header.base_offset() >= from {
                    states.on_append(header, header.base_offset(), header.max_timestamp(), None);
                }
                true
            })?;
            if end.next_offset >= segment.end {
                return Ok(());
            }
            let next = self.next_start(segment, &end, Offset(end.next_offset.0 + 1))?;
            let (to, to_position) = next.unwrap_or((segment.end, segment.bytes));
            let offsets = end.next_offset..to;
            if !self.damaged.iter().any(|known| known.overlaps(&offsets)) {
                self.note_damage(Damage {
                    offsets,
                    segment: segment.base,
                    positions: end.position..to_position,
                    error: end.stopped_by.unwrap_or(NOTHING_THERE),
                    hides_producers: false,
                });
            }
            if next.is_none() {
                return Ok(());
            }
            (offset, position) = (to, to_position);
        }
    }

    /// Where the batches from `from` on begin in a segment, or its beginning when damage hides that.
    fn replay_start(&self, segment: &Segment, from: Offset) -> Result<(Offset, u64), StoreError> {
        let (base, bytes) = (segment.base, segment.bytes);
        if from > base {
            let end =
                self.walk(base, 0..bytes, base, Depth::Headers, |batch| batch.header().next_offset() < from)?;
            // A snapshot stands between two batches, so otherwise a header on the way is damaged.
            if end.next_offset == from {
                return Ok((end.next_offset, end.position));
            }
        }
        Ok((base, 0))
    }

    /// Where the batches go on behind damage, at `from` or later.
    fn next_start(
        &self,
        segment: &Segment,
        end: &ScanEnd,
        from: Offset,
    ) -> Result<Option<(Offset, u64)>, StoreError> {
        if end.position >= segment.bytes || from >= segment.end {
            return Ok(None);
        }
        let offsets = from..=Offset(segment.end.0 - 1);
        let found = self.find_batch(segment.base, end.position..segment.bytes, offsets)?;
        Ok(found.map(|(position, offset)| (offset, position)))
    }
}
