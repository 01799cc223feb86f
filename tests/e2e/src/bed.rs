//! The Kubernetes that the test runs on: brought up by the scripts of `bed/`, and taken down whatever
//! happens.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::shell;

/// As many nodes as brokers.
pub const NODES: usize = 3;

/// A running bed; dropping it takes it down.
pub struct Bed {
    /// The root of the tree.
    pub root: PathBuf,
    bin: PathBuf,
    state: PathBuf,
    keep: bool,
}

impl Bed {
    /// Brings the bed up: a fresh one, or with `keep` the one that runs.
    ///
    /// # Errors
    /// This isn't root, or a part of the bed doesn't start; what has started is taken down then.
    pub fn up(keep: bool) -> Result<Bed> {
        if !rustix::process::geteuid().is_root() {
            bail!("the Kubernetes test bed needs root: network namespaces, mounts, cgroups");
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).context("the crate lies two folders deep")?.to_owned();
        let bed = Bed { root, bin: setting(here, "KT_BIN")?, state: setting(here, "KT_DIR")?, keep };
        bed.end_on_signals()?;
        if !keep {
            bed.script("down.sh", &["--purge"], Duration::from_secs(120))?;
        }
        bed.script("up.sh", &[], Duration::from_secs(1500))?;
        Ok(bed)
    }

    /// Loads image archives into every node.
    ///
    /// # Errors
    /// An archive isn't there, or a node refuses it.
    pub fn load(&self, archives: &[PathBuf]) -> Result<()> {
        for archive in archives {
            if !archive.exists() {
                bail!("{} is missing: run `cargo xtask images --clients` first", archive.display());
            }
        }
        let mut args = vec!["all"];
        args.extend(archives.iter().filter_map(|a| a.to_str()));
        self.script("load.sh", &args, Duration::from_secs(120))
    }

    /// A program of the bed (`kubectl`) or of this machine, set up for the bed's cluster.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = env::var_os("PATH").unwrap_or_default();
        let path = [self.bin.clone()].into_iter().chain(self.tools()).chain(env::split_paths(&path));
        command.env("PATH", env::join_paths(path).unwrap_or_default());
        command.env("KUBECONFIG", self.state.join("kubeconfig/admin"));
        command.current_dir(&self.root);
        command
    }

    /// What `cargo xtask setup` built beside the bed's programs: helm.
    fn tools(&self) -> Vec<PathBuf> {
        let beside = self.bin.parent().and_then(|cache| fs::read_dir(cache).ok()).into_iter().flatten();
        let folders = beside.filter_map(|entry| Some(entry.ok()?.path()));
        folders.filter(|folder| folder.join("helm").is_file()).collect()
    }

    /// The file with every API call that a pod made.
    pub fn audit_log(&self) -> PathBuf {
        self.state.join("log/audit.log")
    }

    /// Where the provisioner keeps the volumes.
    pub fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }

    /// Where the histories of clients are kept.
    pub fn histories(&self) -> PathBuf {
        self.state.join("histories")
    }

    /// A Python that has confluent-kafka: the one of `cargo xtask setup`, beside the bed's programs.
    pub fn python(&self) -> String {
        let beside = self.bin.parent().unwrap_or(&self.bin).join("venv/bin/python3");
        if beside.exists() { beside.display().to_string() } else { "python3".to_owned() }
    }

    /// Does something to a node: `cut` and `join`, `kill` and `start` (see `bed/node.sh`).
    ///
    /// # Errors
    /// It can't be done.
    pub fn node(&self, action: &str, node: usize) -> Result<()> {
        self.script("node.sh", &[action, &node.to_string()], Duration::from_secs(180))
    }

    /// Kills at once the processes of this name in a pod.
    ///
    /// # Errors
    /// There is none.
    pub fn kill_in_pod(&self, node: usize, uid: &str, program: &str) -> Result<()> {
        let mut killed = 0;
        for pid in processes_of_pod(node, uid)? {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if let Some(pid) = Pid::from_raw(pid).filter(|_| name.trim_end() == program) {
                kill_process(pid, Signal::KILL).with_context(|| format!("can't kill {program}"))?;
                killed += 1;
            }
        }
        if killed == 0 {
            bail!("no {program} runs in the pod {uid} on node {node}");
        }
        Ok(())
    }

    fn script(&self, name: &str, args: &[&str], limit: Duration) -> Result<()> {
        let mut command = Command::new(self.root.join("tests/e2e/bed").join(name));
        command.args(args).env("KT_NODES", NODES.to_string());
        shell::run(&mut command, limit)?.ok().with_context(|| format!("the bed's {name} failed"))?;
        Ok(())
    }

    fn down(&self) {
        if self.keep {
            return;
        }
        if let Err(error) = self.script("down.sh", &["--purge"], Duration::from_secs(120)) {
            eprintln!("the bed is not down: {error:#}");
        }
    }

    /// Ctrl-C, and the gate's deadline, must not leave a Kubernetes behind.
    fn end_on_signals(&self) -> Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("can't listen for signals")?;
        let bed = Bed { root: self.root.clone(), bin: self.bin.clone(), state: self.state.clone(), ..*self };
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                eprintln!("stopping");
                bed.down();
                std::process::exit(128 + signal);
            }
        });
        Ok(())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.down();
    }
}

/// The processes in a pod's cgroups, which bear its uid: of version 1 or 2.
fn processes_of_pod(node: usize, uid: &str) -> Result<Vec<i32>> {
    let roots = ["/sys/fs/cgroup/pids/kt", "/sys/fs/cgroup/kt"]
        .map(|root| Path::new(root).join(format!("node{node}")));
    let root = roots.iter().find(|root| root.exists()).context("the node has a cgroup")?;
    let (mut found, mut folders) = (Vec::new(), vec![(root.clone(), false)]);
    while let Some((folder, inside)) = folders.pop() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().replace('_', "-");
        let inside = inside || name.contains(uid);
        if inside {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        let below = fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        folders.extend(below.filter(|path| path.is_dir()).map(|path| (path, inside)));
    }
    Ok(found)
}

/// A setting of the bed, as its own scripts read it.
fn setting(here: &Path, name: &str) -> Result<PathBuf> {
    let mut command = Command::new("bash");
    command.args(["-c", ". \"$0\"; printf %s \"${!1}\""]).arg(here.join("bed/config.sh")).arg(name);
    Ok(shell::run(&mut command, Duration::from_secs(10))?.ok()?.into())
}
