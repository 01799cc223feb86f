//! Whole quorums in one process: loopback listeners on free ports, data in temporary folders.

mod cluster;
mod harness;
mod single;
mod snapshots;
