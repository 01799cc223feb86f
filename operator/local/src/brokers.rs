//! Brings the brokers' processes to what the KafkaCluster asks: new ones start, changed ones restart one by
//! one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_control::proto;
use ottla_plan::{restart_text, stop_hindrance};
use ottla_types::BrokerId;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::child::Launch;
use crate::control::{CALL_TIMEOUT, connect};
use crate::event::{Events, LocalEvent};
use crate::folder::{DataFolder, FolderError, create_private, write_atomically};
use crate::settings::properties;
use crate::shared::Shared;
use crate::supervisor::{Phase, Supervisor};
use crate::topics::plan_view;

/// How soon it is looked again at what a restart waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How soon settings that couldn't be written are tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// How long a restart waits for something before that is told.
const WAIT_TOLD_AFTER: Duration = Duration::from_secs(10);

/// How to start a broker: this program, these arguments, then the settings file.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The program.
    pub path: PathBuf,
    /// What goes before the settings file.
    pub arguments: Vec<std::ffi::OsString>,
}

/// Keeps the brokers' processes as they should be.
pub(crate) struct Brokers {
    shared: Arc<Shared>,
    folder: DataFolder,
    program: Program,
    events: Events,
    control_ports: watch::Sender<Vec<u16>>,
    running: BTreeMap<i32, (Supervisor, String)>,
    waits: Option<Waits>,
    /// The broker that was restarted last.
    restarted: Option<i32>,
}

/// How far a pass has brought the brokers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// All of them run as asked.
    Done,
    /// More is to be done.
    More,
    /// Settings couldn't be written.
    Failed,
}

/// A restart that waits.
struct Waits {
    broker: i32,
    why: String,
    since: Instant,
    is_told: bool,
}

impl Brokers {
    /// Nothing runs yet. `control_ports` hears of each broker that is started.
    pub fn new(
        shared: Arc<Shared>,
        folder: DataFolder,
        program: Program,
        events: Events,
        control_ports: watch::Sender<Vec<u16>>,
    ) -> Self {
        Self {
            shared,
            folder,
            program,
            events,
            control_ports,
            running: BTreeMap::new(),
            waits: None,
            restarted: None,
        }
    }

    /// Starts what should run and doesn't; fails at the first file that can't be written.
    pub fn start_all(&mut self) -> Result<(), FolderError> {
        for (id, properties) in self.desired() {
            if !self.running.contains_key(&id) {
                self.start_one(id, properties)?;
            }
        }
        Ok(())
    }

    /// Follows the desired resources until `stop`, then ends all processes.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let shared = self.shared.clone();
        loop {
            let passed = tokio::select! {
                _ = &mut stop => break,
                passed = self.pass() => passed.unwrap_or_else(|error| {
                    tracing::error!(%error, "broker settings not written");
                    Passed::Failed
                }),
            };
            let pause = match passed {
                Passed::Done => Duration::MAX,
                Passed::More => LOOK_AGAIN,
                Passed::Failed => WRITE_AGAIN,
            };
            tokio::select! {
                _ = &mut stop => break,
                () = shared.brokers_wake.notified() => {}
                () = sleep(pause) => {}
            }
        }
        let stops: Vec<_> =
            self.running.into_values().map(|(supervisor, _)| tokio::spawn(supervisor.stop())).collect();
        for stop in stops {
            let _ = stop.await;
        }
    }

    /// The settings of each broker that should run.
    fn desired(&self) -> BTreeMap<i32, String> {
        let state = self.shared.state();
        let Some(cluster) = state.resources.cluster() else { return BTreeMap::new() };
        properties(&cluster, &state.cluster_status, self.shared.ports, |id| self.folder.broker_data(id))
    }

    /// Brings the brokers a step nearer to what is asked by now: at most one restarts, and not before the one
    /// that was restarted last is ready.
    async fn pass(&mut self) -> Result<Passed, FolderError> {
        let asked_at = self.shared.state().changed_at;
        self.start_all()?;
        let old = self.write_settings()?;
        // One that isn't ready first: else a bad setting could never be corrected.
        let next = old.iter().find(|(id, _)| !self.is_ready(**id)).or_else(|| old.iter().next());
        let Some((&id, properties)) = next else {
            self.waits = None;
            let mut state = self.shared.state();
            state.brokers_as_asked = state.changed_at == asked_at;
            drop(state);
            self.shared.status_wake.notify_one();
            return Ok(Passed::Done);
        };
        let on_its_way = self.restarted.filter(|other| *other != id && !old.contains_key(other));
        match self.hindrance(id, on_its_way).await {
            Some(why) => self.wait(id, why),
            // Something newer may be asked since the brokers were asked.
            None if self.desired().get(&id) != Some(properties) => {}
            None => self.restart_one(id, properties.clone()).await?,
        }
        Ok(Passed::More)
    }

    /// Writes the settings that running brokers needn't restart for; the brokers that need to, with what they
    /// are to restart with.
    fn write_settings(&mut self) -> Result<BTreeMap<i32, String>, FolderError> {
        let mut old = BTreeMap::new();
        for (id, properties) in self.desired() {
            let Some((_, now)) = self.running.get_mut(&id).filter(|(_, now)| *now != properties) else {
                continue;
            };
            if restart_text(now) == restart_text(&properties) {
                write_atomically(&self.folder.broker_properties(id), properties.as_bytes())?;
                *now = properties;
            } else {
                old.insert(id, properties);
            }
        }
        Ok(old)
    }

    fn is_ready(&self, id: i32) -> bool {
        self.running.get(&id).is_some_and(|(supervisor, _)| supervisor.state().borrow().phase == Phase::Ready)
    }

    /// What stands against stopping a broker now, in words: another one that isn't ready, or partitions that
    /// lack a replica by the brokers' own word of this moment.
    ///
    /// `on_its_way` was restarted last, with the settings that are asked.
    async fn hindrance(&self, id: i32, on_its_way: Option<i32>) -> Option<String> {
        let is_ready = self.is_ready(id);
        let unready = self.running.keys().find(|other| **other != id && !self.is_ready(**other));
        if let Some(other) = unready.filter(|_| is_ready) {
            return Some(format!("broker {other} is not ready"));
        }
        let runs =
            self.running.get(&id).is_some_and(|(supervisor, _)| supervisor.state().borrow().pid.is_some());
        if !runs {
            return None;
        }
        let view = self.ask().await.map(plan_view);
        let on_its_way = on_its_way.filter(|other| !self.is_ready(*other)).map(BrokerId);
        stop_hindrance(view.as_ref(), BrokerId(id), is_ready, on_its_way)
    }

    /// The cluster as the brokers see it now, the active controller first.
    async fn ask(&self) -> Option<proto::ClusterView> {
        let controller = self.shared.view().and_then(|view| view.active_controller);
        let mut ids: Vec<i32> = self.running.keys().copied().collect();
        ids.sort_by_key(|id| Some(*id) != controller);
        let ports: Vec<u16> = ids.iter().map(|id| self.shared.ports.control(*id)).collect();
        let mut client = connect(&ports).await?;
        let asked = client.get_cluster(proto::GetClusterRequest { confirmed: true });
        Some(timeout(CALL_TIMEOUT, asked).await.ok()?.ok()?.into_inner())
    }

    /// Takes note of what a restart waits for, and tells it once it has for a while.
    fn wait(&mut self, broker: i32, why: String) {
        let is_new = self.waits.as_ref().is_none_or(|waits| (waits.broker, &waits.why) != (broker, &why));
        if is_new {
            self.waits = Some(Waits { broker, why, since: Instant::now(), is_told: false });
            return;
        }
        if let Some(waits) = self.waits.as_mut().filter(|waits| !waits.is_told)
            && waits.since.elapsed() >= WAIT_TOLD_AFTER
        {
            waits.is_told = true;
            // Nobody may be listening any more, which changes nothing here.
            let _ = self.events.send(LocalEvent::RestartWaits { broker, why: waits.why.clone() });
        }
    }

    fn start_one(&mut self, id: i32, properties: String) -> Result<(), FolderError> {
        create_private(&self.folder.broker_data(id))?;
        write_atomically(&self.folder.broker_properties(id), properties.as_bytes())?;
        let wake = self.shared.status_wake.clone();
        let supervisor = Supervisor::start(self.launch(id), self.events.clone(), wake);
        self.shared.state().processes.insert(id, supervisor.state());
        self.running.insert(id, (supervisor, properties));
        let ports = self.running.keys().map(|id| self.shared.ports.control(*id)).collect();
        self.control_ports.send_replace(ports);
        Ok(())
    }

    async fn restart_one(&mut self, id: i32, properties: String) -> Result<(), FolderError> {
        write_atomically(&self.folder.broker_properties(id), properties.as_bytes())?;
        let launch = self.launch(id);
        let Some((supervisor, now)) = self.running.get_mut(&id) else { return Ok(()) };
        *now = properties;
        self.restarted = Some(id);
        let mut state = supervisor.state();
        supervisor.restart(launch).await;
        // Until then it passes for the one that was ready.
        let _ = state.wait_for(|state| state.phase != Phase::Ready).await;
        Ok(())
    }

    fn launch(&self, id: i32) -> Launch {
        let mut arguments = self.program.arguments.clone();
        arguments.push(self.folder.broker_properties(id).into());
        Launch {
            broker: id,
            program: self.program.path.clone(),
            arguments,
            log: self.folder.broker_log(id),
            address: format!("127.0.0.1:{}", self.shared.ports.kafka(id)),
            http_port: self.shared.ports.http(id),
        }
    }
}
