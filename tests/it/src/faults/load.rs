//! The clients: processes that send and read until they are told to stop, and write a history each.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::net::Net;

/// Where the clients' programs are found.
#[derive(Debug, Clone)]
pub struct Programs {
    /// A Python that has confluent-kafka.
    pub python: PathBuf,
    /// A folder with the jars of Apache Kafka's clients.
    pub jars: PathBuf,
}

/// What they send, and where to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The addresses of the brokers.
    pub bootstrap: String,
    /// The topic.
    pub topic: String,
    /// Its partitions.
    pub partitions: usize,
    /// Records a second, of each client.
    pub rate: u64,
}

/// Values of the second client begin here, so that no two clients send the same.
const APART: u64 = 1_000_000_000_000;

/// Running clients; they end with this value.
pub struct Load {
    clients: Vec<(Child, Option<ChildStdin>)>,
    histories: Vec<PathBuf>,
    net: Net,
    target: Target,
    programs: Programs,
    folder: PathBuf,
}

impl Load {
    /// Starts a client of each kind.
    ///
    /// # Errors
    /// One can't be started.
    pub fn start(net: Net, programs: &Programs, target: &Target, folder: &Path) -> Result<Load> {
        let mut load = Load {
            clients: Vec::new(),
            histories: Vec::new(),
            net,
            target: target.clone(),
            programs: programs.clone(),
            folder: folder.to_owned(),
        };
        load.spawn("librdkafka", load.python(), 1)?;
        load.spawn("java", load.java(), APART)?;
        Ok(load)
    }

    fn python(&self) -> Command {
        let mut command = self.net.at_clients();
        command.arg(&self.programs.python).arg(source("load.py"));
        command
    }

    fn java(&self) -> Command {
        let mut command = self.net.at_clients();
        command.args(["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Xmx256m"]);
        command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"]);
        command.arg(format!("{}/*", self.programs.jars.display())).arg(source("Load.java"));
        command
    }

    fn command(&mut self, name: &str, mut command: Command) -> Result<Command> {
        let history = self.folder.join(format!("{name}.jsonl"));
        let log = std::fs::File::create(self.folder.join(format!("{name}.log")))?;
        command.args(["--bootstrap", &self.target.bootstrap, "--topic", &self.target.topic]);
        command.args(["--partitions", &self.target.partitions.to_string()]);
        command.args(["--rate", &self.target.rate.to_string(), "--name", "0", "--history"]).arg(&history);
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        self.histories.push(history);
        Ok(command)
    }

    fn spawn(&mut self, name: &str, command: Command, first_value: u64) -> Result<()> {
        let mut command = self.command(name, command)?;
        command.args(["--first-value", &first_value.to_string()]);
        let mut child = command.spawn().with_context(|| format!("{name} can't be started"))?;
        let stdin = child.stdin.take();
        self.clients.push((child, stdin));
        Ok(())
    }

    /// Waits until each client has written something down: until then there is no load.
    ///
    /// # Errors
    /// One doesn't in time, or ends.
    pub fn wait_for_traffic(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let silent = |path: &PathBuf| std::fs::metadata(path).map_or(0, |m| m.len()) == 0;
        while self.histories.iter().any(silent) {
            self.still_run()?;
            ensure!(Instant::now() < deadline, "a client has not begun within {patience:?}: {}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn still_run(&mut self) -> Result<()> {
        for (child, _) in &mut self.clients {
            if let Some(status) = child.try_wait()? {
                bail!("a client ended by itself with {status}: {}", self.logs());
            }
        }
        Ok(())
    }

    fn logs(&self) -> String {
        let read = |path: &PathBuf| std::fs::read_to_string(path.with_extension("log")).unwrap_or_default();
        self.histories.iter().map(read).collect::<Vec<_>>().join("\n")
    }

    /// Stops the clients, which first wait for what they sent; then reads everything with a fresh one.
    /// Returns the files of the history.
    ///
    /// # Errors
    /// A client fails, or the topic can't be read to its end.
    pub fn finish(mut self, patience: Duration) -> Result<Vec<PathBuf>> {
        self.still_run()?;
        let deadline = Instant::now() + patience;
        self.clients.iter_mut().for_each(|(_, stdin)| drop(stdin.take()));
        for at in 0..self.clients.len() {
            let status = wait(&mut self.clients[at].0, deadline).context(self.logs())?;
            ensure!(status, "a client failed: {}", self.logs());
        }
        let python = self.python();
        let mut last = self.command("final", python)?;
        let patience = patience.as_secs().to_string();
        let mut child = last.args(["--final", "--patience", &patience]).spawn()?;
        let ended = wait(&mut child, Instant::now() + Duration::from_secs(150));
        ensure!(ended?, "the reading at the end failed: {}", self.logs());
        Ok(std::mem::take(&mut self.histories))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for (child, _) in &mut self.clients {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a process ended well.
fn wait(child: &mut Child, deadline: Instant) -> Result<bool> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            bail!("a client does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("load").join(name)
}
