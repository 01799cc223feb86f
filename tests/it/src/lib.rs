//! Real processes with real clients: a cluster under `ottla up`, killed, restarted, changed, read again.
//!
//! The modules without tests are the tools: the binary, free ports, a running `up`. Each test has a
//! folder and ports of its own, waits for what it can see with a deadline, and ends what it started.

mod binary;
mod running;

pub mod faults;

pub use binary::ottla;
pub use ottla_ports::free_ports;
pub use running::{Output, Up, run, run_with_input, signal, wait_gone};

#[cfg(test)]
mod administration;
#[cfg(test)]
mod apply;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod idle;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod up;
