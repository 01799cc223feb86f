//! Disks of our own, by FUSE: a disk keeps in memory what was not synced, and loses it with its power.

mod content;
mod files;
mod volume;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};
use rustix::io::Errno;

use super::random::Random;
pub use content::Loss;
pub use volume::Volume;

/// How much fits, until a fault says less.
const CAPACITY: u64 = 8 << 30;

/// A disk, mounted.
pub struct Disk {
    folder: PathBuf,
    volume: Arc<Mutex<Volume>>,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts an empty disk on a folder.
    ///
    /// # Errors
    /// The system refuses: it has no FUSE, or this isn't root.
    pub fn mount(folder: &Path) -> io::Result<Disk> {
        std::fs::create_dir_all(folder)?;
        let volume = Arc::new(Mutex::new(Volume::new(CAPACITY)));
        let mut disk = Disk { folder: folder.to_owned(), volume, session: None };
        disk.attach()?;
        Ok(disk)
    }

    fn attach(&mut self) -> io::Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("ottla-disk".to_owned()), MountOption::NoAtime];
        let files = files::Files::new(Arc::clone(&self.volume));
        self.session = Some(fuser::spawn_mount(files, &self.folder, &config)?);
        Ok(())
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its inside: faults are set there.
    pub fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the power away: from now on every request fails, and nothing more becomes durable.
    pub fn cut_power(&self) {
        self.volume().powered = false;
    }

    /// Unmounts it, so that no cache survives, changes it, and mounts it again. No process may use it
    /// meanwhile.
    ///
    /// # Errors
    /// It is in use, or can't be mounted again.
    pub fn remount(&mut self, change: impl FnOnce(&mut Volume)) -> io::Result<()> {
        if let Some(session) = self.session.take() {
            // The kernel tells the end of a connection by one of two errors, and the library knows only the
            // other.
            session.umount_and_join().or_else(|error| match Errno::from_io_error(&error) {
                Some(Errno::CONNABORTED) => Ok(()),
                _ => Err(error),
            })?;
        }
        change(&mut self.volume());
        self.attach()
    }

    /// Gives the power back, with what is left. Returns how many changes hadn't been synced.
    ///
    /// # Errors
    /// As [`Disk::remount`].
    pub fn restore_power(&mut self, loss: Loss, random: &mut Random) -> io::Result<u64> {
        let mut unsynced = 0;
        self.remount(|volume| {
            unsynced = volume.unsynced();
            volume.lose_power(loss, random);
        })?;
        Ok(unsynced)
    }

    /// Copies all files to a folder, for somebody to look at.
    ///
    /// # Errors
    /// They can't be written.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        let volume = self.volume();
        for (path, number, _) in volume.find(|_| true) {
            let to = folder.join(path.trim_start_matches('/'));
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(to, volume.content(number))?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // The run is over, and its own mount namespace takes the rest with it.
            let _ = session.umount_and_join();
        }
    }
}
