//! One damaged place of a log: what is corrupt or missing there.
//!
//! Not here: how it is found, and what is known of all in a log; that is `known_damage`.

use std::ops::Range;
use std::sync::Arc;

use ottla_log::BatchError;
use ottla_types::Offset;

/// Called with each range of offsets that is found to be damaged; must not block.
pub type DamageHook = Arc<dyn Fn(Range<Offset>) + Send + Sync>;

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offsets: Range<Offset>,
    /// The segment's base offset.
    pub(crate) segment: Offset,
    /// Where the damaged bytes begin, and where the next good batch does.
    pub(crate) positions: Range<u64>,
    pub(crate) error: BatchError,
    /// Whether its records were passed over when the producers' state was read.
    pub(crate) hides_producers: bool,
}

impl Damage {
    /// Whether a log that begins at `start` misses any of it.
    pub(crate) fn is_missed(&self, start: Offset) -> bool {
        self.offsets.end > start
    }

    /// Whether any of these offsets are among it.
    pub(crate) fn overlaps(&self, offsets: &Range<Offset>) -> bool {
        self.offsets.start < offsets.end && offsets.start < self.offsets.end
    }

    /// What a log that begins at `start` misses of it.
    pub(crate) fn missed(&self, start: Offset) -> Range<Offset> {
        assert!(self.is_missed(start), "{self:?} lies before {start}");
        self.offsets.start.max(start)..self.offsets.end
    }
}

/// Where a scan came upon a damaged batch.
pub(crate) struct ScanStop {
    pub(crate) position: u64,
    pub(crate) offset: Offset,
    pub(crate) error: BatchError,
}
