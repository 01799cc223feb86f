//! `ottla apply`, `get` and `delete` on a running cluster.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Up, free_ports};

const CLUSTER: &str = "\
apiVersion: ottla.dev/v1alpha1
kind: KafkaCluster
metadata: {name: demo}
spec: {replicas: 1}
";

fn topic(name: &str, partitions: i32, more: &str) -> String {
    format!(
        "---\napiVersion: ottla.dev/v1alpha1\nkind: Topic\nmetadata: {{name: {name}}}\n\
         spec: {{clusterRef: {{name: demo}}, partitions: {partitions}{more}}}\n"
    )
}

fn write(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("manifests.yaml");
    fs::write(&path, text).unwrap();
    path
}

/// A cluster of one broker with the topic `orders` of two partitions.
fn start(dir: &Path) -> Up {
    let file = write(dir, &format!("{CLUSTER}{}", topic("orders", 2, "")));
    Up::start(&dir.join("data"), free_ports(), &["-f", file.to_str().unwrap()])
}

fn apply(up: &Up, text: &str) -> String {
    let output = up.run_with_input(&["apply", "-f", "-"], text);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.out
}

fn partitions(items: &[Value], topic: &str) -> usize {
    items.iter().filter(|p| p["topic"] == topic && p["leader"].is_i64()).count()
}

#[test]
fn more_partitions_and_another_topic_take_effect() {
    let dir = tempfile::tempdir().unwrap();
    let up = start(dir.path());
    assert_eq!(partitions(&up.get("partitions"), "orders"), 2);
    let said =
        apply(&up, &format!("{}{}", topic("orders", 5, ""), topic("payments", 3, ", topicName: pay_v1")));
    assert_eq!(said, "topic.ottla.dev/orders configured\ntopic.ottla.dev/payments created\n");
    up.get_until("partitions", |items| partitions(items, "orders") == 5 && partitions(items, "pay_v1") == 3);
    let ready = |topic: &Value| topic["status"]["conditions"][0]["status"] == "True";
    let topics = up.get_until("topics", |items| items.len() == 2 && items.iter().all(ready));
    assert_eq!(topics[1]["status"]["topicName"], "pay_v1");
    let sent = up.run_with_input(&["produce", "pay_v1", "--partition", "2"], "paid\n");
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let read = up.run(&["consume", "pay_v1", "--partition", "2", "--from-beginning", "-n", "1"]);
    assert_eq!(read.out, "paid\n");
}

#[test]
fn what_was_applied_is_there_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (data, port) = (dir.path().join("data"), free_ports());
    let file = write(dir.path(), &format!("{CLUSTER}{}", topic("orders", 2, "")));
    let up = Up::start(&data, port, &["-f", file.to_str().unwrap()]);
    apply(&up, &topic("payments", 1, ""));
    up.get_until("partitions", |items| partitions(items, "payments") == 1);
    up.interrupt();
    let up = Up::start(&data, port, &[]);
    assert_eq!(up.get("topics").len(), 2);
    assert_eq!(partitions(&up.get("partitions"), "payments"), 1);
}

#[test]
fn an_invalid_manifest_is_refused_with_the_words_of_its_rule() {
    let dir = tempfile::tempdir().unwrap();
    let up = start(dir.path());
    let cases = [
        (topic("orders", 1, ""), "spec.partitions cannot decrease"),
        (topic("fresh", 0, ""), "spec.partitions must be from 1 to 10000"),
        (topic("fresh", 1, ", replcias: 1"), "replcias"),
        (topic("fresh", 1, "").replace("name: demo", "name: other"), "allowed is \"demo\""),
    ];
    for (text, words) in cases {
        let output = up.run_with_input(&["apply", "-f", "-"], &format!("{}{text}", topic("valid", 1, "")));
        assert_eq!(output.code, Some(4), "{output:?}");
        assert!(output.err.contains(words), "{output:?}");
        assert_eq!(output.out, "");
    }
    assert_eq!(up.get("topics").len(), 1, "all or nothing");
}

#[test]
fn a_dry_run_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let up = start(dir.path());
    let output = up.run_with_input(&["apply", "--dry-run", "-f", "-"], &topic("payments", 1, ""));
    assert_eq!(output.out, "topic.ottla.dev/payments created (dry run)\n");
    assert_eq!(up.get("topics").len(), 1);
}

#[test]
fn a_deleted_topic_goes_or_stays_as_its_policy_says() {
    let dir = tempfile::tempdir().unwrap();
    let up = start(dir.path());
    apply(&up, &topic("gone", 1, ", deletionPolicy: Delete"));
    up.get_until("partitions", |items| partitions(items, "gone") == 1);
    for (name, words) in [("gone", "and its records are deleted"), ("orders", "and its records stay")] {
        let output = up.run(&["delete", "topic", name]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.out.contains(words), "{output:?}");
    }
    assert!(up.get("topics").is_empty());
    let left = up.get_until("partitions", |items| partitions(items, "gone") == 0);
    assert_eq!(partitions(&left, "orders"), 2);
}

#[test]
fn more_brokers_join_and_fewer_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let up = start(dir.path());
    apply(&up, &CLUSTER.replace("replicas: 1", "replicas: 3"));
    let ready = |items: &[Value]| items.len() == 3 && items.iter().all(|b| b["state"] == "Ready");
    up.get_until("brokers", ready);
    apply(&up, &topic("spread", 6, ""));
    let items = up.get_until("partitions", |items| partitions(items, "spread") == 6);
    let leaders: std::collections::BTreeSet<i64> =
        items.iter().filter(|p| p["topic"] == "spread").filter_map(|p| p["leader"].as_i64()).collect();
    assert_eq!(leaders.len(), 3, "{leaders:?}");
    let output = up.run_with_input(&["apply", "-f", "-"], CLUSTER);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.err.contains("spec.replicas cannot decrease"), "{output:?}");
}

#[test]
fn changed_settings_restart_the_broker_and_keep_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = start(dir.path());
    let sent = up.run_with_input(&["produce", "orders", "--partition", "0"], "kept\n");
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let before = up.broker_pid(0);
    apply(&up, &CLUSTER.replace("replicas: 1", "replicas: 1, config: {num.partitions: 4}"));
    up.wait_for("broker 0  restarting with new settings");
    let is_new = |b: &Value| b["state"] == "Ready" && b["pid"] != before && b["restarts"] == 0;
    up.get_until("brokers", |items| items.iter().all(is_new));
    let read = up.run(&["consume", "orders", "--partition", "0", "--from-beginning", "-n", "1"]);
    assert_eq!(read.out, "kept\n", "{read:?}");
}

/// The brokers after the first go on with the settings that they had, and a correction is used at once.
#[test]
fn settings_that_a_broker_refuses_stop_one_broker_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let three = CLUSTER.replace("replicas: 1", "replicas: 3");
    let file = write(dir.path(), &format!("{three}{}", topic("orders", 3, ", replicas: 3")));
    let mut up = Up::start(&dir.path().join("data"), free_ports(), &["-f", file.to_str().unwrap()]);
    let all_ready = |items: &[Value]| items.len() == 3 && items.iter().all(|b| b["state"] == "Ready");
    up.get_until("brokers", all_ready);
    let before = [1, 2].map(|id| up.broker_pid(id));
    let with = |value: &str| {
        three.replace("replicas: 3", &format!("replicas: 3, config: {{log.retention.ms: {value}}}"))
    };
    apply(&up, &with("soon"));
    up.wait_for("broker 1  its restart with new settings waits: broker 0 is not ready");
    let says_why = |cluster: &Value| {
        let conditions = cluster["status"]["conditions"].as_array().unwrap();
        conditions.iter().any(|c| c["message"].as_str().is_some_and(|text| text.contains("log.retention.ms")))
    };
    up.get_until("kafkaclusters", |items| items.iter().any(says_why));
    assert_eq!([1, 2].map(|id| up.broker_pid(id)), before);
    let sent = up.run_with_input(&["produce", "orders"], "acknowledged\n");
    assert_eq!(sent.code, Some(0), "{sent:?}");
    apply(&up, &with("1000000"));
    up.wait_for("broker 2  restarting with new settings");
    up.wait_for("up to date");
    up.get_until("brokers", all_ready);
    assert!([1, 2].map(|id| up.broker_pid(id)).iter().all(|pid| !before.contains(pid)));
    let read = up.run(&["consume", "orders", "--from-beginning", "-n", "1"]);
    assert_eq!(read.out, "acknowledged\n", "{read:?}");
}

#[test]
fn what_the_brokers_refuse_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = start(dir.path());
    apply(&up, &topic("odd", 1, ", config: {retention.ms: soon}"));
    let said = up.wait_for("topic odd  failed: ");
    assert!(said.contains("retention.ms"), "{said}");
    let refused = |topic: &Value| {
        let conditions = topic["status"]["conditions"].as_array().unwrap();
        topic["metadata"]["name"] == "odd" && conditions.iter().any(|c| c["reason"] == "Refused")
    };
    up.get_until("topics", |items| items.iter().any(refused));
    apply(&up, &topic("odd", 1, ", config: {retention.ms: 1000}"));
    up.get_until("partitions", |items| partitions(items, "odd") == 1);
}

#[test]
fn keys_choose_partitions_and_a_line_without_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let up = start(dir.path());
    let sent = up.run_with_input(&["produce", "orders", "-K", ":", "-z", "zstd"], "a:1\na:2\nnone\nb:3\n");
    assert_eq!(sent.code, Some(1), "{sent:?}");
    assert!(sent.err.contains("line 3 has no key"), "{sent:?}");
    let read = up.run(&["consume", "orders", "-K", ":", "--from-beginning", "--exit-at-end"]);
    assert_eq!(read.out, "a:1\na:2\n", "the lines before it were sent, in order: {read:?}");
}
