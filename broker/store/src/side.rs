//! The files beside the segments: indexes, snapshots, leader epochs. They are synced at checkpoints, before
//! the recovery point passes what they tell about; until then recovery makes them again from the log.

use ottla_log::{FileKind, LeaderEpochs};
use ottla_types::Offset;

use crate::disk::{OpenMode, replace_file};
use crate::error::{FatalError, StoreError};
use crate::partition::{OpenFile, PartitionLog, State};
use crate::segment::Segment;

/// The producer snapshots that are kept.
const SNAPSHOTS_MAX: usize = 2;

impl PartitionLog {
    /// Syncs indexes, snapshots and epochs, so that the recovery point may advance to what is synced of the
    /// log.
    pub(crate) fn sync_side_files(&self) -> Result<(), StoreError> {
        let _one = self.commit_lock.lock();
        if self.shared.has_failed() {
            return Err(StoreError::Failed);
        }
        self.flush_indexes();
        let (folder, segments_synced_to, files, epochs) = {
            let mut state = self.state.lock();
            if state.deleted || !state.touched {
                return Ok(());
            }
            if state.segments.iter().any(Segment::has_pending_entries) {
                // Without space for them the recovery point has to stay.
                return Ok(());
            }
            let end = state.end();
            if end > Offset(0) && state.snapshot_at != Some(end) {
                // So that the next start need not look for producers in all of the log.
                self.save_producers(&mut state, end);
            }
            let indexes = self.take_unsynced_indexes(&mut state)?;
            let mut files = std::mem::take(&mut state.unsynced_files);
            files.extend(indexes);
            let epochs = state.epochs_unsaved.then(|| state.epochs.encode());
            state.epochs_unsaved = false;
            (state.folder.clone(), state.segments_synced_to, files, epochs)
        };
        let synced = (|| {
            for (path, file) in &files {
                file.sync().map_err(|error| FatalError::new("sync", path, &error))?;
            }
            self.shared.sync_dir(&folder).map_err(|error| FatalError::new("sync", &folder, &error))
        })();
        if let Err(error) = synced {
            self.shared.fail(&error);
            return Err(StoreError::Failed);
        }
        if let Some(text) = epochs {
            let saved = replace_file(&*self.shared.disk, &folder, LeaderEpochs::FILE, text.as_bytes());
            if let Err(error) = saved {
                self.state.lock().epochs_unsaved = true;
                return Err(StoreError::io("write", folder.join(LeaderEpochs::FILE))(error));
            }
        }
        self.set_recovery_point(Some(segments_synced_to));
        let mut state = self.state.lock();
        state.touched = state.is_unsynced() || state.end() > segments_synced_to;
        drop(state);
        self.remove_old_snapshots();
        Ok(())
    }

    /// All of them, or none: those of which it isn't said any more that they are unsynced nobody would sync.
    fn take_unsynced_indexes(&self, state: &mut State) -> Result<Vec<OpenFile>, StoreError> {
        let mut files = Vec::new();
        for segment in state.segments.iter().filter(|segment| segment.index_unsynced) {
            for kind in [FileKind::Index, FileKind::TimeIndex] {
                let path = state.path(kind, segment.base);
                let file = self.file(state, kind, segment.base, OpenMode::CreateIfMissing);
                files.push((path.clone(), file.map_err(StoreError::io("open", path))?));
            }
        }
        state.segments.iter_mut().for_each(|segment| segment.index_unsynced = false);
        Ok(files)
    }

    /// Completes all files for a clean shutdown: the next open needs no scan. Nothing is appended any more,
    /// be it by who hasn't heard yet that the store is being closed.
    pub(crate) fn finish(&self) -> Result<(), StoreError> {
        {
            let _one = self.commit_lock.lock();
            let mut state = self.state.lock();
            state.finished = true;
        }
        self.sync_in_place().map_err(|_| StoreError::Failed)?;
        {
            let mut state = self.state.lock();
            let end = state.end();
            let is_newest = state.snapshot_at == Some(end) && !state.heard_again;
            let has_snapshot = end == Offset(0) || is_newest;
            let is_complete = self.recovery_point() == Some(end);
            if state.deleted || (!state.touched && has_snapshot && is_complete) {
                return Ok(());
            }
            state.touched = true;
            state.active().finish_time_index();
            for at in 0..state.segments.len() {
                // Kafka's tools want the index files, be they empty.
                let base = state.segments[at].base;
                state.segments[at].index_unsynced |= self.touch_indexes(&state, base)?;
            }
            if !has_snapshot {
                self.save_producers(&mut state, end);
            }
        }
        self.sync_side_files()?;
        let end = self.end_offset();
        if self.recovery_point() == Some(end) { Ok(()) } else { Err(StoreError::Failed) }
    }

    /// Creates the index files of a segment where they are missing. Returns whether one was.
    fn touch_indexes(&self, state: &State, base: Offset) -> Result<bool, StoreError> {
        let mut created = false;
        for kind in [FileKind::Index, FileKind::TimeIndex] {
            let path = state.path(kind, base);
            match self.shared.disk.open(&path, OpenMode::CreateNew) {
                Ok(_) => created = true,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("create", path)(error)),
            }
        }
        Ok(created)
    }

    /// Keeps the newest snapshots only.
    pub(crate) fn remove_old_snapshots(&self) {
        let folder = self.state.lock().folder.clone();
        let disk = &*self.shared.disk;
        let snapshots = disk.list(&folder).map(|files| {
            let names = files.into_iter().map(|file| file.name);
            names
                .filter(|name| matches!(FileKind::parse(name), Some((FileKind::Snapshot, _))))
                .collect::<Vec<_>>()
        });
        let snapshots = snapshots.unwrap_or_default();
        let surplus = snapshots.len().saturating_sub(SNAPSHOTS_MAX);
        for name in &snapshots[..surplus] {
            if let Err(error) = disk.remove_file(&folder.join(name)) {
                tracing::warn!(folder = %folder.display(), name, %error, "old snapshot not removed");
            }
        }
    }
}
