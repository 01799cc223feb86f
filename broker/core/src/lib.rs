//! The broker's state machines, pure: commands in, records and effects out.
//!
//! `metadata` is the cluster's replicated state and the controller's decisions; `partition` is one replica of
//! a partition; `config` is the table of configurations that topics and brokers have. None of them knows
//! sockets, files, clocks or an API key's version.

pub mod config;
pub mod metadata;
pub mod partition;
