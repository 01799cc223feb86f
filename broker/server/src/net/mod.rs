//! The network side: listeners, connections, frames, and their limits.
//!
//! Not here: what requests mean; that is `handlers`.

mod connection;
mod frame;
mod limits;
mod listener;
mod output;
mod rate;

pub use connection::{ConnectionContext, LaterResponse, Outcome, Service};
pub use frame::{Frame, FrameError};
pub use limits::{ConnectionSlot, Limits, Refusal};
pub use listener::{BindError, BoundListener};
pub use output::Response;
pub use rate::RateLimit;
