//! What Fetch needs beside its handlers: incremental sessions, those of consumers and those of followers.

mod cache;
#[cfg(test)]
mod cache_tests;
mod replica_session;
mod session;

pub use cache::{FINAL_EPOCH, INITIAL_EPOCH, SessionCache, SessionError, SharedSession, random_session_id};
pub use replica_session::{Ask, ReplicaFetchData, ReplicaFetchError, ReplicaSession, ReplicaSessions};
pub use session::{PartitionRequest, PartitionState, Session, TopicKey};
