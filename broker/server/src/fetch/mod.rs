//! What Fetch needs beside its handler: incremental sessions.

mod cache;
mod session;

pub use cache::{FINAL_EPOCH, INITIAL_EPOCH, SessionCache, SessionError, SharedSession, random_session_id};
pub use session::{PartitionRequest, PartitionState, Session, TopicKey};
