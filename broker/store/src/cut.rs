//! Cutting a log: its tail when a leader says so, or all of it. Its head goes by retention, which has a file
//! of its own.
//!
//! A recovery point that lies behind the cut is lowered on disk first: what is appended there later is not
//! yet durable, and recovery must look at it.
//!
//! Should the process end meanwhile, the log ends no earlier than at the cut, or than it did: who has
//! acknowledged what lies below may be asked to lead. Where nothing else is left to say so, its start on disk
//! does.
//!
//! The disk may take its time, and the log's state is asked for by everyone: it is never held over a sync.
//! While a cut is under way the log is closed to appends ([`State::closed_at`]), and to those who look it
//! ends at the cut already.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{Depth, FileKind, LeaderEpochs, SealedOffsets, scan};
use ottla_types::Offset;

use crate::config::StoreBug;
use crate::damage::Damage;
use crate::disk::{Disk, DiskFile, OpenMode, replace_file, take_beside, write_beside};
use crate::error::{FatalError, ReadError, StoreError};
use crate::journal::Replay;
use crate::load::{KnownBounds, Recovery, load_log};
use crate::partition::{Loaded, PartitionLog, State};
use crate::patient::PatientDisk;
use crate::read::{FileSource, UpTo};
use crate::retain::SEGMENT_FILES;
use crate::segment::Segment;
use crate::shared::FileKey;

/// Where a log is cut.
#[derive(Clone, Copy)]
enum Cut {
    /// At this offset, at this position of its segment.
    At(Offset, u64),
    /// All of it goes, and it begins at this offset.
    Anew(Offset),
}

impl Cut {
    /// Where a log that ends at `end` ends at least, however far this came.
    fn kept(self, end: Offset) -> Offset {
        match self {
            Cut::At(offset, _) => offset,
            Cut::Anew(offset) => offset.min(end),
        }
    }
}

/// What is left to be done on disk once nobody sees what is cut any more.
struct Doomed {
    folder: PathBuf,
    /// The segments that go, newest first.
    segments: Vec<Offset>,
    /// Where the last segment is cut, if it is.
    shortened: Option<u64>,
}

impl State {
    /// Forgets what is cut.
    ///
    /// Bytes of a segment are never written twice, as they may be on their way as a place in its file: a
    /// segment of which nothing is left goes, and is another file when it comes again; one that is cut takes
    /// nothing more. `keeps_file` plants the bug that doesn't.
    fn forget(&mut self, cut: Cut, interval_bytes: u32, keeps_file: bool) -> Doomed {
        assert!(cut.kept(self.end()) <= self.end(), "a cut makes no log longer");
        let (end, mut gone, shortened) = match cut {
            Cut::At(offset, position) => {
                let at = self.segment_of(offset);
                let gone = self.segments.split_off(at + usize::from(keeps_file));
                self.epochs.truncate_to(offset);
                self.damaged.retain(|damage| damage.offsets.start < offset);
                if let Some(last) = self.damaged.last_mut().filter(|last| last.offsets.end > offset) {
                    last.offsets.end = offset;
                    last.positions.end = last.positions.end.min(position).max(last.positions.start);
                }
                (offset, gone, keeps_file.then_some(position))
            }
            Cut::Anew(offset) => {
                self.epochs = LeaderEpochs::default();
                self.damaged.clear();
                (offset, std::mem::take(&mut self.segments), None)
            }
        };
        if self.segments.is_empty() {
            self.segments.push(Segment::new(end, interval_bytes, 0));
        }
        if let Some(position) = shortened {
            self.active().cut(position, end);
        }
        // The files are read anew; nobody may write index entries meanwhile.
        self.segments.iter_mut().for_each(Segment::forget_pending_entries);
        self.segments_synced_to = self.segments_synced_to.min(end);
        self.read_hints = Default::default();
        // A view from before must not take what is being cut for damage.
        self.incarnation += 1;
        gone.reverse();
        Doomed {
            folder: self.folder.clone(),
            segments: gone.iter().map(|segment| segment.base).collect(),
            shortened,
        }
    }
}

impl PartitionLog {
    /// Removes all records from `offset` on, or from the batch on that holds it. The durable end goes back
    /// too.
    ///
    /// # Errors
    /// When the disk fails; the store has failed then. Without room to begin, or with too many open files,
    /// nothing is cut.
    pub fn truncate_to(&self, offset: Offset) -> Result<(), StoreError> {
        let _one = self.commit_lock.lock();
        if offset >= self.end_offset() || self.is_gone()? {
            return Ok(());
        }
        self.closed(|| {
            let start = self.log_start_offset();
            let offset = offset.max(start);
            if offset >= self.end_offset() {
                return Ok(());
            }
            let wanted = offset;
            let (offset, position) = self.boundary(wanted)?;
            assert!(offset <= wanted, "nothing from {wanted} on stays, a cut at {offset} would leave some");
            // The batch may also hold records that were let go: nothing of it remains.
            self.cut(if offset < start { Cut::Anew(start) } else { Cut::At(offset, position) })
        })
    }

    /// Removes all records and begins again at `offset`, as when a leader's log begins behind this one's end.
    ///
    /// # Errors
    /// As [`Self::truncate_to`].
    pub fn reset_to(&self, offset: Offset) -> Result<(), StoreError> {
        let _one = self.commit_lock.lock();
        if self.is_gone()? {
            return Ok(());
        }
        self.closed(|| self.cut(Cut::Anew(offset)))
    }

    /// Whether it was deleted. With the commit lock held, as its store may be being closed.
    fn is_gone(&self) -> Result<bool, StoreError> {
        let state = self.state.lock();
        if state.finished { Err(StoreError::Closed) } else { Ok(state.deleted) }
    }

    /// Does what needs a log that stays as it is: all of it is synced, and it takes no appends meanwhile.
    /// With the commit lock held.
    pub(crate) fn closed<T, E: From<StoreError>>(&self, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        {
            let mut state = self.state.lock();
            assert!(self.commit_lock.is_locked(), "one cut or repair at a time");
            assert_eq!(state.closed_at, None, "after each cut or repair the log is opened again");
            state.closed_at = Some(state.end());
        }
        let done = match self.sync_locked() {
            Ok(()) => act(),
            Err(_) => Err(StoreError::Failed.into()),
        };
        self.state.lock().closed_at = None;
        done
    }

    /// With the log closed.
    fn cut(&self, cut: Cut) -> Result<(), StoreError> {
        let (Cut::At(end, _) | Cut::Anew(end)) = cut;
        let kept = cut.kept(self.end_offset());
        let leaves_nothing = matches!(cut, Cut::Anew(_)) || end == self.log_start_offset();
        let keeps_file = self.keeps_file(cut);
        let shortened = match self.prepare_cut(cut, keeps_file) {
            Err(error) if !error.is_passing() => {
                let folder = self.state.lock().folder.clone();
                return Err(self.fail(&folder, "cut", error));
            }
            prepared => prepared?,
        };
        let closed_at = self.state.lock().closed_at.replace(kept);
        assert!(closed_at.is_some_and(|end| kept <= end), "only a closed log is cut, and none gets longer");
        if matches!(cut, Cut::Anew(_)) {
            // As with the recovery point: a checkpoint that is written meanwhile must not say again what is
            // taken back, nor a start that the log hasn't reached on disk.
            self.set_start_at_most(Some(kept));
        }
        self.fence(kept, leaves_nothing).inspect_err(|_| self.give_up_cut())?;
        let interval_bytes = self.config().index_interval_bytes;
        let doomed = {
            let mut state = self.state.lock();
            let doomed = state.forget(cut, interval_bytes, keeps_file);
            if matches!(cut, Cut::Anew(_)) {
                self.set_start(end);
            }
            assert_eq!(state.end(), end, "what is left ends where the log is cut");
            self.cut_durable(end);
            self.set_end(end);
            doomed
        };
        let loaded =
            self.cut_files(cut, &doomed, shortened).and_then(|()| self.load_again(&doomed.folder, end));
        let loaded = loaded.map_err(|error| self.fail(&doomed.folder, "cut", error))?;
        self.install(loaded, end);
        self.set_start_at_most(None);
        Ok(())
    }

    /// Does what may find no room or too many open files while nothing is cut yet: the epochs that are left
    /// are written beside their file. Returns the file of the segment in which it is cut.
    fn prepare_cut(&self, cut: Cut, keeps_file: bool) -> Result<Option<Arc<dyn DiskFile>>, StoreError> {
        let (folder, base, epochs) = {
            let state = self.state.lock();
            let mut epochs = state.epochs.clone();
            let base = match cut {
                Cut::At(offset, _) => {
                    epochs.truncate_to(offset);
                    keeps_file.then(|| state.segments[state.segment_of(offset)].base)
                }
                Cut::Anew(_) => {
                    epochs = LeaderEpochs::default();
                    None
                }
            };
            (state.folder.clone(), base, epochs.encode())
        };
        write_beside(&*self.shared.disk, &folder, LeaderEpochs::FILE, epochs.as_bytes())
            .map_err(StoreError::io("write", folder.join(LeaderEpochs::FILE)))?;
        let Some(base) = base else { return Ok(None) };
        let path = folder.join(FileKind::Log.file_name(base));
        self.log_file(base, &path).map(Some).map_err(StoreError::io("open", path))
    }

    /// Whether the segment in which the log is cut stays, shorter: where something is left of it, be it
    /// damage.
    fn keeps_file(&self, cut: Cut) -> bool {
        match cut {
            Cut::At(offset, _) => {
                let state = self.state.lock();
                let is_left = offset > state.segments[state.segment_of(offset)].base;
                is_left || self.shared.bug == Some(StoreBug::WriteOverWhatWasCut)
            }
            Cut::Anew(_) => false,
        }
    }

    /// Makes the log's entries in the journal void, durably, as a replay must not bring back what is cut now,
    /// and takes back what the disk says of the recovery point: in memory first, as a checkpoint that is
    /// written meanwhile takes it from there. Where nothing may be left of the log, the disk says where it
    /// begins.
    fn fence(&self, durable_to: Offset, leaves_nothing: bool) -> Result<(), StoreError> {
        assert!(
            durable_to <= self.end_offset(),
            "{durable_to} lies past the log's end {}",
            self.end_offset()
        );
        self.void_journal_entries(durable_to)?;
        if self.recovery_point().is_some_and(|recovery_point| recovery_point > durable_to) {
            self.set_recovery_point(Some(durable_to));
        }
        // Other records come in the place of what was cleaned.
        self.lower_cleaned_offset(durable_to);
        let name = self.topic_partition();
        self.shared.lower_offsets(&name, durable_to)?;
        if leaves_nothing { self.shared.raise_log_start(&name, durable_to) } else { Ok(()) }
    }

    fn void_journal_entries(&self, durable_to: Offset) -> Result<(), StoreError> {
        if self.shared.bug == Some(StoreBug::CutWithoutFence) {
            return Ok(());
        }
        self.shared.begin_cut(self.journal_key(), durable_to)?;
        let mut state = self.state.lock();
        // What a group says of the log from before isn't true any more.
        state.incarnation += 1;
        state.direct = true;
        Ok(())
    }

    /// Nothing is cut: what was known has to be said again, here and by the next checkpoint.
    fn give_up_cut(&self) {
        self.set_start_at_most(None);
        self.shared.journal.cut_done(self.journal_key());
        let mut state = self.state.lock();
        state.touched = true;
        let segments_synced_to = state.segments_synced_to;
        let _ = self.shared.journal.mark(self.journal_key(), &mut state.slot, segments_synced_to);
    }

    /// Opens nothing, and writes nothing that needs room.
    fn cut_files(
        &self,
        cut: Cut,
        doomed: &Doomed,
        shortened: Option<Arc<dyn DiskFile>>,
    ) -> Result<(), StoreError> {
        let (disk, folder) = (&*self.shared.disk, &doomed.folder);
        for (at, base) in doomed.segments.iter().enumerate() {
            if at > 0 && at + 1 == doomed.segments.len() {
                // The oldest only once the others are gone for good: what is left of a log must not begin
                // later.
                self.shared.sync_dir(folder).map_err(StoreError::io("sync", folder))?;
            }
            // One that stays would be taken for a part of the log.
            self.try_to_remove(folder, *base, &SEGMENT_FILES)?;
        }
        if let Some((position, file)) = doomed.shortened.zip(shortened) {
            file.truncate(position).map_err(StoreError::io("truncate a segment of", folder))?;
            file.sync().map_err(StoreError::io("sync a segment of", folder))?;
        }
        if matches!(cut, Cut::Anew(_)) {
            for file in PatientDisk(&self.shared).list(folder).map_err(StoreError::io("list", folder))? {
                if matches!(FileKind::parse(&file.name), Some((FileKind::Snapshot, _))) {
                    let path = folder.join(&file.name);
                    disk.remove_file(&path).map_err(StoreError::io("remove", path))?;
                }
            }
        }
        take_beside(disk, folder, LeaderEpochs::FILE)
            .and_then(|()| self.shared.sync_dir(folder))
            .map_err(StoreError::io("write", folder.join(LeaderEpochs::FILE)))
    }

    /// A segment's file, for who doesn't hold the state.
    pub(crate) fn log_file(&self, base: Offset, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let key = FileKey { partition: self.key, base, kind: FileKind::Log };
        self.shared.file(key, path, OpenMode::Existing)
    }

    pub(crate) fn fail(&self, folder: &Path, action: &'static str, error: StoreError) -> StoreError {
        let reason = io::Error::other(error.to_string());
        self.shared.fail(&FatalError::new(action, folder, &reason));
        error
    }

    pub(crate) fn save_epochs(&self, folder: &Path, text: &str) -> Result<(), StoreError> {
        replace_file(&*self.shared.disk, folder, LeaderEpochs::FILE, text.as_bytes())
            .map_err(StoreError::io("write", folder.join(LeaderEpochs::FILE)))
    }

    /// Reads the log from its files again, which end at `end`. With the log closed.
    pub(crate) fn load_again(&self, folder: &Path, end: Offset) -> Result<Loaded, StoreError> {
        self.shared.close_files(self.key, None);
        let recovery = Recovery {
            shared: &self.shared,
            clean: false,
            saved: SealedOffsets::default(),
            is_sealed: false,
            config: self.config().as_ref().clone(),
            replay: Replay::default(),
            threads: 1,
        };
        let known = KnownBounds {
            recovery_point: self.recovery_point().unwrap_or_default().min(end),
            durable_to: end,
            log_start: self.log_start_offset(),
            cut_to: None,
            // Their file may be damaged by now, and a batch that says them again, too.
            epochs: Some(self.state.lock().epochs.clone()),
        };
        let loaded = load_log(&recovery, folder, known)?;
        self.shared.sync_dir(folder).map_err(StoreError::io("sync", folder))?;
        Ok(loaded)
    }

    /// Takes what was loaded for the log from now on, and tells of damage that was found by that.
    pub(crate) fn install(&self, loaded: Loaded, end: Offset) {
        assert!(loaded.start <= end && loaded.recovery_point <= end, "all that is known of a log lies in it");
        let mut state = self.state.lock();
        let (incarnation, slot, closed_at) = (state.incarnation, state.slot, state.closed_at);
        let before = std::mem::replace(&mut *state, loaded.state);
        state.producers.keep_heard(&before.producers);
        let cut: HashSet<Offset> =
            before.segments.iter().filter(|segment| segment.was_cut).map(|segment| segment.base).collect();
        for segment in state.segments.iter_mut().filter(|segment| cut.contains(&segment.base)) {
            segment.was_cut = true;
        }
        // No checksum covers a batch's epoch, so what the batches say now is worth less than what they said.
        state.epochs_unsaved |= state.epochs != before.epochs;
        state.epochs = before.epochs;
        // What a group says of the log's tail from before is not true any more.
        (state.incarnation, state.slot, state.closed_at) = (incarnation, slot, closed_at);
        let known: HashSet<Range<Offset>> =
            before.damaged.iter().map(|damage| damage.offsets.clone()).collect();
        // Headers alone don't show what reads have found.
        for damage in before.damaged {
            if damage.offsets.end <= end && state.damage_at(damage.offsets.start).is_none() {
                state.add_damage(damage);
            }
        }
        state.note_hidden_producers(loaded.start);
        let missed = state.damaged.iter().filter(|damage| damage.is_missed(loaded.start));
        let news = missed.filter(|damage| !known.contains(&damage.offsets));
        let news: Vec<_> = news.map(|damage| damage.missed(loaded.start)).collect();
        assert_eq!(state.end(), end, "the log was cut there");
        self.shared.journal.cut_done(self.journal_key());
        // Its older entries, which said so before, are void.
        let _ = self.shared.journal.mark(self.journal_key(), &mut state.slot, end);
        self.set_start(loaded.start);
        self.set_recovery_point(Some(loaded.recovery_point));
        drop(state);
        self.tell_of_damage(&news);
        // Each read copies those that are in memory.
        self.flush_indexes();
    }

    /// Where the batch that holds `offset` begins: its offset, and its position in the segment.
    ///
    /// Within damage the log is cut at the very offset, as what lies below was acknowledged: all that can be
    /// read of it stays, and the rest goes on being named as damage.
    ///
    /// # Errors
    /// When the disk can't be read, or damage is found that wasn't known: it is noted, and whoever tries
    /// again sees whether the disk had but a moment of weakness.
    fn boundary(&self, offset: Offset) -> Result<(Offset, u64), StoreError> {
        let (view, damage, path) = {
            let state = self.state.lock();
            let segment = &state.segments[state.segment_of(offset)];
            if offset == segment.base {
                return Ok((offset, 0));
            }
            let path = state.path(FileKind::Log, segment.base);
            match state.damage_at(offset) {
                Some(damage) => (Ok(None), Some(damage.clone()), path),
                None => (self.view_locked(&state, offset, UpTo::End), None, path),
            }
        };
        if let Some(damage) = damage {
            return self.boundary_in_damage(&damage, offset, &path);
        }
        let wrong = |error: ReadError| StoreError::io("read", &path)(io::Error::other(error));
        let view =
            view.map_err(wrong)?.expect("callers ask for an offset from the log's start to before its end");
        let mut from = view.start(offset);
        loop {
            let stop = match view.locate_from(from, offset).map_err(wrong)? {
                Ok(batch) => return Ok((batch.header().base_offset(), batch.position)),
                Err(stop) => stop,
            };
            let damage = self.found_damage(&view, stop).map_err(wrong)?;
            if offset < damage.offsets.end {
                return Err(wrong(ReadError::Corrupt {
                    path: path.clone(),
                    position: damage.positions.start,
                    error: damage.error,
                }));
            }
            from = (damage.offsets.end, damage.positions.end);
        }
    }

    fn boundary_in_damage(
        &self,
        damage: &Damage,
        offset: Offset,
        path: &Path,
    ) -> Result<(Offset, u64), StoreError> {
        if damage.positions.is_empty() {
            return Ok((offset, damage.positions.start));
        }
        let file = self.log_file(damage.segment, path).map_err(StoreError::io("open", path))?;
        let _ = file.drop_cache();
        let mut found = None;
        let source = FileSource::with_bad_sectors_as_zeros(file);
        let end = scan(&source, damage.positions.clone(), damage.offsets.start, Depth::Crc, |batch| {
            let holds_it = batch.header().next_offset() > offset;
            found = holds_it.then(|| (batch.header().base_offset(), batch.position));
            !holds_it
        });
        let end = end.map_err(StoreError::io("read", path))?;
        Ok(found.unwrap_or((offset, end.position)))
    }
}
