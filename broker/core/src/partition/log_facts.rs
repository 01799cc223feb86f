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
