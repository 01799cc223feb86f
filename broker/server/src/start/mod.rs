//! How a broker starts and stops, and what it does in the background meanwhile.

mod background;
mod front;
mod running;

pub use running::{RunError, Running, start};
