//! `cargo xtask verify`: all checks and tests, each timed, in an order that fails early; slow set-up of
//! tools goes on beside them, then the fuzzing. Whatever fails, the rest still runs, unless it needs what
//! failed.

mod board;
mod steps;
mod tally;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{bed, paths, setup};
use board::{Board, Outcome};
pub use steps::Env;
use steps::{Lane, STEPS, Step};
use tally::Tally;

/// After this, whatever still runs is ended: the gate's own limit is 90 minutes.
const LIMIT: Duration = Duration::from_secs(85 * 60);

/// What to run.
#[derive(Args, Default)]
pub struct Options {
    /// Only what needs no cluster: under two minutes once built
    #[arg(long)]
    fast: bool,
    /// Only these steps and what they need (see --list)
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
    /// List the steps
    #[arg(long)]
    list: bool,
}

impl Options {
    /// The steps that set up tools and check nothing.
    pub fn setup() -> Options {
        let only = STEPS.iter().filter(|s| s.sets_up).map(|s| s.name.to_owned()).collect();
        Options { only, ..Options::default() }
    }
}

/// Runs the chosen steps; true if all passed.
///
/// # Errors
/// A step's name is unknown, something is missing that only root can install, or the logs can't be written.
pub fn run(options: &Options) -> Result<bool> {
    if options.list {
        for step in STEPS {
            println!("{:<12} {}", step.name, step.about);
        }
        return Ok(true);
    }
    let chosen = choose(options)?;
    setup::check(chosen.iter().any(|s| s.needs.contains(&"packages")), chosen.iter().any(|s| s.needs_root))?;
    let out = paths::out();
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("can't clear {}", out.display()))?;
    }
    fs::create_dir_all(&out).with_context(|| format!("can't make {}", out.display()))?;
    let uses_bed = chosen.iter().any(|s| s.needs.contains(&"kubernetes"));
    crate::BED_MAY_RUN.store(uses_bed, Ordering::Relaxed);
    let board = Board::new(chosen.iter().map(|s| s.name));
    let limit = Instant::now() + LIMIT;
    thread::scope(|scope| {
        scope.spawn(|| run_lane(&chosen, Lane::Aside, &board, limit));
        run_lane(&chosen, Lane::Main, &board, limit);
    });
    if uses_bed {
        // The steps that use the bed take it down; this is for one that was ended before it could.
        bed::take_down();
    }
    Ok(report(&chosen, &board))
}

/// The steps to run, with those they need, in the table's order.
fn choose(options: &Options) -> Result<Vec<&'static Step>> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for name in &options.only {
        match STEPS.iter().find(|s| s.name == name) {
            Some(step) => names.insert(step.name),
            None => bail!("no step is called {name}; `cargo xtask verify --list` lists them"),
        };
    }
    if options.only.is_empty() {
        names.extend(STEPS.iter().filter(|s| s.fast || !options.fast).map(|s| s.name));
    }
    // A step stands after what it needs, so one pass from the end finds all.
    for step in STEPS.iter().rev() {
        if names.contains(step.name) {
            names.extend(step.needs);
        }
    }
    Ok(STEPS.iter().filter(|s| names.contains(s.name)).collect())
}

fn run_lane(chosen: &[&Step], lane: Lane, board: &Board, limit: Instant) {
    for step in chosen.iter().filter(|s| s.lane == lane) {
        let broken = step.needs.iter().find(|need| !board.wait(need));
        let outcome = match broken {
            Some(need) => Outcome::not_run(format!("not run: it needs {need}")),
            None => run_step(step, limit),
        };
        show(step, &outcome);
        board.put(step.name, outcome);
    }
}

fn run_step(step: &Step, limit: Instant) -> Outcome {
    let began = Instant::now();
    let log = paths::out().join(format!("{}.log", step.name));
    let deadline = limit.min(began + Duration::from_secs(step.minutes * 60));
    let env = Env { log: log.clone(), deadline, aside: step.lane == Lane::Aside };
    let result = (step.run)(&env);
    let output = fs::read(&log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let lines = step.runner.closing_lines(&output).into_iter().map(str::to_owned).collect();
    let tally = match step.runner {
        tally::Runner::Check => Tally::ONE,
        runner => runner.count(&output),
    };
    let error = match result {
        Err(error) => Some(format!("{error:#}")),
        Ok(()) if tally.failed > 0 => Some(format!("{} failed", tally.failed)),
        Ok(()) if tally.passed == 0 => Some("it ran no test".to_owned()),
        Ok(()) => None,
    };
    let failures = if error.is_some() { step.runner.failures(&output) } else { Vec::new() };
    Outcome { error, tally, took: began.elapsed(), lines, failures, output }
}

/// One line for a step that passed; for one that failed, what failed and the end of its output too.
fn show(step: &Step, outcome: &Outcome) {
    const LINES_MAX: usize = 150;
    const FAILURES_MAX: usize = 20;
    let seconds = outcome.took.as_secs_f64();
    match &outcome.error {
        None => println!("ok   {:<12} {seconds:>7.1} s", step.name),
        Some(error) => {
            let lines: Vec<&str> = outcome.output.lines().collect();
            let tail = lines[lines.len().saturating_sub(LINES_MAX)..].join("\n");
            println!("FAIL {:<12} {seconds:>7.1} s  {error}", step.name);
            // First, as a log that is cut short keeps its beginning.
            for failure in outcome.failures.iter().take(FAILURES_MAX) {
                println!("  {failure}");
            }
            println!("---- output of {} ----\n{tail}\n----", step.name);
        }
    }
}

/// The summary: every step, the runners' own lines, and the sum.
fn report(chosen: &[&Step], board: &Board) -> bool {
    let mut sum = Tally::default();
    println!("\n{:<12} {:>9}  {:>7} {:>7}", "step", "seconds", "passed", "failed");
    for step in chosen {
        let outcome = board.get(step.name);
        let failed = if outcome.error.is_some() { outcome.tally.failed.max(1) } else { 0 };
        let passed = if step.runner == tally::Runner::Check && failed > 0 { 0 } else { outcome.tally.passed };
        println!(
            "{:<12} {:>9.1}  {passed:>7} {failed:>7}  {}",
            step.name,
            outcome.took.as_secs_f64(),
            outcome.error.as_deref().unwrap_or("")
        );
        sum = Tally { passed: sum.passed + passed, failed: sum.failed + failed };
    }
    println!("\nlogs: {}", paths::out().display());
    for step in chosen {
        let outcome = board.get(step.name);
        if !outcome.lines.is_empty() {
            println!("{}:\n{}", step.name, outcome.lines.join("\n"));
        }
    }
    for step in chosen {
        let outcome = board.get(step.name);
        if outcome.error.is_some() {
            println!("\nfailed in {}:", step.name);
            outcome.failures.iter().for_each(|failure| println!("  {failure}"));
        }
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    sum.failed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_stands_before_the_step() {
        for (at, step) in STEPS.iter().enumerate() {
            for need in step.needs {
                assert!(STEPS[..at].iter().any(|s| s.name == *need), "{} needs {need}", step.name);
            }
        }
    }

    #[test]
    fn only_brings_what_it_needs() {
        let options = Options { only: vec!["deny".to_owned()], ..Options::default() };
        let names: Vec<&str> = choose(&options).unwrap().iter().map(|s| s.name).collect();
        assert!(names.contains(&"deny") && names.contains(&"python"), "{names:?}");
        assert!(!names.contains(&"clippy"), "{names:?}");
        let options = Options { only: vec!["nonsense".to_owned()], ..Options::default() };
        assert!(choose(&options).is_err());
    }
}
