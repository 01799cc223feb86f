//! `cargo xtask fuzz`: builds the targets of `tests/fuzz` with coverage for libFuzzer, on the stable
//! compiler, and runs each for a time, some at once.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::{paths, process};

const MANIFEST: &str = "tests/fuzz/Cargo.toml";

/// What cargo-fuzz would pass, less the sanitizers, which want a nightly compiler; the targets' code is safe
/// Rust, where what is to be found is panics, hangs and memory.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";

/// The program for the messages of one API, and the variable of its environment that says of which.
const MESSAGE: &str = "message";
const API: &str = "OTTLA_FUZZ_API";
/// The folder with a file for each API, and what else is in it.
const MESSAGES: &str = "broker/wire/src/messages";
const NO_MESSAGES: [&str; 2] = ["mod", "shared"];

const BUILD: Duration = Duration::from_secs(20 * 60);
/// Beyond the time that a target is given: to load its corpus and to end.
const SLACK: Duration = Duration::from_secs(60);

/// How long, and which.
#[derive(Args)]
pub struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many run at once; as many as there are cores unless told
    #[arg(long)]
    jobs: Option<usize>,
    /// Only these targets
    targets: Vec<String>,
}

/// Builds and runs them; true if none found anything.
///
/// # Errors
/// There is no such target, or the build fails.
pub fn run(options: &Options) -> Result<bool> {
    let all = targets()?;
    if let Some(unknown) = options.targets.iter().find(|t| !all.contains(t)) {
        bail!("no fuzz target is called {unknown}; there are {}", all.join(", "));
    }
    let chosen = if options.targets.is_empty() { all } else { options.targets.clone() };
    build()?;
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let cores = || thread::available_parallelism().map_or(2, usize::from);
    let jobs = options.jobs.unwrap_or_else(cores).max(1);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = fuzz(target, options.seconds) {
                        println!("FAIL {target}: {error:#}");
                        failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(target);
                    }
                }
            });
        }
    });
    let failed = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).len();
    println!("{} passed, {failed} failed", chosen.len() - failed);
    Ok(failed == 0 && !chosen.is_empty())
}

/// What there is to fuzz: the programs of the fuzz workspace, and in place of that for messages each API.
fn targets() -> Result<Vec<String>> {
    let mut targets = programs()?;
    targets.retain(|program| program != MESSAGE);
    targets.extend(apis()?);
    Ok(targets)
}

/// The APIs that have messages, by the names of their files.
fn apis() -> Result<Vec<String>> {
    let folder = paths::root().join(MESSAGES);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("can't list {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.retain(|name| !NO_MESSAGES.contains(&name.as_str()));
    names.sort_unstable();
    Ok(names)
}

/// The names of the programs in the fuzz workspace.
fn programs() -> Result<Vec<String>> {
    let listed = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path", MANIFEST])
        .current_dir(paths::root())
        .output()
        .context("can't run cargo")?;
    if !listed.status.success() {
        bail!("cargo can't read {MANIFEST}: {}", String::from_utf8_lossy(&listed.stderr));
    }
    Ok(programs_of(&serde_json::from_slice(&listed.stdout)?))
}

fn programs_of(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|p| p["targets"].as_array().into_iter().flatten());
    let programs = targets.filter(|t| t["kind"][0] == "bin");
    programs.filter_map(|t| t["name"].as_str().map(str::to_owned)).collect()
}

fn folder() -> PathBuf {
    paths::target().join("fuzz")
}

fn build() -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--bins", "--manifest-path", MANIFEST, "--target-dir"]);
    cargo.arg(folder()).env("RUSTFLAGS", RUSTFLAGS).current_dir(paths::root());
    match process::run(&mut cargo, Instant::now() + BUILD)?.success() {
        true => Ok(()),
        false => bail!("the fuzz targets don't build"),
    }
}

fn fuzz(target: &str, seconds: u64) -> Result<()> {
    let (corpus, found) = (folder().join("corpus").join(target), folder().join("found").join(target));
    for dir in [&corpus, &found] {
        fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    }
    let log = folder().join(format!("{target}.log"));
    let _ = fs::remove_file(&log);
    let host = paths::release_folder()?;
    let triple =
        host.parent().and_then(|p| p.file_name()).context("a release folder lies below its target")?;
    let is_api = apis()?.iter().any(|api| api == target);
    let mut program =
        Command::new(folder().join(triple).join("release").join(if is_api { MESSAGE } else { target }));
    program.envs(is_api.then_some((API, target)));
    program.arg(format!("-max_total_time={seconds}")).args([
        // An input takes milliseconds; the rest is for what runs beside it.
        "-timeout=30",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
    ]);
    program.arg(format!("-artifact_prefix={}/", found.display())).arg(&corpus);
    let seeds = paths::root().join("tests/fuzz/seeds").join(target);
    program.args(seeds.exists().then_some(seeds));
    let status =
        process::run_logged(&mut program, &log, Instant::now() + Duration::from_secs(seconds) + SLACK)?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !status.success() {
        let lines: Vec<&str> = text.lines().collect();
        bail!(
            "{status}; input in {}\n{}",
            found.display(),
            lines[lines.len().saturating_sub(40)..].join("\n")
        );
    }
    match executed(&text) {
        Some(runs) if runs > 0 => println!("ok   {target}: {runs} runs"),
        _ => bail!("it ran no input; see {}", log.display()),
    }
    Ok(())
}

/// How many inputs libFuzzer says that it ran.
fn executed(output: &str) -> Option<u64> {
    output.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_cargos_metadata() {
        let text = r#"{"packages": [{"targets": [
            {"kind": ["lib"], "name": "shared"}, {"kind": ["bin"], "name": "frame"}]}]}"#;
        assert_eq!(programs_of(&serde_json::from_str(text).unwrap()), ["frame"]);
    }

    #[test]
    fn each_api_is_fuzzed() {
        let apis = apis().unwrap();
        assert!(apis.iter().any(|api| api == "describe_cluster"), "{apis:?}");
        assert!(apis.iter().all(|api| !NO_MESSAGES.contains(&api.as_str())), "{apis:?}");
    }

    #[test]
    fn runs_are_read_from_the_final_statistics() {
        assert_eq!(executed("x\nstat::number_of_executed_units: 1234\n"), Some(1234));
        assert_eq!(executed("Done"), None);
    }
}
