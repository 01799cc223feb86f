//! Whole quorums in one process: loopback listeners on free ports, data in temporary folders.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod administration;
mod cluster;
mod elections;
mod fencing;
mod harness;
mod identity;
mod membership;
mod recovery;
mod room;
mod single;
mod snapshots;
mod ways;
