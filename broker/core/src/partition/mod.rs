//! One replica of a partition: its role, the replicas in sync, the high watermark, agreeing with the leader
//! by epochs.
//!
//! Live protocol, pure: events in, effects out. The server and the simulator carry the effects out. Not here:
//! the log itself, sockets, sessions, and who becomes leader; that is the controller's, in
//! [`crate::metadata`].
//!
//! The rules, which are Kafka's after KIP-101, 279, 320, 903 and 966, with synced offsets in place of written
//! ones:
//! 1. What a follower acknowledges is its synced end, by the offset that it fetches from, and only in the
//!    epoch of the leader that it fetches from, after both agree on (last epoch, end offset).
//! 2. The high watermark is the least synced end of all replicas in sync, those included whose joining is
//!    proposed and those whose leaving isn't committed. It stands still while there are fewer in sync than
//!    `min.insync.replicas`.
//! 3. A follower may join once it has reached the high watermark and the start of the leader's epoch, with
//!    its present broker epoch and disk.
//! 4. A member lags by the age of the oldest record that it hasn't acknowledged; who lags for too long
//!    leaves.
//! 5. Who is in sync is true only as the metadata says it, and a partition's state comes from one image as a
//!    whole.
//!
//! Times are milliseconds of any clock that doesn't go back; they only decide when to try something.

mod assignment;
mod follower;
mod follower_state;
mod lag;
mod leader;
mod leader_state;
mod log_facts;
mod replica;
#[cfg(test)]
mod tests;

pub use assignment::{Assignment, Peer};
pub use follower_state::{FetchAnswer, FetchSpec, FollowerStep};
pub use leader_state::{
    AppendRefusal, Committed, FetchRefusal, FetchVerdict, FollowerFetch, FollowerProgress, IsrProposal,
};
pub use log_facts::LogFacts;
pub use replica::{Change, Replica, RoleKind, SavedHighWatermark};
