//! The running broker: what its parts share, and how it starts and stops.

mod absences;
mod doubts;
mod front;
mod lookup;
mod start;
mod state;
mod volume;

pub use doubts::Doubts;
pub use lookup::{Led, TopicRef, Unavailable};
pub use start::{RunError, Running, start};
pub use state::Broker;
pub use volume::Volume;
