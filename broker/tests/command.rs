//! The broker as a process: its arguments, its exit codes and its signals.

#![allow(clippy::unwrap_used, reason = "a panic is a test's report")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla-broker"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Writes a file and has the broker read it.
fn run_with(properties: impl AsRef<[u8]>) -> (TempDir, Output) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.properties");
    std::fs::write(&file, properties).unwrap();
    let output = command().arg(&file).current_dir(folder.path()).output().unwrap();
    (folder, output)
}

/// Starts a broker on free ports and reads its log until a line has `text`.
fn start(folder: &TempDir, overrides: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let data = format!("log.dirs={}", folder.path().join("data").display());
    let listeners = "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0";
    let all = [&data, listeners].into_iter().chain(overrides.iter().copied());
    let flags = all.flat_map(|value| ["--override".to_owned(), value.to_owned()]);
    let mut child = command().args(flags).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap());
    (child, lines)
}

/// All lines up to the one that has `text`, that one included.
fn read_until(lines: &mut BufReader<ChildStderr>, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        assert_ne!(lines.read_line(&mut seen).unwrap(), 0, "the log ended without {text:?}:\n{seen}");
    }
    seen
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_panic_in_a_part_of_the_broker_ends_the_process_with_its_reason() {
    for part in ["keep house", "follow the leaders", "tell who leads"] {
        let folder = tempfile::tempdir().unwrap();
        let data = format!("log.dirs={}", folder.path().join("data").display());
        let listeners = "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0";
        let flags = [&data, listeners].into_iter().flat_map(|value| ["--override", value]);
        // Otherwise it runs for ever, which is no end of this test.
        let output = command().args(flags).env("PLANTED_PANIC", part).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let log = String::from_utf8(output.stderr).unwrap();
        let last = log.lines().rfind(|line| line.starts_with("ottla-broker: a bug ended"));
        assert!(last.is_some_and(|line| line.contains("planted")), "{part}: {log}");
    }
}

#[test]
fn a_wrong_value_ends_with_its_line_and_what_is_allowed() {
    let (_folder, output) = run_with("node.id=1\nnum.partitions=many\n");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let expected =
        "server.properties:2: num.partitions=many is not allowed: it must be a whole number of at least 1";
    assert!(message.contains(expected), "{message}");
}

/// As Java's properties: any byte is a character.
#[test]
fn a_file_need_not_be_utf_8() {
    let (_folder, output) = run_with(b"# caf\xe9\nbroker.rack=\xe9\nnum.partitions=many\n");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("server.properties:3: num.partitions=many is not allowed"), "{message}");
    let (_folder, output) = run_with("listeners=A://0.0.0.0:0\nadvertised.listeners=A://0.0.0.0:9092\n");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("addresses that clients can connect to, which A://0.0.0.0:9092 isn't"),
        "{message}"
    );
}

#[test]
fn a_missing_file_and_a_bad_flag_are_told() {
    let output = command().arg("/no/such/server.properties").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/no/such/server.properties"));
    let output = command().arg("--no-such-flag").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn it_runs_until_it_is_told_to_stop_and_a_hangup_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = start(&folder, &["num.io.threads=8", "no.such.setting=1"]);
    let log = read_until(&mut lines, "serving clients");
    let warning = "settings without effect here: num.io.threads; unknown settings: no.such.setting";
    assert!(log.contains(warning), "{log}");
    send(&child, Signal::HUP);
    send(&child, Signal::TERM);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    assert!(rest.contains("stopping, as SIGTERM says") && rest.contains("store closed"), "{rest}");
}

#[test]
fn a_folder_of_another_broker_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = start(&folder, &["node.id=1"]);
    read_until(&mut lines, "serving clients");
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (mut child, mut lines) = start(&folder, &["node.id=2"]);
    let mut log = String::new();
    lines.read_to_string(&mut log).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(log.contains("belongs to node.id 1") && log.contains("log.dirs"), "{log}");
}
