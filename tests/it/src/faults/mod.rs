//! The matrix of faults: real brokers in network namespaces, on disks that can lose power, under load from
//! librdkafka and Apache Kafka's own client, judged by the history that these write.
//!
//! A program rather than a `cargo test` target, as it needs root and takes minutes (`cargo xtask faults`).
//! The seed chooses what is done when, not what the brokers make of it: real time can't be repeated.

mod random;
mod shell;

mod disk;
mod isolation;
mod net;

mod broker;
mod cluster;
mod copies;

mod load;
mod verdict;

mod failover;
mod scenarios;
mod world;

use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
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
    /// How many scenarios run side by side.
    pub lanes: usize,
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

/// What a cluster's start, the last round and the final reading take besides the faults themselves.
const OVERHEAD: Duration = Duration::from_secs(10);

/// How long an acknowledged record may stay unread where nothing fails: far more than it takes on any
/// machine.
const LAG_MAX: Duration = Duration::from_secs(10);

/// Runs scenarios, in lanes side by side; tells how many passed and failed. [`enter`] comes first.
///
/// # Errors
/// A scenario is unknown, or the network can't be laid.
pub fn run(options: &Options) -> Result<(usize, usize)> {
    let mut chosen = choose(&options.scenarios)?;
    let share = share(&chosen, options);
    // What takes longest begins first, so that the lanes end together.
    chosen.sort_by_key(|scenario| Reverse(scenario.round_least));
    let nets = (0..options.lanes.clamp(1, chosen.len())).map(|lane| net::Net::lay(lane, BROKERS_MAX));
    let nets = nets.collect::<Result<Vec<_>>>()?;
    let (next, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for net in nets {
            let (chosen, next, passed) = (&chosen, &next, &passed);
            scope.spawn(move || {
                while let Some(scenario) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    passed.fetch_add(usize::from(show(net, scenario, share, options)), Ordering::Relaxed);
                }
            });
        }
    });
    let passed = passed.into_inner();
    Ok((passed, chosen.len() - passed))
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

/// How long each scenario may take, so that all of them together take as long as they may.
fn share(chosen: &[&Scenario], options: &Options) -> Duration {
    let lanes = options.lanes.clamp(1, chosen.len());
    let whole = Duration::from_secs_f64(options.minutes * 60.0 * lanes as f64);
    let even = whole / chosen.len() as u32;
    let least = |scenario: &&&Scenario| scenario.round_least + OVERHEAD > even;
    let (count, time) = chosen.iter().filter(least).fold((0, Duration::ZERO), |(count, time), scenario| {
        (count + 1, time + scenario.round_least + OVERHEAD)
    });
    whole.saturating_sub(time) / (chosen.len() as u32 - count).max(1)
}

/// Runs a scenario and prints what it came to, in one piece; true if it passed.
fn show(net: net::Net, scenario: &Scenario, share: Duration, options: &Options) -> bool {
    let folder = options.folder.join(scenario.name);
    let mut report = format!("{}: {} (seed {})", scenario.name, scenario.about, options.seed);
    let result = run_one(net, scenario, plan(scenario, share, options), &mut report);
    if let Err(error) = &result {
        report += &format!("\n  FAILED: {error:#}\n  see {}", folder.display());
    }
    println!("{report}");
    result.is_ok()
}

fn plan(scenario: &Scenario, share: Duration, options: &Options) -> Plan {
    let replicas = options.replicas;
    // One round, if that takes longer than the scenario's share.
    let share = if scenario.round_least > share { Duration::ZERO } else { share };
    Plan {
        name: scenario.name,
        shape: Shape { brokers: scenario.brokers, replicas, min_insync: replicas.min(2) },
        partitions: 6,
        topic_config: options.topic_config.clone(),
        rate: options.rate,
        time: share.saturating_sub(OVERHEAD),
        seed: options.seed,
        folder: options.folder.join(scenario.name),
        programs: options.programs.clone(),
    }
}

fn run_one(net: net::Net, scenario: &Scenario, plan: Plan, report: &mut String) -> Result<()> {
    world::fresh(&plan.folder)?;
    net.heal()?;
    let mut world = World::start(net, plan)?;
    let result = do_faults(&mut world, scenario, report);
    if result.is_err() {
        world.keep_disks()?;
    }
    result
}

/// Rounds of a fault, with a quarter of the time free of faults: before, between and after.
fn do_faults(world: &mut World, scenario: &Scenario, report: &mut String) -> Result<()> {
    let began = Instant::now();
    let time = world.plan.time;
    let quiet = (time / 8).max(Duration::from_secs(2));
    world.rest(quiet);
    let deadline = Instant::now() + time.saturating_sub(2 * quiet);
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < deadline {
        (scenario.round)(world)?;
        world.wait_whole()?;
        rounds += 1;
        let pause = world.between(200, 1500);
        world.rest(pause);
    }
    world.rest(quiet);
    let verdict = world.finish()?;
    tell(report, &verdict, rounds, world.faults(), began.elapsed());
    pass(&verdict)?;
    if scenario.unnoticed {
        let lag = Duration::from_nanos(verdict.report.lag.max_ns);
        ensure!(lag < LAG_MAX, "a record was first read {lag:?} after its acknowledgement");
    }
    ensure!(world.effects() > 0, "the faults did nothing, which proves nothing");
    world.wait_equal()
}

fn tell(text: &mut String, verdict: &Verdict, rounds: usize, events: usize, took: Duration) {
    let report = &verdict.report;
    *text += &format!(
        "\n  {rounds} rounds, {events} faults in {:.0} s: {} records acknowledged, {} unknown, {} read",
        took.as_secs_f64(),
        report.sends_ok,
        report.sends_unknown,
        report.records_read
    );
    if !verdict.pauses.is_empty() {
        let [p50, p99, max] = verdict.resumed_ms();
        *text += &format!(
            "\n  from a fault to the next acknowledged write, by partition and client: p50 {p50} ms, p99 {p99} ms, max {max} ms"
        );
    }
    *text += &format!(
        "\n  {} violations; longest from acknowledgement to first read: {} ms",
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
    // Clients try for a minute, and nothing that is done here keeps writes up for that long.
    let unknown = verdict.report.sends_unknown;
    ensure!(unknown == 0, "{unknown} writes weren't acknowledged within the minute that clients give them");
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

    #[test]
    fn the_page_on_faults_names_each_scenario_beside_its_fault() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/faults.md")).unwrap();
        let faults = page.split("## Faults and scenarios").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = faults.lines().filter(|line| line.starts_with("| ")).skip(1);
        let column = rows.map(|row| row.split('|').nth(2).unwrap());
        let named: Vec<&str> = column.flat_map(|names| names.split('`').skip(1).step_by(2)).collect();
        let known: std::collections::BTreeSet<&str> = SCENARIOS.iter().map(|s| s.name).collect();
        assert_eq!(named.len(), known.len(), "{named:?}");
        assert_eq!(named.into_iter().collect::<std::collections::BTreeSet<_>>(), known);
    }
}
