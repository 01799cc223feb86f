//! Histories of what clients sent and read, and the checks that find what a log must never do: lose, double,
//! reorder or hide a record. The rules are those of Jepsen's Kafka workload.
//!
//! Pure: operations come in by [`History::push`], findings go out by [`History::check`]. Real clients write
//! operations as lines of JSON (see [`Operation`]) for `ottla check`; the simulator pushes them as they
//! happen.
//!
//! A pass over the operations notes, for each key, which value was seen at which offset and what became of
//! each value; the checks read those notes. Time is linear but for the maps' logarithm, and memory is some
//! 150 bytes for each value, however often it was read.

mod operation;

mod facts;
mod log;

mod checks;
mod report;

pub use facts::History;
pub use operation::{Operation, Outcome, Step};
pub use report::{Check, Checked, Finding, Findings, Lag, Report};

#[cfg(test)]
mod tests;
