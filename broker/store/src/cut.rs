//! Cutting a log: its tail when a leader says so, its head by retention or on demand.
//!
//! A recovery point that lies behind the cut is lowered on disk first: what is appended there later is not
//! yet durable, and recovery must look at it.

use std::collections::HashSet;
use std::sync::Arc;

use ottla_log::{FileKind, LeaderEpochs, OffsetCheckpoint, RetainedSegment, retention};
use ottla_types::Offset;

use crate::disk::{OpenMode, replace_file};
use crate::error::{FatalError, ReadError, StoreError};
use crate::journal::Replay;
use crate::load::{Known, load_log};
use crate::partition::{PartitionLog, State};
use crate::read::UpTo;
use crate::recover::Recovery;
use crate::segment::Segment;
use crate::shared::StoreBug;

impl PartitionLog {
    /// Removes all records from `offset` on, or from the batch on that holds it. The durable end goes back too.
    ///
    /// # Errors
    /// When the disk fails; the store has failed then.
    pub fn truncate_to(&self, offset: Offset) -> Result<(), StoreError> {
        let _one = self.commit_lock.lock();
        if offset >= self.end_offset() {
            return Ok(());
        }
        // From here on nothing waits for a sync, so the files tell all.
        self.sync_locked().map_err(|_| StoreError::Failed)?;
        let mut state = self.state.lock();
        if state.deleted {
            return Ok(());
        }
        let start = self.log_start_offset();
        let (offset, position) = self.boundary(&state, offset.max(start))?;
        if offset < start {
            // The batch also holds records that were let go: nothing of it remains.
            return self.reset_locked(&mut state, start);
        }
        self.void_entries(&mut state, offset)?;
        self.lower_recovery_point(&mut state, offset)?;
        let cut =
            self.truncate_files(&mut state, offset, position).and_then(|()| self.reload(&mut state, offset));
        cut.map_err(|error| self.fail(&state, "truncate", error))
    }

    /// Removes all records and begins again at `offset`, as after a snapshot was installed.
    ///
    /// # Errors
    /// When the disk fails; the store has failed then.
    pub fn reset_to(&self, offset: Offset) -> Result<(), StoreError> {
        let _one = self.commit_lock.lock();
        self.sync_locked().map_err(|_| StoreError::Failed)?;
        let mut state = self.state.lock();
        if state.deleted {
            return Ok(());
        }
        self.reset_locked(&mut state, offset)
    }

    fn reset_locked(&self, state: &mut State, offset: Offset) -> Result<(), StoreError> {
        self.void_entries(state, Offset(0))?;
        // All the way: should the process end when nothing is left, that is no loss of durable records.
        self.lower_recovery_point(state, Offset(0))?;
        let reset = self.remove_all(state).and_then(|()| {
            state.segments.clear();
            state.damaged.clear();
            self.set_start(offset);
            self.reload(state, offset)
        });
        reset.map_err(|error| self.fail(state, "reset", error))
    }

    /// Makes the log's entries in the journal void: a replay must not bring back what is cut now.
    /// What came since the last sync isn't covered by the journal any more either, should nothing be cut after all.
    fn void_entries(&self, state: &mut State, durable_to: Offset) -> Result<(), StoreError> {
        if self.shared.bug == Some(StoreBug::CutWithoutFence) {
            return Ok(());
        }
        self.shared.journal.begin_cut(self.journal_key(), durable_to)?;
        state.incarnation += 1;
        state.direct = true;
        Ok(())
    }

    pub(crate) fn fail(&self, state: &State, action: &'static str, error: StoreError) -> StoreError {
        let reason = std::io::Error::other(error.to_string());
        self.shared.fail(&FatalError::new(action, &state.folder, &reason));
        error
    }

    /// Lowers it in memory first: a checkpoint that is written meanwhile takes it from there.
    fn lower_recovery_point(&self, state: &mut State, offset: Offset) -> Result<(), StoreError> {
        if self.recovery_point().is_some_and(|recovery_point| recovery_point > offset) {
            self.set_recovery_point(Some(offset));
        }
        let lowered = self.shared.lower_offsets(&self.topic_partition(), offset);
        if lowered.is_err() {
            // Nothing is cut: what was known has to be said again, here and by the next checkpoint.
            self.shared.journal.cut_done(self.journal_key());
            state.touched = true;
            let synced_end = state.synced_end;
            let _ = self.shared.journal.mark(self.journal_key(), state, synced_end);
        }
        lowered
    }

    /// Bytes of a segment are never written twice, as they may be on their way as a place in its file: a segment of which
    /// nothing is left goes, and is another file when it comes again; one that is cut takes nothing more.
    fn truncate_files(&self, state: &mut State, offset: Offset, position: u64) -> Result<(), StoreError> {
        let at = state.segment_of(offset);
        let keeps_file = position > 0 || self.shared.bug == Some(StoreBug::WriteOverWhatWasCut);
        for segment in state.segments[at + usize::from(keeps_file)..].iter().rev() {
            self.remove_segment_files(state, segment.base);
        }
        state.epochs.truncate_to(offset);
        if !keeps_file {
            return self.save_epochs(state);
        }
        let base = state.segments[at].base;
        let path = state.path(FileKind::Log, base);
        let file = self
            .file(state, FileKind::Log, base, OpenMode::Existing)
            .map_err(StoreError::io("open", &path))?;
        file.truncate(position).map_err(StoreError::io("truncate", &path))?;
        file.sync().map_err(StoreError::io("sync", &path))?;
        state.segments[at].was_cut = true;
        self.save_epochs(state)
    }

    /// Where the batch that holds `offset` begins, or the damage that does: its offset, and its position in the segment.
    fn boundary(&self, state: &State, offset: Offset) -> Result<(Offset, u64), StoreError> {
        let segment = &state.segments[state.segment_of(offset)];
        if offset == segment.base {
            return Ok((offset, 0));
        }
        if let Some(damage) = state.damage_at(offset) {
            return Ok((damage.offsets.start, damage.positions.start));
        }
        let path = state.path(FileKind::Log, segment.base);
        let wrong = |error: ReadError| StoreError::io("read", &path)(std::io::Error::other(error));
        let view = self.view_locked(state, offset, UpTo::End).map_err(wrong)?;
        let view = view.expect("the offset is before the log's end");
        let mut from = view.start(offset);
        loop {
            let stop = match view.locate_from(from, offset).map_err(wrong)? {
                Ok(batch) => return Ok((batch.header().base_offset(), batch.position)),
                Err(stop) => stop,
            };
            let damage = view.damage_from(stop).map_err(wrong)?;
            if offset < damage.offsets.end {
                return Ok((damage.offsets.start, damage.positions.start));
            }
            from = (damage.offsets.end, damage.positions.end);
        }
    }

    pub(crate) fn save_epochs(&self, state: &mut State) -> Result<(), StoreError> {
        let (disk, folder) = (&*self.shared.disk, state.folder.clone());
        replace_file(disk, &folder, LeaderEpochs::FILE, state.epochs.encode().as_bytes())
            .map_err(StoreError::io("write", folder.join(LeaderEpochs::FILE)))?;
        state.epochs_unsaved = false;
        Ok(())
    }

    fn remove_all(&self, state: &mut State) -> Result<(), StoreError> {
        for segment in state.segments.iter().rev() {
            self.remove_segment_files(state, segment.base);
        }
        let disk = &*self.shared.disk;
        for file in disk.list(&state.folder).map_err(StoreError::io("list", &state.folder))? {
            if matches!(FileKind::parse(&file.name), Some((FileKind::Snapshot, _))) {
                let path = state.folder.join(&file.name);
                disk.remove_file(&path).map_err(StoreError::io("remove", path))?;
            }
        }
        state.epochs = LeaderEpochs::default();
        self.save_epochs(state)
    }

    /// Reads the state from the files again.
    pub(crate) fn reload(&self, state: &mut State, offset: Offset) -> Result<(), StoreError> {
        self.shared.close_files(self.key, None);
        let recovery_point = self.recovery_point().unwrap_or_default().min(offset);
        let recovery = Recovery {
            shared: &self.shared,
            clean: false,
            recovery_points: OffsetCheckpoint::new(),
            log_starts: OffsetCheckpoint::new(),
            config: self.config().as_ref().clone(),
            replay: Replay::default(),
            threads: 1,
        };
        let folder = state.folder.clone();
        let known =
            Known { recovery_point, durable_to: offset, log_start: self.log_start_offset(), cut_to: None };
        let loaded = load_log(&recovery, &folder, known)?;
        self.shared.sync_dir(&folder).map_err(StoreError::io("sync", &folder))?;
        let (incarnation, slot) = (state.incarnation, state.slot);
        let before = std::mem::replace(state, loaded.state);
        state.producers.keep_heard(&before.producers);
        let known = before.damaged;
        let cut: HashSet<Offset> =
            before.segments.iter().filter(|segment| segment.was_cut).map(|segment| segment.base).collect();
        for segment in state.segments.iter_mut().filter(|segment| cut.contains(&segment.base)) {
            segment.was_cut = true;
        }
        // No checksum covers a batch's epoch, so what the batches say now is worth less than what they said.
        state.epochs_unsaved |= state.epochs != before.epochs;
        state.epochs = before.epochs;
        // What a group says of the log's tail from before is not true any more.
        (state.incarnation, state.slot) = (incarnation, slot);
        // Headers alone don't show what reads have found.
        for damage in known {
            if damage.offsets.end <= state.end() && state.damage_at(damage.offsets.start).is_none() {
                state.add_damage(damage);
            }
        }
        state.note_hidden_producers();
        let end = state.end();
        assert_eq!(end, offset, "the log was cut there");
        self.shared.journal.cut_done(self.journal_key());
        // Its older entries, which said so before, are void.
        let _ = self.shared.journal.mark(self.journal_key(), state, end);
        self.set_start(loaded.start);
        self.set_recovery_point(Some(loaded.recovery_point));
        self.set_end(end);
        self.cut_durable(end);
        Ok(())
    }

    /// Lets records before `offset` go: segments that lie wholly before it are deleted. Returns how many.
    pub fn advance_log_start(&self, offset: Offset) -> usize {
        let _one = self.commit_lock.lock();
        let mut state = self.state.lock();
        let offset = offset.min(self.durable_end_offset());
        if state.deleted || self.shared.has_failed() || offset <= self.log_start_offset() {
            return 0;
        }
        self.set_start(offset);
        let passed = state.segments.iter().take_while(|segment| segment.end <= offset).count();
        let closed = state.segments.len() - 1;
        self.drop_oldest(&mut state, passed.min(closed))
    }

    /// Deletes what the settings don't retain, nothing at `limit` or after: what isn't committed stays. Returns the number
    /// of segments deleted.
    pub fn enforce_retention(self: &Arc<Self>, now_ms: i64, limit: Offset) -> usize {
        let deleted = self.delete_old(now_ms, limit);
        self.queue_if_unsynced();
        deleted
    }

    fn delete_old(&self, now_ms: i64, limit: Offset) -> usize {
        let config = self.config();
        let _one = self.commit_lock.lock();
        let mut state = self.state.lock();
        if state.deleted || self.shared.has_failed() {
            return 0;
        }
        let segments: Vec<RetainedSegment> = state.segments.iter().map(retained).collect();
        let limit = limit.min(self.durable_end_offset());
        let count = retention(&segments, &config, self.log_start_offset(), limit, now_ms);
        if count == state.segments.len() && self.roll(&mut state, &config, now_ms).is_err() {
            return 0;
        }
        self.drop_oldest(&mut state, count)
    }

    fn drop_oldest(&self, state: &mut State, count: usize) -> usize {
        if count == 0 {
            return 0;
        }
        let start = self.log_start_offset().max(state.segments[count].base);
        // On disk before any file goes: a removal that only half survives a crash is completed then.
        if let Err(error) = self.shared.raise_log_start(&self.topic_partition(), start) {
            tracing::warn!(folder = %state.folder.display(), %error, "segments not deleted yet");
            return 0;
        }
        self.sync_snapshot(state);
        let gone: Vec<Segment> = state.segments.drain(..count).collect();
        self.set_start(start);
        state.touched = true;
        state.epochs_unsaved |= state.epochs.advance_start(start);
        for segment in &gone {
            self.remove_segment_files(state, segment.base);
        }
        gone.len()
    }

    /// The producers of records that go are known from the snapshot alone. Without one they count as unknown, which
    /// Kafka's rules allow for, so a full disk doesn't hold up what frees it.
    pub(crate) fn sync_snapshot(&self, state: &State) {
        let Some(at) = state.snapshot_at.filter(|_| !state.producers.is_empty()) else { return };
        let disk = &self.shared.disk;
        let file = disk.open(&state.path(FileKind::Snapshot, at), OpenMode::Existing);
        let synced = file.and_then(|file| file.sync()).and_then(|()| disk.sync_dir(&state.folder));
        if let Err(error) = synced {
            tracing::warn!(folder = %state.folder.display(), %error, "producer snapshot not synced");
        }
    }

    fn remove_segment_files(&self, state: &State, base: Offset) {
        self.remove_file(state, FileKind::Log, base);
        self.remove_indexes(state, base);
    }

    pub(crate) fn remove_indexes(&self, state: &State, base: Offset) {
        self.shared.close_files(self.key, Some(base));
        self.remove_file(state, FileKind::Index, base);
        self.remove_file(state, FileKind::TimeIndex, base);
    }

    fn remove_file(&self, state: &State, kind: FileKind, base: Offset) {
        let path = state.path(kind, base);
        match self.shared.disk.remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "file of a segment is left over"),
        }
    }

    /// Makes sure that the partition is on the committer's list when retention left something to sync.
    fn queue_if_unsynced(self: &Arc<Self>) {
        if self.state.lock().folder_unsynced {
            self.queue();
        }
    }
}

fn retained(segment: &Segment) -> RetainedSegment {
    RetainedSegment {
        bytes: segment.bytes,
        end_offset: segment.end,
        max_timestamp_ms: segment.max_timestamp().map(|entry| entry.timestamp_ms),
        modified_ms: segment.modified_ms,
    }
}
