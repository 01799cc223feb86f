//! The scrub: reads what is stored again, slowly, from the disk itself, and names what is damaged before
//! anyone needs it.

use std::ops::Range;
use std::sync::Arc;

use ottla_log::{BatchError, Depth, JournalKey};
use ottla_types::{Offset, PartitionIndex, TopicId};

use crate::damage::{Damage, ScanStop};
use crate::error::ReadError;
use crate::partition::PartitionLog;
use crate::read::{SeenEpoch, UpTo};

/// What one step has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// The bytes that were read.
    pub bytes: u64,
    /// What is damaged among them, whether it was known before or not.
    pub damaged: Vec<(TopicId, PartitionIndex, Range<Offset>)>,
    /// Whether the last partition's end was reached: the next step begins at the first one.
    pub finished: bool,
}

/// Where the scrub stands.
#[derive(Debug, Default)]
pub(crate) struct ScrubCursor {
    key: Option<JournalKey>,
    offset: Offset,
    /// The segment and the position of `offset` in it, in a log of that incarnation.
    place: Option<(Offset, u64, u64)>,
}

/// The bytes that were read, and the damage that they end at.
type Scrubbed = (u64, Option<Damage>);

impl ScrubCursor {
    /// Checks the next `budget_bytes` or so of these logs, which it stands in one of.
    pub(crate) fn step(&mut self, mut logs: Vec<Arc<PartitionLog>>, budget_bytes: u64) -> ScrubReport {
        let mut report = ScrubReport::default();
        logs.sort_by_key(|log| log.journal_key());
        let from = self.key.map_or(0, |key| logs.partition_point(|log| log.journal_key() < key));
        for log in &logs[from..] {
            let key = log.journal_key();
            if self.key != Some(key) {
                *self = Self { key: Some(key), ..Self::default() };
            }
            match log.scrub(self, budget_bytes, &mut report) {
                Ok(true) => {}
                Ok(false) => return report,
                Err(error) => tracing::warn!(?log, %error, "not scrubbed to its end"),
            }
        }
        *self = Self::default();
        report.finished = true;
        report
    }
}

impl PartitionLog {
    /// Goes on from the cursor. Returns whether the log's end was reached before the budget's.
    fn scrub(
        &self,
        cursor: &mut ScrubCursor,
        budget_bytes: u64,
        report: &mut ScrubReport,
    ) -> Result<bool, ReadError> {
        loop {
            if report.bytes >= budget_bytes {
                return Ok(false);
            }
            let start = self.log_start_offset();
            let from = cursor.offset.max(start);
            let known = self.state.lock().damage_at(from).cloned();
            if let Some(damage) = known {
                report.bytes += damage.positions.end - damage.positions.start;
                if self.is_whole_again(&damage) {
                    continue;
                }
                let offsets = damage.missed(start);
                (cursor.offset, cursor.place) = (offsets.end, None);
                report.damaged.push((self.topic_id, self.partition, offsets));
                continue;
            }
            let left = budget_bytes - report.bytes;
            match self.scrub_segment(from, cursor, left) {
                Ok(Some((bytes, damaged))) => {
                    report.bytes += bytes;
                    let missed = damaged.filter(|damage| damage.is_missed(start));
                    let missed = missed.map(|damage| (self.topic_id, self.partition, damage.missed(start)));
                    report.damaged.extend(missed);
                }
                // It was cut or deleted meanwhile.
                Ok(None) | Err(ReadError::OutOfRange { .. } | ReadError::Deleted) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Checks a part of the segment that holds `from`; `None` at the log's end.
    fn scrub_segment(
        &self,
        from: Offset,
        cursor: &mut ScrubCursor,
        budget_bytes: u64,
    ) -> Result<Option<Scrubbed>, ReadError> {
        let Some(view) = self.view(from, UpTo::Durable)? else { return Ok(None) };
        let is_closed = self.state.lock().active().base != view.base;
        let drop_cache = || {
            // The newest segment's end is what consumers read; the others have to come from the disk.
            if is_closed {
                let _ = view.source.file.drop_cache();
            }
        };
        let start = match cursor.place {
            Some((base, incarnation, position))
                if base == view.base && incarnation == view.incarnation && cursor.offset <= from =>
            {
                (cursor.offset, position)
            }
            _ => view.start(from),
        };
        drop_cache();
        let mut epochs = Vec::new();
        let mut end = view.scan(start.1..view.limit, start.0, Depth::Crc, |batch| {
            epochs.push(SeenEpoch::of(batch));
            batch.end() - start.1 < budget_bytes
        })?;
        drop_cache();
        if let Some(foreign) = self.state.lock().first_foreign_epoch(&epochs) {
            end = foreign.stop();
        }
        if end.stopped_by.is_none() && end.position >= view.limit && end.next_offset < view.limit_offset {
            // The segment is shorter than it was.
            end.stopped_by = Some(BatchError::Truncated { needed: 1, present: 0 });
        }
        if end.next_offset >= view.limit_offset {
            // Whatever stands behind the last record is none.
            end.stopped_by = None;
        }
        let bytes = (end.position - start.1).max(1);
        let Some(error) = end.stopped_by else {
            cursor.offset = end.next_offset;
            cursor.place = Some((view.base, view.incarnation, end.position));
            return Ok(Some((bytes, None)));
        };
        let stop = ScanStop { position: end.position, offset: end.next_offset, error };
        let damage = self.found_damage(&view, stop)?;
        cursor.offset = damage.offsets.end;
        cursor.place = Some((view.base, view.incarnation, damage.positions.end));
        Ok(Some((bytes, Some(damage))))
    }
}
