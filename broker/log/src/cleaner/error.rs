//! Why a segment can't be cleaned, and where.

use std::fmt;

use ottla_types::Offset;

use crate::validate::BatchError;

/// Why a segment can't be cleaned. The log stays as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CleanerError<E> {
    /// The source or the destination fails.
    Io(E),
    /// A batch is torn or corrupt, or stands before one that should come first.
    Batch {
        /// Its first byte in the segment.
        position: u64,
        /// The offset after the batch before it, or the first that may stand there.
        offset: Offset,
        /// What is wrong with it.
        error: BatchError,
    },
}

impl<E: fmt::Display> fmt::Display for CleanerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Batch { position, offset, error } => {
                write!(f, "at byte {position} of the segment, from offset {offset} on: {error}")
            }
        }
    }
}

impl<E: std::error::Error> std::error::Error for CleanerError<E> {}
