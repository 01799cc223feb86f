//! Child processes: each in a group of its own, with its output in a file and a deadline.
//! Nothing here kills by name; what is ended is a group that was started here.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Process groups that run now, so that a signal to us ends them too.
static LIVE: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Set by a signal, under the lock of [`LIVE`]: nothing may be started that nobody would end.
static ENDING: AtomicBool = AtomicBool::new(false);

const POLL: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_secs(10);

fn live() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn signal_group(group: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(group) {
        // The group may be gone already, which is what we want.
        let _ = kill_process_group(pid, signal);
    }
}

/// Ends every group that this process started and that still runs. None can be started from now on.
pub fn end_all() {
    let groups: Vec<i32> = {
        let live = live();
        ENDING.store(true, Ordering::Relaxed);
        live.iter().copied().collect()
    };
    for group in &groups {
        signal_group(*group, Signal::TERM);
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && !live().is_empty() {
        thread::sleep(POLL);
    }
    for group in groups {
        signal_group(group, Signal::KILL);
    }
}

/// Runs `command` to its end, with its output appended to the file `log`.
///
/// # Errors
/// The command can't be started, or it still ran at `deadline`; then its whole group is ended first.
pub fn run_logged(command: &mut Command, log: &Path, deadline: Instant) -> Result<ExitStatus> {
    let mut file = append(log)?;
    writeln!(file, "$ {}", describe(command))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    run(command, deadline)
}

/// Runs `command` to its end, with its output where ours goes.
///
/// # Errors
/// As [`run_logged`].
pub fn run(command: &mut Command, deadline: Instant) -> Result<ExitStatus> {
    let (mut child, group) = start(command)?;
    let ended = wait(&mut child, deadline);
    if ended.is_none() {
        signal_group(group, Signal::TERM);
        if wait(&mut child, Instant::now() + GRACE).is_none() {
            signal_group(group, Signal::KILL);
            child.wait()?;
        }
    }
    live().remove(&group);
    match ended {
        Some(status) => Ok(status),
        None => bail!("still ran at its deadline and was ended: {}", describe(command)),
    }
}

/// Starts `command` in a group of its own, unless everything is being ended.
fn start(command: &mut Command) -> Result<(Child, i32)> {
    let mut live = live();
    if ENDING.load(Ordering::Relaxed) {
        bail!("not started, as this run is being ended: {}", describe(command));
    }
    let child = command.process_group(0).spawn().with_context(|| {
        format!("can't start {}: is it installed?", command.get_program().to_string_lossy())
    })?;
    let group = i32::try_from(child.id()).context("a process id fits in 31 bits")?;
    live.insert(group);
    Ok((child, group))
}

fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}

fn append(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("can't write the log {}", log.display()))
}

/// The command as a person would type it.
pub fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let status = run_logged(&mut command, &log, Instant::now() + Duration::from_secs(20)).unwrap();
        assert_eq!(status.code(), Some(3));
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    }

    #[test]
    fn a_command_past_its_deadline_is_ended_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let (log, pid) = (dir.path().join("log"), dir.path().join("pid"));
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("sleep 600 & echo $! > {}; wait", pid.display()));
        let error = run_logged(&mut command, &log, Instant::now() + Duration::from_millis(500)).unwrap_err();
        assert!(error.to_string().contains("deadline"), "{error}");
        let child = std::fs::read_to_string(&pid).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while running(child.trim()) {
            assert!(Instant::now() < deadline, "the grandchild {child} still runs");
            thread::sleep(POLL);
        }
    }

    /// Neither gone nor a zombie that waits for whoever adopted it.
    fn running(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
    }
}
