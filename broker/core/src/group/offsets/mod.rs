//! Committed offsets: replicated state, of which the committed and the newest values are known.
//!
//! Offsets that a transaction commits are not here yet. They will be a second table by producer, which a
//! marker moves into this one or drops; a fetch that requires stable offsets then asks it first, and answers
//! UNSTABLE_OFFSET_COMMIT, and expiry leaves what it names alone.

mod expiry;
mod table;

pub use expiry::Expiry;
pub use table::Offsets;
