//! `ottla quorum`, `elect-leader`, `reassign` and `drain` on a running cluster: what they print, and how they
//! refuse.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{Output, Up, free_ports, run_with_input, signal};

/// A command that has to succeed; its output.
#[track_caller]
fn done(up: &Up, args: &[&str]) -> String {
    let output = up.run(args);
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    output.out
}

/// A command that has to fail with these words, and a remedy.
#[track_caller]
fn refused(up: &Up, args: &[&str], words: &str) {
    let Output { code, err, .. } = up.run(args);
    assert_eq!(code, Some(1), "{args:?}: {err}");
    assert!(err.contains(words), "{args:?}: {err}");
    assert!(err.contains("fix:"), "{args:?}: {err}");
}

/// The nodes in this role, by `ottla quorum describe`.
fn members(up: &Up, role: &str) -> Vec<String> {
    let table = done(up, &["quorum", "describe"]);
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1] == role).map(|row| row[0].to_owned()).collect()
}

#[test]
fn voters_come_and_go_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(&dir.path().join("data"), free_ports(), &[]);
    assert_eq!((members(&up, "leader").len(), members(&up, "voter").len()), (1, 2));
    let id = members(&up, "voter").remove(0);
    assert_eq!(done(&up, &["quorum", "remove-voter", &id]), format!("node {id} votes no more\n"));
    assert_eq!(members(&up, "observer"), [id.as_str()]);
    refused(&up, &["quorum", "remove-voter", &id], "is not a voter");
    assert_eq!(done(&up, &["quorum", "add-voter", &id]), format!("node {id} votes\n"));
    assert_eq!(members(&up, "voter").len(), 2);
    refused(&up, &["quorum", "add-voter", &id], "is a voter already");
    refused(&up, &["quorum", "add-voter", "9"], "node 9 doesn't follow the metadata");
}

#[test]
fn orders_that_make_no_sense_are_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(&dir.path().join("data"), free_ports(), &[]);
    assert!(done(&up, &["elect-leader", "hello"]).contains("hello-0: its preferred replica leads already"));
    assert_eq!(done(&up, &["elect-leader", "--all"]), "Every partition is led by its preferred replica.\n");
    refused(&up, &["elect-leader", "none"], "UNKNOWN_TOPIC_OR_PARTITION");
    let unclean = ["elect-leader", "hello", "-p", "0", "--unclean", "--replica", "0"];
    refused(&up, &unclean, "nothing has to be given up");

    assert_eq!(done(&up, &["reassign", "verify"]), "No partition is moving.\n");
    refused(&up, &["reassign", "cancel", "--all"], "nothing of that is moving");
    let nowhere = ["reassign", "execute", "hello", "-p", "0", "--replicas", "9"];
    refused(&up, &nowhere, "broker 9 is not registered");
    refused(&up, &["drain", "9"], "broker 9 is not registered");
    refused(&up, &["undrain", "9"], "broker 9 is not registered");
}

/// A frozen process takes connections and answers nothing, be it the active controller or another node.
#[test]
fn orders_go_past_a_node_that_is_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(&dir.path().join("data"), free_ports(), &[]);
    let leader = members(&up, "leader").remove(0);
    let frozen = up.broker_pid(leader.parse().unwrap());
    signal(frozen, Signal::STOP);
    let _thawed_later = Frozen(frozen);
    let living: Vec<String> =
        (0..3u16).filter(|id| id.to_string() != leader).map(|id| up.broker_address(id)).collect();
    let living = living.join(",");
    // Until the others have an active controller.
    until("an order", &["undrain", "1", "-b", &living], |said| said.contains("is given work again"));
}

/// A process that goes on when the test ends, however it does.
struct Frozen(u32);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

/// The most that anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a command again and again until its output is as wanted.
#[track_caller]
fn until(what: &str, args: &[&str], wanted: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = run_with_input(args, "");
        if output.code == Some(0) && wanted(&output.out) {
            return output.out;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}: {output:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_cluster_outlives_the_disk_of_its_only_voter() {
    let dir = tempfile::tempdir().unwrap();
    let (data, port) = (dir.path().join("data"), free_ports());
    let up = Up::start(&data, port, &[]);
    // As if it had grown from one broker before quorums grew with it.
    let voter = members(&up, "leader").remove(0);
    for other in members(&up, "voter") {
        done(&up, &["quorum", "remove-voter", &other]);
    }
    assert_eq!(members(&up, "observer").len(), 2);
    let sent = up.run_with_input(&["produce", "hello", "--partition", "0"], "kept\n");
    assert_eq!(sent.code, Some(0), "{sent:?}");
    up.interrupt();
    std::fs::remove_dir_all(data.join(format!("brokers/{voter}/data"))).unwrap();

    let mut up = Up::launch(&data, port, &[]);
    let controllers: Vec<String> = (0..3).map(|id| format!("127.0.0.1:{}", port + 10_000 + id)).collect();
    let controllers = controllers.join(",");
    let recover = ["quorum", "recover", "--controllers", &controllers];
    let shown = until("advice", &recover, |out| out.contains("--from-broker"));
    let rows: Vec<Vec<&str>> =
        shown.lines().skip(1).take(3).map(|row| row.split_whitespace().collect()).collect();
    let knows = |row: &&Vec<&str>| row[0] != voter && row[1] != "<none>";
    assert_eq!(rows.iter().filter(knows).count(), 2, "{shown}");
    let empty = rows.iter().find(|row| row[0] == voter).unwrap();
    assert_eq!((empty[1], empty[2]), ("<none>", "0"), "it formed another quorum: {shown}");
    let advised = shown.split("--from-broker ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let chosen = rows.iter().filter(knows).map(|row| row[0]).find(|id| advised == Some(*id)).unwrap();
    let rebuilt = run_with_input(&[&recover[..], &["--from-broker", chosen]].concat(), "");
    assert!(rebuilt.out.contains(&format!("broker {chosen} is the active controller")), "{rebuilt:?}");
    up.wait_for("Bootstrap servers: ");
    let data = data.to_str().unwrap();
    let read = ["consume", "hello", "--partition", "0", "--from-beginning", "-n", "1", "--data", data];
    until("the record", &read, |out| out.contains("kept"));
    // The two that were dismissed are asked for again, as the quorum is another one.
    until("three voters", &["quorum", "describe", "--data", data], |out| out.matches("voter").count() == 2);
}
