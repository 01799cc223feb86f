//! The running broker: listeners, handlers, limits, metrics.
//!
//! Read [`start`] for how it starts and stops and [`broker`] for what its parts share, then [`net`] for
//! connections, then [`handlers`] for what requests do. Modules use each other in one direction, which
//! ARCHITECTURE.md draws. Not here: formats (`ottla-wire`, `ottla-log`), files (`ottla-store`), who leads
//! what (`ottla-core`, carried by `ottla-quorum`).

pub mod broker;
mod clock;
pub mod config;
pub mod contained;
pub mod coordinator;
pub mod fetch;
pub mod handlers;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod partitions;
pub mod producer_ids;
pub mod replication;
pub mod request;
pub mod start;
pub mod throttle;
