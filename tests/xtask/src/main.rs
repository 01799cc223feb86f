//! The project's chores, as `cargo xtask CHORE`. `verify` is the one gate: it checks all that is checked.

mod bed;
mod chart;
mod faults;
mod fuzz;
mod image;
mod images;
mod paths;
mod process;
mod setup;
mod verify;

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Set up what the checks need, then run every check and test
    Verify(verify::Options),
    /// Only set up what the checks need: packages (as root) and tools
    Setup,
    /// Write the images of the two servers, from the binaries that `cargo build --release` made
    Images(images::Options),
    /// Do faults to real brokers under load, and judge what real clients saw (as root)
    Faults(faults::Options),
    /// Fuzz the decoders of what comes over the network or from disk
    Fuzz(fuzz::Options),
    /// Run seeds of the cluster simulator, or one with its trace; ends at the first broken promise
    Sim {
        /// `--seeds N --from S --threads T`, `--seed X --trace`, or `--bugs` for the planted ones
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Print the figures of tests/bench: speed, size, memory
    Bench {
        /// Only how long writes pause when brokers fail (as root; some ten minutes)
        #[arg(long)]
        failover: bool,
        /// What the benchmark is told, after --
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Write the CustomResourceDefinitions in crds/ from their types
    Crds(Generate),
    /// Write the reference pages from the tables that the broker reads
    Docs(Generate),
    /// Lint the charts and write what they render, for tests/e2e/chart
    Chart(chart::Options),
    /// Start or stop the Kubernetes test bed (as root)
    #[command(subcommand)]
    Bed(bed::Chore),
}

#[derive(Args)]
struct Generate {
    /// Write nothing; fail if a file has drifted
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<bool> {
    end_children_on_signals()?;
    match chore {
        Chore::Verify(options) => verify::run(&options),
        Chore::Setup => verify::run(&verify::Options::setup()),
        Chore::Images(options) => images::run(&options),
        Chore::Faults(options) => faults::run(&options),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Sim { arguments } => sim(&arguments),
        Chore::Bench { failover, arguments } => bench(failover, &arguments),
        Chore::Crds(options) => generate("crds", &options),
        Chore::Docs(options) => generate("docs", &options),
        Chore::Chart(options) => chart::run(&options),
        Chore::Bed(chore) => bed::run(&chore),
    }
}

/// As many seeds as one likes, with a release build of the simulator.
fn sim(arguments: &[String]) -> Result<bool> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--locked", "-p", "ottla-sim", "--example", "cluster", "--"]);
    cargo.args(arguments).current_dir(paths::root());
    Ok(process::run(&mut cargo, Instant::now() + Duration::from_secs(48 * 3600))?.success())
}

/// The release build, measured.
fn bench(failover: bool, arguments: &[String]) -> Result<bool> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--locked", "-p", "ottla-bench", "--"]).args(arguments);
    if failover {
        cargo.arg("--failover").args(["--python", &setup::python::tool("python3")]);
        cargo.arg("--client-jars").arg(setup::java::jars());
    }
    cargo.current_dir(paths::root());
    Ok(process::run(&mut cargo, Instant::now() + Duration::from_secs(3600))?.success())
}

/// The generator is a program of its own, as it needs half of the product.
fn generate(what: &str, options: &Generate) -> Result<bool> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--locked", "-p", "ottla-generate", "--", what]).current_dir(paths::root());
    if options.check {
        cargo.arg("--check");
    }
    Ok(process::run(&mut cargo, Instant::now() + Duration::from_secs(1800))?.success())
}

/// Set once a run of `verify` may have started the Kubernetes test bed.
pub static BED_MAY_RUN: AtomicBool = AtomicBool::new(false);

/// Ctrl-C reaches only us, as each child has a process group of its own: pass it on, then leave.
fn end_children_on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("can't listen for signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("stopping");
            process::end_all();
            if BED_MAY_RUN.load(Ordering::Relaxed) {
                bed::take_down();
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}
