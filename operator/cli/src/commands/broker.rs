//! `ottla broker`: one broker in the foreground, as `ottla-broker` runs it.

use std::io::Read;
use std::process::ExitCode;
use std::thread;

use rustix::process::{Signal, getpid, kill_process};

use crate::args::BrokerArgs;

/// Runs the broker until it is told to stop.
pub fn run(args: BrokerArgs) -> ExitCode {
    if args.until_stdin_closes {
        thread::spawn(stop_when_stdin_closes);
    }
    // Its arguments begin with a program's name.
    ottla_broker::run(std::iter::once("ottla broker".into()).chain(args.arguments))
}

/// Ends this process as SIGTERM would, once whoever holds the other end of the standard input is gone.
fn stop_when_stdin_closes() {
    let mut nothing = [0; 64];
    let mut stdin = std::io::stdin().lock();
    while stdin.read(&mut nothing).is_ok_and(|length| length > 0) {}
    // A process may always signal itself.
    let _ = kill_process(getpid(), Signal::TERM);
}
