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

use setup::needs::{self, Need, provide};

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
    /// Print the figures by which the code is compared with that of others, each with its target
    House,
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
    if matches!(chore, Chore::Bed(_)) {
        bed::check_root()?;
    }
    provide(&needs(&chore))?;
    match chore {
        Chore::Verify(options) => verify::run(&options),
        Chore::Setup => verify::run(&verify::Options::setup()),
        Chore::Images(options) => images::run(&options),
        Chore::Faults(options) => faults::run(&options),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Sim { arguments } => sim(&arguments),
        Chore::House => house(),
        Chore::Bench { failover, arguments } => bench(failover, &arguments),
        Chore::Crds(options) => generate("crds", &options),
        Chore::Docs(options) => generate("docs", &options),
        Chore::Chart(options) => chart::run(&options),
        Chore::Bed(chore) => bed::run(&chore),
    }
}

/// What a chore needs beyond Rust and a C compiler. `verify` and `setup` have a table of their own.
fn needs(chore: &Chore) -> Vec<&'static Need> {
    match chore {
        Chore::Images(options) if options.clients => vec![&needs::KCAT],
        Chore::Faults(options) if !options.list => {
            vec![&needs::NETWORKS, &needs::PYTHON, &needs::KAFKA_TOOLS]
        }
        Chore::Bench { failover: true, .. } => vec![&needs::NETWORKS, &needs::PYTHON, &needs::KAFKA_TOOLS],
        Chore::Fuzz(_) => vec![&needs::COMPILER],
        Chore::Chart(_) => vec![&needs::HELM],
        // The scenario that runs on it takes up the rest.
        Chore::Bed(bed::Chore::Up) => vec![&needs::KUBERNETES, &needs::HELM, &needs::PYTHON],
        _ => Vec::new(),
    }
}

/// As many seeds as one likes, with a release build of the simulator.
fn sim(arguments: &[String]) -> Result<bool> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--locked", "-p", "ottla-sim", "--example", "cluster", "--"]);
    cargo.args(arguments).current_dir(paths::root());
    Ok(process::run(&mut cargo, Instant::now() + Duration::from_secs(48 * 3600))?.success())
}

/// The table, counted by the crate that holds the rules.
fn house() -> Result<bool> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--locked", "-p", "ottla-tidy"]).current_dir(paths::root());
    Ok(process::run(&mut cargo, Instant::now() + Duration::from_secs(3600))?.success())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The chore of a command line, as in "cargo xtask bed up".
    fn chore(line: &str) -> Chore {
        let words = line.split_whitespace().skip(1);
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("`{line}`: {error}")).chore
    }

    /// The names of what it needs, packages included.
    fn needed(line: &str) -> Vec<&'static str> {
        let needs = needs(&chore(line));
        needs.iter().flat_map(|need| [need.name].into_iter().chain(need.packages.iter().copied())).collect()
    }

    #[test]
    fn every_chore_that_contributors_are_told_of_is_there() {
        let text = std::fs::read_to_string(paths::root().join("CONTRIBUTING.md")).unwrap();
        let lines = text.lines().flat_map(|line| line.split("cargo xtask ").skip(1));
        let mut seen = 0;
        for rest in lines {
            let line = rest.split(['`', '&', '#', ';']).next().unwrap_or_default().trim();
            // A word in capitals stands for whatever one likes.
            chore(&format!("cargo xtask {}", line.replace("STEP", "test")));
            seen += 1;
        }
        assert!(seen > 10, "only {seen} commands were found");
    }

    #[test]
    fn each_chore_needs_just_what_it_uses() {
        assert_eq!(needed("cargo xtask images --clients"), ["kcat", "kcat", "busybox-static"]);
        assert_eq!(needed("cargo xtask images"), [""; 0]);
        for (line, all) in [
            ("cargo xtask bed up", &["kubernetes", "helm", "python", "golang-go"][..]),
            ("cargo xtask chart --check", &["helm"]),
            ("cargo xtask faults", &["python", "kafka-tools", "nftables", "maven"]),
            ("cargo xtask bench --failover", &["python", "kafka-tools"]),
            ("cargo xtask fuzz", &["build-essential"]),
        ] {
            let needed = needed(line);
            for name in all {
                assert!(needed.contains(name), "{line} needs {name}: {needed:?}");
            }
        }
        for line in
            ["cargo xtask bed down", "cargo xtask faults --list", "cargo xtask crds", "cargo xtask verify"]
        {
            assert_eq!(needed(line), [""; 0], "{line}");
        }
    }
}
