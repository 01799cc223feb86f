//! What the checks need on a fresh Debian machine that has Rust: packages by apt (as root), and tools in a
//! cache that outlives the clone. Without root, or without a tool, it says exactly what is missing.

pub mod go;
pub mod java;
pub mod needs;
pub mod python;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::verify::Env;

/// A Debian package and a command that shows that it (or its like) is there.
struct Package {
    name: &'static str,
    probe: &'static [&'static str],
    why: &'static str,
}

const PACKAGES: &[Package] = &[
    Package { name: "build-essential", probe: &["c++", "--version"], why: "crates with C and C++ parts" },
    Package { name: "python3", probe: &["python3", "--version"], why: "the Python clients" },
    Package {
        name: "python3-venv",
        probe: &["python3", "-c", "import ensurepip, venv"],
        why: "the Python clients",
    },
    Package { name: "kcat", probe: &["kcat", "-V"], why: "the kcat suite, here and in a pod" },
    Package {
        name: "busybox-static",
        probe: &["/bin/busybox", "true"],
        why: "the shell of the pod with kcat",
    },
    Package {
        name: "default-jdk-headless",
        probe: &["javac", "-version"],
        why: "Apache Kafka's own tools and clients",
    },
    Package { name: "iproute2", probe: &["ip", "-V"], why: "the networks of the faults" },
    Package { name: "nftables", probe: &["nft", "--version"], why: "the cuts of the faults" },
    Package { name: "golang-go", probe: &["go", "version"], why: "building helm and Kubernetes" },
    Package { name: "maven", probe: &["mvn", "--version"], why: "fetching Apache Kafka's tools" },
];

/// Says what is missing before anything runs, if it can't be installed.
///
/// # Errors
/// Packages are missing, or a step needs root, and this isn't root.
pub fn check(packages: bool, root: bool) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    let missing = if packages { missing() } else { Vec::new() };
    let mut lines: Vec<String> =
        missing.iter().map(|p| format!("the Debian package {} is missing ({})", p.name, p.why)).collect();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
        lines.push(format!("install with: sudo apt-get install {}", names.join(" ")));
    }
    if root {
        lines.push(
            "the Kubernetes test bed and the faults need root: network namespaces, mounts, cgroups"
                .to_owned(),
        );
        lines.push("run as root, or choose what needs none with: cargo xtask verify --fast".to_owned());
    }
    if !lines.is_empty() {
        bail!("this machine isn't ready:\n  {}", lines.join("\n  "));
    }
    Ok(())
}

/// Whether we are root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn missing() -> Vec<&'static Package> {
    PACKAGES.iter().filter(|p| !answers(p.probe)).collect()
}

fn answers(probe: &[&str]) -> bool {
    Command::new(probe[0])
        .args(&probe[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Installs the packages that are missing.
///
/// # Errors
/// apt fails; its output is in the log.
pub fn install_packages(env: &Env) -> Result<()> {
    install(env, &missing().iter().map(|p| p.name).collect::<Vec<_>>())
}

/// Those of these packages that are missing.
fn lacking(names: &BTreeSet<&str>) -> Vec<&'static str> {
    let wanted = PACKAGES.iter().filter(|p| names.contains(p.name));
    wanted.filter(|p| !answers(p.probe)).map(|p| p.name).collect()
}

/// Installs these packages.
fn install(env: &Env, names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    env.run(env.command("apt-get").args(["update", "-qq"]))?;
    let mut install = env.command("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]);
    install.args(names).env("DEBIAN_FRONTEND", "noninteractive");
    env.run(&mut install)?;
    match PACKAGES.iter().find(|p| names.contains(&p.name) && !answers(p.probe)) {
        None => Ok(()),
        Some(p) => bail!("{} is installed, but `{}` still fails", p.name, p.probe.join(" ")),
    }
}

/// A file's text.
fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

/// Remembers from what a cached folder was made, so that it is made again when that has changed.
pub struct Stamp {
    file: PathBuf,
    made_from: String,
}

impl Stamp {
    /// For the folder `made`, made from `made_from`.
    pub fn new(made: &Path, made_from: &str) -> Stamp {
        Stamp { file: made.join(".made-from"), made_from: made_from.to_owned() }
    }

    /// Whether the folder is there and is made from just this.
    pub fn holds(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|text| text == self.made_from)
    }

    /// Notes that it is, as the last thing that its making does.
    ///
    /// # Errors
    /// The note can't be written.
    pub fn write(&self) -> Result<()> {
        fs::write(&self.file, &self.made_from).with_context(|| format!("can't write {}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_for_just_its_sources() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = Stamp::new(dir.path(), "a==1");
        assert!(!stamp.holds());
        stamp.write().unwrap();
        assert!(stamp.holds());
        assert!(!Stamp::new(dir.path(), "a==2").holds());
    }

    #[test]
    fn a_missing_tool_is_noticed() {
        assert!(answers(&["true"]));
        assert!(!answers(&["false"]) && !answers(&["no-such-tool-anywhere"]));
    }
}
