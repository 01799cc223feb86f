//! What the store's tests share: a store in a folder, committed by hand, and a disk that is watched.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::BatchBuilder;
use ottla_types::{BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, TopicId};

use crate::disk::{DirEntry, Disk, DiskFile, DiskLock, OpenMode};
use crate::{Committer, RealDisk, Store, StoreConfig};

pub(crate) const TOPIC: TopicId = TopicId([2; 16]);
pub(crate) const P0: PartitionIndex = PartitionIndex(0);

pub(crate) fn config(dir: &Path) -> StoreConfig {
    let cluster_id = Some(ClusterId([1; 16]));
    StoreConfig { cluster_id, committer: Committer::Manual, ..StoreConfig::new(dir, BrokerId(1)) }
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(config(dir)).unwrap()
}

/// The store of a folder on a disk of which `watch` is told.
pub(crate) fn open_watched(
    dir: &Path,
    watch: impl Fn(&Path, Act) -> io::Result<()> + Send + Sync + 'static,
) -> Store {
    Store::open_on(Arc::new(WatchedDisk(Arc::new(watch))), config(dir)).unwrap()
}

/// A batch of one record.
pub(crate) fn batch(value: &[u8]) -> Bytes {
    BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(1_000, None, Some(value)).build().into()
}

/// What is about to be done to a file or folder.
#[derive(Debug)]
pub(crate) enum Act {
    /// So many bytes are read.
    Read(usize),
    /// So many bytes are written.
    Write(usize),
    /// Room is set aside.
    Reserve,
    Sync,
    SyncDir,
    /// It gets another name.
    Rename,
    /// It is opened.
    Open,
    /// What is in it is listed.
    List,
    /// It is removed.
    Remove,
}

type Watch = Arc<dyn Fn(&Path, Act) -> io::Result<()> + Send + Sync>;

/// The operating system's disk; someone is told of what is done to it before they are done, and may refuse
/// them.
pub(crate) struct WatchedDisk(pub(crate) Watch);

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    watch: Watch,
}

impl Disk for WatchedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        (self.0)(path, Act::List)?;
        RealDisk.list(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        (self.0)(path, Act::Open)?;
        let file = RealDisk.open(path, mode)?;
        Ok(Arc::new(WatchedFile { file, path: path.to_owned(), watch: Arc::clone(&self.0) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)(from, Act::Rename)?;
        RealDisk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        (self.0)(path, Act::Remove)?;
        RealDisk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        (self.0)(path, Act::SyncDir)?;
        RealDisk.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }

    fn random_id(&self) -> io::Result<[u8; 16]> {
        RealDisk.random_id()
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (self.watch)(&self.path, Act::Read(buffer.len()))?;
        self.file.read_at(position, buffer)
    }

    fn write_at(&self, position: u64, buffers: &[&[u8]]) -> io::Result<()> {
        (self.watch)(&self.path, Act::Write(buffers.iter().map(|buffer| buffer.len()).sum()))?;
        self.file.write_at(position, buffers)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        (self.watch)(&self.path, Act::Reserve)?;
        self.file.preallocate(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        (self.watch)(&self.path, Act::Sync)?;
        self.file.sync()
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        self.file.set_modified_ms(modified_ms)
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.file.drop_cache()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.fd()
    }
}
