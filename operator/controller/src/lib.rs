//! The Kubernetes controller: observe, plan, apply.
//!
//! What to do is decided by `ottla-plan`; here it is asked of the API server and of the brokers. Read
//! `run.rs` first, then `clusters.rs` and `topics.rs`, one a kind.

mod apply;
mod calls;
mod clusters;
mod connection;
mod context;
mod definitions;
mod error;
mod eviction;
mod http;
mod lease;
mod lenient;
mod liveness;
mod metrics;
mod reports;
mod rules;
mod run;
mod settings;
#[cfg(test)]
mod tests;
mod topics;
mod unread;
mod view;
mod wake;
mod watches;

pub use calls::{CountCalls, Counted, call_of, client_of};
pub use http::{Health, WaitsFor, serve};
pub use lease::{Election, LeaseAttempt};
pub use liveness::Watches;
pub use metrics::{Call, Metrics, Reconciled};
pub use rules::{CLUSTER_RULES, LEASE_RULES, NODE_RULES, Rule, rule_files, rules_yaml};
pub use run::{Ended, run};
pub use settings::{LeaseSettings, Settings};
