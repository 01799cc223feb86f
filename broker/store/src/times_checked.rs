//! Whether the greatest timestamp that a segment's time index says is that of its batches.
//!
//! No checksum guards an index, and by that time records are deleted and found. So each closed segment that an earlier process
//! wrote is looked at once, before anything goes by its time.

use std::io;

use ottla_log::{Depth, FileKind, TimeIndexEntry, scan};
use ottla_types::Offset;

use crate::disk::OpenMode;
use crate::partition::PartitionLog;
use crate::read::{FileSource, UpTo};

impl PartitionLog {
    /// Makes sure of the greatest timestamps of the first `count` segments; whether one was wrong. Reads the disk, with no
    /// lock held meanwhile.
    pub(crate) fn check_times(&self, count: usize) -> bool {
        let mut was_wrong = false;
        loop {
            let (base, said, modified_ms, incarnation) = {
                let state = self.state.lock();
                let mut segments = state.segments.iter().take(count);
                let Some(segment) = segments.find(|segment| !segment.time_is_known) else { return was_wrong };
                (segment.base, segment.max_timestamp(), segment.modified_ms, state.incarnation)
            };
            let is_true = said.is_some_and(|said| self.has_time(base, said));
            let found = if is_true { Ok(said) } else { self.greatest_time(base, modified_ms) };
            let mut state = self.state.lock();
            if state.deleted || self.shared.has_failed() {
                return was_wrong;
            }
            let is_same = state.incarnation == incarnation;
            let Some(at) = state.segments.iter().position(|segment| is_same && segment.base == base) else {
                continue;
            };
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    // It stays until it can be read.
                    tracing::warn!(partition = %self.topic_partition(), segment = %base, %error, "the latest time of a segment cannot be made out");
                    return was_wrong;
                }
            };
            let interval_bytes = self.config().index_interval_bytes;
            let segment = &mut state.segments[at];
            segment.time_is_known = true;
            if found.map(|found| found.timestamp_ms) == said.map(|said| said.timestamp_ms) {
                continue;
            }
            tracing::warn!(
                partition = %self.topic_partition(), segment = %base, said = said.map(|said| said.timestamp_ms),
                found = found.map(|found| found.timestamp_ms),
                "the time index of a segment doesn't say its batches' latest time: it is made anew"
            );
            segment.set_max_timestamp(interval_bytes, found);
            state.touched = true;
            let file = self.file(&state, FileKind::TimeIndex, base, OpenMode::CreateIfMissing);
            if let Err(error) = file.and_then(|file| file.truncate(0)) {
                tracing::warn!(partition = %self.topic_partition(), segment = %base, %error, "a time index is not shortened");
            }
            was_wrong = true;
        }
    }

    /// Whether the batch that the time index names has that time.
    fn has_time(&self, base: Offset, said: TimeIndexEntry) -> bool {
        let last = Offset(base.0 + i64::from(said.relative_offset));
        let Ok(Some(view)) = self.view(last, UpTo::Durable) else { return false };
        let located = view.locate_from(view.start(last), last);
        let Ok(Ok(batch)) = located else { return false };
        let header = batch.header();
        view.base == base && header.last_offset() == last && header.max_timestamp() == said.timestamp_ms
    }

    /// The greatest timestamp that the headers of all batches say. Behind damage that may be as late as the file is.
    fn greatest_time(&self, base: Offset, modified_ms: i64) -> io::Result<Option<TimeIndexEntry>> {
        let (file, bytes) = {
            let state = self.state.lock();
            let segment = state.segments.iter().find(|segment| segment.base == base);
            let bytes = segment.map_or(0, |segment| segment.bytes);
            (self.file(&state, FileKind::Log, base, OpenMode::Existing)?, bytes)
        };
        let mut greatest: Option<TimeIndexEntry> = None;
        let mut note = |timestamp_ms: i64, last: Offset| {
            let relative_offset = u32::try_from(last.0 - base.0).unwrap_or(u32::MAX);
            if timestamp_ms > greatest.map_or(-1, |greatest| greatest.timestamp_ms) {
                greatest = Some(TimeIndexEntry { timestamp_ms, relative_offset });
            }
        };
        let end = scan(&FileSource(file), 0..bytes, base, Depth::Headers, |batch| {
            note(batch.header().max_timestamp(), batch.header().last_offset());
            true
        })?;
        if end.position < bytes {
            note(modified_ms, end.next_offset);
        }
        Ok(greatest)
    }
}
