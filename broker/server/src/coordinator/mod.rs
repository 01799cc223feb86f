//! Group coordinators: each partition of `__consumer_offsets` that this broker leads has a shard, which decides
//! about the groups whose partition it is.
//!
//! What is decided is [`ottla_core::group`]'s, and when an answer may be released [`ottla_core::coordinator`]'s.
//! Here are a shard's task, its mailbox, what it reads when it begins, and its records as bytes. Not here: API
//! keys, versions, connections.

mod codec;
#[cfg(test)]
mod codec_tests;
mod host;
mod load;
#[cfg(test)]
mod load_tests;
mod mailbox;
#[cfg(test)]
mod refusal_tests;
mod runner;
#[cfg(test)]
mod serving_tests;
#[cfg(test)]
mod test_support;
mod topics;

pub use codec::Unreadable;
pub use host::{Asked, Host};
pub use mailbox::Kept;
pub use topics::{Creation, new_offsets_topic, partition_of};
