//! Swapping segments: a new one, made beside the log, takes the place of closed ones that follow each other.
//!
//! The order that makes it safe, whenever it is stopped:
//! 1. The new files are written beside the old ones, whole, and synced.
//! 2. What the journal says of the old segments is made void, durably: it names places in their files.
//! 3. The swap file is written. Once its name is durable, a start completes what follows.
//! 4. The new files get their names, under the log's lock, and count from then on. Durably, before
//! 5. the old segments are removed, durably, before
//! 6. the swap file is removed, durably: only then may another swap begin.
//!
//! Who has an old file open reads on in it, as its bytes stay what they are. From the third step on nothing
//! can be taken back, so what fails there ends the store.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{BatchHeader, SegmentSwap, SwappedFile, cleaned_name, relative_offset, swap_name};
use ottla_types::Offset;

use crate::disk::{DiskFile, OpenMode, is_passing, take_beside, write_beside};
use crate::error::{FatalError, StoreError};
use crate::partition::{PartitionLog, State};
use crate::segment::{IndexState, Segment};
use crate::swap_file::SWAPPED_FILES;

/// No segment is larger: an index holds positions of 31 bits.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// So much is written at once.
const WRITE_BYTES: usize = 1 << 20;

/// Closed segments that are to be replaced, as they were when that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldSegments {
    /// Base, bytes and end of each, oldest first; one at least.
    pub(crate) segments: Vec<(Offset, u64, Offset)>,
    /// The log's then.
    pub(crate) incarnation: u64,
}

impl OldSegments {
    pub(crate) fn base(&self) -> Offset {
        self.segments.first().expect("one at least is replaced").0
    }

    pub(crate) fn end(&self) -> Offset {
        self.segments.last().expect("one at least is replaced").2
    }
}

/// What became of a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// The new segment counts. The log has this incarnation since.
    Done(u64),
    /// The log was changed meanwhile, is being closed or was deleted: nothing is replaced.
    LogChanged,
    /// Nothing is replaced before a checkpoint says that the old segments are on disk.
    NotYet,
}

/// Why a batch can't be added to a new segment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdded {
    /// The disk fails. Nothing is lost; what is no want of room has ended the store.
    #[error(transparent)]
    Disk(#[from] StoreError),
    /// It would grow past what a segment may have.
    #[error("a segment would have more bytes or offsets than an index can tell")]
    TooLarge,
}

/// A segment that is being made beside the log. It has to be given to [`PartitionLog::swap_in`] or
/// [`PartitionLog::discard`].
pub(crate) struct NewSegment {
    segment: Segment,
    /// In the order of [`SWAPPED_FILES`].
    files: [(PathBuf, Arc<dyn DiskFile>); 3],
    /// What isn't written yet.
    buffer: Vec<u8>,
    crc: u32,
}

impl PartitionLog {
    /// Begins a segment that is to replace old ones: `None` once the log was deleted or is being closed.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn begin_segment_beside(&self, base: Offset) -> Result<Option<NewSegment>, StoreError> {
        let segment = Segment::new(base, self.config().index_interval_bytes, 0);
        // Under the log's lock, as its folder may be renamed, and another's may have its name.
        let state = self.state.lock();
        if !state.is_open() {
            return Ok(None);
        }
        let open = |kind| {
            let path = state.folder.join(cleaned_name(kind, base));
            let file = self.shared.disk.open(&path, OpenMode::CreateIfMissing);
            let file = file.and_then(|file| file.truncate(0).map(|()| file));
            let file = file.map_err(|error| self.not_made("create", &path, error))?;
            Ok::<_, StoreError>((path, file))
        };
        let [index, times, log] = SWAPPED_FILES;
        let files = [open(index)?, open(times)?, open(log)?];
        Ok(Some(NewSegment { segment, files, buffer: Vec::new(), crc: 0 }))
    }

    /// What fails while a new segment is made. Want of room passes; a disk that can't write ends the store.
    fn not_made(&self, action: &'static str, path: &Path, error: io::Error) -> StoreError {
        if is_passing(&error) {
            return StoreError::io(action, path)(error);
        }
        self.shared.fail(&FatalError::new(action, path, &error));
        StoreError::Failed
    }

    /// Adds one batch, which begins where the one before ends.
    ///
    /// # Errors
    /// The segment is of no use any more then.
    pub(crate) fn add_batch(&self, new: &mut NewSegment, batch: &[u8]) -> Result<(), NotAdded> {
        let header = BatchHeader::new(batch).expect("callers give whole batches");
        assert_eq!(header.batch_bytes(), batch.len(), "callers give one batch");
        let bytes = new.segment.bytes + batch.len() as u64;
        let is_near = relative_offset(new.segment.base, header.last_offset()).is_some();
        if bytes > SEGMENT_BYTES_MAX || !is_near {
            return Err(NotAdded::TooLarge);
        }
        new.segment.push_batch(header, header.base_offset(), header.max_timestamp());
        new.buffer.extend_from_slice(batch);
        if new.buffer.len() >= WRITE_BYTES { self.write_buffer(new).map_err(NotAdded::Disk) } else { Ok(()) }
    }

    fn write_buffer(&self, new: &mut NewSegment) -> Result<(), StoreError> {
        let position = new.segment.bytes - new.buffer.len() as u64;
        let [_, _, (path, log)] = &new.files;
        log.write_at(position, &[&new.buffer]).map_err(|error| self.not_made("write", path, error))?;
        new.crc = crc32c::crc32c_append(new.crc, &new.buffer);
        new.buffer.clear();
        Ok(())
    }

    /// Lets a new segment go. What can't be removed goes with the next start.
    pub(crate) fn discard(&self, base: Offset) {
        let state = self.state.lock();
        if state.deleted || self.shared.has_failed() {
            // All of its folder goes, or nobody knows what is on disk.
            return;
        }
        for kind in SWAPPED_FILES {
            let path = state.folder.join(cleaned_name(kind, base));
            match self.shared.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a file that was made for nothing is left over");
                }
                _ => {}
            }
        }
    }

    /// Puts a new segment, which holds the same offsets, in the place of old ones, durably. Where it isn't
    /// done, the new one is let go.
    ///
    /// # Errors
    /// When there is no room, or too many files are open: nothing is replaced then. Otherwise the store has
    /// failed, and its next start knows whether it is done.
    ///
    /// # Panics
    /// When the new segment doesn't end where the old ones do.
    pub(crate) fn swap_in(&self, mut new: NewSegment, old: &OldSegments) -> Result<Swapped, StoreError> {
        assert_eq!((new.segment.base, new.segment.end), (old.base(), old.end()), "no offset is lost");
        let swapped = self.complete(&mut new, old).and_then(|()| {
            let _one = self.commit_lock.lock();
            self.swap_locked(&mut new, old)
        });
        if !matches!(swapped, Ok(Swapped::Done(_))) {
            self.discard(old.base());
        }
        swapped
    }

    /// Writes what is left of the new files, and syncs them. They are as old as the newest that they replace.
    fn complete(&self, new: &mut NewSegment, old: &OldSegments) -> Result<(), StoreError> {
        self.write_buffer(new)?;
        let modified_ms = {
            let state = self.state.lock();
            let replaced = state.segments.iter().filter(|segment| old.is_one(segment));
            replaced.map(|segment| segment.modified_ms).max().unwrap_or_default()
        };
        let NewSegment { segment, files, .. } = new;
        segment.modified_ms = modified_ms;
        segment.finish_time_index();
        let index: Vec<u8> = segment.index.pending.iter().flat_map(|entry| entry.encode()).collect();
        let times: Vec<u8> = segment.time_index.pending.iter().flat_map(|entry| entry.encode()).collect();
        for ((path, file), content) in files.iter().zip([index, times]) {
            file.write_at(0, &[&content]).map_err(|error| self.not_made("write", path, error))?;
        }
        segment.index = IndexState::new(segment.index.len());
        segment.time_index = IndexState::new(segment.time_index.len());
        let [_, _, (path, log)] = &*files;
        if let Err(error) = log.set_modified_ms(modified_ms) {
            // It is kept for longer then, where records have no time.
            tracing::warn!(path = %path.display(), %error, "a new segment looks younger than it is");
        }
        let mut all = files.iter();
        // Where there is no room after all, the files go: no sync is tried again.
        all.try_for_each(|(path, file)| file.sync().map_err(|error| self.not_made("sync", path, error)))
    }

    /// With the commit lock held, so that the log isn't cut, repaired, synced or closed meanwhile, and loses
    /// none of its oldest segments.
    fn swap_locked(&self, new: &mut NewSegment, old: &OldSegments) -> Result<Swapped, StoreError> {
        let end = old.end();
        let saved = self.shared.saved_recovery_point(&self.topic_partition());
        let folder = {
            let state = self.state.lock();
            if self.shared.has_failed() {
                return Err(StoreError::Failed);
            }
            if !state.is_replaceable(old, self.log_start_offset()) {
                return Ok(Swapped::LogChanged);
            }
            if state.segments_synced_to < end || saved < end {
                // After a crash the journal would be needed for what is missing in the old ones.
                self.shared.want_checkpoint();
                return Ok(Swapped::NotYet);
            }
            state.folder.clone()
        };
        self.shared.settle(self.journal_key(), end)?;
        self.write_swap_file(&folder, new, end)?;
        self.finish_swap(&folder, new, old).map_err(|error| {
            self.fail(&folder, "replace segments of", error);
            StoreError::Failed
        })
    }

    /// Until its name is on its way to the disk, all can be left as it was.
    fn write_swap_file(&self, folder: &Path, new: &NewSegment, end: Offset) -> Result<(), StoreError> {
        let base = new.segment.base;
        let file = SwappedFile { base, bytes: new.segment.bytes, crc: new.crc };
        let text = SegmentSwap { files: vec![file], end }.encode();
        let (disk, name) = (&*self.shared.disk, swap_name(base));
        let path = folder.join(&name);
        write_beside(disk, folder, &name, text.as_bytes())
            .and_then(|()| take_beside(disk, folder, &name))
            .map_err(|error| self.not_made("write", &path, error))?;
        self.shared.sync_dir(folder).map_err(|error| {
            // It may be there or not.
            self.shared.fail(&FatalError::new("sync", folder, &error));
            StoreError::Failed
        })
    }

    /// The swap file is durable: there is no way back.
    fn finish_swap(
        &self,
        folder: &Path,
        new: &mut NewSegment,
        old: &OldSegments,
    ) -> Result<Swapped, StoreError> {
        let base = old.base();
        let incarnation = {
            let mut state = self.state.lock();
            assert_eq!(state.folder, folder, "a folder gets another name with the commit lock held");
            for kind in SWAPPED_FILES {
                let from = folder.join(cleaned_name(kind, base));
                let to = folder.join(kind.file_name(base));
                self.shared.disk.rename(&from, &to).map_err(StoreError::io("rename", from))?;
            }
            let segment = std::mem::replace(&mut new.segment, Segment::new(base, 0, 0));
            let replaced = state.replace(old, segment);
            state.assert_chain(self.log_start_offset());
            for base in replaced {
                // Whoever opened one before has put it there by now.
                self.shared.close_files(self.key, Some(base));
            }
            state.incarnation
        };
        let sync = || self.shared.sync_dir(folder).map_err(StoreError::io("sync", folder));
        sync()?;
        for (base, _, _) in &old.segments[1..] {
            self.try_to_remove(folder, *base, &SWAPPED_FILES)?;
        }
        sync()?;
        let path = folder.join(swap_name(base));
        self.shared.disk.remove_file(&path).map_err(StoreError::io("remove", path))?;
        sync()?;
        Ok(Swapped::Done(incarnation))
    }
}

impl OldSegments {
    fn is_one(&self, segment: &Segment) -> bool {
        self.segments.contains(&(segment.base, segment.bytes, segment.end))
    }
}

impl State {
    /// Whether old segments are as they were, closed and sound, and may be replaced in a log that begins at
    /// `start`.
    fn is_replaceable(&self, old: &OldSegments, start: Offset) -> bool {
        let is_same = self.is_open() && self.closed_at.is_none() && self.incarnation == old.incarnation;
        // What was let go before them is nobody's to repair.
        let is_apart = |segment: Offset| segment >= old.end() || segment < old.base();
        let is_sound = self.damaged.iter().all(|damage| {
            let is_let_go = !damage.is_missed(start) && is_apart(damage.segment);
            is_let_go || damage.segment >= old.end()
        });
        let place = self.place_of_segments(old);
        let are_same = place.is_some_and(|place| {
            let ends_before_active = place.end < self.segments.len();
            ends_before_active && self.segments[place].iter().all(|segment| old.is_one(segment))
        });
        is_same && is_sound && are_same
    }

    /// Where segments stand that begin as the old ones do, and follow each other as they did.
    fn place_of_segments(&self, old: &OldSegments) -> Option<Range<usize>> {
        let at = self.segments.iter().position(|segment| segment.base == old.base())?;
        let place = at..at + old.segments.len();
        let found = self.segments.get(place.clone())?;
        let are_same = found.iter().zip(&old.segments).all(|(segment, old)| segment.base == old.0);
        are_same.then_some(place)
    }

    /// The new segment takes the place of old ones. Returns their base offsets. What was found to be damaged
    /// since the swap file was written is damaged no more.
    fn replace(&mut self, old: &OldSegments, mut new: Segment) -> Vec<Offset> {
        let place = self.place_of_segments(old).expect("the commit lock is held since they were looked at");
        (new.durable_bytes, new.durable_end) = (new.bytes, new.end);
        new.created_ms = self.segments[place.start].created_ms;
        self.damaged.retain(|damage| !(old.base()..old.end()).contains(&damage.segment));
        let replaced = self.segments.splice(place, [new]).map(|segment| segment.base).collect();
        // Places in files that aren't those of the log any more.
        self.read_hints = Default::default();
        self.incarnation += 1;
        replaced
    }
}
