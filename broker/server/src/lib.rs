//! The running broker: listeners, handlers, limits, metrics.

pub mod config;
