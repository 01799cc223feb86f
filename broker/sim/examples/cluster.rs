//! Runs seeds of the cluster simulator: `cluster [--seeds N] [--from S] [--threads T]`, or one with its
//! trace: `cluster --seed X --trace`. Ends at the first broken promise. `cluster --bugs` plants each bug and
//! prints the seed that finds it.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ottla_sim::{ClusterOptions, Planted, SEEDS_PER_BUG, run_cluster};

struct Arguments {
    seeds: u64,
    from: u64,
    threads: u64,
    seed: Option<u64>,
    trace: bool,
    bugs: bool,
}

fn arguments() -> Result<Arguments, String> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let mut arguments = Arguments { seeds: 1_000, from: 0, threads, seed: None, trace: false, bugs: false };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        match name.as_str() {
            "--trace" => arguments.trace = true,
            "--bugs" => arguments.bugs = true,
            _ => {}
        }
        if name == "--trace" || name == "--bugs" {
            continue;
        }
        let value = given.next().and_then(|value| value.parse().ok());
        let value: u64 = value.ok_or_else(|| format!("{name} needs a number"))?;
        match name.as_str() {
            "--seeds" => arguments.seeds = value,
            "--from" => arguments.from = value,
            "--threads" => arguments.threads = value.max(1),
            "--seed" => arguments.seed = Some(value),
            _ => {
                return Err(format!(
                    "{name} is not known: use --seeds, --from, --threads, --seed, --trace and --bugs"
                ));
            }
        }
    }
    Ok(arguments)
}

fn one(seed: u64, trace: bool) -> ExitCode {
    match run_cluster(seed, ClusterOptions { trace, ..ClusterOptions::default() }) {
        Ok(report) => {
            for line in &report.trace {
                println!("{line}");
            }
            println!(
                "seed {seed} keeps all promises: {:?}",
                ottla_sim::ClusterReport { trace: vec![], ..report }
            );
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the seeds on all threads; the first violation ends it.
fn many(arguments: &Arguments) -> ExitCode {
    let (next, done, broken) = (AtomicU64::new(arguments.from), AtomicU64::new(0), AtomicBool::new(false));
    let (began, last) = (Instant::now(), arguments.from + arguments.seeds);
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                while !broken.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        return;
                    }
                    let result = std::panic::catch_unwind(|| run_cluster(seed, ClusterOptions::default()));
                    let has_failed = !matches!(result, Ok(Ok(_)));
                    if has_failed && !broken.swap(true, Ordering::Relaxed) {
                        println!("seed {seed} breaks a promise:");
                        one(seed, true);
                    }
                    let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if count.is_multiple_of(10_000) {
                        println!("{count} seeds, {:.0} a second", rate(count, began.elapsed()));
                    }
                }
            });
        }
    });
    let count = done.load(Ordering::Relaxed);
    println!("{count} seeds from {}, {:.0} a second", arguments.from, rate(count, began.elapsed()));
    if broken.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Plants each bug until a seed finds it.
fn bugs() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let mut all = true;
    for planted in Planted::all() {
        let found = planted.find(0);
        all &= found.is_some();
        let finder = found.map_or(format!("not in {SEEDS_PER_BUG} seeds"), |finder| format!("{finder:?}"));
        println!("{finder:<18} {planted}");
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn rate(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(0.001)
}

fn main() -> ExitCode {
    match arguments() {
        Ok(Arguments { seed: Some(seed), trace, .. }) => one(seed, trace),
        Ok(Arguments { bugs: true, .. }) => bugs(),
        Ok(arguments) => many(&arguments),
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::FAILURE
        }
    }
}
