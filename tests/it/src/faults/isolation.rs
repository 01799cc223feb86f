//! A place of its own for a run: its processes, mounts and networks belong to namespaces that end with it,
//! however it ends, so that nothing has to be cleaned up and nothing is left.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::shell::run;

/// Set for the run inside.
const INSIDE: &str = "OTTLA_FAULTS_INSIDE";

/// What must be there, and the Debian package that has it.
const TOOLS: [(&str, &str, &str); 4] = [
    ("unshare", "--version", "util-linux"),
    ("nsenter", "--version", "util-linux"),
    ("ip", "-V", "iproute2"),
    ("nft", "--version", "nftables"),
];

/// Goes on inside namespaces of its own: this program is started again there with the same arguments, and
/// only that one returns.
///
/// # Errors
/// This isn't root, a tool is missing, or the system has no FUSE.
pub fn enter() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return furnish();
    }
    if !rustix::process::geteuid().is_root() {
        bail!("faults need root: network namespaces, mounts and signals; run this as root");
    }
    for (tool, probe, package) in TOOLS {
        let found = Command::new(tool).arg(probe).output().is_ok_and(|output| output.status.success());
        if !found {
            bail!("{tool} is missing: install the Debian package {package}");
        }
    }
    if !std::path::Path::new("/dev/fuse").exists() {
        bail!("/dev/fuse is missing: the kernel needs FUSE for disks that lose power");
    }
    let mut again = Command::new("unshare");
    again.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    again.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    // It takes this process's place, so signals and the exit code are its own.
    bail!("unshare can't be started: {}", again.exec())
}

/// The names of network namespaces go to a memory of our own too.
fn furnish() -> Result<()> {
    std::fs::create_dir_all("/run/netns")?;
    run("mount", &["-t", "tmpfs", "ottla-netns", "/run/netns"])?;
    // The first process of a process namespace gets no signal that it doesn't ask for.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("stopping; every process, mount and network of this run ends with it");
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}
