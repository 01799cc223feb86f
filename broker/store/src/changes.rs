//! A file of changes beside a file of all partitions: one partition's change costs one line and one sync,
//! however many there are.
//!
//! Lines go to the newest generation's file. Who writes all anew begins a generation first; once all is
//! written, durably, the older generations go. So after a crash the lines may be repeated upon what they are
//! already in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_log::{seal_change, unseal_changes};
use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, OpenMode, is_no_space, is_passing, read_file};
use crate::error::{FatalError, StoreError};

/// No file of changes is larger, unless it is damaged.
const FILE_BYTES_MAX: usize = 256 << 20;

/// What is set aside for a new file, so that a full disk takes the changes with which room is made.
const RESERVED_BYTES: u64 = 64 << 10;

/// The files of changes of recovery points and log starts begin with it.
pub(crate) const OFFSET_CHANGES: &str = "offsets.";

/// Why a change isn't durable.
#[derive(Debug)]
pub(crate) enum Unsaved {
    /// It can't be written now, most likely for want of room; what was said before counts.
    NotNow(StoreError),
    /// The store has to stop.
    Fatal(FatalError),
}

impl From<StoreError> for Unsaved {
    fn from(error: StoreError) -> Self {
        Self::NotNow(error)
    }
}

pub(crate) struct Changes {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    name: &'static str,
    /// Unless the simulation plants the bug that it isn't.
    is_synced: bool,
    files: Mutex<ChangeFiles>,
}

struct ChangeFiles {
    generation: u64,
    /// The generations whose files are there, oldest first.
    live: Vec<u64>,
    current: Option<ChangeFile>,
    /// A write or sync has failed: nobody knows what is on disk, so the files stay as they are.
    has_failed: bool,
}

impl ChangeFiles {
    /// The newest generation whose file is there; 0 if there is none.
    fn newest(&self) -> u64 {
        self.live.last().copied().unwrap_or(0)
    }

    /// After a failure that ends the store nothing is written any more, be it by who waits already.
    fn note<T>(&mut self, done: Result<T, Unsaved>) -> Result<T, Unsaved> {
        self.has_failed |= matches!(done, Err(Unsaved::Fatal(_)));
        done
    }
}

struct ChangeFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    lines: u64,
    bytes: u64,
    /// Whether room was set aside for it.
    is_reserved: bool,
}

impl ChangeFile {
    /// The newest file of the process before, if all that is in it is whole: on a full disk it may be the
    /// only one that has room.
    fn go_on(file: Arc<dyn DiskFile>, path: PathBuf, content: &[u8], changes: &[&str]) -> Option<Self> {
        let sealed: String =
            changes.iter().zip(0..).map(|(change, number)| seal_change(number, change)).collect();
        let (lines, bytes) = (changes.len() as u64, content.len() as u64);
        (sealed.as_bytes() == content).then(|| {
            let is_reserved = file.preallocate(bytes + RESERVED_BYTES).is_ok();
            Self { file, path, lines, bytes, is_reserved }
        })
    }
}

impl Changes {
    /// Opens the changes called `name` in a folder, and reads them in their order: `None` when a file is
    /// damaged.
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
        let (mut changes, mut current) = (Some(Vec::new()), None);
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
            current = read.as_ref().and_then(|read| ChangeFile::go_on(file, path.clone(), &bytes, read));
            let read = read.map(|read| read.into_iter().map(str::to_owned));
            changes = changes.zip(read).map(|(before, read)| before.into_iter().chain(read).collect());
        }
        if !live.is_empty() {
            // The process before may have ended before the name of the one that is gone on with was durable.
            disk.sync_dir(folder).map_err(StoreError::io("sync", folder))?;
        }
        let generation = live.last().map_or(1, |newest| newest + u64::from(current.is_none()));
        let files = Mutex::new(ChangeFiles { generation, live, current, has_failed: false });
        Ok((Self { disk: Arc::clone(disk), folder: folder.to_owned(), name, is_synced, files }, changes))
    }

    /// Whether there is no file.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.lock().live.is_empty()
    }

    /// Makes a file for the first change, with room set aside, if there is room now. Later there may be none.
    pub(crate) fn prepare(&self) -> Result<(), Unsaved> {
        let mut files = self.files.lock();
        if files.current.is_some() { Ok(()) } else { self.begin_first(&mut files) }
    }

    /// Appends a change; it is durable then.
    pub(crate) fn append(&self, change: &str) -> Result<(), Unsaved> {
        let mut files = self.files.lock();
        self.check(&files)?;
        if files.current.is_none() {
            let made = self.make_file(files.generation);
            let current = files.note(made)?;
            self.begin(&mut files, current);
        }
        let current = files.current.as_mut().expect("it was begun just before if there was none");
        let done = self.append_to(current, change);
        files.note(done)
    }

    fn append_to(&self, current: &mut ChangeFile, change: &str) -> Result<(), Unsaved> {
        let line = seal_change(current.lines, change);
        let ChangeFile { file, path, bytes, .. } = &*current;
        if let Err(error) = file.write_at(*bytes, &[line.as_bytes()]) {
            // What was written of it must not be taken for a line by anyone.
            let cut = file.truncate(*bytes);
            return Err(match cut {
                Ok(()) if is_no_space(&error) => Unsaved::NotNow(StoreError::io("write", path)(error)),
                _ => Unsaved::Fatal(FatalError::new("write", path, &error)),
            });
        }
        if self.is_synced {
            file.sync().map_err(|error| Unsaved::Fatal(FatalError::new("sync", path, &error)))?;
        }
        current.lines += 1;
        current.bytes += line.len() as u64;
        Ok(())
    }

    fn check(&self, files: &ChangeFiles) -> Result<(), Unsaved> {
        if !files.has_failed {
            return Ok(());
        }
        let reason = "the disk failed before".to_owned();
        Err(Unsaved::Fatal(FatalError { action: "write", path: self.folder.clone(), reason }))
    }

    /// Makes the file of a generation, durably named before anything is in it. Until it is begun nobody
    /// relies on it.
    fn make_file(&self, generation: u64) -> Result<ChangeFile, Unsaved> {
        let path = self.folder.join(format!("{}{generation}", self.name));
        let made = (|| {
            let file = self.disk.open(&path, OpenMode::CreateIfMissing)?;
            file.truncate(0)?;
            let is_reserved = match file.preallocate(RESERVED_BYTES) {
                Err(error) if !is_no_space(&error) => return Err(error),
                reserved => reserved.is_ok(),
            };
            self.disk.sync_dir(&self.folder)?;
            Ok((file, is_reserved))
        })();
        match made {
            Ok((file, is_reserved)) => Ok(ChangeFile { file, path, lines: 0, bytes: 0, is_reserved }),
            Err(error) if is_passing(&error) => Err(Unsaved::NotNow(StoreError::io("create", &path)(error))),
            Err(error) => Err(Unsaved::Fatal(FatalError::new("create", &path, &error))),
        }
    }

    fn begin(&self, files: &mut ChangeFiles, current: ChangeFile) {
        let generation = files.generation;
        assert!(files.newest() < generation, "generations rise: {generation} after {}", files.newest());
        files.live.push(generation);
        files.current = Some(current);
    }

    /// The bytes of the newest file.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.lock().current.as_ref().map_or(0, |current| current.bytes)
    }

    /// From here on changes go to a newer file, which is made first, with room set aside: without any, they
    /// go to the one before. Returns its generation, for [`Self::remove_before`].
    pub(crate) fn begin_generation(&self) -> Result<u64, Unsaved> {
        let mut files = self.files.lock();
        self.check(&files)?;
        match &mut files.current {
            Some(current) if current.lines == 0 => {
                current.is_reserved = current.is_reserved || current.file.preallocate(RESERVED_BYTES).is_ok();
            }
            Some(_) => self.begin_next(&mut files)?,
            None => self.begin_first(&mut files)?,
        }
        Ok(files.generation)
    }

    /// Begins a file after one that has room, as the next must have.
    fn begin_next(&self, files: &mut ChangeFiles) -> Result<(), Unsaved> {
        let next = files.newest() + 1;
        let made = self.make_file(next);
        let current = files.note(made)?;
        if !current.is_reserved {
            // The next process must not go on with it instead of the one that has room.
            let removed =
                self.disk.remove_file(&current.path).and_then(|()| self.disk.sync_dir(&self.folder));
            if let Err(error) = removed {
                tracing::warn!(path = %current.path.display(), %error, "an empty file of changes is left over");
            }
            let no_room = io::Error::from(io::ErrorKind::StorageFull);
            return Err(Unsaved::NotNow(StoreError::io("set room aside for", current.path)(no_room)));
        }
        files.generation = next;
        self.begin(files, current);
        Ok(())
    }

    /// Begins a file where there is none that could be kept. If that can't be done now, the first change
    /// tries again.
    fn begin_first(&self, files: &mut ChangeFiles) -> Result<(), Unsaved> {
        files.generation = files.generation.max(files.newest() + 1);
        let made = self.make_file(files.generation);
        match files.note(made) {
            Ok(current) => self.begin(files, current),
            Err(Unsaved::NotNow(error)) => tracing::warn!(%error, "no room set aside for changes"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Removes the older files, durably: all that they say is written elsewhere. The oldest goes first, for
    /// good: whatever stays after a power loss, nothing older is repeated upon what newer ones have said.
    pub(crate) fn remove_before(&self, generation: u64) -> Result<(), Unsaved> {
        let older: Vec<u64> = {
            let files = self.files.lock();
            self.check(&files)?;
            assert!(
                generation <= files.generation,
                "changes still go to {}, so nothing else says them",
                files.generation
            );
            files.live.iter().copied().filter(|live| *live < generation).collect()
        };
        if older.is_empty() {
            return Ok(());
        }
        for generation in &older {
            let path = self.folder.join(format!("{}{generation}", self.name));
            match self.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path)(error).into());
                }
                _ => {}
            }
            self.disk.sync_dir(&self.folder).map_err(StoreError::io("sync", &self.folder))?;
        }
        self.files.lock().live.retain(|live| *live >= generation);
        Ok(())
    }

    /// Removes the newest file if nothing is in it, so that a folder that was closed has none. Whoever has a
    /// change meanwhile waits, and makes another.
    pub(crate) fn remove_unused(&self) {
        let mut files = self.files.lock();
        if files.has_failed {
            return;
        }
        let Some(unused) = files.current.take_if(|current| current.lines == 0) else { return };
        let generation = files.generation;
        files.live.retain(|live| *live != generation);
        files.generation += 1;
        let removed = self.disk.remove_file(&unused.path).and_then(|()| self.disk.sync_dir(&self.folder));
        if let Err(error) = removed {
            tracing::warn!(path = %unused.path.display(), %error, "empty file of changes is left over");
        }
    }
}
