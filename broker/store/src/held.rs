//! Files with unsynced bytes, and how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::disk::DiskFile;

/// A file with unsynced bytes. It is held open until they are synced, so that an error of writing back can't
/// get lost.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) file: Arc<dyn DiskFile>,
    _count: Arc<Count>,
}

impl Held {
    /// Holds a file, and says how many are held now, as `count` has it.
    pub(crate) fn new(file: &Arc<dyn DiskFile>, count: &Arc<AtomicUsize>) -> (Self, usize) {
        let held = count.fetch_add(1, Ordering::AcqRel) + 1;
        (Self { file: Arc::clone(file), _count: Arc::new(Count(Arc::clone(count))) }, held)
    }
}

struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "each file that is let go was counted");
    }
}
