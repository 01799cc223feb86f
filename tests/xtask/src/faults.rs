//! `cargo xtask faults`: real brokers under faults. The matrix itself is a program of tests/it.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::setup::{java, python};
use crate::{paths, process};

/// What to run.
#[derive(Args)]
pub struct Options {
    /// Only this scenario; may be repeated (see --list)
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Chooses what is done when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long all scenarios may take together
    #[arg(long, default_value_t = 18.0)]
    minutes: f64,
    /// How many scenarios run side by side
    #[arg(long, default_value_t = 1)]
    lanes: usize,
    /// Name the scenarios and end
    #[arg(long)]
    pub list: bool,
}

/// Runs the scenarios with the release build of the broker; true if all passed.
///
/// # Errors
/// A build fails, or the run doesn't end in time.
pub fn run(options: &Options) -> Result<bool> {
    let build = ["build", "--quiet", "--release", "--locked"];
    let packages = ["-p", "ottla", "-p", "ottla-broker", "-p", "ottla-operator"];
    let mut cargo = Command::new("cargo");
    cargo.args(build).args(packages).current_dir(paths::root());
    let deadline = Instant::now() + Duration::from_secs(1800);
    if !options.list && !process::run(&mut cargo, deadline)?.success() {
        return Ok(false);
    }
    let mut faults = Command::new("cargo");
    faults.args(["run", "--quiet", "--locked", "-p", "ottla-it", "--bin", "faults", "--"]);
    faults.args(["--seed", &options.seed.to_string(), "--minutes", &options.minutes.to_string()]);
    faults.args(["--lanes", &options.lanes.to_string()]);
    faults.args(options.scenario.iter().flat_map(|name| ["--scenario", name]));
    faults.args(options.list.then_some("--list"));
    faults.args(["--python", &python::tool("python3")]).arg("--jars").arg(java::jars());
    faults.arg("--folder").arg(paths::target().join("faults"));
    faults.env("OTTLA_BIN", paths::release_folder()?).current_dir(paths::root());
    // Healing may take a while where it fails.
    let time = Duration::from_secs_f64(options.minutes * 60.0 * 1.5 + 900.0);
    Ok(process::run(&mut faults, Instant::now() + time)?.success())
}
