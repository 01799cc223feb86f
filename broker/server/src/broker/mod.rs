//! What the broker's parts share: its state, and how they look up in it who leads what.
//!
//! Not here: how it is made and ended; that is `start`.

mod absences;
mod doubts;
mod lookup;
mod state;
mod volume;

pub use absences::Absences;
pub use doubts::Doubts;
pub use lookup::{Led, TopicRef, Unavailable};
pub use state::Broker;
pub use volume::Volume;
