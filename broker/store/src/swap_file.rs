//! What a swap file says is brought to its end, whenever the process before stopped: new segments take the
//! place of old ones.
//!
//! The order in which a swap is made is that of `swap`. Its swap file is durable before any of its files gets
//! its final name, and all of them have these, durably, before an old segment is removed. So with a swap file
//! that can be read, each new file is under one of two names; and one that can't be read can be done without.
//! Whatever else is found is nobody's to guess: nothing is removed, and the store doesn't open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{Depth, FileKind, SegmentSwap, SwappedFile, cleaned_name, parse_swap_name, scan, swap_name};
use ottla_types::Offset;

use crate::disk::{DirEntry, Disk, DiskFile, OpenMode, read_file};
use crate::error::StoreError;
use crate::read::FileSource;

/// No swap file is larger, unless it is damaged.
const SWAP_BYTES_MAX: usize = 16 << 20;

/// What is read at once of a new file.
const READ_BYTES: usize = 1 << 20;

/// What a segment consists of, its indexes first: they speak of places in the log file.
pub(crate) const SWAPPED_FILES: [FileKind; 3] = [FileKind::Index, FileKind::TimeIndex, FileKind::Log];

/// Completes what the swap files in a partition's folder say. Has to come before anything else is done with
/// what is in it. What isn't named by a swap file stays.
///
/// # Errors
/// When the disk fails, or has other files than a swap leaves, whenever it is stopped.
pub(crate) fn finish_swaps(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
    let files = disk.list(folder).map_err(StoreError::io("list", folder))?;
    for base in files.iter().filter_map(|file| parse_swap_name(&file.name)) {
        let path = folder.join(swap_name(base));
        let content = read_file(disk, &path, SWAP_BYTES_MAX).map_err(StoreError::io("read", &path))?;
        let swap = Folder { disk, folder, files: &files };
        match SegmentSwap::decode(&content).filter(|said| said.offsets().start == base) {
            Some(said) => swap.finish(&said)?,
            None => swap.finish_unread(base)?,
        }
        swap.remove(&swap_name(base))?;
        swap.sync()?;
    }
    Ok(())
}

/// A folder with a swap file.
struct Folder<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    files: &'a [DirEntry],
}

impl Folder<'_> {
    fn finish(&self, swap: &SegmentSwap) -> Result<(), StoreError> {
        tracing::info!(folder = %self.folder.display(), from = %swap.offsets().start, to = %swap.end, "a swap of segments is completed");
        let (base, mut to_rename, mut is_sound) = (swap.offsets().start, Vec::new(), true);
        for file in &swap.files {
            let cleaned = cleaned_name(FileKind::Log, file.base);
            if self.has(&cleaned) && self.fits(&cleaned, file)? {
                to_rename.push(file.base);
            } else {
                is_sound &= self.fits(&FileKind::Log.file_name(file.base), file)?;
            }
        }
        let old: Vec<Offset> = self.bases().filter(|old| swap.removes(*old)).collect();
        if !is_sound && self.has(&cleaned_name(FileKind::Log, base)) && swap.files.len() == 1 {
            // All that is old is there.
            return self.put_in_place([base].into_iter(), &[]);
        }
        let is_over = old.is_empty() && to_rename.is_empty();
        if !is_sound && !is_over {
            return Err(self.not_finished(base, "its files have other bytes than it says"));
        }
        self.put_in_place(swap.files.iter().map(|file| file.base), &to_rename)?;
        self.remove_segments(&old)
    }

    /// Finishes a swap of which nothing is known but where it begins. Where the first new file doesn't have
    /// its place yet, durably, all old ones are there, and a later start finds no trace of it. Else it has
    /// whole batches, up to where another segment begins: so it is told from an old one.
    fn finish_unread(&self, base: Offset) -> Result<(), StoreError> {
        tracing::error!(folder = %self.folder.display(), %base, "a swap file is damaged");
        if self.has(&cleaned_name(FileKind::Log, base)) {
            return self.put_in_place([base].into_iter(), &[]);
        }
        let wrong = |what| self.not_finished(base, what);
        let end = self.whole_to(base)?.ok_or_else(|| wrong("it is damaged, and so is the first segment"))?;
        if !self.bases().any(|next| next == end) {
            return Err(wrong("it is damaged, and no segment begins where the first one ends"));
        }
        let old: Vec<Offset> = self.bases().filter(|old| *old > base && *old < end).collect();
        self.put_in_place([base].into_iter(), &[])?;
        self.remove_segments(&old)
    }

    /// Gives new files their names, durably. The indexes of these `bases` may be old or new by now, and are
    /// made again.
    fn put_in_place(
        &self,
        bases: impl Iterator<Item = Offset>,
        to_rename: &[Offset],
    ) -> Result<(), StoreError> {
        for base in bases {
            for kind in [FileKind::Index, FileKind::TimeIndex] {
                self.remove(&kind.file_name(base))?;
                self.remove(&cleaned_name(kind, base))?;
            }
        }
        for base in to_rename {
            let cleaned = self.path(&cleaned_name(FileKind::Log, *base));
            let path = self.path(&FileKind::Log.file_name(*base));
            self.disk.rename(&cleaned, &path).map_err(StoreError::io("rename", cleaned))?;
        }
        self.sync()
    }

    fn remove_segments(&self, bases: &[Offset]) -> Result<(), StoreError> {
        for base in bases {
            for kind in SWAPPED_FILES {
                self.remove(&kind.file_name(*base))?;
            }
        }
        self.sync()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    /// The segments that are there under their names.
    fn bases(&self) -> impl Iterator<Item = Offset> {
        self.files.iter().filter_map(|file| match FileKind::parse(&file.name) {
            Some((FileKind::Log, base)) => Some(base),
            _ => None,
        })
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match self.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.disk.sync_dir(self.folder).map_err(StoreError::io("sync", self.folder))
    }

    /// A file, if it is there.
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>, StoreError> {
        let path = self.path(name);
        match self.disk.open(&path, OpenMode::Existing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some).map_err(StoreError::io("read", path)),
        }
    }

    /// Whether a file has the bytes that the swap file says.
    fn fits(&self, name: &str, said: &SwappedFile) -> Result<bool, StoreError> {
        let error = |source| StoreError::io("read", self.path(name))(source);
        let Some(file) = self.open(name)? else { return Ok(false) };
        if file.bytes().map_err(error)? != said.bytes {
            return Ok(false);
        }
        let source = FileSource::with_bad_sectors_as_zeros(file);
        let (mut position, mut crc, mut buffer) = (0, 0, vec![0; READ_BYTES]);
        while position < said.bytes {
            let read = ottla_log::ByteSource::read_at(&source, position, &mut buffer).map_err(error)?;
            if read == 0 {
                return Ok(false);
            }
            crc = crc32c::crc32c_append(crc, &buffer[..read]);
            position += read as u64;
        }
        Ok(position == said.bytes && crc == said.crc)
    }

    /// Where a segment ends, if it is whole batches up to its last byte.
    fn whole_to(&self, base: Offset) -> Result<Option<Offset>, StoreError> {
        let name = FileKind::Log.file_name(base);
        let error = |source| StoreError::io("read", self.path(&name))(source);
        let Some(file) = self.open(&name)? else { return Ok(None) };
        let bytes = file.bytes().map_err(error)?;
        let source = FileSource::with_bad_sectors_as_zeros(file);
        let end = scan(&source, 0..bytes, base, Depth::Crc, |_| true).map_err(error)?;
        Ok((end.position == bytes && bytes > 0).then_some(end.next_offset))
    }

    fn not_finished(&self, base: Offset, what: &str) -> StoreError {
        let remedy = "segments were being replaced, and it can't be told any more which of them count: put the \
                      folder of this partition aside, so that it is fetched from other replicas, or restore it \
                      from a copy";
        StoreError::io("finish", self.path(&swap_name(base)))(io::Error::other(format!("{what}; {remedy}")))
    }
}
