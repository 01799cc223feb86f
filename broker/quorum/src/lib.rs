//! The metadata quorum: openraft over tonic, its log in segments of our own.
//!
//! A [`Quorum`] keeps this node's image of the cluster's metadata up to date and carries commands to the
//! active controller (the leader of the voters). Not here: what a command means (`ottla_core::metadata`), and
//! listening: the server puts [`Quorum::services`] on its CONTROLLER listener before it calls
//! [`Quorum::start`].

mod addresses;
mod backoff;
mod barrier;
mod broker;
mod campaign;
mod chores;
mod config;
mod contacts;
mod control;
mod controller;
mod describe;
mod elections;
mod error;
mod fencing;
mod handover;
mod identity;
mod lineage;
mod log_store;
mod membership;
mod network;
mod node;
mod peers;
mod probe;
mod quorum;
mod raft_service;
mod raft_types;
mod recovery;
mod room;
mod segments;
mod services;
mod session;
mod sessions;
mod snapshot_file;
mod state_machine;
mod tasks;
#[cfg(test)]
mod test_commands;
mod trouble;
mod voters;

pub use config::{QuorumConfig, Registration, Tuning, Voter, Voters};
pub use control::BrokerControl;
pub use describe::{QuorumDescription, QuorumReplica};
pub use error::{ControlError, QuorumFailed, StartError, SubmitError};
pub use lineage::NEW_FOLDER;
pub use quorum::Quorum;
pub use tasks::{Panicked, Tasks};
pub use voters::{VOTERS_MAX, VotersError};
