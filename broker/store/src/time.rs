//! Looking up offsets by time: the time index finds the batch, the batch's records the offset.

use std::sync::Arc;

use ottla_log::{
    BatchHeader, Codec, Depth, FileKind, HEADER_BYTES, Records, ScannedBatch, TimeIndexEntry, partition_point,
};
use ottla_types::{LeaderEpoch, Offset};

use crate::disk::OpenMode;
use crate::error::ReadError;
use crate::partition::PartitionLog;
use crate::read::{UpTo, View};

/// An offset found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's offset.
    pub offset: Offset,
    /// Its timestamp in ms.
    pub timestamp_ms: i64,
    /// The epoch of the leader that wrote it.
    pub leader_epoch: LeaderEpoch,
}

impl PartitionLog {
    /// The first durable record with a timestamp of `timestamp_ms` or later; `None` when there is none.
    ///
    /// Compressed batches aren't opened: the answer is the batch's first record then, never a later one than asked.
    ///
    /// # Errors
    /// When the log can't be read there.
    pub fn offset_for_timestamp(&self, timestamp_ms: i64) -> Result<Option<TimestampOffset>, ReadError> {
        let mut from = self.log_start_offset();
        while let Some((base, end)) = self.segment_with_time(from, timestamp_ms) {
            from = from.max(base).max(self.after_time(base, timestamp_ms));
            let Some(view) = self.view(from, UpTo::Durable)? else { return Ok(None) };
            let found = view.first_batch(from, |header| header.max_timestamp() >= timestamp_ms)?;
            if let Some(batch) = found {
                let start = self.log_start_offset();
                return self
                    .record_in(&view, &batch, |offset, time| offset >= start && time >= timestamp_ms)
                    .map(Some);
            }
            from = end;
        }
        Ok(None)
    }

    /// The durable record with the greatest timestamp, the first of them; `None` when there is none.
    ///
    /// Compressed batches aren't opened: the answer is the batch's last record then.
    ///
    /// # Errors
    /// When the log can't be read there.
    pub fn offset_for_max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        let (durable, start) = (self.durable_end_offset(), self.log_start_offset());
        let mut best: Option<TimestampOffset> = None;
        let candidates: Vec<(Offset, Offset, Option<TimeIndexEntry>)> = {
            let state = self.state.lock();
            state
                .segments
                .iter()
                .map(|segment| (segment.base, segment.end, segment.max_timestamp()))
                .collect()
        };
        for (base, _, max) in
            candidates.into_iter().filter(|segment| segment.1 > start && segment.0 < durable)
        {
            let Some(max) = max.filter(|max| best.is_none_or(|best| max.timestamp_ms > best.timestamp_ms))
            else {
                continue;
            };
            let last = Offset(base.0 + i64::from(max.relative_offset));
            let from = if last >= start && last < durable { last } else { base.max(start) };
            let Some(view) = self.view(from, UpTo::Durable)? else { continue };
            let batch = view.latest_batch(from)?;
            let Some(batch) = batch.filter(|batch| batch.header().max_timestamp() >= 0) else { continue };
            let greatest = batch.header().max_timestamp();
            if best.is_none_or(|best| greatest > best.timestamp_ms) {
                best = Some(self.record_in(&view, &batch, |_, time| time >= greatest)?);
            }
        }
        Ok(best)
    }

    /// The first segment from `from` on with such a timestamp: its base and end.
    fn segment_with_time(&self, from: Offset, timestamp_ms: i64) -> Option<(Offset, Offset)> {
        let state = self.state.lock();
        let late = |max: TimeIndexEntry| max.timestamp_ms >= timestamp_ms;
        let mut segments = state.segments.iter().filter(|segment| segment.end > from);
        segments
            .find(|segment| segment.max_timestamp().is_some_and(late))
            .map(|found| (found.base, found.end))
    }

    /// An offset up to which all of a segment's batches are known to be earlier.
    fn after_time(&self, base: Offset, timestamp_ms: i64) -> Offset {
        let state = self.state.lock();
        let Some(segment) = state.segments.iter().find(|segment| segment.base == base) else { return base };
        let early = |entry: &TimeIndexEntry| entry.timestamp_ms < timestamp_ms;
        let pending = segment.time_index.pending.iter().rfind(|entry| early(entry)).copied();
        let written = segment.time_index.written;
        let entry = pending.or_else(|| {
            let file = self.file(&state, FileKind::TimeIndex, base, OpenMode::Existing).ok()?;
            let read = |at: usize| {
                let mut bytes = [0; TimeIndexEntry::BYTES];
                let read = file.read_at((at * TimeIndexEntry::BYTES) as u64, &mut bytes);
                (read.ok() == Some(bytes.len())).then(|| TimeIndexEntry::decode(bytes)).ok_or(())
            };
            let below = partition_point(written, |at| read(at).map(|entry| early(&entry))).ok()?;
            read(below.checked_sub(1)?).ok()
        });
        let next = entry.map_or(base.0, |entry| base.0 + i64::from(entry.relative_offset) + 1);
        // A damaged entry must not lead out of the segment.
        if next < segment.end.0 { Offset(next) } else { base }
    }

    /// The first record of a batch for which `wanted` holds.
    fn record_in(
        &self,
        view: &View,
        batch: &ScannedBatch,
        wanted: impl Fn(Offset, i64) -> bool,
    ) -> Result<TimestampOffset, ReadError> {
        let header = batch.header();
        let leader_epoch = header.leader_epoch();
        let at = |offset, timestamp_ms| TimestampOffset { offset, timestamp_ms, leader_epoch };
        let first = (header.base_offset(), header.base_timestamp());
        if header.codec() != Some(Codec::None) {
            let whole = if wanted(first.0, first.1) { first } else { (first.0, header.max_timestamp()) };
            return Ok(at(whole.0, whole.1));
        }
        let bytes = view.bytes(batch)?;
        let checked = ottla_log::check_batch(&bytes).map_err(|error| view.corrupt(batch.position, error))?;
        let records = Records::new(checked, &bytes[HEADER_BYTES..]).map_while(Result::ok);
        let mut found = records.filter(|record| wanted(record.offset, record.timestamp_ms));
        Ok(found
            .next()
            .map_or(at(first.0, header.max_timestamp()), |record| at(record.offset, record.timestamp_ms)))
    }
}

impl View {
    /// The first batch that holds `from` or comes later, and for whose header `wanted` holds.
    fn first_batch(
        &self,
        from: Offset,
        wanted: impl Fn(BatchHeader<'_>) -> bool,
    ) -> Result<Option<ScannedBatch>, ReadError> {
        let (position, first) = self.locate(from)?;
        let mut found = None;
        let end = self.scan(position..self.limit, first.header().base_offset(), Depth::Headers, |batch| {
            found = wanted(batch.header()).then_some(*batch);
            found.is_none()
        })?;
        match end.stopped_by {
            Some(error) if found.is_none() => Err(self.corrupt(end.position, error)),
            _ => Ok(found),
        }
    }

    /// The batch from `from` on with the greatest timestamp, the first of them.
    fn latest_batch(&self, from: Offset) -> Result<Option<ScannedBatch>, ReadError> {
        let (position, first) = self.locate(from)?;
        let mut best: Option<ScannedBatch> = None;
        self.scan(position..self.limit, first.header().base_offset(), Depth::Headers, |batch| {
            let time = batch.header().max_timestamp();
            if best.is_none_or(|best| time > best.header().max_timestamp()) {
                best = Some(*batch);
            }
            true
        })?;
        Ok(best)
    }

    fn bytes(&self, batch: &ScannedBatch) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; batch.header().batch_bytes()];
        let file = Arc::clone(&self.source.0);
        let read = file.read_at(batch.position, &mut bytes);
        bytes.truncate(read.map_err(|source| ReadError::Io { path: self.path.clone(), source })?);
        Ok(bytes)
    }
}
