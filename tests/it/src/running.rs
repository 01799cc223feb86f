//! A running `ottla up`, and commands that run to their end.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::ottla;

/// How long anything may take before a test fails: generous, as machines may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a command ended.
#[derive(Debug)]
pub struct Output {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it complained.
    pub err: String,
}

/// Runs `ottla` with these arguments.
///
/// # Panics
/// When it doesn't end in time.
pub fn run(args: &[&str]) -> Output {
    run_with_input(args, "")
}

/// Runs `ottla` with these arguments and this input.
///
/// # Panics
/// When it doesn't end in time.
pub fn run_with_input(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(ottla())
        .args(args)
        .env_remove("OTTLA_BOOTSTRAP")
        .env_remove("OTTLA_DATA")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ottla starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    // It may end without reading all.
    let feed = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let out = collect(child.stdout.take().expect("a pipe"));
    let err = collect(child.stderr.take().expect("a pipe"));
    let code = wait(&mut child, args);
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("a reader");
    feed.join().expect("a writer");
    Output { code, out: text(out), err: text(err) }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, what: &[&str]) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status.code();
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("ottla {} does not end", what.join(" "));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A cluster under `ottla up`; it ends with this value.
pub struct Up {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    data: PathBuf,
    port: u16,
}

impl Up {
    /// Starts `ottla up` on a folder and ports, and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it doesn't become ready.
    pub fn start(data: &Path, port: u16, more: &[&str]) -> Self {
        let mut up = Self::launch(data, port, more);
        up.wait_for("Bootstrap servers: ");
        up
    }

    /// Starts `ottla up` and doesn't wait.
    ///
    /// # Panics
    /// When the process can't be started.
    pub fn launch(data: &Path, port: u16, more: &[&str]) -> Self {
        let mut child = Command::new(ottla())
            .args(["up", "--port", &port.to_string(), "--data"])
            .arg(data)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ottla starts");
        let (sender, lines) = channel();
        let readers: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("a pipe")), Box::new(child.stderr.take().expect("a pipe"))];
        for reader in readers {
            let sender = sender.clone();
            thread::spawn(move || {
                BufReader::new(reader).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
            });
        }
        Self { child, lines, seen: Vec::new(), data: data.to_owned(), port }
    }

    /// Waits for a line that holds `text`, and returns it; lines before it are passed over.
    ///
    /// # Panics
    /// When it doesn't come in time, or `up` ends before.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "no line with {text:?} in time; there were:\n{}\n{}",
                        self.seen.join("\n"),
                        self.logs()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("`up` ended without {text:?}:\n{}\n{}", self.seen.join("\n"), self.logs())
                }
            }
        }
    }

    /// What the brokers printed last, for a failed test to show.
    fn logs(&self) -> String {
        let tail = |id: i32| {
            let path = self.data.join(format!("brokers/{id}/broker.log"));
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{}:\n{}", path.display(), lines[lines.len().saturating_sub(30)..].join("\n"))
        };
        (0..3).map(tail).collect::<Vec<_>>().join("\n")
    }

    /// The address of the first broker.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address of a broker.
    pub fn broker_address(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.port + id)
    }

    /// The process id of `up` itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs `ottla` against this cluster's folder.
    ///
    /// # Panics
    /// When it doesn't end in time.
    pub fn run(&self, args: &[&str]) -> Output {
        self.run_with_input(args, "")
    }

    /// Runs `ottla` against this cluster's folder, with this input.
    ///
    /// # Panics
    /// When it doesn't end in time.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Output {
        let data = self.data.to_str().expect("a test's folder is text");
        run_with_input(&[args, &["--data", data]].concat(), input)
    }

    /// What `ottla get KIND -o json` says, as the list of items.
    ///
    /// # Panics
    /// When it fails.
    pub fn get(&self, kind: &str) -> Vec<Value> {
        let output = self.run(&["get", kind, "-o", "json"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        let list: Value = serde_json::from_str(&output.out).expect("JSON");
        list["items"].as_array().expect("a list").clone()
    }

    /// Asks until the answer is as wanted.
    ///
    /// # Panics
    /// When it isn't in time.
    pub fn get_until(&self, kind: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let items = self.get(kind);
            if wanted(&items) {
                return items;
            }
            assert!(
                Instant::now() < deadline,
                "{kind} did not become as wanted: {items:#?}\n{}",
                self.logs()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The process id of a broker that is running.
    ///
    /// # Panics
    /// When there is no such broker.
    pub fn broker_pid(&self, id: i64) -> u32 {
        let running = |items: &[Value]| items.iter().any(|b| b["id"] == id && b["pid"].is_u64());
        let brokers = self.get_until("brokers", running);
        let broker = brokers.iter().find(|b| b["id"] == id).expect("it was found");
        u32::try_from(broker["pid"].as_u64().expect("it was found")).expect("a process id")
    }

    /// Sends Ctrl-C's signal and waits for a clean end; returns everything that was printed.
    ///
    /// # Panics
    /// When it doesn't end, or not with code 0.
    pub fn interrupt(mut self) -> String {
        signal(self.pid(), Signal::INT);
        let code = wait(&mut self.child, &["up"]);
        self.seen.extend(self.lines.try_iter());
        assert_eq!(code, Some(0), "{}", self.seen.join("\n"));
        self.seen.join("\n")
    }

    /// Kills `up` itself with SIGKILL, which no process can prepare for.
    pub fn kill(mut self) {
        signal(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            signal(self.pid(), Signal::TERM);
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline && self.child.try_wait().is_ok_and(|status| status.is_none()) {
                thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to a process that this test started, itself or through `up`. One that just ended is no
/// matter.
///
/// # Panics
/// When the system refuses.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    let sent = kill_process(pid, signal);
    assert!(matches!(sent, Ok(()) | Err(rustix::io::Errno::SRCH)), "{sent:?}");
}

/// Waits until a process is gone.
///
/// # Panics
/// When it isn't in time.
pub fn wait_gone(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    let deadline = Instant::now() + PATIENCE;
    while rustix::process::test_kill_process(pid).is_ok() {
        assert!(Instant::now() < deadline, "process {pid:?} is still there");
        thread::sleep(Duration::from_millis(10));
    }
}
