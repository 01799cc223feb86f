//! Child processes with a deadline, their input fed and their output captured.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// What a child came to.
pub struct Output {
    /// As it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    command: String,
}

impl Output {
    /// Its standard output, if it succeeded.
    ///
    /// # Errors
    /// It failed; the error has its command and what it printed.
    pub fn ok(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        bail!("{self}");
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, err) = (self.stdout.trim_end(), self.stderr.trim_end());
        write!(f, "`{}` ended with {}\n{out}\n{err}", self.command, self.status)
    }
}

/// A child that runs, in a process group of its own.
pub struct Running {
    child: Child,
    command: String,
    events: Receiver<(Stream, Vec<u8>)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stream {
    Out,
    Err,
}

/// Starts `command`; `feed` writes its input.
///
/// # Errors
/// It can't be started.
pub fn start(
    command: &mut Command,
    feed: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + 'static,
) -> Result<Running> {
    let described = describe(command);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("can't start `{described}`"))?;
    let (sender, events) = channel();
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    thread::spawn(move || {
        // A child that ended early says why itself.
        let _ = feed(&mut stdin);
    });
    let out = child.stdout.take().context("stdout is piped")?;
    let err = child.stderr.take().context("stderr is piped")?;
    for (stream, mut pipe) in
        [(Stream::Out, Box::new(out) as Box<dyn Read + Send>), (Stream::Err, Box::new(err))]
    {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut all = Vec::new();
            // What came before an error of reading is still of use.
            let _ = pipe.read_to_end(&mut all);
            let _ = sender.send((stream, all));
        });
    }
    Ok(Running { child, command: described, events })
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs at `deadline`, and is ended with all that it started.
    pub fn wait(mut self, deadline: Instant) -> Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok((Stream::Out, bytes)) => stdout = bytes,
                Ok((Stream::Err, bytes)) => stderr = bytes,
                Err(RecvTimeoutError::Timeout) => return Err(self.end()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.child.wait()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output { status, stdout: text(stdout), stderr: text(stderr), command: self.command })
    }

    fn end(mut self) -> anyhow::Error {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended just now, which is what we want.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
        let mut said = String::new();
        while let Ok((_, bytes)) = self.events.recv_timeout(Duration::from_secs(1)) {
            said.push_str(&String::from_utf8_lossy(&bytes));
        }
        anyhow::anyhow!("`{}` didn't end in time and was killed; it had said:\n{said}", self.command)
    }
}

/// Runs `command` to its end within `limit`.
///
/// # Errors
/// It can't be started, or it takes longer.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    run_with(command, String::new(), limit)
}

/// Runs `command` to its end within `limit`, with `input` as its standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with(command: &mut Command, input: String, limit: Duration) -> Result<Output> {
    start(command, move |stdin| stdin.write_all(input.as_bytes()))?.wait(Instant::now() + limit)
}

/// Asks until `ready` says yes, for as long as `limit`; the last answer is in the error.
///
/// For what nothing can be waited on, as the end of a process in a node.
///
/// # Errors
/// It never said yes.
pub fn poll<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match ready() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("waited {limit:?} for {what}")));
            }
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_goes_in_and_both_outputs_come_back() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo bad >&2; exit 3"]);
        let output = run_with(&mut command, "in".to_owned(), Duration::from_secs(20)).unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("in", "bad\n"));
        let error = output.ok().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("bad"), "{error}");
    }

    #[test]
    fn a_child_past_its_deadline_is_killed_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo said; sleep 600"]);
        let Err(error) = run(&mut command, Duration::from_millis(300)) else { panic!("it must not end") };
        let error = error.to_string();
        assert!(error.contains("in time") && error.contains("said"), "{error}");
    }
}
