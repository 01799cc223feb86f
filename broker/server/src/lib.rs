//! The running broker: listeners, handlers, limits, metrics.
//!
//! Read [`broker`] for how it starts and stops, then [`net`] for connections, then `handlers` for what requests
//! do. Not here: formats (`ottla-wire`, `ottla-log`), files (`ottla-store`), who leads what (`ottla-core`, carried
//! by `ottla-quorum`).

pub mod broker;
mod clock;
pub mod config;
pub mod contained;
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
pub mod throttle;
