//! Starts a broker in this process on free ports and a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_ports::free_port;
use ottla_server::broker::Broker;
use ottla_server::config::{Config, LogFormat, Sources};
use ottla_server::logging::LogControl;
use ottla_server::start::{RunError, Running, start};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::client::Client;

/// A broker in this process.
pub struct TestBroker {
    folder: Arc<TempDir>,
    control_port: u16,
    overrides: Vec<String>,
    /// What carries its records.
    data: Handle,
    running: Running,
}

impl TestBroker {
    /// Starts one with these `key=value` settings.
    pub async fn start(overrides: &[&str]) -> Self {
        Self::try_start(overrides).await.unwrap()
    }

    /// The same, if it can be started.
    pub async fn try_start(overrides: &[&str]) -> Result<Self, RunError> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
        Self::start_in(folder, free_port(), overrides, Handle::current()).await
    }

    /// Starts one whose records are carried by `data`.
    pub async fn start_with(data: Handle, overrides: &[&str]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
        Self::start_in(folder, free_port(), overrides, data).await.unwrap()
    }

    /// Starts one with its control listener on this port.
    pub async fn start_on(control_port: u16, overrides: Vec<String>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(folder, control_port, overrides, Handle::current()).await.unwrap()
    }

    async fn start_in(
        folder: Arc<TempDir>,
        control_port: u16,
        overrides: Vec<String>,
        data: Handle,
    ) -> Result<Self, RunError> {
        let mut all = vec![
            format!("listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{control_port}"),
            format!("log.dirs={}", folder.path().join("data").display()),
        ];
        all.extend(overrides.iter().cloned());
        let sources = Sources { overrides: all, ..Sources::default() };
        let config = Config::new(&sources, "localhost").unwrap();
        let filter = std::env::var("OTTLA_TEST_LOG").unwrap_or_else(|_| "off".to_owned());
        let log_control = Arc::new(LogControl::start(&filter, LogFormat::Text).unwrap());
        let running = start(config, log_control, data.clone()).await?;
        Ok(Self { folder, control_port, overrides, data, running })
    }

    /// What runs.
    pub fn server(&self) -> &Arc<Broker> {
        self.running.broker()
    }

    /// Why it has to end, once it has.
    pub async fn failed(&mut self) -> RunError {
        self.running.failed().await
    }

    /// Stops it in order and starts it again on the same folder.
    pub async fn restart(self) -> Self {
        self.restart_after(|| {}).await
    }

    /// The same, with something done in between.
    pub async fn restart_after(self, meanwhile: impl FnOnce()) -> Self {
        let Self { folder, control_port, overrides, data, running } = self;
        running.stop().await.unwrap();
        meanwhile();
        Self::start_in(folder, control_port, overrides, data).await.unwrap()
    }

    /// Stops it in order, to be started again.
    pub async fn stop_for_now(self) -> StoppedBroker {
        let Self { folder, control_port, overrides, data, running } = self;
        running.stop().await.unwrap();
        StoppedBroker { folder, control_port, overrides, data }
    }

    /// Stops it in order.
    pub async fn stop(self) {
        self.running.stop().await.unwrap();
    }

    /// Tries to start another one on the same folder.
    pub async fn start_another(&self) -> Result<Self, RunError> {
        let (folder, data) = (Arc::clone(&self.folder), self.data.clone());
        Self::start_in(folder, free_port(), self.overrides.clone(), data).await
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The files of a partition whose names end in `suffix`.
    pub fn files(&self, partition: &str, suffix: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder().join("data").join(partition)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
    }

    /// Where it serves clients.
    pub fn address(&self) -> SocketAddr {
        self.address_of(0)
    }

    /// Where its listener at this position serves clients.
    pub fn address_of(&self, listener: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.running.clients()[listener].port))
    }

    /// The port of its control listener.
    pub fn control_port(&self) -> u16 {
        self.control_port
    }

    /// The port of its HTTP listener.
    pub fn http_port(&self) -> u16 {
        self.running.http_port().unwrap()
    }

    /// A new connection.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address()).await
    }
}

/// A broker that is away for a while.
pub struct StoppedBroker {
    folder: Arc<TempDir>,
    control_port: u16,
    overrides: Vec<String>,
    data: Handle,
}

impl StoppedBroker {
    /// Starts it again on the same folder.
    pub async fn start(self) -> TestBroker {
        TestBroker::start_in(self.folder, self.control_port, self.overrides, self.data).await.unwrap()
    }
}
