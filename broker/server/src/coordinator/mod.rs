//! Coordinators: which partition of an internal topic keeps what, and how such a topic comes to be.
//!
//! What a coordinator decides is `ottla-core`'s (`coordinator`, `group`).

mod topics;

pub use topics::{Creation, new_offsets_topic, partition_of};
