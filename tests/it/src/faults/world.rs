//! A cluster under load, to which faults are done.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use super::broker::{Broker, Shape};
use super::cluster::Cluster;
use super::copies::difference;
use super::load::{Load, Programs, Target};
use super::net::Net;
use super::random::Random;
use super::verdict::{Event, Verdict, judge, worst};

/// The topic under load.
pub const TOPIC: &str = "load";
/// How long a cluster may take until it is whole, after its start and after each fault.
pub const WHOLE: Duration = Duration::from_secs(60);

/// A pause that is told of by itself.
const SLOW: Duration = Duration::from_secs(1);

/// How much is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is, for lines about it.
    pub name: &'static str,
    /// How the cluster is made.
    pub shape: Shape,
    /// The topic's partitions.
    pub partitions: usize,
    /// Its settings, as name=value.
    pub topic_config: Vec<String>,
    /// Records a second, of each client.
    pub rate: u64,
    /// How long faults go on.
    pub time: Duration,
    /// Chooses what is done when.
    pub seed: u64,
    /// Where logs and histories go.
    pub folder: PathBuf,
    /// The clients' programs.
    pub programs: Programs,
}

/// A cluster under load.
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// Chooses.
    pub random: Random,
    /// What was planned.
    pub plan: Plan,
    damaged: Option<usize>,
    events: Vec<Event>,
    effects: u64,
    load: Option<Load>,
    began: Instant,
}

impl World {
    /// Starts a cluster and its load.
    ///
    /// # Errors
    /// Something doesn't start.
    pub fn start(net: Net, plan: Plan) -> Result<World> {
        let began = Instant::now();
        let mut cluster = Cluster::start(net, plan.shape, &plan.folder)?;
        cluster.create_topic(TOPIC, plan.partitions, &cluster.ids(), &plan.topic_config)?;
        cluster.wait_whole(TOPIC, WHOLE)?;
        let target = Target {
            bootstrap: cluster.bootstrap(),
            topic: TOPIC.to_owned(),
            partitions: plan.partitions,
            rate: plan.rate,
        };
        let mut load = Load::start(net, &plan.programs, &target, &plan.folder)?;
        load.wait_for_traffic(WHOLE)?;
        let random = Random::new(plan.seed);
        let (events, load) = (Vec::new(), Some(load));
        Ok(World { cluster, random, plan, damaged: None, events, effects: 0, load, began })
    }

    /// Lets time pass.
    pub fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// A time between two, chosen.
    pub fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(least_ms + self.random.below(most_ms - least_ms + 1))
    }

    /// Notes a fault as it is done: from here on writes may pause.
    pub fn note(&mut self, what: impl Into<String>) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let event = Event { at_ns: since.as_nanos() as u64, what: what.into() };
        self.tell(&event.what);
        self.events.push(event);
    }

    /// Tells what isn't a fault.
    pub fn tell(&self, what: &str) {
        eprintln!("{:18} {:6.1} s  {what}", self.plan.name, self.began.elapsed().as_secs_f64());
    }

    /// Tells after which faults writes paused for long, and when that was: where to look in the brokers'
    /// logs.
    pub fn tell_slow(&self, verdict: &Verdict) {
        for (client, pauses) in &verdict.pauses {
            for (number, event) in self.events.iter().enumerate() {
                let longest = worst(pauses, number, |pause| pause.resumed_ns.max(pause.longest_ns));
                if let Some(ns) = longest.filter(|ns| *ns > SLOW.as_nanos() as u64) {
                    let (seconds, ms) = (event.at_ns / 1_000_000_000, event.at_ns / 1_000_000 % 1_000);
                    let what = &event.what;
                    self.tell(&format!("{client}: {} ms after {what} (@{seconds}.{ms:03})", ns / 1_000_000));
                }
            }
        }
    }

    /// Counts what a fault did, in units of its own: a fault that did nothing proves nothing.
    pub fn did(&mut self, count: u64) {
        self.effects += count;
    }

    /// What faults did so far.
    pub fn effects(&self) -> u64 {
        self.effects
    }

    /// How many faults were noted so far.
    pub fn faults(&self) -> usize {
        self.events.len()
    }

    /// A broker by its id.
    pub fn broker(&mut self, id: usize) -> &mut Broker {
        self.cluster.broker(id)
    }

    /// One of the brokers, chosen.
    pub fn any_broker(&mut self) -> usize {
        let ids = self.cluster.ids();
        self.random.pick(&ids)
    }

    /// The one broker whose disk is damaged, chosen once: damage on more disks than the promise allows proves
    /// nothing.
    pub fn damaged_broker(&mut self) -> usize {
        if let Some(id) = self.damaged {
            return id;
        }
        let id = self.any_broker();
        self.damaged = Some(id);
        id
    }

    /// Some of the brokers, at least one, chosen.
    pub fn some_brokers(&mut self) -> Vec<usize> {
        let mut ids = self.cluster.ids();
        self.random.shuffle(&mut ids);
        let count = 1 + self.random.below(ids.len() as u64) as usize;
        ids.truncate(count);
        ids
    }

    /// The leader of one of the partitions, chosen.
    ///
    /// # Errors
    /// There is none in time.
    pub fn any_leader(&mut self) -> Result<usize> {
        let partition = self.random.below(self.plan.partitions as u64) as i32;
        self.cluster.leader(TOPIC, partition)
    }

    /// Waits until the faults are overcome.
    ///
    /// # Errors
    /// They aren't in time.
    pub fn wait_whole(&mut self) -> Result<()> {
        let took = self.cluster.wait_whole(TOPIC, WHOLE)?;
        self.tell(&format!("whole again, {:.1} s after healing", took.as_secs_f64()));
        Ok(())
    }

    /// Ends the load and judges what it saw.
    ///
    /// # Errors
    /// The clients fail, or the topic can't be read to its end.
    pub fn finish(&mut self) -> Result<Verdict> {
        let load = self.load.take().context("the load runs")?;
        let files = load.finish(Duration::from_secs(90)).with_context(|| self.cluster.last_words())?;
        let verdict = judge(&files, &self.events)?;
        ensure!(verdict.report.sends_ok > 0, "nothing was acknowledged, which proves nothing");
        Ok(verdict)
    }

    /// Waits until the disks of all replicas hold the same; the load has to have ended.
    ///
    /// # Errors
    /// They don't in time.
    pub fn wait_equal(&self) -> Result<()> {
        let began = Instant::now();
        let (partitions, replicas) = (self.plan.partitions, self.plan.shape.replicas);
        while let Some(difference) = difference(&self.cluster.brokers, TOPIC, partitions, replicas) {
            ensure!(began.elapsed() < WHOLE, "replicas aren't equal within {WHOLE:?}: {difference}");
            self.rest(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Copies all disks to the run's folder: after a failure they are what there is to look at.
    ///
    /// # Errors
    /// They can't be written.
    pub fn keep_disks(&self) -> Result<()> {
        for broker in &self.cluster.brokers {
            broker.disk.keep(&self.plan.folder.join(format!("kept-{}", broker.id())))?;
        }
        Ok(())
    }
}

/// An empty folder.
///
/// # Errors
/// It can't be made.
pub fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}
