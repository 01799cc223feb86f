//! One broker's process: started with a pipe as its lifeline, its output in a file, ended politely.
//!
//! The process holds the reading end of a pipe as its standard input and stops when that closes, so
//! that no broker outlives `up`, however `up` ends. It is in a process group of its own: Ctrl-C in a
//! terminal reaches `up` alone, which then stops the brokers in order.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A log of this size is set aside when its broker starts, in bytes.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How far back the last words are looked for, in bytes.
const LAST_WORDS_BYTES: u64 = 4096;

/// How to start a broker.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The broker's `node.id`.
    pub broker: i32,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The file that takes what it prints.
    pub log: PathBuf,
    /// Where clients reach it, as `host:port`.
    pub address: String,
    /// Where it answers about its health, on loopback.
    pub http_port: u16,
}

/// A broker's process that was started and not yet seen to end.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    log_from: u64,
}

impl Launch {
    /// Starts the process.
    pub fn start(&self) -> io::Result<Running> {
        let log = open_log(&self.log)?;
        let log_from = log.metadata()?.len();
        let mut command = Command::new(&self.program);
        // In the environment, OTTLA_… are settings of a broker, and go before its file.
        let settings = std::env::vars_os().map(|(name, _)| name);
        settings.filter(|name| name.as_encoded_bytes().starts_with(b"OTTLA_")).for_each(|name| {
            command.env_remove(name);
        });
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Running { child, log: self.log.clone(), log_from })
    }
}

impl Running {
    /// The process id; zero once the end was seen.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Waits for the process to end. May be dropped and called again.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` closes the lifeline before it waits, so it is set aside meanwhile.
        let lifeline = self.child.stdin.take();
        let guard = Lifeline { child: &mut self.child, lifeline };
        guard.child.wait().await
    }

    /// Asks the process to end, and kills it after `patience`. Tells whether it had to be killed.
    pub async fn stop(mut self, patience: Duration) -> bool {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may have ended by itself just now.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(patience, self.child.wait()).await.is_ok() {
            return false;
        }
        // The process is ours and unreaped, so this can't reach another one.
        let _ = self.child.kill().await;
        true
    }

    /// Closes the lifeline and waits for the process to end by itself.
    #[cfg(test)]
    pub async fn close_lifeline(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// The last line that the process wrote, for a person to see why it ended.
    pub fn last_words(&self) -> Option<String> {
        let mut file = File::open(&self.log).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES).max(self.log_from))).ok()?;
        let mut tail = Vec::new();
        file.take(LAST_WORDS_BYTES).read_to_end(&mut tail).ok()?;
        let tail = String::from_utf8_lossy(&tail);
        tail.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
    }
}

/// Puts the lifeline back when the wait for the process is given up.
struct Lifeline<'a> {
    child: &'a mut Child,
    lifeline: Option<tokio::process::ChildStdin>,
}

impl Drop for Lifeline<'_> {
    fn drop(&mut self) {
        self.child.stdin = self.lifeline.take();
    }
}

/// How a process ended, in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
