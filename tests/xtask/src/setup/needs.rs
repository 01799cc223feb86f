//! What single chores need, set up by the same code as in `verify`: just that, when it isn't there, with a
//! word about how far it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{go, install, is_root, java, lacking, python};
use crate::paths;
use crate::verify::Env;

/// How long making a thing may take. Kubernetes takes from 6 to 36 minutes, by the machine and what else it
/// does.
const LIMIT: Duration = Duration::from_secs(2 * 3600);
/// What is done sooner needs no word.
const QUIET: Duration = Duration::from_secs(2);
/// How often a long build says how far it is.
const WORD: Duration = Duration::from_secs(20);
/// As much of a build's last line as a terminal's line holds.
const LINE_LENGTH_MAX: usize = 80;

/// A thing that chores need.
pub struct Need {
    /// Its name.
    pub name: &'static str,
    /// The Debian packages that it needs itself.
    pub packages: &'static [&'static str],
    /// How long it takes to make the first time, in words.
    pub takes: &'static str,
    /// Makes it, unless it is there.
    make: fn(&Env) -> Result<()>,
}

const NOTHING: Need = Need { name: "", packages: &[], takes: "a minute", make: |_| Ok(()) };

/// A compiler for C and C++.
pub const COMPILER: Need = Need { name: "compiler", packages: &["build-essential"], ..NOTHING };
/// What the image with kcat is made from.
pub const KCAT: Need = Need { name: "kcat", packages: &["kcat", "busybox-static"], ..NOTHING };
/// Namespaces that can be cut off.
pub const NETWORKS: Need = Need { name: "networks", packages: &["iproute2", "nftables"], ..NOTHING };
/// The Python clients and tools.
pub const PYTHON: Need =
    Need { name: "python", packages: &["python3", "python3-venv"], make: python::venv, ..NOTHING };
/// Apache Kafka's own tools.
pub const KAFKA_TOOLS: Need = Need {
    name: "kafka-tools",
    packages: &["default-jdk-headless", "maven"],
    takes: "some minutes",
    make: java::kafka_tools,
};
/// helm.
pub const HELM: Need =
    Need { name: "helm", packages: &["golang-go"], takes: "2 to 10 minutes", make: go::helm };
/// The Kubernetes of the test bed.
pub const KUBERNETES: Need =
    Need { name: "kubernetes", packages: &["golang-go"], takes: "6 to 36 minutes", make: go::kubernetes };

/// Sets up what isn't there of `needs`.
///
/// # Errors
/// Something is missing that only root can install, or making a thing fails; its output is in the log that is
/// named.
pub fn provide(needs: &[&Need]) -> Result<()> {
    if needs.is_empty() {
        return Ok(());
    }
    let names: BTreeSet<&str> = needs.iter().flat_map(|need| need.packages).copied().collect();
    let missing = lacking(&names);
    if !missing.is_empty() && !is_root() {
        let list = missing.join(" ");
        bail!(
            "Debian packages are missing: install them with `sudo apt-get install {list}`, or run this as root"
        );
    }
    let logs = paths::target().join("setup");
    fs::create_dir_all(&logs).with_context(|| format!("can't make {}", logs.display()))?;
    if !missing.is_empty() {
        println!("installing {}", missing.join(" "));
        with_words("packages", "a minute", &logs, |env| install(env, &missing))?;
    }
    needs.iter().try_for_each(|need| with_words(need.name, need.takes, &logs, need.make))
}

/// Makes a thing, and says how far it is while that takes long.
fn with_words(name: &str, takes: &str, logs: &Path, make: impl Fn(&Env) -> Result<()>) -> Result<()> {
    let log = logs.join(format!("{name}.log"));
    if log.exists() {
        fs::remove_file(&log).with_context(|| format!("can't clear {}", log.display()))?;
    }
    let began = Instant::now();
    let env = Env { log: log.clone(), deadline: began + LIMIT, aside: false };
    let (done, waits) = channel::<()>();
    thread::scope(|scope| {
        let told = &log;
        let telling = scope.spawn(move || tell(name, takes, told, &waits));
        let made = make(&env);
        drop(done);
        let has_told = telling.join().unwrap_or(false);
        if made.is_ok() && has_told {
            println!("{name} is there after {}", spoken(began.elapsed()));
        }
        made.with_context(|| format!("{name} can't be set up; see {}", log.display()))
    })
}

/// Says how far `name` is until the other end of `waits` is dropped; whether it said anything.
fn tell(name: &str, takes: &str, log: &Path, waits: &std::sync::mpsc::Receiver<()>) -> bool {
    let began = Instant::now();
    if waits.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout) {
        return false;
    }
    println!("setting up {name}, which takes {takes} the first time; its output: {}", log.display());
    while waits.recv_timeout(WORD) == Err(RecvTimeoutError::Timeout) {
        let text = fs::read_to_string(log).unwrap_or_default();
        println!("  {name}, {}: {}", spoken(began.elapsed()), last_line(&text));
    }
    true
}

/// The last line that says something, no longer than a terminal's.
fn last_line(text: &str) -> String {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no output yet");
    line.chars().take(LINE_LENGTH_MAX).collect()
}

fn spoken(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_made_and_what_fails_names_its_log() {
        let dir = tempfile::tempdir().unwrap();
        with_words("thing", "long", dir.path(), |env| env.run(env.command("sh").args(["-c", "echo so"])))
            .unwrap();
        let log = fs::read_to_string(dir.path().join("thing.log")).unwrap();
        assert!(log.ends_with("so\n"), "{log}");
        let error =
            with_words("thing", "long", dir.path(), |env| env.run(&mut env.command("false"))).unwrap_err();
        assert!(format!("{error:#}").contains("thing.log"), "{error:#}");
    }

    #[test]
    fn a_word_is_one_line() {
        assert_eq!(last_line("a\nb  \n\n"), "b");
        assert_eq!(last_line(&"x".repeat(500)).len(), LINE_LENGTH_MAX);
        assert_eq!(last_line(""), "no output yet");
        assert_eq!(spoken(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn packages_are_known_by_a_command_that_shows_them() {
        for need in [COMPILER, KCAT, NETWORKS, PYTHON, KAFKA_TOOLS, HELM, KUBERNETES] {
            for package in need.packages {
                assert!(
                    super::super::PACKAGES.iter().any(|p| p.name == *package),
                    "{package} of {}",
                    need.name
                );
            }
        }
    }
}
