//! The broker as its clients see it: one in this process on free ports, spoken to in Kafka's protocol.

#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

mod admin;
mod client;
mod cluster;
mod contents;
mod coordinators;
mod describe;
mod fetch;
mod garbage;
mod harness;
mod limits;
mod lost_leaders;
mod offsets;
mod panics;
mod produce;
mod replication;
mod restart;
mod settings;
mod threads;
mod topics;
