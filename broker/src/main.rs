//! The broker binary. Everything is in the library, so that the command line tool can start brokers too.

use std::process::ExitCode;

fn main() -> ExitCode {
    ottla_broker::run(std::env::args_os())
}
