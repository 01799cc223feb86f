//! A coordinator's shard: the state of one partition of an internal topic, while this broker leads it.
//!
//! Decide, then replay, pure: a [`Machine`] turns requests, and the passing of time, into decisions and
//! answers, against its newest state; the [`Shard`] around it keeps account of which decisions are committed.
//! The server appends the records, notes that in the [`Ledger`], tells what came of them, and sends the
//! answers. Not here: what is decided (that is [`crate::group`]'s), records as bytes, the log, sockets.
//!
//! The rules:
//! 1. A decision is applied as soon as it is made, so that the next one is made on it, and is taken back if
//!    its append is refused. What was decided after it is refused with it.
//! 2. An answer that rests on a decision is released when its records are committed, not before.
//! 3. A shard belongs to one leader epoch, and its appends name it. Who loses the epoch drops the shard, and
//!    all who wait are told NOT_COORDINATOR.
//! 4. Whoever waits for records has a deadline. When it passes they are told so; the records may yet be
//!    committed, so the decision stands.
//! 5. Only so many bytes of records may be uncommitted; beyond, requests that may need records are refused.

mod ledger;
mod outbox;
mod pending;
mod shard;
#[cfg(test)]
mod tests;

pub use ledger::{Ledger, Settled};
pub use outbox::{Answer, CallId, Now, Outbox, Ticket};
pub use pending::Pending;
pub use shard::{Append, AppendRefusal, Effects, Machine, Out, Refused, Shard, ShardLimits, Unavailable};
