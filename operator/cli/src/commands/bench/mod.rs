//! `ottla bench`: throughput, latencies, and time on the CPU.

pub mod consume;
pub mod produce;

mod figures;
