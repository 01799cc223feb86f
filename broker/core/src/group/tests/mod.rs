//! What groups promise: scripts of requests with their answers, by subject, and any order of events.

mod admin;
mod bounds;
mod deletions;
mod expiry;
mod failover;
mod joining;
mod living;
mod offsets;
mod properties;
mod refused;
mod said;
mod statics;
mod syncing;
mod whole;
mod world;
