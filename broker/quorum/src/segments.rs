//! The metadata log's files: segments of record batches as Kafka writes them, one batch an entry.
//!
//! A batch's offset is the entry's index and its leader epoch the term. Not here: what an entry means, and
//! who calls (`log_store`). All calls block; reads may come from any thread.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{BatchBuilder, BatchHeader, ByteSource, Depth, FileKind, Records, check_batch, scan};
use ottla_store::{Disk, DiskFile, OpenMode, is_no_space};
use ottla_types::{LeaderEpoch, Offset};

/// The largest entry that is read back; more is damage.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Where one entry is.
#[derive(Clone)]
struct Position {
    file: Arc<dyn DiskFile>,
    start: u64,
    bytes: usize,
    term: u64,
}

struct Segment {
    base: u64,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
}

/// The segments of a log and where each entry is.
pub struct Segments {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// At which size a segment ends. Twice as much is allocated for the last one.
    segment_bytes: u64,
    segments: Vec<Segment>,
    /// The index of the first entry of `positions`.
    first: u64,
    positions: VecDeque<Position>,
    /// Whether something was written since the last sync.
    dirty: bool,
}

struct Source<'a>(&'a dyn DiskFile);

impl ByteSource for Source<'_> {
    type Error = io::Error;

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(position, buffer)
    }
}

fn damaged(path: &Path, what: &str) -> io::Error {
    let text = format!(
        "{}: {what}. This replica of the metadata is damaged: move the data folder away, \
         so that the node starts empty and learns it again from the others",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Segments {
    /// Opens the log in `folder`, checks every entry, and cuts off a last one that was torn by a crash before
    /// it was synced.
    ///
    /// # Errors
    /// The disk's, and `InvalidData` when entries are missing or damaged before the end.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, segment_bytes: u64) -> io::Result<Self> {
        let mut bases: Vec<u64> = Vec::new();
        for entry in disk.list(folder)? {
            if let Some((FileKind::Log, base)) = FileKind::parse(&entry.name) {
                bases.push(
                    u64::try_from(base.0).map_err(|_| damaged(folder, "a segment's name is negative"))?,
                );
            }
        }
        bases.sort_unstable();
        let first = bases.first().copied().unwrap_or(0);
        let mut log = Self {
            disk,
            folder: folder.to_owned(),
            segment_bytes,
            segments: Vec::new(),
            first,
            positions: VecDeque::new(),
            dirty: false,
        };
        for (number, base) in bases.iter().enumerate() {
            log.open_segment(*base, number + 1 == bases.len())?;
        }
        Ok(log)
    }

    fn open_segment(&mut self, base: u64, last: bool) -> io::Result<()> {
        let path = self.folder.join(FileKind::Log.file_name(offset(base)));
        let file = self.disk.open(&path, OpenMode::Existing)?;
        if base != self.next_index() {
            return Err(damaged(
                &path,
                &format!("entries {} to {base} are missing before it", self.next_index()),
            ));
        }
        let size = file.bytes()?;
        let positions = &mut self.positions;
        let end = scan(&Source(file.as_ref()), 0..size, offset(base), Depth::Crc, |batch| {
            let header = batch.header();
            let term = u64::try_from(header.leader_epoch().0).unwrap_or(0);
            let bytes = header.batch_bytes();
            positions.push_back(Position { file: file.clone(), start: batch.position, bytes, term });
            true
        })?;
        if end.position < size {
            if !last {
                return Err(damaged(&path, &format!("no valid entry at byte {}", end.position)));
            }
            if good_entry_after(file.as_ref(), end.position, size, end.next_offset)? {
                return Err(damaged(
                    &path,
                    &format!("no valid entry at byte {}, but others after it", end.position),
                ));
            }
            tracing::warn!(path = %path.display(), from = end.position, to = size, "cutting off a torn entry");
            file.truncate(end.position)?;
            file.sync()?;
        }
        if last {
            allocate(file.as_ref(), 2 * self.segment_bytes);
        }
        self.segments.push(Segment { base, path, file, bytes: end.position });
        Ok(())
    }

    /// The indexes of the entries.
    pub fn indexes(&self) -> Range<u64> {
        self.first..self.next_index()
    }

    fn next_index(&self) -> u64 {
        self.first + self.positions.len() as u64
    }

    /// Writes an entry after the last one, or as the first one of an empty log. Not yet synced.
    ///
    /// # Errors
    /// The disk's.
    ///
    /// # Panics
    /// When the entry doesn't follow the last one.
    pub fn append(&mut self, index: u64, term: u64, timestamp_ms: i64, value: &[u8]) -> io::Result<()> {
        if self.positions.is_empty() && self.segments.is_empty() {
            self.first = index;
        }
        assert_eq!(index, self.next_index(), "entries follow one another");
        match self.segments.last().map(|segment| segment.bytes) {
            Some(bytes) if bytes < self.segment_bytes => {}
            // On a full disk what is allocated is used up first.
            Some(bytes) if bytes < 2 * self.segment_bytes => match self.roll(index) {
                Err(error) if is_no_space(&error) => {}
                rolled => rolled?,
            },
            _ => self.roll(index)?,
        }
        let epoch = LeaderEpoch(i32::try_from(term).map_err(|_| io::Error::other("the term is too large"))?);
        let batch = BatchBuilder::new(offset(index), epoch).record(timestamp_ms, None, Some(value)).build();
        if batch.len() > BATCH_BYTES_MAX {
            return Err(io::Error::other("an entry of the metadata log is too large"));
        }
        let segment = self.segments.last_mut().expect("one was just made");
        segment.file.write_at(segment.bytes, &[&batch])?;
        self.positions.push_back(Position {
            file: segment.file.clone(),
            start: segment.bytes,
            bytes: batch.len(),
            term,
        });
        segment.bytes += batch.len() as u64;
        self.dirty = true;
        Ok(())
    }

    fn roll(&mut self, base: u64) -> io::Result<()> {
        self.sync()?;
        let path = self.folder.join(FileKind::Log.file_name(offset(base)));
        let file = self.disk.open(&path, OpenMode::CreateIfMissing)?;
        file.truncate(0)?;
        self.disk.sync_dir(&self.folder).map_err(sync_failed)?;
        // From here on there must be no error for lack of space: the log would go on before a segment that
        // exists.
        if let Some(before) = self.segments.last()
            && let Err(error) = before.file.truncate(before.bytes)
        {
            tracing::debug!(%error, "what is allocated beyond a segment's end stays so");
        }
        allocate(file.as_ref(), 2 * self.segment_bytes);
        self.segments.push(Segment { base, path, file, bytes: 0 });
        Ok(())
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// The disk's; then nothing more may be acknowledged.
    fn sync(&mut self) -> io::Result<()> {
        self.unsynced().map_or(Ok(()), |file| file.sync()).map_err(sync_failed)?;
        self.synced();
        Ok(())
    }

    /// The file to sync for everything appended to be durable, so that it can be done without holding the
    /// log. Only the last segment can hold something unsynced.
    pub fn unsynced(&self) -> Option<Arc<dyn DiskFile>> {
        self.segments.last().filter(|_| self.dirty).map(|segment| segment.file.clone())
    }

    /// That file was synced, and nothing was written since it was asked for.
    pub fn synced(&mut self) {
        self.dirty = false;
    }

    fn entries_before(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first)).expect("all of them have a position in memory")
    }

    /// Where the entries of `range` that exist are, at most `bytes_max` of them in all but at least one.
    pub fn locate(&self, range: Range<u64>, bytes_max: usize) -> Vec<Located> {
        let from = range.start.max(self.first);
        let until = range.end.min(self.next_index());
        let mut total = 0;
        let mut located = Vec::new();
        for index in from..until {
            let position = self.positions[self.entries_before(index)].clone();
            total += position.bytes;
            if total > bytes_max && !located.is_empty() {
                break;
            }
            located.push(Located { index, position });
        }
        located
    }

    /// Removes the entries from `index` on, durably.
    ///
    /// # Errors
    /// The disk's.
    pub fn truncate(&mut self, index: u64) -> io::Result<()> {
        self.sync()?;
        while let Some(segment) = self.segments.last()
            && segment.base >= index
        {
            self.disk.remove_file(&segment.path)?;
            self.segments.pop();
        }
        self.disk.sync_dir(&self.folder)?;
        let kept = self.entries_before(index);
        // The first entry to go may have been in a segment that is gone already.
        if let (Some(segment), Some(position)) = (self.segments.last_mut(), self.positions.get(kept))
            && Arc::ptr_eq(&segment.file, &position.file)
        {
            segment.file.truncate(position.start)?;
            segment.file.sync()?;
            segment.bytes = position.start;
        }
        if let Some(segment) = self.segments.last() {
            allocate(segment.file.as_ref(), 2 * self.segment_bytes);
        }
        self.positions.truncate(kept);
        Ok(())
    }

    /// Removes the segments that hold no entry from `index` on. If that is all of them, the log starts anew
    /// there.
    ///
    /// # Errors
    /// The disk's.
    pub fn purge(&mut self, index: u64) -> io::Result<()> {
        let next = self.next_index();
        if index >= next {
            self.truncate(self.first)?;
            self.first = index;
            return Ok(());
        }
        let keep_from = self.segments.iter().rposition(|segment| segment.base <= index).unwrap_or(0);
        for segment in self.segments.drain(..keep_from) {
            self.disk.remove_file(&segment.path)?;
        }
        let first = self.segments.first().map_or(index, |segment| segment.base);
        assert!(first >= self.first, "segments before entry {} are gone already", self.first);
        self.positions.drain(..self.entries_before(first));
        self.first = first;
        self.disk.sync_dir(&self.folder)
    }
}

/// Allocates space, if there is some: without it the log is as right, and waits sooner on a full disk.
fn allocate(file: &dyn DiskFile, bytes: u64) {
    if let Err(error) = file.preallocate(bytes) {
        tracing::debug!(%error, "no space is allocated for the metadata log");
    }
}

/// A sync that found no space is a failed sync like any other: it must not be tried again.
fn sync_failed(error: io::Error) -> io::Error {
    io::Error::other(format!("a sync failed: {error}"))
}

/// Whether a whole entry comes somewhere after `start`: then what is wrong there is no torn end.
fn good_entry_after(file: &dyn DiskFile, start: u64, size: u64, next: Offset) -> io::Result<bool> {
    let length = usize::try_from(size - start).map_or(BATCH_BYTES_MAX, |left| left.min(BATCH_BYTES_MAX));
    let mut bytes = vec![0; length];
    let read = file.read_at(start, &mut bytes)?;
    let bytes = &bytes[..read];
    Ok((1..bytes.len()).any(|at| {
        BatchHeader::new(&bytes[at..]).is_some_and(|header| {
            header.magic() == ottla_log::MAGIC
                && header.base_offset() >= next
                && header.batch_length() > 0
                && bytes.get(at..at + header.batch_bytes()).is_some_and(|batch| check_batch(batch).is_ok())
        })
    }))
}

/// An entry that can be read without holding the log.
pub struct Located {
    /// Its index.
    pub index: u64,
    position: Position,
}

impl Located {
    /// The entry's term and value.
    ///
    /// # Errors
    /// The disk's, and `InvalidData` when the bytes aren't those that were written.
    pub fn read(&self) -> io::Result<(u64, Vec<u8>)> {
        let wrong = |what: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("entry {}: {what}", self.index))
        };
        let mut bytes = vec![0; self.position.bytes];
        let read = self.position.file.read_at(self.position.start, &mut bytes)?;
        let header = check_batch(&bytes[..read]).map_err(|error| wrong(error.to_string()))?;
        if header.base_offset() != offset(self.index) {
            return Err(wrong(format!("there is entry {} in its place", header.base_offset())));
        }
        let mut records = Records::new(header, &bytes[ottla_log::HEADER_BYTES..read]);
        let record = records.next().ok_or_else(|| wrong("it has no record".to_owned()))?;
        let record = record.map_err(|error| wrong(error.to_string()))?;
        Ok((self.position.term, record.value.unwrap_or_default().to_vec()))
    }
}

fn offset(index: u64) -> Offset {
    Offset(i64::try_from(index).expect("indexes count entries, of which there are fewer than 2^63"))
}

#[cfg(test)]
mod tests {
    use ottla_sim::SimDisk;
    use ottla_store::RealDisk;
    use tempfile::TempDir;

    use super::*;

    /// Some two entries.
    const SMALL: u64 = 150;

    fn open(dir: &TempDir) -> io::Result<Segments> {
        Segments::open(Arc::new(RealDisk), dir.path(), SMALL)
    }

    fn value(index: u64) -> Vec<u8> {
        format!("entry {index}").into_bytes()
    }

    fn filled(dir: &TempDir, range: Range<u64>) -> Segments {
        let mut log = open(dir).unwrap();
        for index in range {
            log.append(index, index / 4, 0, &value(index)).unwrap();
        }
        log.sync().unwrap();
        log
    }

    fn check(log: &Segments, range: Range<u64>) {
        assert_eq!(log.indexes(), range);
        let located = log.locate(0..u64::MAX, usize::MAX);
        assert_eq!(located.len() as u64, range.end - range.start);
        for (index, entry) in range.zip(located) {
            assert_eq!((entry.index, entry.read().unwrap()), (index, (index / 4, value(index))));
        }
    }

    fn files(dir: &TempDir) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn entries_are_there_again_over_several_segments() {
        let dir = tempfile::tempdir().unwrap();
        check(&filled(&dir, 0..10), 0..10);
        assert!(files(&dir).len() > 3, "{:?}", files(&dir));
        check(&open(&dir).unwrap(), 0..10);
        assert_eq!(open(&dir).unwrap().locate(2..9, 1).len(), 1, "at least one entry, however large");
    }

    #[test]
    fn a_torn_last_entry_is_cut_off_and_written_again() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(&dir, 0..10));
        let last = files(&dir).pop().unwrap();
        let bytes = std::fs::read(&last).unwrap();
        for cut in 1..70 {
            std::fs::write(&last, &bytes[..bytes.len() - cut]).unwrap();
            let mut log = open(&dir).unwrap();
            check(&log, 0..9);
            log.append(9, 2, 0, &value(9)).unwrap();
            log.sync().unwrap();
            check(&open(&dir).unwrap(), 0..10);
        }
    }

    #[test]
    fn a_full_disk_takes_what_was_allocated() {
        let (disk, folder) = (SimDisk::new(1, None), Path::new("/log"));
        disk.create_dir(folder).unwrap();
        let reopen = || Segments::open(Arc::new(disk.clone()), folder, SMALL).unwrap();
        for reopened in [false, true] {
            let mut log = reopen();
            let start = log.next_index();
            log.append(start, start / 4, 0, &value(start)).unwrap();
            if reopened {
                log.truncate(start).unwrap();
                log = reopen();
            }
            disk.set_bytes_max(Some(disk.bytes()));
            let append = |log: &mut Segments| {
                let index = log.next_index();
                log.append(index, index / 4, 0, &value(index))
            };
            let error = std::iter::repeat_with(|| append(&mut log)).find_map(Result::err).unwrap();
            assert!(is_no_space(&error), "{error}");
            let last = log.segments.last().unwrap();
            assert!(last.bytes > SMALL && last.bytes <= 2 * SMALL, "{} bytes", last.bytes);
            log.sync().unwrap();
            let end = log.next_index();
            check(&reopen(), 0..end);
            disk.set_bytes_max(None);
            append(&mut log).unwrap();
            log.sync().unwrap();
            check(&reopen(), 0..end + 1);
        }
    }

    #[test]
    fn a_sync_that_found_no_space_is_not_for_another_try() {
        assert!(!is_no_space(&sync_failed(io::Error::from(io::ErrorKind::StorageFull))));
    }

    #[test]
    fn damage_before_the_end_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(&dir, 0..10));
        for file in [0, files(&dir).len() - 1] {
            let path = &files(&dir)[file];
            let good = std::fs::read(path).unwrap();
            let mut bad = good.clone();
            bad[30] ^= 1;
            std::fs::write(path, &bad).unwrap();
            let error = open(&dir).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("learns it again from the others"), "{error:?}");
            std::fs::write(path, &good).unwrap();
        }
        std::fs::remove_file(&files(&dir)[1]).unwrap();
        assert!(open(&dir).is_err(), "a segment is missing");
    }

    #[test]
    fn damage_of_a_read_entry_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let log = filled(&dir, 0..1);
        let mut bytes = std::fs::read(&files(&dir)[0]).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&files(&dir)[0], &bytes).unwrap();
        assert_eq!(log.locate(0..1, 1)[0].read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn truncation_and_purge_are_kept() {
        for cut in 0..=10 {
            let dir = tempfile::tempdir().unwrap();
            let mut log = filled(&dir, 0..10);
            log.truncate(cut).unwrap();
            check(&log, 0..cut);
            for index in cut..12 {
                log.append(index, index / 4, 0, &value(index)).unwrap();
            }
            log.sync().unwrap();
            check(&open(&dir).unwrap(), 0..12);

            log.purge(cut).unwrap();
            let kept = log.indexes();
            assert!(kept.start <= cut && cut - kept.start < 4, "whole segments go: {kept:?}, {cut}");
            check(&open(&dir).unwrap(), kept);
        }
    }

    #[test]
    fn a_log_starts_anew_after_a_snapshot_that_is_ahead_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = filled(&dir, 0..5);
        log.purge(100).unwrap();
        assert_eq!((log.indexes(), files(&dir).len()), (100..100, 0));
        log.append(100, 25, 0, &value(100)).unwrap();
        log.sync().unwrap();
        check(&open(&dir).unwrap(), 100..101);
    }
}
