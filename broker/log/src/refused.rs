//! Records that are well-formed and that a topic doesn't take: which ones of a batch, and why.

use std::fmt;

/// So many are remembered of a batch; of the rest only their number.
const RECORDS_MAX: usize = 1_000;

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// The topic is compacted, and the record has no key.
    NoKey,
    /// It is marked with the time of its append, which only a broker sets.
    AppendTime,
    /// It is from later than `message.timestamp.after.max.ms` allows.
    TooLate {
        /// Its timestamp in ms.
        timestamp_ms: i64,
    },
    /// It is from earlier than `message.timestamp.before.max.ms` allows.
    TooEarly {
        /// Its timestamp in ms.
        timestamp_ms: i64,
    },
}

impl RecordFault {
    /// Whether the record's time is what is wrong.
    pub fn is_of_time(self) -> bool {
        self != Self::NoKey
    }
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("a compacted topic needs a key"),
            Self::AppendTime => f.write_str("it is marked as append time, which only the broker sets"),
            Self::TooLate { timestamp_ms } => {
                write!(f, "the timestamp {timestamp_ms} is later than message.timestamp.after.max.ms allows")
            }
            Self::TooEarly { timestamp_ms } => {
                write!(
                    f,
                    "the timestamp {timestamp_ms} is earlier than message.timestamp.before.max.ms allows"
                )
            }
        }
    }
}

/// The records of one batch that a topic doesn't take. One is enough for none of the batch to be appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedRecords {
    first: Vec<(i32, RecordFault)>,
    count: usize,
    is_of_time: bool,
}

impl RefusedRecords {
    pub(crate) fn push(&mut self, index: i32, fault: RecordFault) {
        if self.first.len() < RECORDS_MAX {
            self.first.push((index, fault));
        }
        self.count += 1;
        assert!(self.first.len() <= RECORDS_MAX.min(self.count), "what is remembered is bounded");
        self.is_of_time |= fault.is_of_time();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first thousand of them by their positions in the batch, and why.
    pub fn first(&self) -> &[(i32, RecordFault)] {
        &self.first
    }

    /// Whether the time of one of them is what is wrong.
    pub fn is_of_time(&self) -> bool {
        self.is_of_time
    }
}

impl fmt::Display for RefusedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the batch's records can't be taken", self.count)?;
        match self.first.first() {
            Some((index, fault)) => write!(f, "; record {index}: {fault}"),
            None => Ok(()),
        }
    }
}
