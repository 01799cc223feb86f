//! Replica assignment: racks, balance, least movement; pure.
//!
//! The controller places new topics and partitions by it, and the operator plans with the same function, so
//! that both come to the same result. The same arguments always give the same assignment. Not here: who is
//! alive, what exists, and the moving of records.

mod place;

#[cfg(test)]
mod tests;

pub use place::{Broker, PlacementError, loads, place, substitute};
