//! What the store needs of a disk: a small trait, so that the simulator can bring another one.
//!
//! Nothing is durable before a sync: a file's bytes and size after [`DiskFile::sync`], the names in a folder
//! after [`Disk::sync_dir`]. Paths are absolute or relative as the caller likes; the store only joins names.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It has to exist.
    Existing,
    /// It is created when it doesn't exist.
    CreateIfMissing,
    /// It must not exist.
    CreateNew,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without the folder.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// A file's size in bytes; 0 for a folder.
    pub bytes: u64,
    /// When a file was last written to, in ms since 1970; 0 for a folder.
    pub modified_ms: i64,
}

/// A held lock; dropping it releases it.
pub trait DiskLock: Send + Sync {}

/// A disk. All errors are the operating system's; `StorageFull` and `QuotaExceeded` mean that there is no
/// space.
pub trait Disk: Send + Sync {
    /// Creates a folder, and its parents. One that exists is no error.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file or folder; one in its place is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. One that is open stays readable for those who have it.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock that keeps other processes out; `WouldBlock` when another holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// Sixteen random bytes for a new id.
    fn random_id(&self) -> io::Result<[u8; 16]>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads from `position` on; fewer bytes than fit mean that the file ends there.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `buffers`, one after the other, from `position` on. After an error any part may be
    /// written.
    fn write_at(&self, position: u64, buffers: &[&[u8]]) -> io::Result<()>;

    /// The size in bytes.
    fn bytes(&self) -> io::Result<u64>;

    /// Cuts or extends the file to `bytes`.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// Reserves space up to `bytes` without changing the size.
    fn preallocate(&self, bytes: u64) -> io::Result<()>;

    /// Makes the file's bytes and size durable. A failed sync is never repeated: the kernel forgets what
    /// failed.
    fn sync(&self) -> io::Result<()>;

    /// Sets when the file was last written to, in ms since 1970, as a [`DirEntry`] tells it. A later write sets it
    /// anew. A power loss may take it back: then the file looks younger than it is.
    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()>;

    /// Forgets what is cached of the file and not dirty, so that the next reads come from the disk itself.
    fn drop_cache(&self) -> io::Result<()>;

    /// The descriptor for `sendfile`; `None` when the file isn't the operating system's.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// Whether an error means that there is no space.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error means that this process, or the system, has too many files open.
pub fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether an error means that the disk can't read what is stored in a place, as a sector of it is bad.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::IO, Errno::NODATA, Errno::ILSEQ].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// Whether an error is gone once there is room: on the disk, or in the table of open files.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    is_no_space(error) || is_out_of_files(error)
}

/// Reads a whole file of at most `bytes_max`.
///
/// # Errors
/// Those of the disk; `FileTooLarge` past the limit.
pub fn read_file(disk: &dyn Disk, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Existing)?;
    let bytes = usize::try_from(file.bytes()?).unwrap_or(usize::MAX);
    if bytes > bytes_max {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut content = vec![0; bytes];
    let read = file.read_at(0, &mut content)?;
    content.truncate(read);
    Ok(content)
}

/// Replaces a small file atomically and durably: written beside it, synced, renamed, folder synced.
///
/// # Errors
/// Those of the disk; the old content is still there then.
pub fn replace_file(disk: &dyn Disk, folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    write_beside(disk, folder, name, content)?;
    take_beside(disk, folder, name)?;
    disk.sync_dir(folder)
}

/// Writes what a file is to hold beside it, durably but for its name.
pub(crate) fn write_beside(disk: &dyn Disk, folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let file = disk.open(&beside(folder, name), OpenMode::CreateIfMissing)?;
    file.truncate(0)?;
    file.write_at(0, &[content])?;
    file.sync()
}

/// Puts what was written beside a file in its place. It opens nothing and writes nothing; the folder is to be
/// synced.
pub(crate) fn take_beside(disk: &dyn Disk, folder: &Path, name: &str) -> io::Result<()> {
    disk.rename(&beside(folder, name), &folder.join(name))
}

fn beside(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.tmp"))
}
