//! What a store's threads do: commits, checkpoints, and letting the journal's files go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::config::StoreBug;
use crate::error::{FatalError, StoreError};
use crate::parallel::each;
use crate::partition::{PartitionLog, Shared};
use crate::store::Inner;

/// So many partitions of a checkpoint are done before the journal is looked at again.
const CHECKPOINT_STEP: usize = 64;

/// Stops the store when its thread ends by a bug: otherwise appends would wait for ever.
struct FailOnPanic<'a>(&'a Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "a bug ended the store's thread".to_owned();
            self.0.fail(&FatalError { action: "commit to", path: self.0.dir.clone(), reason });
        }
    }
}

impl Inner {
    /// The journal's groups, one after the other.
    pub(crate) fn commit_loop(&self) {
        let _guard = FailOnPanic(&self.shared);
        loop {
            self.shared.journal.wait(&self.stop);
            // When it fails, the store has told the broker by then.
            if self.shared.commit_journal().is_err() || self.stop.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// What is synced in place, several partitions at once: file systems join syncs that wait together.
    pub(crate) fn sync_loop(&self) {
        let _guard = FailOnPanic(&self.shared);
        loop {
            self.shared.wait_dirty(&self.stop);
            let dirty = self.shared.take_dirty();
            let _ = each(&dirty, self.sync_threads, |log| log.sync_in_place());
            if self.stop.load(Ordering::Acquire) {
                return;
            }
        }
    }

    pub(crate) fn removal_loop(&self) {
        self.removals.run(&self.shared, &self.stop);
    }

    pub(crate) fn upkeep_loop(&self, interval: Duration) {
        let _guard = FailOnPanic(&self.shared);
        let mut checkpointed = Instant::now();
        while let Some(is_wanted) = self.shared.wait_upkeep(interval) {
            if is_wanted && checkpointed.elapsed() < interval && !self.shared.is_checkpoint_due() {
                if self.shared.journal.wants_spare() {
                    self.shared.journal.prepare_spare();
                }
                if self.shared.journal.wants_release() {
                    self.release_or_warn();
                }
                continue;
            }
            if let Err(error) = self.checkpoint() {
                tracing::warn!(%error, "checkpoint not written, the next recovery takes longer");
            }
            self.shared.close_unused();
            checkpointed = Instant::now();
        }
    }

    pub(crate) fn release_or_warn(&self) {
        if let Err(error) = self.release() {
            tracing::warn!(%error, "journal not released yet, appends are synced in place");
        }
    }

    /// Lets the journal's files be used again.
    fn release(&self) -> Result<(), StoreError> {
        if self.release_with_marks()? { Ok(()) } else { self.checkpoint() }
    }

    /// Syncs the segments that the journal speaks of, and lets its files go. Returns whether there was room
    /// to write down how far the segments are synced.
    pub(crate) fn release_with_marks(&self) -> Result<bool, StoreError> {
        self.shared.journal.take_wants_release();
        let boundary = self.shared.journal.boundary();
        let logs = self.logs();
        self.sync_for_release(&logs)?;
        self.release_before(boundary, &logs)
    }

    /// Syncs segments. What is good enough when it is written waits for a checkpoint.
    fn sync_for_release(&self, logs: &[Arc<PartitionLog>]) -> Result<(), StoreError> {
        if self.shared.bug == Some(StoreBug::ReleaseBeforeSync) {
            return Ok(());
        }
        let logs: Vec<_> = logs.iter().filter(|log| !log.is_written_enough()).collect();
        each(&logs, self.sync_threads, |log| log.sync_in_place()).map_err(|_| StoreError::Failed)
    }

    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let boundary = self.shared.journal.boundary();
        let logs = self.logs();
        self.shared.checkpoint_begins();
        for logs in logs.chunks(CHECKPOINT_STEP) {
            each(logs, self.sync_threads, |log| {
                log.sync_in_place().map_err(|_| StoreError::Failed)?;
                log.sync_side_files()
            })?;
            // With thousands of partitions it takes longer than it takes to fill the journal.
            if self.shared.journal.wants_release() {
                self.release_with_marks()?;
            }
        }
        self.shared.save_offsets(&logs)?;
        self.release_before(boundary, &logs).map(drop)
    }

    /// Lets the journal's files before `boundary` go, the segments being synced. What the recovery points
    /// don't say of how far the logs are durable is marked in the newest file first. Returns whether there
    /// was room for that.
    fn release_before(&self, boundary: u64, logs: &[Arc<PartitionLog>]) -> Result<bool, StoreError> {
        let journal = &self.shared.journal;
        let seen_to = journal.next_number();
        if !self.mark_for_release(logs)? {
            return Ok(false);
        }
        journal.release(boundary, seen_to, |path| self.shared.sync_dir(path)).map_err(|error| {
            self.shared.fail(&error);
            StoreError::Failed
        })?;
        Ok(true)
    }

    /// Marks in the journal, durably, how far the segments of logs are synced that the recovery points don't
    /// say it of. Returns whether there was room for that.
    fn mark_for_release(&self, logs: &[Arc<PartitionLog>]) -> Result<bool, StoreError> {
        if self.shared.bug == Some(StoreBug::ReleaseWithoutMarks) {
            return Ok(true);
        }
        let journal = &self.shared.journal;
        let mut newest = None;
        for log in logs {
            // Before the state's lock, as the checkpoint's files may be being written.
            let saved = self.shared.saved_recovery_point(&log.topic_partition());
            let mut state = log.state.lock();
            // Past that it is being cut, and nothing may bring it back.
            let segments_synced_to =
                state.closed_at.map_or(state.segments_synced_to, |at| at.min(state.segments_synced_to));
            if state.deleted || saved >= segments_synced_to {
                continue;
            }
            assert!(segments_synced_to <= state.end(), "what is synced was written");
            newest = journal.mark_for_release(log.journal_key(), &mut state.slot, segments_synced_to);
            if newest.is_none() {
                return Ok(false);
            }
        }
        if let Some(newest) = newest {
            self.shared.commit_journal().map_err(|_| StoreError::Failed)?;
            return Ok(journal.is_durable(newest));
        }
        Ok(true)
    }
}
