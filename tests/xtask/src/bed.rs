//! `cargo xtask bed up|down`: the Kubernetes of `tests/e2e/bed`, three nodes on this machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::{paths, process};

/// How long a script may take once all is built.
const DEADLINE: Duration = Duration::from_secs(600);

/// What to do with it.
#[derive(Subcommand)]
pub enum Chore {
    /// Start it, or what has ended of it; builds it first, and helm, where that hasn't been done
    Up,
    /// Stop it and delete its state
    Down,
    /// Load image archives into every node
    Load {
        /// OCI or docker-save archives
        archives: Vec<PathBuf>,
    },
}

/// The bed's variables, for its scripts and for those that use it.
pub fn settings() -> [(&'static str, String); 2] {
    [("KT_NODES", "3".to_owned()), ("KT_BIN", paths::cache().join("bed").display().to_string())]
}

/// Does the chore; the scripts print what they do.
///
/// # Errors
/// A script can't be started or takes too long.
pub fn run(chore: &Chore) -> Result<bool> {
    check_root()?;
    let mut command = script(match chore {
        Chore::Up => "up.sh",
        Chore::Down => "down.sh",
        Chore::Load { .. } => "load.sh",
    });
    match chore {
        Chore::Up => {}
        Chore::Down => {
            command.arg("--purge");
        }
        Chore::Load { archives } => {
            command.arg("all").args(archives);
        }
    }
    Ok(process::run(&mut command, Instant::now() + DEADLINE)?.success())
}

/// Only root can run the bed.
///
/// # Errors
/// This isn't root.
pub fn check_root() -> Result<()> {
    if !crate::setup::is_root() {
        bail!("the Kubernetes test bed needs root: network namespaces, mounts, cgroups");
    }
    Ok(())
}

/// Stops the bed if it runs, and deletes its state.
pub fn take_down() {
    let quiet = script("down.sh").arg("--purge").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !quiet.is_ok_and(|status| status.success()) {
        eprintln!("the test bed can't be taken down; try: cargo xtask bed down");
    }
}

/// One of the bed's scripts.
fn script(name: &str) -> Command {
    let mut command = Command::new(paths::root().join("tests/e2e/bed").join(name));
    command.envs(settings());
    command
}
