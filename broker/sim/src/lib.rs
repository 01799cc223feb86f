//! A seeded world for the store and the state machines: simulated disk and time.
//!
//! The shipped code runs on it; nothing here is in the broker. The same seed gives the same bytes.
//! [`run_store`] lives one broker's store; [`run_cluster`] whole clusters, with network, controller and
//! clients; [`schedule_for`] names the known schedules that are too rare for chance.

#[cfg(test)]
mod anew_tests;
mod bugs;
mod cluster;
mod disk;
mod disk_ops;
#[cfg(test)]
mod disk_tests;
mod memory;
mod rng;
#[cfg(test)]
mod room_tests;
mod schedule;
mod script;
mod shadow;
#[cfg(test)]
mod test_support;

pub use bugs::{Finder, Planted, SEEDS_PER_BUG};
pub use cluster::{ClusterOptions, ClusterReport, TRACE_LINES_MAX, run_cluster};
pub use disk::{PlantedBug, SimDisk};
pub use disk_ops::SECTOR_BYTES;
pub use rng::Rng;
pub use schedule::{Report, run_store};
pub use script::{Schedule, schedule_for};
pub use shadow::Violation;
