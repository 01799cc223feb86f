//! What a replica has to know of its log.

use ottla_types::Offset;

/// What the log is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// The first offset.
    pub start: Offset,
    /// The offset after the last record, synced or not.
    pub end: Offset,
    /// Up to here records are on disk (or written, where `ack.durability=written`); between `start` and
    /// `end`.
    pub synced: Offset,
}

impl LogFacts {
    /// Asserts what is true of every log.
    ///
    /// # Panics
    /// When the offsets are out of order: whoever took them read them one after the other and didn't clamp
    /// them.
    #[track_caller]
    pub(super) fn assert_in_order(&self) {
        assert!(self.start.0 >= 0, "{self:?} begins before the first offset there is");
        assert!(self.start <= self.synced && self.synced <= self.end, "{self:?} is no log");
    }
}
