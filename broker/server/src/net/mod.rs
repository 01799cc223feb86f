//! The network side: listeners, connections, frames, and their limits.
//!
//! Not here: what requests mean; that is `handlers`.

mod budget;
mod connection;
mod connections;
mod frame;
mod kept;
mod limits;
mod listener;
mod output;
mod progress;
mod rate;
#[cfg(test)]
mod shared_limits_tests;
mod side;
mod turns;

pub use budget::Sender;
pub use connection::{ConnectionContext, LaterResponse, Outcome, Service};
pub use connections::{ConnectionSlot, Refusal};
pub use frame::{Frame, FrameError};
pub use kept::{KeptBytes, KeptPart};
pub use limits::{Limits, RequestMemory};
pub use listener::{BindError, BoundListener};
pub use output::Response;
pub use rate::RateLimit;
pub use side::{SideLimits, SideListener};
pub use turns::{LargeTurn, Turns};
