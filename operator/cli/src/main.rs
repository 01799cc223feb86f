//! The command line tool: a cluster on this machine, resources, replicas, records, figures.

mod admin_args;
mod args;
mod failure;

mod age;
mod style;
mod table;

mod control;
mod local;
mod manifests;
mod moves;
mod remote;
mod target;

mod commands;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{BenchCommand, Cli, Command};
use crate::commands::{
    apply, bench, broker, check, completion, consume, delete, drain, elect_leader, get, produce, quorum,
    reassign, up,
};
use crate::failure::{Context, Failure};

fn main() -> ExitCode {
    match Cli::parse().command {
        // A broker brings its own runtime, and its own exit code.
        Command::Broker(args) => broker::run(args),
        command => match run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(dispatch(command));
    // A read of the standard input can't be interrupted: it must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => up::run(&args).await,
        Command::Apply(args) => apply::run(&args).await,
        Command::Get(args) => get::run(&args).await,
        Command::Delete(args) => delete::run(&args).await,
        Command::ElectLeader(args) => elect_leader::run(&args).await,
        Command::Reassign(args) => reassign::run(&args).await,
        Command::Drain(args) => drain::drain(&args).await,
        Command::Undrain(args) => drain::undrain(&args).await,
        Command::Quorum(args) => quorum::run(&args).await,
        Command::Produce(args) => produce::run(&args).await,
        Command::Consume(args) => consume::run(&args).await,
        Command::Bench(args) => match args.what {
            BenchCommand::Produce(args) => bench::produce::run(&args).await,
            BenchCommand::Consume(args) => bench::consume::run(&args).await,
        },
        Command::Check(args) => check::run(&args),
        Command::Completion(args) => completion::run(&args),
        Command::Version => completion::version(),
        Command::Broker(_) => unreachable!("a broker is run without this runtime"),
    }
}
