//! A disk on which opening waits while too many files are open: for those who can't come again later.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{DirEntry, Disk, DiskFile, DiskLock, OpenMode};
use crate::partition::Shared;

/// The disk of a store; see [`Shared::patiently`].
pub(crate) struct PatientDisk<'a>(pub(crate) &'a Shared);

impl Disk for PatientDisk<'_> {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.disk.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.patiently(path, || self.0.disk.list(path))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.0.patiently(path, || self.0.disk.open(path, mode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.disk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.0.disk.lock(path)
    }

    fn random_id(&self) -> io::Result<[u8; 16]> {
        self.0.disk.random_id()
    }
}
