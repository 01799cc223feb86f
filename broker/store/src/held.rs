//! Files with unsynced bytes, and how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::disk::DiskFile;

/// A file with unsynced bytes. It is held open until they are synced, so that an error of writing back can't
/// get lost.
#[derive(Clone)]
pub(crate) struct HeldFile {
    pub(crate) file: Arc<dyn DiskFile>,
    _count: Arc<HeldCount>,
}

impl HeldFile {
    /// Holds a file, and says how many are held now, as `count` has it.
    pub(crate) fn new(file: &Arc<dyn DiskFile>, count: &Arc<AtomicUsize>) -> (Self, usize) {
        let held = count.fetch_add(1, Ordering::AcqRel) + 1;
        (Self { file: Arc::clone(file), _count: Arc::new(HeldCount(Arc::clone(count))) }, held)
    }
}

struct HeldCount(Arc<AtomicUsize>);

impl Drop for HeldCount {
    fn drop(&mut self) {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "each file that is let go was counted");
    }
}
