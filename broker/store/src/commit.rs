//! Making appended records durable: what one commit of one partition does, in its order.
//!
//! In place: 1. new files' content, then the segments' bytes, oldest first; 2. the names of new files, and of
//! the folder; 3. only then the durable end advances and hooks are called; 4. index entries follow, never
//! ahead of the records. Through the journal, 1 and 2 are one sync for all partitions; the segments follow
//! later.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_log::{FileKind, IndexEntry, TimeIndexEntry};
use ottla_types::Offset;

use crate::disk::{DiskFile, OpenMode};
use crate::error::FatalError;
use crate::journal::{GroupLog, Member};
use crate::partition::{PartitionLog, State};

/// What a commit is about to sync.
struct Dirty {
    files: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    /// Base, bytes and end offset.
    segments: Vec<(Offset, u64, Offset)>,
    folder: PathBuf,
    folder_unsynced: bool,
    parent_unsynced: Option<u64>,
    end: Offset,
}

impl PartitionLog {
    /// Makes all that was appended before the call durable, and advances the durable end.
    ///
    /// # Errors
    /// The store has failed then, now or before.
    pub fn sync(&self) -> Result<(), FatalError> {
        let (end, is_in_journal) = {
            let state = self.state.lock();
            (state.end(), !state.direct)
        };
        if is_in_journal {
            self.shared.commit_journal()?;
            if self.durable_end_offset() >= end {
                return Ok(());
            }
        }
        self.sync_in_place()
    }

    /// As [`Self::sync`], and the segments themselves are synced.
    pub(crate) fn sync_in_place(&self) -> Result<(), FatalError> {
        let _one = self.commit_lock.lock();
        self.sync_locked()
    }

    /// As [`Self::sync_in_place`], with the commit lock held.
    pub(crate) fn sync_locked(&self) -> Result<(), FatalError> {
        assert!(self.commit_lock.is_locked(), "a log isn't cut while it is synced");
        self.queued.store(false, Ordering::Release);
        if self.shared.has_failed() {
            return Err(self.shared.failed_before());
        }
        let dirty = self.state.lock().take_dirty();
        let Some(dirty) = dirty else { return Ok(()) };
        if let Err(error) = self.sync_dirty(&dirty) {
            self.shared.fail(&error);
            return Err(error);
        }
        let mut state = self.state.lock();
        assert!(dirty.end <= state.end(), "{} was synced of a log that ends at {}", dirty.end, state.end());
        state.mark_synced(&dirty);
        if state.direct && state.end() == dirty.end {
            state.direct = false;
            // Not waited for: until it is on disk, damage there may look like a torn tail.
            let _ = self.shared.journal.mark(self.journal_key(), &mut state.slot, dirty.end);
        }
        let advanced = self.advance_durable(dirty.end);
        drop(state);
        if advanced {
            self.call_hooks();
        }
        self.flush_indexes();
        Ok(())
    }

    fn sync_dirty(&self, dirty: &Dirty) -> Result<(), FatalError> {
        for (path, file) in &dirty.files {
            file.sync().map_err(|error| FatalError::new("sync", path, &error))?;
        }
        if dirty.folder_unsynced {
            self.shared
                .sync_dir(&dirty.folder)
                .map_err(|error| FatalError::new("sync", &dirty.folder, &error))?;
        }
        if let Some(change) = dirty.parent_unsynced {
            self.shared
                .sync_root(change)
                .map_err(|error| FatalError::new("sync", &self.shared.dir, &error))?;
        }
        Ok(())
    }

    /// Writes the index entries that are still in memory. No space is no error: they are tried again.
    pub(crate) fn flush_indexes(&self) {
        let mut state = self.state.lock();
        if state.deleted {
            return;
        }
        for at in 0..state.segments.len() {
            let segment = &state.segments[at];
            if !segment.has_pending_entries() {
                continue;
            }
            let base = segment.base;
            let index: Vec<u8> = segment.index.pending.iter().flat_map(|entry| entry.encode()).collect();
            let time: Vec<u8> = segment.time_index.pending.iter().flat_map(|entry| entry.encode()).collect();
            let index_at = segment.index.written * IndexEntry::BYTES;
            let time_at = segment.time_index.written * TimeIndexEntry::BYTES;
            let wrote_index = self.write_index(&state, FileKind::Index, base, index_at, &index);
            let wrote_time = self.write_index(&state, FileKind::TimeIndex, base, time_at, &time);
            let segment = &mut state.segments[at];
            segment.index_unsynced = true;
            if wrote_index {
                segment.index.written += std::mem::take(&mut segment.index.pending).len();
            }
            if wrote_time {
                segment.time_index.written += std::mem::take(&mut segment.time_index.pending).len();
            }
        }
    }

    fn write_index(
        &self,
        state: &State,
        kind: FileKind,
        base: Offset,
        position: usize,
        bytes: &[u8],
    ) -> bool {
        if bytes.is_empty() {
            return false;
        }
        let written = self
            .file(state, kind, base, OpenMode::CreateIfMissing)
            .and_then(|file| file.write_at(position as u64, &[bytes]));
        if let Err(error) = &written {
            tracing::warn!(folder = %state.folder.display(), %error, "index entries not written yet");
        }
        written.is_ok()
    }
}

impl GroupLog for PartitionLog {
    fn group_ended(self: &Arc<Self>, member: &Member<Self>, durable: bool) {
        let mut state = self.state.lock();
        if state.deleted {
            return;
        }
        if !durable || state.incarnation != member.incarnation {
            if !state.is_unsynced() {
                return;
            }
            state.direct = true;
            drop(state);
            return self.queue();
        }
        assert!(member.end <= state.end(), "the log wasn't cut since {} was written", member.end);
        if let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == member.segment) {
            segment.set_durable(member.bytes, member.end);
        }
        let has_many = state.active().has_many_entries();
        let advanced = self.advance_durable(member.end);
        drop(state);
        if advanced {
            self.call_hooks();
        }
        if has_many {
            self.flush_indexes();
        }
    }
}

impl State {
    fn take_dirty(&mut self) -> Option<Dirty> {
        if self.deleted || !self.is_unsynced() {
            return None;
        }
        let mut segments = Vec::new();
        let mut files = std::mem::take(&mut self.unsynced_files);
        for segment in &self.segments {
            if let Some(held) = &segment.unsynced {
                files.push((self.path(FileKind::Log, segment.base), Arc::clone(&held.file)));
                segments.push((segment.base, segment.bytes, segment.end));
            }
        }
        Some(Dirty {
            files,
            segments,
            folder: self.folder.clone(),
            folder_unsynced: std::mem::take(&mut self.folder_unsynced),
            parent_unsynced: std::mem::take(&mut self.parent_unsynced),
            end: self.end(),
        })
    }

    /// Whether a commit would find something to do.
    pub(crate) fn is_unsynced(&self) -> bool {
        let files =
            !self.unsynced_files.is_empty() || self.segments.iter().any(|segment| segment.unsynced.is_some());
        files || self.folder_unsynced || self.parent_unsynced.is_some()
    }

    /// Nothing was cut meanwhile, as the commit lock is held.
    fn mark_synced(&mut self, dirty: &Dirty) {
        self.segments_synced_to = self.segments_synced_to.max(dirty.end);
        assert!(self.segments_synced_to <= self.end(), "what is synced was written");
        for (base, bytes, end) in &dirty.segments {
            let Some(segment) = self.segments.iter_mut().find(|segment| segment.base == *base) else {
                continue;
            };
            segment.set_durable(*bytes, *end);
            if segment.bytes == *bytes {
                segment.unsynced = None;
            }
        }
    }
}
