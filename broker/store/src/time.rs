//! Looking up offsets by time: the time index finds the batch, the batch's records the offset.

use std::sync::Arc;

use ottla_log::{
    BatchHeader, Depth, FileKind, HEADER_BYTES, NO_TIMESTAMP, ScannedBatch, TimeIndexEntry, check_batch,
    inflated_bytes_max, outline, partition_point,
};
use ottla_types::{LeaderEpoch, Offset};

use crate::disk::OpenMode;
use crate::error::ReadError;
use crate::partition::PartitionLog;
use crate::read::{SegmentView, UpTo};

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
    /// Compressed batches are opened, so it takes its time.
    ///
    /// # Errors
    /// When the log can't be read there.
    pub fn offset_for_timestamp(&self, timestamp_ms: i64) -> Result<Option<TimestampOffset>, ReadError> {
        let start = self.log_start_offset();
        let mut from = start;
        while let Some((base, end)) = self.segment_with_time(from, timestamp_ms) {
            let mut at = from.max(base).max(self.after_time(base, timestamp_ms));
            from = end;
            while at < end {
                let Some(view) = self.view(at, UpTo::Durable)? else { return Ok(None) };
                let late = |header: BatchHeader<'_>| header.max_timestamp() >= timestamp_ms;
                let Some(batch) = self.first_batch(&view, at, late)? else { break };
                let found = record_in(&view, &batch, |offset, time| offset >= start && time >= timestamp_ms)?;
                if found.is_some() {
                    return Ok(found);
                }
                // It begins before the log's start, and only what is gone of it is so late.
                at = batch.header().next_offset();
            }
        }
        Ok(None)
    }

    /// The durable record with the greatest timestamp, the first of them; `None` when there is none.
    /// Compressed batches are opened, so it takes its time.
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
            let found = self.latest_in(base, max, start, durable)?;
            if found.is_some_and(|found| best.is_none_or(|best| found.timestamp_ms > best.timestamp_ms)) {
                best = found;
            }
        }
        Ok(best)
    }

    /// The first of the latest records of a segment, which has the greatest timestamp that `max` says.
    fn latest_in(
        &self,
        base: Offset,
        max: TimeIndexEntry,
        start: Offset,
        durable: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let last = Offset(base.0 + i64::from(max.relative_offset));
        if last >= start && last < durable {
            let Some(view) = self.view(last, UpTo::Durable)? else { return Ok(None) };
            let latest =
                self.first_batch(&view, last, |header| header.max_timestamp() >= max.timestamp_ms)?;
            if let Some(batch) = latest {
                let max_ms = batch.header().max_timestamp();
                let found = record_in(&view, &batch, |offset, time| offset >= start && time >= max_ms)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        self.latest_by_headers(base, start)
    }

    /// The same where what is so late isn't durable yet, or gone. The headers of the rest say which batch to
    /// open.
    fn latest_by_headers(&self, base: Offset, start: Offset) -> Result<Option<TimestampOffset>, ReadError> {
        let mut at = base.max(start);
        let mut latest: Option<(SegmentView, ScannedBatch)> = None;
        let mut latest_ms = NO_TIMESTAMP;
        while let Some(view) = self.view(at, UpTo::Durable)?.filter(|view| view.base == base) {
            let later = self.first_batch(&view, at, |header| header.max_timestamp() > latest_ms)?;
            let Some(batch) = later else { break };
            at = batch.header().next_offset();
            let is_cut = batch.header().base_offset() < start;
            let max_ms = match is_cut {
                // What is so late in it may be what is gone.
                true => {
                    latest_in_batch(&view, &batch, start)?.map_or(NO_TIMESTAMP, |found| found.timestamp_ms)
                }
                false => batch.header().max_timestamp(),
            };
            if max_ms > latest_ms {
                (latest, latest_ms) = (Some((view, batch)), max_ms);
            }
        }
        latest.map_or(Ok(None), |(view, batch)| latest_in_batch(&view, &batch, start))
    }

    /// The first segment from `from` on with such a timestamp: its base and end.
    fn segment_with_time(&self, from: Offset, timestamp_ms: i64) -> Option<(Offset, Offset)> {
        let state = self.state.lock();
        let mut segments = state.segments.iter().filter(|segment| segment.end > from);
        let found = segments
            .find(|segment| segment.max_timestamp().is_some_and(|max| max.timestamp_ms >= timestamp_ms))?;
        Some((found.base, found.end))
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
}

/// The first record of a batch for which `wanted` holds.
fn record_in(
    view: &SegmentView,
    batch: &ScannedBatch,
    wanted: impl Fn(Offset, i64) -> bool,
) -> Result<Option<TimestampOffset>, ReadError> {
    let mut found = None;
    let is_whole = visit_records(view, batch, |record| {
        found = wanted(record.offset, record.timestamp_ms).then_some(record);
        found.is_none()
    })?;
    if found.is_some() || is_whole {
        return Ok(found);
    }
    // It was taken in before batches were opened, and can't be: what its header says has to do.
    let header = batch.header();
    let (offset, timestamp_ms, leader_epoch) =
        (header.base_offset(), header.max_timestamp(), header.leader_epoch());
    let whole = TimestampOffset { offset, timestamp_ms, leader_epoch };
    Ok(wanted(header.last_offset(), timestamp_ms).then_some(whole))
}

/// The first of the latest records of a batch, from `start` on.
fn latest_in_batch(
    view: &SegmentView,
    batch: &ScannedBatch,
    start: Offset,
) -> Result<Option<TimestampOffset>, ReadError> {
    let mut latest: Option<TimestampOffset> = None;
    visit_records(view, batch, |record| {
        let so_far = latest.map_or(NO_TIMESTAMP, |latest| latest.timestamp_ms);
        if record.offset >= start && record.timestamp_ms > so_far {
            latest = Some(record);
        }
        true
    })?;
    Ok(latest)
}

/// Shows the records of a batch until `visit` says no. Returns whether they could be read to there.
fn visit_records(
    view: &SegmentView,
    batch: &ScannedBatch,
    mut visit: impl FnMut(TimestampOffset) -> bool,
) -> Result<bool, ReadError> {
    let (base_offset, leader_epoch) = (batch.header().base_offset(), batch.header().leader_epoch());
    let bytes = view.bytes(batch)?;
    let header = check_batch(&bytes).map_err(|error| view.corrupt(batch.position, error))?;
    let records = &bytes[HEADER_BYTES..];
    let read = outline(header, records, inflated_bytes_max(records.len()), |record| {
        let offset = Offset(base_offset.0 + i64::from(record.offset_delta));
        visit(TimestampOffset { offset, timestamp_ms: record.timestamp_ms, leader_epoch })
    });
    Ok(read.is_ok())
}

impl PartitionLog {
    /// The first batch that holds `from` or comes later, and for whose header `wanted` holds.
    fn first_batch(
        &self,
        view: &SegmentView,
        from: Offset,
        wanted: impl Fn(BatchHeader<'_>) -> bool,
    ) -> Result<Option<ScannedBatch>, ReadError> {
        let (position, first) = self.locate(view, from)?;
        let mut found = None;
        let end = view.scan(position..view.limit, first.header().base_offset(), Depth::Headers, |batch| {
            found = wanted(batch.header()).then_some(*batch);
            found.is_none()
        })?;
        match end.stopped_by {
            Some(error) if found.is_none() => Err(view.corrupt(end.position, error)),
            _ => Ok(found),
        }
    }
}

impl SegmentView {
    fn bytes(&self, batch: &ScannedBatch) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; batch.header().batch_bytes()];
        let file = Arc::clone(&self.source.file);
        let read = file.read_at(batch.position, &mut bytes);
        bytes.truncate(read.map_err(|source| ReadError::Io { path: self.path.clone(), source })?);
        Ok(bytes)
    }
}
