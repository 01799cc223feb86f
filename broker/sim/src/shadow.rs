//! What a partition has to hold: every batch that was appended, how far it was acknowledged, what was
//! damaged.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use ottla_log::Batches;
use ottla_store::{PartitionLog, ReadError, UpTo};
use ottla_types::Offset;

/// The store broke a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(
    /// Which one, and where.
    pub String,
);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fails with a [`Violation`] unless the condition holds.
macro_rules! demand {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err($crate::shadow::Violation(format!($($text)+)));
        }
    };
}
pub(crate) use demand;

/// One batch as it has to be read back.
#[derive(Clone, Debug)]
pub(crate) struct ShadowBatch {
    pub(crate) base: i64,
    pub(crate) next: i64,
    pub(crate) bytes: Vec<u8>,
}

/// One partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadow {
    pub(crate) batches: Vec<ShadowBatch>,
    /// The greatest durable end offset that was ever shown.
    pub(crate) acknowledged: i64,
    /// Where records were let go, at least and at most.
    pub(crate) start: i64,
    /// Base offsets of batches with a flipped bit.
    pub(crate) damaged: BTreeSet<i64>,
}

impl Shadow {
    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next)
    }

    /// Takes note that the log was cut.
    pub(crate) fn cut(&mut self, end: i64) {
        self.batches.retain(|batch| batch.base < end);
        self.damaged.retain(|base| *base < end);
    }

    /// Whether some of the batch at `base` lies among those offsets.
    pub(crate) fn overlaps(&self, base: i64, offsets: &Range<Offset>) -> bool {
        let next = self.index_of(base).map_or(base + 1, |at| self.batches[at].next);
        base < offsets.end.0 && offsets.start.0 < next
    }

    /// The batch that holds `offset`.
    pub(crate) fn index_of(&self, offset: i64) -> Option<usize> {
        let at = self.batches.partition_point(|batch| batch.next <= offset);
        self.batches.get(at).filter(|batch| batch.base <= offset).map(|_| at)
    }

    /// Takes note of what is shown as durable now.
    pub(crate) fn observe(&mut self, log: &PartitionLog) -> Result<(), Violation> {
        let (durable, end) = (log.durable_end_offset().0, log.end_offset().0);
        demand!(end == self.end(), "{log:?}: the log ends at {end}, {} was appended", self.end());
        demand!(durable <= end, "{log:?}: durable to {durable}, past the end");
        demand!(
            durable >= self.acknowledged,
            "{log:?}: durable went back from {} to {durable}",
            self.acknowledged
        );
        self.acknowledged = durable;
        Ok(())
    }

    /// Compares the log with this after a restart, and forgets what was lost and may have been.
    pub(crate) fn after_restart(&mut self, log: &PartitionLog) -> Result<(), Violation> {
        let end = log.end_offset().0;
        demand!(end >= self.acknowledged, "{log:?}: ends at {end}, acknowledged to {}", self.acknowledged);
        demand!(end <= self.end(), "{log:?}: ends at {end}, only {} was appended", self.end());
        self.cut(end);
        demand!(end == self.end() || end == 0 && self.batches.is_empty(), "{log:?}: ends within a batch");
        self.start = self.start.max(log.log_start_offset().0);
        self.read_all(log)?;
        self.acknowledged = self.acknowledged.max(log.durable_end_offset().0);
        Ok(())
    }

    /// Reads everything and compares it.
    pub(crate) fn read_all(&self, log: &PartitionLog) -> Result<(), Violation> {
        let mut at = log.log_start_offset().0;
        let durable = log.durable_end_offset().0;
        while at < durable {
            at = self.read_at(log, at, 1_500)?;
        }
        Ok(())
    }

    /// Reads once from `from` and compares; returns the offset to go on at.
    pub(crate) fn read_at(&self, log: &PartitionLog, from: i64, max_bytes: usize) -> Result<i64, Violation> {
        let durable = log.durable_end_offset().0;
        let slice = match log.read(Offset(from), max_bytes, true, UpTo::Durable) {
            Ok(Some(slice)) => slice,
            Ok(None) => {
                demand!(from >= durable, "{log:?}: nothing at {from}, durable to {durable}");
                return Ok(durable);
            }
            Err(ReadError::Corrupt { position, error, .. }) => {
                let known = self.damaged.range(..=from).next_back();
                demand!(known.is_some(), "{log:?}: offset {from} at {position} is called corrupt: {error}");
                return Ok(self.index_of(from).map_or(durable, |at| self.batches[at].next));
            }
            Err(error) => return Err(Violation(format!("{log:?}: read {from}: {error}"))),
        };
        let bytes = slice.to_bytes().map_err(|error| Violation(format!("{log:?}: read {from}: {error}")))?;
        let mut next = from;
        for batch in Batches::new(&bytes) {
            let (header, batch) =
                batch.map_err(|error| Violation(format!("{log:?}: served at {from}: {error}")))?;
            let base = header.base_offset().0;
            let wanted = self.index_of(base).map(|at| &self.batches[at]);
            demand!(
                wanted.is_some_and(|wanted| wanted.bytes == batch),
                "{log:?}: other bytes at offset {base}"
            );
            next = header.next_offset().0;
            demand!(next <= durable, "{log:?}: offset {base} is shown, durable to {durable}");
        }
        demand!(next > from, "{log:?}: the read from {from} holds no such record");
        demand!(
            slice.next_offset.0 == next,
            "{log:?}: the slice from {from} names {} as next",
            slice.next_offset
        );
        Ok(next)
    }
}
