//! Repair: a peer's bytes take the place of damaged ones, a piece at a time, however much is damaged.
//!
//! What is missing within a segment has its place there, byte for byte. Where a segment's end is missing, and
//! perhaps whole segments after it, the log is written on, and closed into segments as an append would.
//!
//! The log's state is held over no sync. Only with the last piece the log is closed to appends, as its files
//! are read again then, and where the log's own end is repaired.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_log::{BatchError, BatchHeader, Batches, FileKind, relative_offset};
use ottla_types::{LeaderEpoch, Offset};

use crate::damage::Damage;
use crate::disk::OpenMode;
use crate::error::{RepairError, StoreError};
use crate::partition::{PartitionLog, State};
use crate::segment::Segment;

/// No segment is larger: an index holds positions of 31 bits.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// What is about to be put in the place of damage, or of its beginning.
struct Piece {
    folder: PathBuf,
    damage: Damage,
    offsets: Range<Offset>,
    /// Where it begins in the segment.
    position: u64,
    bytes: usize,
    /// Whether the damage reaches to its segment's end, so that its size isn't known.
    is_last: bool,
    /// The epochs' file, if it lacks one.
    epochs: Option<String>,
}

impl Piece {
    /// Whether nothing of the damage is left then that anyone misses.
    fn is_whole(&self) -> bool {
        self.offsets.end == self.damage.offsets.end
    }

    /// Where it ends in the segment.
    fn end_position(&self) -> u64 {
        self.position + self.bytes as u64
    }

    /// The offsets and positions that are left of the damage: what comes behind, or what was let go before.
    fn rest(&self) -> Option<(Range<Offset>, Range<u64>)> {
        let (offsets, positions) = (&self.damage.offsets, &self.damage.positions);
        if offsets.start < self.offsets.start {
            return Some((offsets.start..self.offsets.start, positions.start..self.position));
        }
        let (end, end_position) = (self.offsets.end, self.end_position());
        (!self.is_whole()).then(|| (end..offsets.end, end_position..positions.end.max(end_position)))
    }
}

/// What comes next.
enum Next {
    Piece(Piece),
    /// The segment ends where the damage begins, which goes on in a new one from this offset on.
    Segment(Damage, Offset),
}

impl PartitionLog {
    /// Puts a peer's bytes in the place of damaged ones: whole batches, from the beginning of a range of
    /// [`Self::damage`] on; the first may begin before the log's start. Returns what is repaired, and synced,
    /// of it: what was given, or as much as there was room for in a segment. What is left is still damaged,
    /// and can be repaired next.
    ///
    /// Where the log's start lies in the damage and good batches follow in the segment, all up to these has
    /// to be given.
    ///
    /// # Errors
    /// When the bytes aren't what is missing, or the disk fails; the damage stays then, as it does when there
    /// is no room or too many files are open.
    pub fn repair(&self, records: &Bytes) -> Result<Range<Offset>, RepairError> {
        let headers =
            Batches::new(records).map(|batch| Ok(batch?.0)).collect::<Result<Vec<_>, BatchError>>()?;
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return Err(BatchError::BatchCount.into());
        };
        let given = first.base_offset()..last.next_offset();
        let _one = self.commit_lock.lock();
        let start = self.log_start_offset();
        let needs_closed = {
            let state = self.state.lock();
            if state.finished {
                return Err(StoreError::Closed.into());
            }
            state.needs_closed(&given, start)?
        };
        let repaired_to = if needs_closed {
            self.closed(|| self.repair_with(records, &headers, &given, true))?
        } else {
            self.repair_with(records, &headers, &given, false)?
        };
        Ok(given.start.max(start)..repaired_to.max(start))
    }

    /// Looks at damaged records again, a range of [`Self::damage`]: the disk may have failed to read them for
    /// a moment. Returns whether they are damaged no more. Nothing is written over them.
    pub fn look_again(&self, offsets: &Range<Offset>) -> bool {
        let Some(damage) = self.state.lock().damage_at(offsets.start).cloned() else { return true };
        if !damage.hides_producers {
            return self.is_whole_again(&damage);
        }
        if !self.can_be_read(&damage) {
            return false;
        }
        // What they say of producers is learnt as after a peer's bytes: by reading the files again.
        let _one = self.commit_lock.lock();
        {
            let state = self.state.lock();
            if state.finished || state.deleted || state.damage_at(offsets.start) != Some(&damage) {
                return false;
            }
        }
        self.closed(|| {
            self.read_again(damage.segment, |state| state.damaged.retain(|known| *known != damage))
        })
        .is_ok()
    }

    /// Reads the log from its files again once `forget` has taken off damage in a segment: what can't be read
    /// is found anew. With the log closed.
    fn read_again(&self, segment: Offset, forget: impl FnOnce(&mut State)) -> Result<(), StoreError> {
        let (folder, end) = {
            let mut state = self.state.lock();
            assert!(state.closed_at.is_some(), "nothing is appended while the files are read again");
            forget(&mut state);
            // The files are read anew; nobody may write index entries meanwhile.
            state.segments.iter_mut().for_each(Segment::forget_pending_entries);
            if let Some(segment) = state.segments.iter_mut().find(|known| known.base == segment) {
                segment.forget_indexes();
            }
            state.incarnation += 1;
            (state.folder.clone(), state.end())
        };
        // The indexes may lack what was damaged; they are made again.
        self.remove_indexes(&folder, segment);
        let loaded = self.load_again(&folder, end);
        let loaded = loaded.map_err(|error| self.fail(&folder, "repair", error))?;
        self.install(loaded, end);
        Ok(())
    }

    /// Returns the offset up to which it is repaired. The files are read again only if the log is closed, and
    /// if nothing else is left to be repaired in that segment.
    fn repair_with(
        &self,
        records: &Bytes,
        headers: &[BatchHeader<'_>],
        given: &Range<Offset>,
        is_closed: bool,
    ) -> Result<Offset, RepairError> {
        let piece = loop {
            match self.next_piece(headers, given)? {
                Next::Piece(piece) => break piece,
                Next::Segment(damage, base) => self.begin_segment(&damage, base)?,
            }
        };
        if let Some(text) = &piece.epochs {
            // First, and durably: a batch is served only if its epoch is known to have begun there.
            self.save_epochs(&piece.folder, text).inspect_err(|_| self.state.lock().epochs_unsaved = true)?;
        }
        if piece.is_whole() {
            let snapshot = self.note_producers(&piece.damage);
            self.sync_snapshot(&piece.folder, snapshot);
        }
        self.write_piece(&piece, &records[..piece.bytes])?;
        let start = self.log_start_offset();
        if piece.is_whole() && is_closed && self.state.lock().is_last_to_repair(&piece.damage, start) {
            // All of the damage is repaired.
            self.read_again(piece.damage.segment, |state| state.take_off(&piece))?;
        } else {
            self.shrink_damage(&piece)
        }
        Ok(piece.offsets.end)
    }

    /// Checks what is given, and takes note of the epochs and producers of what is to be written of it.
    fn next_piece(&self, headers: &[BatchHeader<'_>], given: &Range<Offset>) -> Result<Next, RepairError> {
        let (config, log_start) = (self.config(), self.log_start_offset());
        let mut state = self.state.lock();
        let damage = state.damage_for(given, log_start)?.clone();
        check_chain(&state, headers, &damage)?;
        let is_last = state.is_at_segment_end(&damage)?;
        // The batches before it are let go, and nobody knows how long they were.
        let begins_later = damage.offsets.start < given.start;
        if is_last && begins_later {
            return Ok(Next::Segment(damage, given.start));
        }
        let Range { start, end } = damage.positions;
        let needed = end.saturating_sub(start);
        let segment_bytes = if is_last { u64::from(config.segment_bytes) } else { u64::MAX };
        let (count, bytes) = fitting(headers, &damage, segment_bytes);
        if count == 0 && start > 0 && is_last {
            return Ok(Next::Segment(damage, given.start));
        }
        let offsets = given.start..headers[..count].last().map_or(given.start, BatchHeader::next_offset);
        let fits = match offsets.end == damage.offsets.end {
            _ if is_last => true,
            true if begins_later => bytes < needed,
            true => bytes == needed,
            false => bytes < needed && !begins_later,
        };
        if count == 0 || !fits {
            return Err(RepairError::Length { needed, given: bytes });
        }
        let position = if begins_later { end - bytes } else { start };
        let mut filled = false;
        for header in headers[..count].iter().filter(|header| header.next_offset() > log_start) {
            filled |= state.epochs.fill_in(header.leader_epoch(), header.base_offset().max(log_start));
            state.producers.fill_in(*header);
        }
        let epochs = filled.then(|| state.epochs.encode());
        if filled {
            state.epochs_unsaved = false;
        }
        let bytes = usize::try_from(bytes).expect("the records are in memory, so their length fits");
        let folder = state.folder.clone();
        Ok(Next::Piece(Piece { folder, damage, offsets, position, bytes, is_last, epochs }))
    }

    fn write_piece(&self, piece: &Piece, records: &[u8]) -> Result<(), StoreError> {
        assert!(self.commit_lock.is_locked(), "one cut or repair at a time");
        assert_eq!(records.len(), piece.bytes, "a piece is whole batches");
        assert!(
            piece.is_last || piece.end_position() <= piece.damage.positions.end,
            "good batches behind the damage stay"
        );
        let base = piece.damage.segment;
        let path = piece.folder.join(FileKind::Log.file_name(base));
        let written = (|| {
            let file = self.log_file(base, &path)?;
            file.write_at(piece.position, &[records])?;
            if piece.is_last && piece.is_whole() {
                file.truncate(piece.end_position())?;
            }
            file.sync()
        })();
        if piece.is_last
            && let Some(segment) = self.state.lock().segments.iter_mut().find(|segment| segment.base == base)
        {
            // What was there may be on its way to someone who was given its place before it was known to be
            // damaged.
            segment.was_cut = true;
        }
        written.map_err(|error| self.not_written(&piece.folder, path, error))
    }

    /// A full disk and too many open files leave it as damaged as it was; all else ends the store.
    fn not_written(&self, folder: &Path, path: PathBuf, error: std::io::Error) -> StoreError {
        let error = StoreError::io("write", path)(error);
        if error.is_passing() { error } else { self.fail(folder, "repair", error) }
    }

    /// The segment that ends in the damage ends where that begins, and the damage from `base` on is that of a
    /// new one: the segment is full, or what comes before was let go.
    fn begin_segment(&self, damage: &Damage, base: Offset) -> Result<(), RepairError> {
        let position = damage.positions.start;
        let folder = self.state.lock().folder.clone();
        let path = |base| folder.join(FileKind::Log.file_name(base));
        if self.shared.saved_recovery_point(&self.topic_partition()) < damage.offsets.end {
            // After a crash the journal would repeat, behind the segment's new end, what was damaged there.
            self.shared.want_checkpoint();
            return Err(RepairError::NotYet);
        }
        let disk = &*self.shared.disk;
        let (before, new) = (path(damage.segment), path(base));
        let made = (|| {
            let before = self.log_file(damage.segment, &before)?;
            let file = disk.open(&new, OpenMode::CreateIfMissing)?;
            before.truncate(position)?;
            before.sync()?;
            file.truncate(0)?;
            file.sync()?;
            self.shared.sync_dir(&folder)
        })();
        if let Err(error) = made {
            let error = self.not_written(&folder, new.clone(), error);
            let _ = disk.remove_file(&new);
            return Err(error.into());
        }
        let interval_bytes = self.config().index_interval_bytes;
        let mut state = self.state.lock();
        // It isn't older than its records then, whatever their times are.
        let modified_ms = state.active().modified_ms;
        let mut segment = Segment::new(base, interval_bytes, modified_ms);
        segment.set_recovered(0, damage.offsets.end);
        let at = state.segments.partition_point(|segment| segment.base < base);
        let full = &mut state.segments[at - 1];
        assert_eq!(full.base, damage.segment, "the damage reaches to its segment's end");
        full.set_recovered(position, base);
        full.forget_indexes();
        full.was_cut = true;
        state.segments.insert(at, segment);
        state.assert_chain(self.log_start_offset());
        state.move_damage(damage, base);
        state.incarnation += 1;
        drop(state);
        // They may speak of what was lost; they are made again.
        self.remove_indexes(&folder, damage.segment);
        Ok(())
    }

    /// Takes note of what the producers of repaired batches have written: a snapshot may lack it. Returns the
    /// snapshot, which is to be synced.
    fn note_producers(&self, damage: &Damage) -> Option<Offset> {
        let mut state = self.state.lock();
        for known in state.damaged.iter_mut().filter(|known| known.offsets == damage.offsets) {
            known.hides_producers = false;
        }
        let end = state.end();
        self.save_producers(&mut state, end);
        state.snapshot_to_sync()
    }

    /// What is repaired is damaged no more, and its segment is longer if it ended in the damage.
    fn shrink_damage(&self, piece: &Piece) {
        let mut state = self.state.lock();
        let segment = state.segments.iter_mut().find(|segment| segment.base == piece.damage.segment);
        if let Some(segment) = segment.filter(|segment| segment.bytes < piece.end_position()) {
            segment.set_recovered(piece.end_position(), segment.end);
        }
        state.take_off(piece);
        // A view from before may still come upon what was damaged.
        state.incarnation += 1;
    }
}

impl State {
    /// Whether a repair with what is given needs a log that stays as it is: where its own end is repaired,
    /// and where its files are read again.
    fn needs_closed(&self, given: &Range<Offset>, start: Offset) -> Result<bool, RepairError> {
        let damage = self.damage_for(given, start)?;
        let is_active = self.segments.last().is_some_and(|active| active.base == damage.segment);
        Ok(is_active || (given.end == damage.offsets.end && self.is_last_to_repair(damage, start)))
    }

    /// Whether nothing else in its segment is missed by a log that begins at `start`. What is missing at a
    /// segment's end always counts as the last.
    fn is_last_to_repair(&self, damage: &Damage, start: Offset) -> bool {
        let missed = self.damaged.iter().filter(|known| known.is_missed(start));
        let mut in_segment = missed.filter(|known| known.segment == damage.segment);
        self.is_at_segment_end(damage).unwrap_or(true)
            || in_segment.all(|known| known.offsets.start == damage.offsets.start)
    }

    /// What is repaired is damaged no more.
    fn take_off(&mut self, piece: &Piece) {
        let Some(at) = self.place_of(&piece.damage) else { return };
        match piece.rest() {
            Some(rest) => (self.damaged[at].offsets, self.damaged[at].positions) = rest,
            None => drop(self.damaged.remove(at)),
        }
    }

    /// The damage from `base` on is that of the segment that begins there; what comes before has no bytes.
    fn move_damage(&mut self, damage: &Damage, base: Offset) {
        let Some(at) = self.place_of(damage) else { return };
        let known = &mut self.damaged[at];
        (known.offsets.start, known.segment, known.positions) = (base, base, 0..0);
        if damage.offsets.start < base {
            let end = damage.positions.start;
            let let_go = Damage {
                offsets: damage.offsets.start..base,
                positions: end..end,
                hides_producers: false,
                ..damage.clone()
            };
            self.damaged.insert(at, let_go);
        }
    }

    /// Where damage stands in what is known.
    fn place_of(&self, damage: &Damage) -> Option<usize> {
        self.damaged.iter().position(|known| known.offsets == damage.offsets)
    }

    /// Whether the damage reaches to its segment's end.
    fn is_at_segment_end(&self, damage: &Damage) -> Result<bool, RepairError> {
        let segment = self.segments.iter().find(|segment| segment.base == damage.segment);
        let segment = segment.ok_or_else(|| RepairError::NotDamaged { given: damage.offsets.clone() })?;
        Ok(damage.positions.end >= segment.bytes)
    }

    /// The damage that begins with what is given, and doesn't end before it. A log that begins at `start`,
    /// within it, needs only what holds that offset and what comes behind.
    fn damage_for(&self, given: &Range<Offset>, start: Offset) -> Result<&Damage, RepairError> {
        let mut missed = self.damaged.iter().filter(|damage| damage.is_missed(start) && !self.deleted);
        let found = missed.find(|damage| {
            let begins_later = damage.offsets.start < given.start && given.contains(&start);
            let begins_there = damage.offsets.start == given.start || begins_later;
            begins_there && given.end <= damage.offsets.end
        });
        found.ok_or_else(|| RepairError::NotDamaged { given: given.clone() })
    }
}

/// How many of the batches have room in the damaged place's segment, if that is to have no more than
/// `segment_bytes`: one at least at its beginning. Their bytes, or those of the first one if there is none.
fn fitting(headers: &[BatchHeader<'_>], damage: &Damage, segment_bytes: u64) -> (usize, u64) {
    let (mut count, mut bytes) = (0, 0);
    for header in headers {
        let with = bytes + header.batch_bytes() as u64;
        let end = damage.positions.start + with;
        let is_first = count == 0 && damage.positions.start == 0;
        let fits = (end <= segment_bytes || is_first)
            && end <= SEGMENT_BYTES_MAX
            && relative_offset(damage.segment, header.last_offset()).is_some();
        if !fits {
            return (count, if count == 0 { with } else { bytes });
        }
        (count, bytes) = (count + 1, with);
    }
    (count, bytes)
}

/// Whether batches follow each other, and their epochs those around the damage.
fn check_chain(state: &State, headers: &[BatchHeader<'_>], damage: &Damage) -> Result<(), RepairError> {
    let first = headers.first().map_or(damage.offsets.start, BatchHeader::base_offset);
    let before = first.0.checked_sub(1).and_then(|last| state.epochs.epoch_at(Offset(last)));
    // At the log's end the table may lack the newest epochs.
    let after =
        (damage.offsets.end < state.end()).then(|| state.epochs.epoch_at(damage.offsets.end)).flatten();
    let (mut expected, mut epoch) = (first, before.unwrap_or(LeaderEpoch(-1)));
    for header in headers {
        let given = header.leader_epoch();
        if header.base_offset() != expected {
            return Err(RepairError::NotDamaged { given: header.base_offset()..header.next_offset() });
        }
        // The table may lack epochs that began in the damage, but has none too early. It begins at the log's
        // start, which may lie within a batch.
        let known = state.epochs.epoch_at(header.last_offset()).unwrap_or(epoch);
        if given < epoch.max(known) || after.is_some_and(|after| given > after) {
            return Err(RepairError::Epoch { given });
        }
        (expected, epoch) = (header.next_offset(), given);
    }
    Ok(())
}
