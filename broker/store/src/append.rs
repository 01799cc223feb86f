//! Appending batches: validation outside the lock, one vectored write under it, no record byte copied.

use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{
    ActiveSegment, BatchError, BatchHeader, Batches, FileKind, HEADER_BYTES, Incoming, LogConfig,
    NO_TIMESTAMP, SequenceCheck, ValidBatch, encode_snapshot, inflated_bytes_max, must_roll,
    validate_produce,
};
use ottla_types::{LeaderEpoch, Offset};

use crate::config::StoreBug;
use crate::disk::{OpenMode, is_no_space, is_out_of_files};
use crate::error::{AppendError, FatalError};
use crate::journal::Written;
use crate::partition::{PartitionLog, State};
use crate::segment::Segment;

/// What an append was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// The time that was written into the batch, in ms; −1 when it keeps the producer's.
    pub log_append_time_ms: i64,
    /// The log's first offset.
    pub log_start_offset: Offset,
    /// Whether these records had been appended before, by the same idempotent producer.
    pub duplicate: bool,
}

/// A client's batch that was checked for one partition, and can be appended there.
#[derive(Clone, Debug)]
pub struct Checked {
    records: Bytes,
    valid: ValidBatch,
    now_ms: i64,
}

impl Checked {
    /// The batch as it came.
    pub fn records(&self) -> &Bytes {
        &self.records
    }
}

/// How an append becomes durable.
enum DurableBy {
    /// With the journal's group.
    InJournal,
    /// By a sync of its segment.
    InPlace,
    /// It is as good as durable: that was asked for.
    Written,
}

impl PartitionLog {
    /// Checks one batch of a client: its structure, each of its records, what the topic takes. No lock is
    /// held meanwhile, and compressed records are read up to `inflated_max` bytes, which takes its time.
    ///
    /// # Errors
    /// The batch can't be appended then.
    pub fn check(&self, records: &Bytes, now_ms: i64, inflated_max: usize) -> Result<Checked, AppendError> {
        let valid = validate_produce(records, &self.config(), now_ms, inflated_max)?;
        Ok(Checked { records: records.clone(), valid, now_ms })
    }

    /// Checks a client's batch and appends it; see [`Self::check`] and [`Self::append_checked`].
    ///
    /// # Errors
    /// Nothing is appended then. After [`AppendError::Failed`] nothing ever will be.
    pub fn append(
        self: &Arc<Self>,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.append_checked(&self.check(records, now_ms, inflated_bytes_max(records.len()))?, leader_epoch)
    }

    /// Appends a batch as the leader of `leader_epoch`: assigns its offsets, writes it.
    ///
    /// Durable once [`Self::durable_end_offset`] has passed `last_offset`. A duplicate gets its old offsets.
    ///
    /// # Errors
    /// Nothing is appended then. After [`AppendError::Failed`] nothing ever will be.
    pub fn append_checked(
        self: &Arc<Self>,
        checked: &Checked,
        leader_epoch: LeaderEpoch,
    ) -> Result<Appended, AppendError> {
        let (records, valid, now_ms) = (&checked.records, &checked.valid, checked.now_ms);
        let (config, header) = (self.config(), valid.header());
        let mut state = self.state.lock();
        self.check_writable(&state)?;
        let mut appended = Appended {
            base_offset: state.end(),
            last_offset: Offset(state.end().0 + i64::from(header.last_offset_delta())),
            log_append_time_ms: valid.append_time_ms().unwrap_or(-1),
            log_start_offset: self.log_start_offset(),
            duplicate: false,
        };
        if let SequenceCheck::Duplicate(old) = state.producers.check(header)? {
            appended.base_offset = old.base_offset;
            appended.last_offset = old.last_offset;
            appended.log_append_time_ms = valid.append_time_ms().map_or(-1, |_| old.timestamp_ms);
            appended.duplicate = true;
            state.heard_again |= state.producers.hear(header.producer_id(), now_ms);
            return Ok(appended);
        }
        let patched = valid.placed(appended.base_offset, leader_epoch);
        let header = BatchHeader::from(&patched);
        let parts = [&patched[..], &records[HEADER_BYTES..]];
        let committed = self.write(&mut state, &config, &parts, &[header], now_ms)?;
        drop(state);
        self.after_append(committed);
        Ok(appended)
    }

    /// Appends batches that have their offsets and epochs: what a replica fetched.
    ///
    /// They have to begin at the log's end and follow each other without a gap.
    ///
    /// # Errors
    /// Nothing is appended then. After [`AppendError::Failed`] nothing ever will be.
    pub fn append_as_is(self: &Arc<Self>, records: &Bytes, now_ms: i64) -> Result<Appended, AppendError> {
        let config = self.config();
        let headers =
            Batches::new(records).map(|batch| Ok(batch?.0)).collect::<Result<Vec<_>, BatchError>>()?;
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return Err(BatchError::BatchCount.into());
        };
        let mut state = self.state.lock();
        self.check_writable(&state)?;
        let mut expected = state.end();
        for header in &headers {
            if header.base_offset() != expected {
                return Err(AppendError::Offset { expected, given: header.base_offset() });
            }
            expected = header.next_offset();
        }
        let committed = self.write(&mut state, &config, &[records], &headers, now_ms)?;
        drop(state);
        self.after_append(committed);
        Ok(Appended {
            base_offset: first.base_offset(),
            last_offset: last.last_offset(),
            log_append_time_ms: -1,
            log_start_offset: self.log_start_offset(),
            duplicate: false,
        })
    }

    fn check_writable(&self, state: &State) -> Result<(), AppendError> {
        if state.deleted {
            return Err(AppendError::Deleted);
        }
        if self.shared.has_failed() {
            return Err(AppendError::Failed);
        }
        if state.closed_at.is_some() || state.finished { Err(AppendError::Busy) } else { Ok(()) }
    }

    fn after_append(self: &Arc<Self>, committed: DurableBy) {
        match committed {
            DurableBy::InJournal => {}
            DurableBy::InPlace => self.queue(),
            // The next checkpoint syncs it.
            DurableBy::Written => {
                if self.advance_durable(self.end_offset()) {
                    self.call_hooks();
                }
            }
        }
    }

    /// Decides how what was just written becomes durable: a small append through the journal, unless it would
    /// overtake what isn't durable yet. Only the size decides, which wins with many partitions and loses with
    /// few; see docs/decisions/acknowledgement-and-sync.md for the figures.
    fn commit_by(self: &Arc<Self>, state: &mut State, position: u64, parts: &[&[u8]]) -> DurableBy {
        assert!(state.active().unsynced.is_some(), "a file with unsynced bytes is held open");
        let written_is_enough = self.is_written_enough();
        if !written_is_enough && !self.would_overtake(state) {
            let (key, incarnation) = (self.journal_key(), state.incarnation);
            let Segment { base: segment, bytes, end, .. } = *state.active();
            let written = Written { key, incarnation, segment, position, parts, bytes, end };
            if self.shared.journal.append(self, &mut state.slot, &written) {
                return DurableBy::InJournal;
            }
        }
        state.direct = true;
        if written_is_enough { DurableBy::Written } else { DurableBy::InPlace }
    }

    /// Whether an append through the journal would be durable before what was appended earlier.
    fn would_overtake(&self, state: &State) -> bool {
        state.direct && self.shared.bug != Some(StoreBug::OvertakeUnsynced)
    }

    /// Whether the active segment was cut: what was there may still be on its way to someone, as a place in
    /// the file, so nothing else is ever written there.
    fn takes_no_more(&self, state: &mut State) -> bool {
        state.active().was_cut && self.shared.bug != Some(StoreBug::WriteOverWhatWasCut)
    }

    /// Writes checked batches to the active segment, a new one if need be, and takes note of them.
    fn write(
        self: &Arc<Self>,
        state: &mut State,
        config: &LogConfig,
        parts: &[&[u8]],
        headers: &[BatchHeader<'_>],
        now_ms: i64,
    ) -> Result<DurableBy, AppendError> {
        let is_open = state.closed_at.is_none() && !state.finished && !state.deleted;
        assert!(is_open, "callers have checked, under the same lock, that the log is open");
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let (first, last) = headers.first().zip(headers.last()).expect("both callers write a batch or more");
        assert_eq!(first.base_offset(), state.end(), "batches follow each other without a gap");
        let last_offset = last.last_offset();
        let max_timestamp_ms = headers.iter().map(BatchHeader::max_timestamp).max().unwrap_or(NO_TIMESTAMP);
        check_epochs(state, headers)?;
        let incoming = Incoming { bytes, last_offset, max_timestamp_ms };
        if self.takes_no_more(state) || must_roll(&active_segment(state), config, &incoming, now_ms) {
            self.roll(state, config, now_ms)?;
        }
        if state.active().bytes == 0 {
            state.active().created_ms = now_ms;
        }
        state.active().modified_ms = now_ms;
        let base = state.active().base;
        let file = match state.active().unsynced.clone() {
            Some(held) => held.file,
            None => self
                .file(state, FileKind::Log, base, OpenMode::Existing)
                .map_err(|error| self.not_opened("open", state, base, &error))?,
        };
        let position = state.active().bytes;
        if let Err(error) = file.write_at(position, parts) {
            // What was written of it must not be taken for records by anyone.
            let cut = file.truncate(position);
            return Err(match cut {
                Ok(()) if is_no_space(&error) => AppendError::NoSpace { folder: state.folder.clone() },
                _ => self.fatal("write", state, base, &error),
            });
        }
        if state.active().unsynced.is_none() {
            let (held, too_many) = self.shared.hold(&file);
            state.active().unsynced = Some(held);
            if too_many {
                self.queue();
            }
        }
        state.touched = true;
        self.shared.count_written(bytes);
        for header in headers {
            state.active().push_batch(*header, header.base_offset(), header.max_timestamp());
            let heard_ms = Some(now_ms);
            state.producers.on_append(*header, header.base_offset(), header.max_timestamp(), heard_ms);
            state.epochs_unsaved |= state.epochs.assign(header.leader_epoch(), header.base_offset());
        }
        assert_eq!(
            state.active().bytes,
            position + bytes,
            "the headers' lengths add up to the bytes written"
        );
        assert_eq!(state.end(), last.next_offset(), "the log ends with what was written last");
        self.set_end(state.end());
        Ok(self.commit_by(state, position, parts))
    }

    /// A file that can't be opened: too many open ones pass, and nothing was written; all else is fatal.
    fn not_opened(
        &self,
        action: &'static str,
        state: &State,
        base: Offset,
        error: &std::io::Error,
    ) -> AppendError {
        if is_out_of_files(error) {
            return AppendError::OutOfFiles { folder: state.folder.clone() };
        }
        self.fatal(action, state, base, error)
    }

    fn fatal(
        &self,
        action: &'static str,
        state: &State,
        base: Offset,
        error: &std::io::Error,
    ) -> AppendError {
        self.shared.fail(&FatalError::new(action, state.path(FileKind::Log, base), error));
        AppendError::Failed
    }

    /// Closes the active segment and opens the next one at the log's end.
    pub(crate) fn roll(&self, state: &mut State, config: &LogConfig, now_ms: i64) -> Result<(), AppendError> {
        let base = state.end();
        if state.active().base == base {
            // Still empty: its base offset is too far back. It can't be, as the end is its base.
            return Ok(());
        }
        assert!(state.active().base < base, "segments rise");
        let path = state.path(FileKind::Log, base);
        match self.shared.disk.open(&path, OpenMode::CreateNew) {
            Ok(file) => drop(file),
            Err(error) if is_no_space(&error) => {
                return Err(AppendError::NoSpace { folder: state.folder.clone() });
            }
            Err(error) => return Err(self.not_opened("create", state, base, &error)),
        }
        state.active().finish_time_index();
        state.segments.push(Segment::new(base, config.index_interval_bytes, now_ms));
        state.folder_unsynced = true;
        state.touched = true;
        self.save_producers(state, base);
        Ok(())
    }

    /// Writes the producers' snapshot at `offset`, which is the log's end. It is not synced: losing it costs
    /// time at the next start only, and its checksum tells.
    pub(crate) fn save_producers(&self, state: &mut State, offset: Offset) {
        assert_eq!(offset, state.end(), "the producers' state is that of the log's end");
        if state.damaged.iter().any(|damage| damage.hides_producers) {
            // It lacks what is damaged, and would say that it doesn't.
            return;
        }
        let path = state.path(FileKind::Snapshot, offset);
        let content = encode_snapshot(&state.producers);
        let written = self.shared.disk.open(&path, OpenMode::CreateIfMissing).and_then(|file| {
            file.truncate(0)?;
            file.write_at(0, &[&content])
        });
        match written {
            Ok(()) => (state.snapshot_at, state.heard_again) = (Some(offset), false),
            Err(error) => tracing::warn!(path = %path.display(), %error, "producer snapshot not written"),
        }
    }
}

/// Leader epochs only rise.
fn check_epochs(state: &State, headers: &[BatchHeader<'_>]) -> Result<(), AppendError> {
    let mut current = state.epochs.latest().unwrap_or(LeaderEpoch(-1));
    for given in headers.iter().map(BatchHeader::leader_epoch) {
        if given < current {
            return Err(AppendError::Epoch { current, given });
        }
        current = given;
    }
    Ok(())
}

fn active_segment(state: &mut State) -> ActiveSegment {
    let segment = state.active();
    ActiveSegment {
        base_offset: segment.base,
        bytes: segment.bytes,
        first_timestamp_ms: segment.first_timestamp_ms,
        created_ms: segment.created_ms,
        index_entries: segment.index.len() as u64,
        time_index_entries: segment.time_index.len() as u64,
    }
}
