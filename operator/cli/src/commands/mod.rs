//! The commands, one file each.

pub mod up;

pub mod apply;
pub mod delete;
pub mod get;

pub mod drain;
pub mod elect_leader;
pub mod quorum;
pub mod reassign;
mod recover;

pub mod consume;
pub mod produce;

pub mod bench;
pub mod check;

pub mod broker;
pub mod completion;
