//! The folders of deleted partitions, removed one after the other while all else goes on: a large one takes
//! minutes.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::owner::remove_folder_unless;
use crate::partition::Shared;
use crate::patient::PatientDisk;

/// The folders that are to go. They have names by which the next start knows them, too.
#[derive(Default)]
pub(crate) struct Removals {
    folders: Mutex<VecDeque<PathBuf>>,
    wake: Condvar,
}

impl Removals {
    pub(crate) fn add(&self, folder: PathBuf) {
        self.folders.lock().push_back(folder);
        self.wake.notify_one();
    }

    /// Removes what is added until `stop` is set.
    pub(crate) fn run(&self, shared: &Shared, stop: &AtomicBool) {
        while let Some(folder) = self.next(stop) {
            remove(shared, &folder, stop);
        }
    }

    /// Waits for the next one; `None` once `stop` is set.
    fn next(&self, stop: &AtomicBool) -> Option<PathBuf> {
        let mut folders = self.folders.lock();
        loop {
            if stop.load(Ordering::Acquire) {
                return None;
            }
            if let Some(folder) = folders.pop_front() {
                return Some(folder);
            }
            self.wake.wait(&mut folders);
        }
    }

    /// Has those who wait look at `stop`, under the lock, so that no wake-up is lost.
    pub(crate) fn wake_all(&self) {
        let _folders = self.folders.lock();
        self.wake.notify_all();
    }
}

/// Removes a folder, or what of it comes before `stop`.
pub(crate) fn remove(shared: &Shared, folder: &Path, stop: &AtomicBool) {
    let is_stopped = || stop.load(Ordering::Acquire);
    if let Err(error) = remove_folder_unless(&PatientDisk(shared), folder, &is_stopped) {
        tracing::warn!(folder = %folder.display(), %error, "folder of a deleted partition not removed until the next start");
    }
}
