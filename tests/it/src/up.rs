//! `ottla up`: starts, serves, stops, finds its records again, and survives the death of its brokers.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::{Up, free_ports, run, signal, wait_gone};

/// Sends one record to the topic of the built-in manifests.
fn produce(up: &Up, text: &str) {
    let output = up.run_with_input(&["produce", "hello", "--partition", "0"], &format!("{text}\n"));
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Everything in the topic's first partition.
fn consume(up: &Up) -> Vec<String> {
    let output = up.run(&["consume", "hello", "--partition", "0", "--from-beginning", "--exit-at-end"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.out.lines().map(str::to_owned).collect()
}

#[test]
fn records_outlive_the_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let (data, port) = (dir.path().join("data"), free_ports());
    let up = Up::start(&data, port, &[]);
    produce(&up, "first");
    assert_eq!(consume(&up), ["first"]);
    let brokers: Vec<u32> = (0..3).map(|id| up.broker_pid(id)).collect();
    let said = up.interrupt();
    assert!(said.contains("Stopped. The records stay in"), "{said}");
    assert!(!said.contains("died"), "{said}");
    brokers.into_iter().for_each(wait_gone);
    let up = Up::start(&data, port, &[]);
    assert_eq!(consume(&up), ["first"]);
    produce(&up, "second");
    assert_eq!(consume(&up), ["first", "second"]);
}

#[test]
fn a_killed_broker_comes_back_with_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(&dir.path().join("data"), free_ports(), &[]);
    produce(&up, "before");
    let leader =
        up.get("partitions").iter().find(|p| p["partition"] == 0).unwrap()["leader"].as_i64().unwrap();
    let killed = up.broker_pid(leader);
    signal(killed, Signal::KILL);
    let said = up.wait_for("died (signal 9)");
    assert!(said.contains(&format!("broker {leader} ")), "{said}");
    up.wait_for(&format!("broker {leader}  "));
    let brokers = up.get_until("brokers", |items| items.iter().all(|b| b["state"] == "Ready"));
    let broker = brokers.iter().find(|b| b["id"] == leader).unwrap();
    assert_ne!(broker["pid"], killed);
    assert_eq!(broker["restarts"], 1);
    assert_eq!(consume(&up), ["before"]);
    produce(&up, "after");
    assert_eq!(consume(&up), ["before", "after"]);
}

#[test]
fn brokers_do_not_outlive_a_killed_up() {
    let dir = tempfile::tempdir().unwrap();
    let (data, port) = (dir.path().join("data"), free_ports());
    let up = Up::start(&data, port, &[]);
    let brokers: Vec<u32> = (0..3).map(|id| up.broker_pid(id)).collect();
    up.kill();
    brokers.into_iter().for_each(wait_gone);
    Up::start(&data, port, &[]).interrupt();
}

#[test]
fn a_second_up_is_refused_with_the_process_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let up = Up::start(&data, free_ports(), &[]);
    let port = free_ports().to_string();
    let second = run(&["up", "--data", data.to_str().unwrap(), "--port", &port]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains(&format!("process {}", up.pid())), "{second:?}");
    assert!(second.err.contains("--data"), "{second:?}");
}

#[test]
fn a_taken_port_is_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let (data, port) = (dir.path().join("data"), free_ports());
    let taken = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let output = run(&["up", "--data", data.to_str().unwrap(), "--port", &port.to_string()]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains(&format!("port {} ", port + 1)), "{output:?}");
    assert!(output.err.contains("--port"), "{output:?}");
    assert!(!data.join("brokers").exists(), "nothing was written");
    drop(taken);
}

#[test]
fn a_deep_folder_works_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a-folder-with-a-rather-long-name".repeat(4)).join("data");
    let up = Up::start(&data, free_ports(), &[]);
    assert_eq!(up.get("clusters").len(), 1);
}
