//! One broker: a real process in its own network namespace, on a disk of its own.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::disk::Disk;
use super::net::Net;

/// The port of a broker's clients.
pub const CLIENT_PORT: u16 = 9092;
/// The port of its control API.
pub const CONTROL_PORT: u16 = 9093;

/// How a cluster is made.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How many brokers.
    pub brokers: usize,
    /// How many replicas a partition has.
    pub replicas: usize,
    /// How many must have a record.
    pub min_insync: usize,
}

/// A broker.
pub struct Broker {
    id: usize,
    net: Net,
    child: Option<Child>,
    paused: bool,
    /// Its epoch when the cluster was last whole.
    pub epoch: Option<i64>,
    /// The epoch that the cluster gave it before it was started last, if it was there before.
    pub old_epoch: Option<i64>,
    /// Where its data lies.
    pub disk: Disk,
    properties: PathBuf,
    log: PathBuf,
}

impl Broker {
    /// Lays out a broker: a disk, and a configuration in `folder`, where its log goes too.
    ///
    /// # Errors
    /// The disk can't be mounted, or the folder not be written.
    pub fn prepare(id: usize, net: Net, shape: Shape, folder: &Path) -> Result<Broker> {
        let disk = Disk::mount(&folder.join(format!("disk-{id}")))?;
        let properties = folder.join(format!("broker-{id}.properties"));
        fs::write(&properties, configuration(id, net, shape, disk.folder()))?;
        let log = folder.join(format!("broker-{id}.log"));
        Ok(Broker {
            id,
            net,
            child: None,
            paused: false,
            epoch: None,
            old_epoch: None,
            disk,
            properties,
            log,
        })
    }

    /// Its id.
    pub fn id(&self) -> usize {
        self.id
    }

    /// Whether it runs, stopped or not.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Whether it runs and isn't stopped.
    pub fn answers(&mut self) -> bool {
        !self.paused && self.runs()
    }

    /// Starts it, unless it runs.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&mut self) -> Result<()> {
        if self.runs() {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = self.net.at_broker(self.id);
        command.arg(crate::ottla()).arg("broker").arg(&self.properties);
        // What the run itself is told is no setting of the broker.
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("OTTLA_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.old_epoch = self.epoch;
        self.child = Some(command.spawn().context("a broker can't be started")?);
        self.paused = false;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("the broker was never started")?;
        let pid = Pid::from_raw(child.id().cast_signed()).context("a process id")?;
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => bail!("broker {} can't be signalled: {error}", self.id),
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// It can't be signalled.
    pub fn kill(&mut self) -> Result<()> {
        if self.runs() {
            self.signal(Signal::KILL)?;
        }
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        self.paused = false;
        Ok(())
    }

    /// Asks it to stop and waits; returns how it ended.
    ///
    /// # Errors
    /// It doesn't end in time.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(patience)?.with_context(|| format!("broker {} doesn't stop within {patience:?}", self.id))
    }

    /// Waits until it has ended by itself; none if it hasn't.
    ///
    /// # Errors
    /// It was never started.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        let child = self.child.as_mut().context("the broker was never started")?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it with SIGSTOP.
    ///
    /// # Errors
    /// It can't be signalled.
    pub fn pause(&mut self) -> Result<()> {
        self.paused = true;
        self.signal(Signal::STOP)
    }

    /// Whether it is stopped by [`Broker::pause`]: its process says so itself.
    ///
    /// # Errors
    /// It was never started, or has no entry among the processes.
    pub fn is_stopped(&self) -> Result<bool> {
        let id = self.child.as_ref().context("the broker was never started")?.id();
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // After the name, which stands in parentheses and may hold anything.
        Ok(stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It can't be signalled.
    pub fn resume(&mut self) -> Result<()> {
        self.paused = false;
        self.signal(Signal::CONT)
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Before the disk goes: a mount that is in use can't be taken away.
        let _ = self.kill();
    }
}

/// Small segments, so that a run has many.
fn configuration(id: usize, net: Net, shape: Shape, disk: &Path) -> String {
    let voters: Vec<String> =
        (1..=shape.brokers).map(|id| format!("{id}@{}:{CONTROL_PORT}", net.address(id))).collect();
    format!(
        "node.id={id}\n\
         process.roles=broker,controller\n\
         controller.quorum.voters={voters}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://{address}:{CLIENT_PORT},CONTROLLER://{address}:{CONTROL_PORT}\n\
         log.dirs={disk}/data\n\
         log.segment.bytes=1048576\n\
         auto.create.topics.enable=false\n\
         default.replication.factor={replicas}\n\
         min.insync.replicas={min_insync}\n",
        voters = voters.join(","),
        address = net.address(id),
        disk = disk.display(),
        replicas = shape.replicas,
        min_insync = shape.min_insync,
    )
}
