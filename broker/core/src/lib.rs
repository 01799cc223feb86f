//! The broker's state machines, pure: commands in, records and effects out.
//!
//! `metadata` is the cluster's replicated state and the controller's decisions; `partition` is one replica of
//! a partition; `config` is the table of configurations that topics and brokers have; `coordinator` is what
//! every coordinator over a partition of an internal topic does, and `group` is the one for consumer groups.
//! None of them knows sockets, files, clocks or an API key's version.

pub mod config;
pub mod coordinator;
pub mod group;
pub mod metadata;
pub mod partition;
