//! `ottla quorum`, `elect-leader`, `reassign` and `drain` on a running cluster: what they print, and how they refuse.

use crate::{Output, Up, free_ports};

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
