//! A seeded world for the store and the state machines: simulated disk and time.
//!
//! The shipped code runs on it; nothing here is in the broker. The same seed gives the same bytes.
//! So far: one broker's store ([`run_store`]). Network, clocks and the cluster follow with replication.

mod disk;
#[cfg(test)]
mod disk_tests;
mod rng;
mod schedule;
mod shadow;

pub use disk::{PlantedBug, SECTOR_BYTES, SimDisk};
pub use rng::Rng;
pub use schedule::{Report, run_store};
pub use shadow::Violation;
