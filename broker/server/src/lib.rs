//! The running broker: listeners, handlers, limits, metrics.
