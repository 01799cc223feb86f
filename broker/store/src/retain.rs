//! Letting a log's oldest records go: by retention, or on demand.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ottla_log::{Depth, FileKind, LogConfig, RetainedSegment, first_from_future, retention, scan};
use ottla_types::Offset;

use crate::disk::{OpenMode, is_passing};
use crate::error::StoreError;
use crate::partition::{PartitionLog, State};
use crate::read::FileSource;
use crate::segment::Segment;

impl State {
    /// Whether anything may still change on disk: its store isn't being closed, and it wasn't deleted.
    pub(crate) fn is_open(&self) -> bool {
        !self.deleted && !self.finished
    }

    /// The snapshot that tells of producers, if there is anything to tell.
    pub(crate) fn snapshot_to_sync(&self) -> Option<Offset> {
        self.snapshot_at.filter(|_| !self.producers.is_empty())
    }
}

/// A segment whose records are dated far ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFromFuture {
    /// Its base offset.
    pub base_offset: Offset,
    /// The latest time in it, in ms.
    pub latest_ms: i64,
}

impl PartitionLog {
    /// The first segment that stays, and all after it, until its records are as old as the settings want, as
    /// they are dated more than an hour ahead of now. What a time index says is believed here.
    pub fn segment_from_future(&self, now_ms: i64) -> Option<SegmentFromFuture> {
        let config = self.config();
        let state = self.state.lock();
        let segments: Vec<RetainedSegment> = state.segments.iter().map(retained).collect();
        let at = first_from_future(&segments, &config, now_ms)?;
        let latest_ms = segments[at].max_timestamp_ms?;
        Some(SegmentFromFuture { base_offset: state.segments[at].base, latest_ms })
    }

    /// Lets records before `offset` go: segments that lie wholly before it are deleted. Returns how many.
    pub fn advance_log_start(&self, offset: Offset) -> usize {
        let _one = self.commit_lock.lock();
        let count = {
            let mut state = self.state.lock();
            let offset = offset.min(self.durable_end_offset());
            if !state.is_open() || self.shared.has_failed() || offset <= self.log_start_offset() {
                return 0;
            }
            self.set_start(offset);
            state.forget_damage_before(offset);
            let passed = state.segments.iter().take_while(|segment| segment.end <= offset).count();
            passed.min(state.segments.len() - 1)
        };
        self.drop_oldest(count)
    }

    /// Deletes what the settings don't retain, nothing at `limit` or after: what isn't committed stays.
    /// Returns the number of segments deleted.
    ///
    /// A segment of which only an index says how old it is stays, and so do those after it: see
    /// [`Self::learn_age`].
    pub fn enforce_retention(self: &Arc<Self>, now_ms: i64, limit: Offset) -> usize {
        let deleted = self.delete_old(now_ms, limit);
        self.queue_if_unsynced();
        deleted
    }

    /// Reads the first segment that would go by its age, if only an index says how old it is. Returns whether
    /// that is known now, so that [`Self::enforce_retention`] may go on.
    pub fn learn_age(&self, now_ms: i64, limit: Offset) -> bool {
        self.unread_past_age(now_ms, limit).is_some_and(|base| self.read_latest_time(base))
    }

    fn delete_old(&self, now_ms: i64, limit: Offset) -> usize {
        let config = self.config();
        let _one = self.commit_lock.lock();
        let mut state = self.state.lock();
        if !state.is_open() || self.shared.has_failed() {
            return 0;
        }
        let limit = limit.min(self.durable_end_offset());
        let aged = self.aged(&state, &config, now_ms, limit);
        let unread = state.segments[aged.clone()].iter().position(|segment| !segment.time_is_known);
        let mut count = unread.map_or(aged.end, |unread| aged.start + unread);
        if count == state.segments.len()
            && let Err(error) = self.roll(&mut state, &config, now_ms)
        {
            tracing::warn!(partition = %self.topic_partition(), %error, "the newest segment is kept though it is old");
            count -= 1;
        }
        drop(state);
        self.drop_oldest(count)
    }

    /// The segments that go by their age alone, by their places. Those before them go whatever their age is.
    fn aged(&self, state: &State, config: &LogConfig, now_ms: i64, limit: Offset) -> Range<usize> {
        let segments: Vec<RetainedSegment> = state.segments.iter().map(retained).collect();
        let count = |config: &LogConfig| retention(&segments, config, self.log_start_offset(), limit, now_ms);
        let all = count(config);
        let at_any_age = count(&LogConfig { retention_ms: None, ..config.clone() });
        at_any_age.min(all)..all
    }

    /// The first segment that would go by its age, and whose time index alone says how old it is.
    fn unread_past_age(&self, now_ms: i64, limit: Offset) -> Option<Offset> {
        let config = self.config();
        let state = self.state.lock();
        let aged = if state.is_open() { self.aged(&state, &config, now_ms, limit) } else { 0..0 };
        state.segments[aged].iter().find(|segment| !segment.time_is_known).map(|segment| segment.base)
    }

    /// Reads a segment for its greatest timestamp, before records go by that: nothing guards a time index
    /// against a bit that flips. What can't be read may be as late as the file is. Whether it is known now.
    fn read_latest_time(&self, base: Offset) -> bool {
        let (file, bytes, next, modified_ms, incarnation) = {
            let state = self.state.lock();
            let Some(segment) = state.segments.iter().find(|segment| segment.base == base) else {
                return false;
            };
            let file = self.file(&state, FileKind::Log, base, OpenMode::Existing);
            (file, segment.bytes, segment.end, segment.modified_ms, state.incarnation)
        };
        let mut latest = None;
        let read = file.and_then(|file| {
            let read = scan(&FileSource::new(Arc::clone(&file)), 0..bytes, base, Depth::Crc, |batch| {
                latest = latest.max(Some(batch.header().max_timestamp()).filter(|time| *time >= 0));
                true
            });
            // What is about to go mustn't push out what is read.
            let _ = file.drop_cache();
            read
        });
        match read {
            Ok(end) if end.position == bytes && end.next_offset == next => {}
            Err(error) if is_passing(&error) => {
                tracing::warn!(partition = %self.topic_partition(), segment = %base, %error, "a segment is kept until it can be read");
                return false;
            }
            _ => latest = latest.max(Some(modified_ms)),
        }
        let mut state = self.state.lock();
        if state.incarnation != incarnation {
            return false;
        }
        let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == base) else {
            return false;
        };
        (segment.time_is_known, segment.read_max_ms) = (true, latest);
        let said = segment.max_timestamp().map(|entry| entry.timestamp_ms);
        if latest > said {
            tracing::warn!(
                partition = %self.topic_partition(), segment = %base, said, latest,
                "a time index says less than the latest time of its segment"
            );
        }
        true
    }

    /// With the commit lock held, so that the oldest segments stay the same; what waits for the disk holds
    /// nothing else.
    fn drop_oldest(&self, count: usize) -> usize {
        if count == 0 {
            return 0;
        }
        assert!(self.commit_lock.is_locked(), "the oldest segments stay the same");
        let (folder, start, snapshot) = {
            let state = self.state.lock();
            assert!(
                count < state.segments.len(),
                "the active segment stays: {count} of {}",
                state.segments.len()
            );
            let start = self.log_start_offset().max(state.segments[count].base);
            let durable = self.durable_end_offset();
            assert!(start <= durable, "only what is durable goes: {start} lies past {durable}");
            (state.folder.clone(), start, state.snapshot_to_sync())
        };
        // On disk before any file goes: a removal that only half survives a crash is completed then.
        if let Err(error) = self.shared.raise_log_start(&self.topic_partition(), start) {
            tracing::warn!(folder = %folder.display(), %error, "segments not deleted yet");
            return 0;
        }
        self.sync_snapshot(&folder, snapshot);
        let gone: Vec<Segment> = {
            let mut state = self.state.lock();
            self.set_start(start);
            state.touched = true;
            state.epochs_unsaved |= state.epochs.advance_start(start);
            let gone = state.segments.drain(..count).collect();
            assert!(state.segments[0].base <= start, "the log begins within its oldest segment");
            state.forget_damage_before(start);
            gone
        };
        for segment in &gone {
            self.remove_segment_files(&folder, segment.base);
        }
        gone.len()
    }

    /// The producers of records that go are known from the snapshot alone. Without one they count as unknown,
    /// which Kafka's rules allow for, so a full disk doesn't hold up what frees it.
    pub(crate) fn sync_snapshot(&self, folder: &Path, snapshot: Option<Offset>) {
        let Some(at) = snapshot else { return };
        let disk = &self.shared.disk;
        let file = disk.open(&folder.join(FileKind::Snapshot.file_name(at)), OpenMode::Existing);
        let synced = file.and_then(|file| file.sync()).and_then(|()| disk.sync_dir(folder));
        if let Err(error) = synced {
            tracing::warn!(folder = %folder.display(), %error, "producer snapshot not synced");
        }
    }

    pub(crate) fn remove_segment_files(&self, folder: &Path, base: Offset) {
        self.remove_files(folder, base, &SEGMENT_FILES);
    }

    pub(crate) fn remove_indexes(&self, folder: &Path, base: Offset) {
        self.remove_files(folder, base, &[FileKind::Index, FileKind::TimeIndex]);
    }

    fn remove_files(&self, folder: &Path, base: Offset, kinds: &[FileKind]) {
        if let Err(error) = self.try_to_remove(folder, base, kinds) {
            tracing::warn!(%error, "file of a segment is left over");
        }
    }

    /// Removes what there is of a segment's files, and tells of the last that stays.
    pub(crate) fn try_to_remove(
        &self,
        folder: &Path,
        base: Offset,
        kinds: &[FileKind],
    ) -> Result<(), StoreError> {
        let mut removed = Ok(());
        for kind in kinds {
            let path = folder.join(kind.file_name(base));
            match self.shared.disk.remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    removed = Err(StoreError::io("remove", path)(error));
                }
                _ => {}
            }
        }
        // Not before, as a read may have opened one meanwhile.
        self.shared.close_files(self.key, Some(base));
        removed
    }

    /// Makes sure that the partition is on the committer's list when retention left something to sync.
    fn queue_if_unsynced(self: &Arc<Self>) {
        if self.state.lock().folder_unsynced {
            self.queue();
        }
    }
}

/// What a segment consists of.
pub(crate) const SEGMENT_FILES: [FileKind; 3] = [FileKind::Log, FileKind::Index, FileKind::TimeIndex];

fn retained(segment: &Segment) -> RetainedSegment {
    RetainedSegment {
        bytes: segment.bytes,
        end_offset: segment.end,
        max_timestamp_ms: segment.max_timestamp().map(|entry| entry.timestamp_ms).max(segment.read_max_ms),
        modified_ms: segment.modified_ms,
    }
}
