//! Scenarios: the reconcilers against an API server and brokers of our own, in this process.

mod api_server;
mod brokers;
mod client;
mod clusters;
mod definitions;
mod lease;
mod ownership;
mod topics;
mod unread;
mod world;
