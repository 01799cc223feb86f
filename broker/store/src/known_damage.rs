//! What is known of a log's damage, and where the log goes on behind it.
//!
//! Damage is found by recovery, by reads and by the scrub. It stays where it is, is never served, and is
//! named until the log is cut before it or a peer's bytes take its place: see `repair`.

use std::io;
use std::ops::{Range, RangeInclusive};

use ottla_log::{
    BatchHeader, ByteSource, Depth, FileKind, HEADER_BYTES, MAGIC, ScanEnd, SequenceCheck, SequenceError,
    check_header, scan,
};
use ottla_types::Offset;

use crate::damage::{Damage, DamageHook, ScanStop};
use crate::error::ReadError;
use crate::partition::{PartitionLog, State};
use crate::read::{FileSource, SeenEpoch, SegmentView, is_of_foreign_epoch};

impl State {
    /// Takes note of damage. Returns whether it is news.
    pub(crate) fn add_damage(&mut self, mut damage: Damage) -> bool {
        assert!(damage.offsets.start < damage.offsets.end, "{damage:?} is none");
        assert!(damage.positions.start <= damage.positions.end, "{damage:?} goes backwards");
        if self.damaged.iter().any(|known| known.offsets == damage.offsets) {
            return false;
        }
        // What is found now is the better known.
        let mut overlapped = self.damaged.iter().filter(|known| known.overlaps(&damage.offsets));
        damage.hides_producers |= overlapped.any(|known| known.hides_producers);
        self.damaged.retain(|known| !known.overlaps(&damage.offsets));
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.base == damage.segment) {
            // Nothing of it is taken for checked any more.
            (segment.verified, segment.own_from) = (0..0, segment.bytes);
        }
        let at = self.damaged.partition_point(|known| known.offsets.start < damage.offsets.start);
        self.damaged.insert(at, damage);
        true
    }

    /// The producers' state was read from the files: what is damaged behind the snapshot is missing in it.
    /// Nobody asks any more for those below `start`.
    pub(crate) fn note_hidden_producers(&mut self, start: Offset) {
        let known_to = self.snapshot_at.unwrap_or_default().max(start);
        for damage in &mut self.damaged {
            damage.hides_producers |= damage.offsets.end > known_to;
        }
    }

    /// Records below `start` are let go, so damage there is none: nobody has them any more to repair it with.
    /// Its place stays known while its segment is there, as whoever reads the segment has to step over it.
    pub(crate) fn forget_damage_before(&mut self, start: Offset) {
        let segments = &self.segments;
        self.damaged.retain(|damage| {
            damage.is_missed(start) || segments.iter().any(|segment| segment.base == damage.segment)
        });
        for damage in self.damaged.iter_mut().filter(|damage| !damage.is_missed(start)) {
            damage.hides_producers = false;
        }
    }

    /// The damage at `offset`, if it is known.
    pub(crate) fn damage_at(&self, offset: Offset) -> Option<&Damage> {
        self.damaged.iter().find(|damage| damage.offsets.contains(&offset))
    }
}

impl SegmentView {
    /// The damage that begins there, up to the next good batch.
    pub(crate) fn damage_from(&self, stop: ScanStop) -> Result<Damage, ReadError> {
        let ScanStop { position, offset, error } = stop;
        let next = Offset(offset.0 + 1)..=Offset(self.limit_offset.0.max(offset.0 + 1) - 1);
        let resume = find_batch(&self.source, position..self.limit, next)
            .map_err(|source| ReadError::Io { path: self.path.clone(), source })?;
        let (to, end) = resume.unwrap_or((self.limit, self.limit_offset));
        Ok(Damage {
            offsets: offset..end,
            segment: self.base,
            positions: position..to,
            error,
            hides_producers: false,
        })
    }
}

impl PartitionLog {
    /// The offsets whose records were durable and are known to be corrupt or missing: each range is one to
    /// [`Self::repair`], in order. They aren't served.
    pub fn damage(&self) -> Vec<Range<Offset>> {
        let (state, start) = (self.state.lock(), self.log_start_offset());
        let missed = state.damaged.iter().filter(|damage| damage.is_missed(start));
        missed.map(|damage| damage.missed(start)).collect()
    }

    /// Whether damage hides if a client's batch was appended before: it follows on what is known of its
    /// producer only if nothing of that producer is in what was damaged when the log was opened. False once
    /// that is repaired.
    pub fn hides_producer_of(&self, records: &[u8]) -> bool {
        let state = self.state.lock();
        let hidden_to = state.damaged.iter().filter(|damage| damage.hides_producers).map(|d| d.offsets.end);
        let (Some(hidden_to), Some(header)) = (hidden_to.max(), BatchHeader::new(records)) else {
            return false;
        };
        let known = state.producers.get(header.producer_id()).and_then(|known| known.batches.back());
        match state.producers.check(header) {
            _ if header.producer_id().0 < 0 => false,
            Ok(SequenceCheck::Duplicate(_))
            | Err(SequenceError::AppendedBefore { .. } | SequenceError::Fenced { .. }) => false,
            // It follows on a batch behind the damage.
            Ok(SequenceCheck::Append) => known.is_none_or(|last| last.last_offset < hidden_to),
            Err(SequenceError::OutOfOrder { .. }) => true,
        }
    }

    /// Calls `hook` with each damaged range that is found from now on.
    pub fn add_damage_hook(&self, hook: DamageHook) {
        self.damage_hooks.write().push(hook);
    }

    /// Takes note of damage that a view came upon, and finds where it ends.
    pub(crate) fn found_damage(&self, view: &SegmentView, stop: ScanStop) -> Result<Damage, ReadError> {
        let damage = view.damage_from(stop)?;
        let mut state = self.state.lock();
        let start = self.log_start_offset();
        // Retention, which lets segments go, leaves the incarnation as it is.
        let is_there = state.segments.iter().any(|segment| segment.base == view.base);
        let is_current = view.incarnation == state.incarnation && is_there && !damage.offsets.is_empty();
        let is_news = is_current && state.add_damage(damage.clone()) && damage.is_missed(start);
        drop(state);
        if is_news {
            tracing::error!(
                path = %view.path.display(), position = damage.positions.start, from = %damage.offsets.start,
                to = %damage.offsets.end, error = %damage.error, "corrupt records, not served"
            );
            self.tell_of_damage(&[damage.missed(start)]);
        }
        Ok(damage)
    }

    /// Looks at damaged records again, and forgets the damage if they are whole. Damage that hides producers
    /// stays, as these are learnt by reading the log again.
    pub(crate) fn is_whole_again(&self, damage: &Damage) -> bool {
        let (incarnation, epochs) = {
            let state = self.state.lock();
            (state.incarnation, state.epochs.clone())
        };
        if damage.hides_producers || !self.can_be_read(damage) {
            return false;
        }
        let mut state = self.state.lock();
        let is_as_it_was = state.incarnation == incarnation && state.epochs == epochs;
        if !is_as_it_was || !state.damaged.contains(damage) {
            return false;
        }
        state.damaged.retain(|known| known != damage);
        // Views from before must not take it for damage again.
        state.incarnation += 1;
        let folder = &state.folder;
        tracing::info!(folder = %folder.display(), from = %damage.offsets.start, to = %damage.offsets.end, "records that could not be read can be read again");
        true
    }

    /// Whether all that is damaged is whole batches of the epochs that began there, as the disk has it now.
    pub(crate) fn can_be_read(&self, damage: &Damage) -> bool {
        let (path, epochs) = {
            let state = self.state.lock();
            (state.path(FileKind::Log, damage.segment), state.epochs.clone())
        };
        let Ok(file) = self.log_file(damage.segment, &path) else { return false };
        let _ = file.drop_cache();
        let source = FileSource::new(file);
        let mut is_own = true;
        let end = scan(&source, damage.positions.clone(), damage.offsets.start, Depth::Crc, |batch| {
            is_own = !is_of_foreign_epoch(&epochs, &SeenEpoch::of(batch));
            is_own
        });
        let is_at_end =
            |end: ScanEnd| (end.position, end.next_offset) == (damage.positions.end, damage.offsets.end);
        end.is_ok_and(is_at_end) && is_own
    }

    /// Calls the hooks; with no lock of the log's held.
    pub(crate) fn tell_of_damage(&self, news: &[Range<Offset>]) {
        for hook in self.damage_hooks.read().iter() {
            news.iter().for_each(|offsets| hook(offsets.clone()));
        }
    }
}

/// What is read at once in search of a batch.
const SEARCH_BYTES: usize = 1 << 20;

/// The position and base offset of the next whole batch after the damaged one that begins where `positions`
/// do, if its base offset is among `offsets`.
///
/// Where the damaged batch says that it ends is looked at first, as records may hold what looks like a batch;
/// then every byte is.
pub(crate) fn find_batch(
    source: &FileSource,
    positions: Range<u64>,
    offsets: RangeInclusive<Offset>,
) -> io::Result<Option<(u64, Offset)>> {
    let mut head = [0; HEADER_BYTES];
    if source.read_at(positions.start, &mut head)? == head.len()
        && let Some(header) = BatchHeader::new(&head)
        && check_header(header).is_ok()
    {
        let position = positions.start + header.batch_bytes() as u64;
        let offset = header.next_offset();
        if position < positions.end
            && offsets.contains(&offset)
            && is_whole(source, position..positions.end, offset)?
        {
            return Ok(Some((position, offset)));
        }
    }
    // Not the damaged batch's own header, whose base offset no checksum covers.
    let mut at = positions.start + 1;
    let mut window = vec![0; SEARCH_BYTES];
    while at + HEADER_BYTES as u64 <= positions.end {
        let read = source.read_at(at, &mut window)?;
        for (index, head) in window[..read].windows(HEADER_BYTES).enumerate() {
            let offset =
                Offset(i64::from_be_bytes(*head.first_chunk().expect("a window is as long as a header")));
            if head[16] != MAGIC as u8 || !offsets.contains(&offset) {
                continue;
            }
            let position = at + index as u64;
            if position < positions.end && is_whole(source, position..positions.end, offset)? {
                return Ok(Some((position, offset)));
            }
        }
        at += read.saturating_sub(HEADER_BYTES - 1).max(1) as u64;
    }
    Ok(None)
}

/// Whether a batch with that base offset and a right checksum begins there.
fn is_whole(source: &FileSource, positions: Range<u64>, offset: Offset) -> io::Result<bool> {
    let start = positions.start;
    Ok(scan(source, positions, offset, Depth::Crc, |_| false)?.position > start)
}
