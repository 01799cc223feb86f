//! A request between its connection and its handler: what a handler gets, what it gives back and what that
//! takes, and which of Kafka's codes stands for which failure.
//!
//! Not here: which APIs there are and what they do; that is `handlers`.

mod call;
mod cost;
mod errors;

pub use call::{Begun, Call, CallError, CallMemory, Replier};
pub use cost::{AnswerCost, Count};
pub use errors::{
    append_error, election_error, read_error, replica_fetch_error, session_error, submit_error, topic_error,
    unavailable_error, voters_error,
};
