//! How long writes pause while leadership moves: many faults of one kind after the other, under load.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::net::Net;
use super::verdict::{Pause, percentiles_ms, worst};
use super::world::{self, Plan, World};

/// How long after a fault its broker returns: the others have long gone on.
const AWAY: Duration = Duration::from_secs(2);
/// For how long a broker is stopped.
const STOPPED: Duration = Duration::from_secs(6);

/// What one kind of fault came to for one client.
#[derive(Debug)]
pub struct Failover {
    /// The fault.
    pub what: &'static str,
    /// Who wrote. Clients differ in how long they wait before they ask again who leads.
    pub client: String,
    /// How often.
    pub times: usize,
    /// From the fault to the next acknowledged write, of the partition that waited longest: p50, p99, max.
    pub resumed_ms: [u64; 3],
    /// The longest that any record waited: p50, p99, max over the faults.
    pub longest_ms: [u64; 3],
    /// What is aimed at.
    pub goal: &'static str,
}

struct Kind {
    what: &'static str,
    times: usize,
    goal: &'static str,
    round: fn(&mut World) -> Result<()>,
}

const KINDS: &[Kind] = &[
    Kind { what: "kill -9 of a leader", times: 50, goal: "p99 < 1 s", round: kill_leader },
    Kind { what: "kill -9 of the active controller", times: 50, goal: "p99 < 1 s", round: kill_controller },
    Kind { what: "SIGSTOP of a leader", times: 8, goal: "< 5 s", round: stop_leader },
    Kind { what: "cut of a leader's wire", times: 8, goal: "< 5 s", round: unplug_leader },
    Kind { what: "controlled restart of a leader", times: 12, goal: "< 100 ms", round: restart_leader },
];

fn away_and_back(world: &mut World, id: usize) -> Result<()> {
    world.broker(id).kill()?;
    world.rest(AWAY);
    world.broker(id).start()
}

fn kill_leader(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    world.note(format!("kill -9 of broker {id}, a leader"));
    away_and_back(world, id)
}

fn kill_controller(world: &mut World) -> Result<()> {
    let id = world.cluster.controller()?;
    world.note(format!("kill -9 of broker {id}, the active controller"));
    away_and_back(world, id)
}

fn stop_leader(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    world.note(format!("SIGSTOP of broker {id}, a leader"));
    world.broker(id).pause()?;
    world.rest(STOPPED);
    world.broker(id).resume()
}

fn unplug_leader(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    world.note(format!("broker {id}, a leader, is unplugged"));
    world.cluster.net.unplug(id)?;
    world.rest(STOPPED);
    world.cluster.net.heal().map(drop)
}

fn restart_leader(world: &mut World) -> Result<()> {
    let id = world.any_leader()?;
    world.note(format!("SIGTERM of broker {id}, a leader"));
    world.broker(id).stop(Duration::from_secs(30))?;
    world.broker(id).start()
}

/// Does all kinds of faults, one after the other. [`super::enter`] comes first.
///
/// # Errors
/// The cluster doesn't heal, or loses something: figures of a wrong answer are worth nothing.
pub fn failover(plan: Plan) -> Result<Vec<Failover>> {
    world::fresh(&plan.folder)?;
    let mut world = World::start(Net::lay(0, plan.shape.brokers)?, plan)?;
    world.rest(Duration::from_secs(3));
    let mut ends = Vec::new();
    for kind in KINDS {
        for _ in 0..kind.times {
            (kind.round)(&mut world)?;
            world.wait_whole()?;
            let pause = world.between(500, 1500);
            world.rest(pause);
        }
        ends.push(world.faults());
    }
    let verdict = world.finish()?;
    world.tell_slow(&verdict);
    let found: Vec<String> = verdict.report.findings().take(5).collect();
    ensure!(found.is_empty(), "{} violations: {}", verdict.report.violations(), found.join("; "));
    let begins = std::iter::once(0).chain(ends.iter().copied());
    Ok(KINDS
        .iter()
        .zip(begins)
        .zip(&ends)
        .flat_map(|((kind, from), to)| {
            verdict.pauses.iter().map(move |(client, pauses)| figures(kind, client, pauses, from..*to))
        })
        .collect())
}

fn figures(kind: &Kind, client: &str, pauses: &[Pause], events: std::ops::Range<usize>) -> Failover {
    let worst =
        |of: fn(&Pause) -> u64| percentiles_ms(events.clone().filter_map(|e| worst(pauses, e, of)).collect());
    Failover {
        what: kind.what,
        client: client.to_owned(),
        times: events.len(),
        resumed_ms: worst(|p| p.resumed_ns),
        longest_ms: worst(|p| p.longest_ns),
        goal: kind.goal,
    }
}
