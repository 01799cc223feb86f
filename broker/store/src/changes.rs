//! A file of changes beside a file of all partitions: one partition's change costs one line and one sync, however many
//! there are.
//!
//! Lines go to the newest generation's file. Who writes all anew begins a generation first; once all is written, durably,
//! the older generations go. So after a crash the lines may be repeated upon what they are already in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{seal_change, unseal_changes};
use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, OpenMode, is_no_space, is_out_of_files, read_file};
use crate::error::{FatalError, StoreError};

/// No file of changes is larger, unless it is damaged.
const FILE_BYTES_MAX: usize = 256 << 20;

/// What is set aside for a new file, so that a full disk takes the changes with which room is made.
const RESERVED_BYTES: u64 = 64 << 10;

/// Why a change isn't durable.
#[derive(Debug)]
pub(crate) enum Unsaved {
    /// There is no room for it now; nothing has changed.
    NoRoom(StoreError),
    /// The store has to stop.
    Fatal(FatalError),
}

pub(crate) struct Changes {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    name: &'static str,
    /// Unless the simulation plants the bug that it isn't.
    is_synced: bool,
    files: Mutex<Files>,
}

struct Files {
    generation: u64,
    /// The generations whose files are there, oldest first.
    live: Vec<u64>,
    current: Option<Current>,
}

struct Current {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    lines: u64,
    bytes: u64,
}

impl Changes {
    /// Opens the changes called `name` in a folder, and reads them in their order: `None` when a file is damaged.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        name: &'static str,
        is_synced: bool,
    ) -> Result<(Self, Option<Vec<String>>), StoreError> {
        let names = disk.list(folder).map_err(StoreError::io("list", folder))?;
        let mut live: Vec<u64> =
            names.iter().filter_map(|entry| entry.name.strip_prefix(name)?.parse().ok()).collect();
        live.sort_unstable();
        let mut changes = Some(Vec::new());
        for generation in &live {
            let path = folder.join(format!("{name}{generation}"));
            let error = |source| StoreError::io("read", &path)(source);
            let file = disk.open(&path, OpenMode::Existing).map_err(error)?;
            // A sync that failed must not deceive: what the cache holds may never have reached the disk.
            file.sync().and_then(|()| file.drop_cache()).map_err(error)?;
            let bytes = read_file(&**disk, &path, FILE_BYTES_MAX).map_err(error)?;
            let read = unseal_changes(&bytes);
            if read.is_none() {
                tracing::error!(path = %path.display(), "corrupt: what it says of logs isn't known any more");
            }
            let read = read.map(|read| read.into_iter().map(str::to_owned));
            changes = changes.zip(read).map(|(before, read)| before.into_iter().chain(read).collect());
        }
        let generation = live.last().map_or(1, |newest| newest + 1);
        let files = Mutex::new(Files { generation, live, current: None });
        Ok((Self { disk: Arc::clone(disk), folder: folder.to_owned(), name, is_synced, files }, changes))
    }

    /// Whether there is no file.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.lock().live.is_empty()
    }

    /// Appends a change; it is durable then.
    pub(crate) fn append(&self, change: &str) -> Result<(), Unsaved> {
        let mut files = self.files.lock();
        let mut current = match files.current.take() {
            Some(current) => current,
            None => self.begin_file(&mut files)?,
        };
        let line = seal_change(current.lines, change);
        let Current { file, path, bytes, .. } = &current;
        if let Err(error) = file.write_at(*bytes, &[line.as_bytes()]) {
            // What was written of it must not be taken for a line by anyone.
            let cut = file.truncate(*bytes);
            let unsaved = match cut {
                Ok(()) if is_no_space(&error) => Unsaved::NoRoom(StoreError::io("write", path)(error)),
                _ => Unsaved::Fatal(FatalError::new("write", path, &error)),
            };
            files.current = Some(current);
            return Err(unsaved);
        }
        if self.is_synced {
            file.sync().map_err(|error| Unsaved::Fatal(FatalError::new("sync", path, &error)))?;
        }
        current.lines += 1;
        current.bytes += line.len() as u64;
        files.current = Some(current);
        Ok(())
    }

    /// Makes the file of the newest generation, durably named before anything is in it.
    fn begin_file(&self, files: &mut Files) -> Result<Current, Unsaved> {
        let path = self.folder.join(format!("{}{}", self.name, files.generation));
        let made = (|| {
            let file = self.disk.open(&path, OpenMode::CreateIfMissing)?;
            file.truncate(0)?;
            match file.preallocate(RESERVED_BYTES) {
                Err(error) if !is_no_space(&error) => Err(error),
                _ => Ok(file),
            }
        })();
        let file = made.map_err(|error: io::Error| match error {
            error if is_no_space(&error) || is_out_of_files(&error) => {
                Unsaved::NoRoom(StoreError::io("create", &path)(error))
            }
            error => Unsaved::Fatal(FatalError::new("create", &path, &error)),
        })?;
        let synced = self.disk.sync_dir(&self.folder);
        synced.map_err(|error| Unsaved::Fatal(FatalError::new("sync", &self.folder, &error)))?;
        files.live.push(files.generation);
        Ok(Current { file, path, lines: 0, bytes: 0 })
    }

    /// The bytes of the newest file.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.lock().current.as_ref().map_or(0, |current| current.bytes)
    }

    /// From here on changes go to a newer file. Returns its generation, for [`Self::remove_before`].
    pub(crate) fn begin_generation(&self) -> u64 {
        let mut files = self.files.lock();
        files.current = None;
        files.generation = files.live.last().map_or(files.generation, |newest| newest + 1);
        files.generation
    }

    /// Removes the older files, durably: all that they say is written elsewhere.
    pub(crate) fn remove_before(&self, generation: u64) -> Result<(), StoreError> {
        let older: Vec<u64> =
            self.files.lock().live.iter().copied().filter(|live| *live < generation).collect();
        if older.is_empty() {
            return Ok(());
        }
        for generation in &older {
            let path = self.folder.join(format!("{}{generation}", self.name));
            match self.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path)(error));
                }
                _ => {}
            }
        }
        self.disk.sync_dir(&self.folder).map_err(StoreError::io("sync", &self.folder))?;
        self.files.lock().live.retain(|live| *live >= generation);
        Ok(())
    }
}
