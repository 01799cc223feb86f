//! The metadata quorum: openraft over tonic, its log in segments of our own.
//!
//! A [`Quorum`] keeps this node's image of the cluster's metadata up to date and carries commands to the active
//! controller (the leader of the voters). Not here: what a command means (`ottla_core::metadata`), and listening:
//! the server puts [`Quorum::services`] on its CONTROLLER listener before it calls [`Quorum::start`].

mod config;
mod quorum;

pub use config::{QuorumConfig, Registration, Tuning, Voter, Voters};
pub use quorum::{BrokerControl, ControlError, Quorum, StartError, SubmitError};
