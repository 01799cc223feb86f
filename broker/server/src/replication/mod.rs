//! Replication between brokers: serving followers, following leaders, saying who is in sync.
//!
//! The rules are `ottla_core::partition`'s. A follower keeps one stream of fetches to each leader: an
//! incremental session in which a partition is asked for when its log is synced, and answered when there is
//! something to say. Either side goes by a list of partitions in which something happened; nobody goes
//! through all of them.

mod fetcher;
mod in_sync;
mod peers;
mod repair;
mod serve;

pub use fetcher::follow_leaders;
pub use in_sync::{keep_in_sync, propose};
pub use peers::{broker_of, is_broker};
pub use repair::{repair, scrub};
pub use serve::{begin, is_replica_fetch};
