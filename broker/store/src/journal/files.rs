//! The journal's files: one is written, the one before is kept until its segments are synced, then used
//! again.
//!
//! A file is filled with zeros in steps before groups go there, so that a sync of it changes no size and no
//! extent.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{BLOCK_BYTES, JournalGroup};

use crate::disk::{Disk, DiskFile, OpenMode, is_no_space, is_out_of_files};
use crate::error::FatalError;

const SUFFIX: &str = ".journal";

/// A file that may be used again.
pub(super) const SPARE_FILE: &str = "spare";

/// A file that is being filled, to be a spare one.
pub(super) const FILLING_FILE: &str = "filling";

/// The files that one process has at once: the one that it writes, and the one before.
const FILES_MAX: usize = 2;

const FILL_BYTES: u64 = 2 << 20;
const GROW_BYTES_MIN: u64 = 256 << 10;
const GROW_BYTES_MAX: u64 = 8 << 20;

/// Fills a file beside the others with zeros, in steps that don't hold up those who sync meanwhile.
pub(super) fn fill_spare(disk: &dyn Disk, folder: &Path, file_bytes: u64) -> io::Result<()> {
    let file = disk.open(&folder.join(FILLING_FILE), OpenMode::CreateIfMissing)?;
    let zeros = vec![0; FILL_BYTES as usize];
    let mut filled = 0;
    while filled < file_bytes {
        let bytes = FILL_BYTES.min(file_bytes - filled);
        file.write_at(filled, &[&zeros[..bytes as usize]])?;
        file.sync()?;
        filled += bytes;
    }
    Ok(())
}

/// The name of the file of a generation.
pub(super) fn file_name(generation: u64) -> String {
    format!("{generation:020}{SUFFIX}")
}

/// The generation of a file, by its name.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

struct Live {
    generation: u64,
    /// The number of its first entry; `None` while it has none.
    first_number: Option<u64>,
}

struct CurrentFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    position: u64,
    /// Up to here the file's blocks are there.
    filled: u64,
}

pub(super) struct JournalFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    file_bytes: u64,
    /// The newest generation that there was.
    generation: u64,
    /// JournalFiles of the process before, by generation.
    old: Vec<u64>,
    /// This process's files, oldest first.
    live: VecDeque<Live>,
    current: Option<CurrentFile>,
    has_spare: bool,
    /// How often files were let go, and how many of these times are on disk.
    let_go: u64,
    let_go_on_disk: u64,
    /// Memory for the next group.
    pub(super) idle_group: JournalGroup,
}

impl JournalFiles {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        file_bytes: u64,
        generation: u64,
        old: Vec<u64>,
    ) -> Self {
        let (live, idle_group) = (VecDeque::new(), JournalGroup::default());
        Self {
            disk,
            folder,
            file_bytes,
            generation,
            old,
            live,
            current: None,
            has_spare: false,
            let_go: 0,
            let_go_on_disk: 0,
            idle_group,
        }
    }

    /// Whether a spare file will be wanted before one is released: the first time that a file fills.
    pub(super) fn wants_spare(&self) -> bool {
        let position = self.current.as_ref().map_or(0, |current| current.position);
        self.live.len() < FILES_MAX && !self.has_spare && position > self.file_bytes / 4
    }

    /// Takes the file that was filled as the spare one, if there is still none.
    pub(super) fn take_filled(&mut self) -> io::Result<()> {
        let filled = self.folder.join(FILLING_FILE);
        if self.has_spare {
            return self.disk.remove_file(&filled);
        }
        self.disk.rename(&filled, &self.folder.join(SPARE_FILE))?;
        self.has_spare = true;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.old.is_empty() && self.live.is_empty()
    }

    /// Whether no further file may be begun before one is released.
    pub(super) fn is_last(&self) -> bool {
        self.live.len() >= FILES_MAX
    }

    pub(super) fn has_room(&self, bytes: usize, is_marks: bool) -> bool {
        let room_end = self.room_end(is_marks);
        let Some(current) = &self.current else { return false };
        current.position + bytes as u64 <= current.filled.min(room_end)
    }

    /// Where groups of the current file have to end. The last one keeps some of it for the marks without
    /// which no file can be released.
    fn room_end(&self, is_marks: bool) -> u64 {
        let reserved = (self.file_bytes / 16).next_multiple_of(BLOCK_BYTES as u64);
        if self.is_last() && !is_marks { self.file_bytes.saturating_sub(reserved) } else { self.file_bytes }
    }

    /// Makes room for a group, `is_marks` if it holds nothing else: fills more of the file, or begins the
    /// next one. Returns whether that was possible.
    pub(super) fn make_room(&mut self, bytes: usize, is_marks: bool) -> Result<bool, FatalError> {
        let needed = bytes as u64;
        let room_end = self.room_end(is_marks);
        if self.current.as_ref().is_none_or(|current| current.position + needed > room_end) {
            if self.is_last() {
                return Ok(false);
            }
            if !self.begin_file()? {
                return Ok(false);
            }
        }
        let file_bytes = self.file_bytes;
        let current = self.current.as_mut().expect("there is one with room, or the next was just begun");
        while current.position + needed > current.filled {
            let step = current.filled.clamp(GROW_BYTES_MIN, GROW_BYTES_MAX);
            let to = (current.filled + step).min(file_bytes);
            let zeros = vec![0; (to - current.filled) as usize];
            match current.file.write_at(current.filled, &[&zeros]) {
                Ok(()) => current.filled = to,
                Err(error) if is_no_space(&error) => return Ok(false),
                Err(error) => return Err(FatalError::new("write", &current.path, &error)),
            }
        }
        Ok(true)
    }

    /// Begins the next generation's file, durably named before anything is written to it.
    fn begin_file(&mut self) -> Result<bool, FatalError> {
        let path = self.folder.join(file_name(self.generation + 1));
        let named = (|| {
            if std::mem::take(&mut self.has_spare) {
                self.disk.rename(&self.folder.join(SPARE_FILE), &path)?;
            }
            let file = self.disk.open(&path, OpenMode::CreateIfMissing)?;
            self.disk.sync_dir(&self.folder)?;
            let filled = file.bytes()?.min(self.file_bytes) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
            Ok((file, filled))
        })();
        let (file, filled) = match named {
            Ok(named) => named,
            // Nothing of this generation is in it; the next time it is taken as it is.
            Err(error) if is_no_space(&error) || is_out_of_files(&error) => return Ok(false),
            Err(error) => return Err(FatalError::new("create", path, &error)),
        };
        assert!(filled <= self.file_bytes, "{filled} bytes are there of {}", self.file_bytes);
        assert!(self.live.len() < FILES_MAX, "a file is let go before another is begun");
        self.generation += 1;
        self.live.push_back(Live { generation: self.generation, first_number: None });
        self.current = Some(CurrentFile { file, path, position: 0, filled });
        Ok(true)
    }

    /// Writes a group where room was made for it, and syncs it. Returns false when the disk is full after
    /// all.
    pub(super) fn write(&mut self, group: &mut JournalGroup, first_number: u64) -> Result<bool, FatalError> {
        let current = self.current.as_mut().expect("`make_room` begins a file where there is none");
        let bytes = group.seal(self.generation, first_number);
        assert!(
            current.position + bytes.len() as u64 <= current.filled,
            "room was made: a group never makes its file longer"
        );
        match current.file.write_at(current.position, &[bytes]) {
            Ok(()) => {}
            // A file system that never overwrites. What was written of the group is no group.
            Err(error) if is_no_space(&error) => return Ok(false),
            Err(error) => return Err(FatalError::new("write", &current.path, &error)),
        }
        current.file.sync().map_err(|error| FatalError::new("sync", &current.path, &error))?;
        current.position += bytes.len() as u64;
        let live = self.live.back_mut().expect("`begin_file` puts the current file there, and it goes last");
        let file_begins_with = *live.first_number.get_or_insert(first_number);
        assert!(file_begins_with <= first_number, "numbers rise within a file");
        Ok(true)
    }

    pub(super) fn boundary(&self) -> u64 {
        if self.current.is_some() { self.generation } else { self.generation + 1 }
    }

    /// The number of the oldest entry in a file; `unwritten` is that of the first one that isn't in any yet.
    pub(super) fn oldest(&self, unwritten: u64) -> u64 {
        if !self.old.is_empty() {
            return 0;
        }
        self.live.iter().find_map(|live| live.first_number).unwrap_or(unwritten)
    }

    /// Lets the files before `boundary` go. Returns what to tell [`Self::names_synced`] once the folder is
    /// synced, if it has to be.
    pub(super) fn let_go(&mut self, boundary: u64) -> io::Result<Option<u64>> {
        assert!(boundary <= self.boundary(), "the file that is written, {}, is kept", self.generation);
        while let Some(generation) = self.next_to_go(boundary) {
            let path = self.folder.join(file_name(generation));
            if self.has_spare {
                self.disk.remove_file(&path)?;
            } else {
                self.disk.rename(&path, &self.folder.join(SPARE_FILE))?;
                self.has_spare = true;
            }
            self.let_go += 1;
            if self.old.pop().is_none() {
                self.live.pop_front();
            }
        }
        Ok((self.let_go > self.let_go_on_disk).then_some(self.let_go))
    }

    fn next_to_go(&self, boundary: u64) -> Option<u64> {
        let passed = self.live.front().map(|live| live.generation).filter(|live| *live < boundary);
        self.old.last().copied().or(passed)
    }

    pub(super) fn names_synced(&mut self, let_go: u64) {
        assert!(let_go <= self.let_go, "files are let go before that is on disk");
        self.let_go_on_disk = self.let_go_on_disk.max(let_go);
    }
}
