//! The matrix of faults: real brokers in network namespaces, on disks that can lose power, under load from librdkafka
//! and Apache Kafka's own client, judged by the history that these write.
//!
//! A program rather than a `cargo test` target, as it needs root and takes minutes (`cargo xtask faults`). The seed
//! chooses what is done when, not what the brokers make of it: real time can't be repeated.

mod random;
mod shell;

mod disk;
mod isolation;
mod net;

mod broker;
mod cluster;

mod load;
mod verdict;

mod failover;
mod scenarios;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use broker::Shape;
pub use failover::{Failover, failover};
pub use isolation::enter;
pub use load::Programs;
pub use scenarios::{SCENARIOS, Scenario};
pub use verdict::Verdict;
pub use world::{Plan, World};

/// The most brokers of any scenario.
const BROKERS_MAX: usize = 5;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only these; all, if empty.
    pub scenarios: Vec<String>,
    /// Chooses what is done when.
    pub seed: u64,
    /// How long all of it may take together; each scenario gets its share.
    pub minutes: f64,
    /// Replicas of the topic under load.
    pub replicas: usize,
    /// Settings of that topic, as name=value.
    pub topic_config: Vec<String>,
    /// Records a second, of each client.
    pub rate: u64,
    /// Where logs and histories go.
    pub folder: PathBuf,
    /// The clients' programs.
    pub programs: Programs,
}

/// What a cluster's start and the final reading take besides the faults themselves.
const OVERHEAD: Duration = Duration::from_secs(25);

/// How long an acknowledged record may stay unread where nothing fails: far more than it takes on any machine.
const LAG_MAX: Duration = Duration::from_secs(10);

/// Runs scenarios, one after the other; tells how many passed and failed. [`enter`] comes first.
///
/// # Errors
/// A scenario is unknown, or the network can't be laid.
pub fn run(options: &Options) -> Result<(usize, usize)> {
    let chosen = choose(&options.scenarios)?;
    let net = net::Net::lay(BROKERS_MAX)?;
    let share = Duration::from_secs_f64(options.minutes * 60.0 / chosen.len() as f64);
    let (mut passed, mut failed) = (0, 0);
    for scenario in chosen {
        let folder = options.folder.join(scenario.name);
        world::fresh(&folder)?;
        net.heal()?;
        let replicas = options.replicas;
        let plan = Plan {
            shape: Shape { brokers: scenario.brokers, replicas, min_insync: replicas.min(2) },
            partitions: 6,
            topic_config: options.topic_config.clone(),
            rate: options.rate,
            time: share.saturating_sub(OVERHEAD),
            seed: options.seed,
            folder,
            programs: options.programs.clone(),
        };
        println!("{}: {} (seed {})", scenario.name, scenario.about, options.seed);
        match run_one(net, scenario, plan) {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("  FAILED: {error:#}\n  see {}", options.folder.join(scenario.name).display());
            }
        }
    }
    Ok((passed, failed))
}

fn choose(names: &[String]) -> Result<Vec<&'static Scenario>> {
    let named = |name: &String| {
        SCENARIOS.iter().find(|s| s.name == name).with_context(|| {
            let all: Vec<&str> = SCENARIOS.iter().map(|s| s.name).collect();
            format!("there is no scenario {name}; there are {}", all.join(", "))
        })
    };
    if names.is_empty() { Ok(SCENARIOS.iter().collect()) } else { names.iter().map(named).collect() }
}

/// Rounds of a fault, with a quarter of the time free of faults: before, between and after.
fn run_one(net: net::Net, scenario: &Scenario, plan: Plan) -> Result<()> {
    let began = Instant::now();
    let time = plan.time;
    let mut world = World::start(net, plan)?;
    let quiet = time / 8;
    world.rest(quiet.max(Duration::from_secs(2)));
    let deadline = Instant::now() + time.saturating_sub(2 * quiet);
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < deadline {
        (scenario.round)(&mut world)?;
        world.wait_whole()?;
        rounds += 1;
        let pause = world.between(200, 1500);
        world.rest(pause);
    }
    world.rest(quiet.max(Duration::from_secs(2)));
    let (verdict, events) = world.finish()?;
    tell(&verdict, rounds, events, began.elapsed());
    pass(&verdict)?;
    if scenario.unnoticed {
        let report = &verdict.report;
        ensure!(report.sends_unknown == 0, "{} writes weren't acknowledged", report.sends_unknown);
        let lag = Duration::from_nanos(report.lag.max_ns);
        ensure!(lag < LAG_MAX, "a record was first read {lag:?} after its acknowledgement");
    }
    Ok(())
}

fn tell(verdict: &Verdict, rounds: usize, events: usize, took: Duration) {
    let report = &verdict.report;
    println!(
        "  {rounds} rounds, {events} faults in {:.0} s: {} records acknowledged, {} unknown, {} read",
        took.as_secs_f64(),
        report.sends_ok,
        report.sends_unknown,
        report.records_read
    );
    if !verdict.pauses.is_empty() {
        let [p50, p99, max] = verdict.resumed_ms();
        println!(
            "  from a fault to the next acknowledged write, by partition and client: p50 {p50} ms, p99 {p99} ms, max {max} ms"
        );
    }
    println!(
        "  {} violations; longest from acknowledgement to first read: {} ms",
        report.violations(),
        report.lag.max_ns / 1_000_000
    );
}

fn pass(verdict: &Verdict) -> Result<()> {
    let found: Vec<String> = verdict.report.findings().take(10).collect();
    if !found.is_empty() {
        bail!("{} violations:\n    {}", verdict.report.violations(), found.join("\n    "));
    }
    ensure!(verdict.report.checks.iter().all(|c| c.applies), "there was no reading at the end");
    ensure!(
        verdict.silent.is_empty(),
        "nothing was acknowledged after the last fault on {:?}",
        verdict.silent
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_name() {
        assert_eq!(choose(&[]).unwrap().len(), SCENARIOS.len());
        assert_eq!(choose(&["cut".to_owned()]).unwrap()[0].name, "cut");
        assert!(choose(&["nothing".to_owned()]).is_err());
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<&str> = SCENARIOS.iter().map(|s| s.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        assert!(SCENARIOS.iter().all(|s| s.brokers <= BROKERS_MAX));
    }
}
