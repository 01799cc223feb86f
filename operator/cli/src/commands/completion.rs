//! `ottla completion` and `ottla version`: what the tool says of itself.

use std::io::Write;

use clap::CommandFactory;

use crate::args::{Cli, CompletionArgs};
use crate::failure::Failure;

/// Prints the completion script of a shell.
///
/// # Errors
/// When the standard output can't be written.
pub fn run(args: &CompletionArgs) -> Result<(), Failure> {
    // In memory first: the generator panics where a reader goes away.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ottla", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

/// Prints the version.
///
/// # Errors
/// When the standard output can't be written.
pub fn version() -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout().lock(), "ottla {}", env!("CARGO_PKG_VERSION"))?)
}
