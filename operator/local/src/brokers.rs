//! Brings the brokers' processes to what the KafkaCluster asks: new ones start, changed ones restart one by
//! one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_plan::restart_text;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::child::Launch;
use crate::event::Events;
use crate::folder::{DataFolder, FolderError, create_private, write_atomically};
use crate::settings::properties;
use crate::shared::Shared;
use crate::supervisor::{Phase, Supervisor};

/// How long a restarted broker may take to be ready before the next one is restarted nonetheless.
const READY_PATIENCE: Duration = Duration::from_secs(60);

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
        Self { shared, folder, program, events, control_ports, running: BTreeMap::new() }
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
            tokio::select! {
                _ = &mut stop => break,
                () = shared.brokers_wake.notified() => {}
            }
            tokio::select! {
                _ = &mut stop => break,
                result = self.reconcile() => {
                    if let Err(error) = result {
                        tracing::error!(%error, "broker settings not written");
                    }
                }
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

    async fn reconcile(&mut self) -> Result<(), FolderError> {
        self.start_all()?;
        for (id, properties) in self.desired() {
            let Some((_, now)) = self.running.get_mut(&id).filter(|(_, now)| *now != properties) else {
                continue;
            };
            if restart_text(now) == restart_text(&properties) {
                write_atomically(&self.folder.broker_properties(id), properties.as_bytes())?;
                *now = properties;
            } else {
                self.restart_one(id, properties).await?;
            }
        }
        Ok(())
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
        let mut state = supervisor.state();
        state.mark_unchanged();
        supervisor.restart(launch).await;
        let ready = async {
            // First it stops being ready, then it is so again.
            let _ = state.wait_for(|state| state.phase != Phase::Ready).await;
            let _ = state.wait_for(|state| state.phase == Phase::Ready).await;
        };
        if timeout(READY_PATIENCE, ready).await.is_err() {
            tracing::warn!(broker = id, "not ready after its restart, going on with the next");
        }
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
