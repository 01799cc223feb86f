//! An idle partition costs a broker no open file, mapped file, thread or task.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Up, free_ports};

const PARTITIONS: usize = 300;

/// Fewer than any of them could be if each partition had one.
const TOLERANCE: usize = PARTITIONS / 10;

const PATIENCE: Duration = Duration::from_secs(60);

const MANIFESTS: &str = "\
apiVersion: ottla.dev/v1alpha1
kind: KafkaCluster
metadata: {name: idle}
spec: {replicas: 1, config: {log.flush.offset.checkpoint.interval.ms: 200}}
---
apiVersion: ottla.dev/v1alpha1
kind: Topic
metadata: {name: few}
spec: {clusterRef: {name: idle}, partitions: 1}
";

/// What a process holds.
#[derive(Debug)]
struct Held {
    files: usize,
    /// Mapped files. How many maps the heap has is the allocator's affair.
    maps: usize,
    threads: usize,
    tasks: usize,
}

impl Held {
    fn by(pid: u32, http: &str) -> Self {
        let process = |name: &str| format!("/proc/{pid}/{name}");
        let count = |name: &str| fs::read_dir(process(name)).expect("it runs").count();
        let maps = fs::read_to_string(process("maps")).expect("it runs");
        let maps = maps.lines().filter(|map| map.contains(" /")).count();
        Self { files: count("fd"), maps, threads: count("task"), tasks: tasks(http) }
    }

    fn is_at_most(&self, other: &Self) -> bool {
        let pairs = [
            (self.files, other.files),
            (self.maps, other.maps),
            (self.threads, other.threads),
            (self.tasks, other.tasks),
        ];
        pairs.iter().all(|(mine, its)| *mine <= its + TOLERANCE)
    }
}

/// What the broker's metrics say of its tasks.
fn tasks(http: &str) -> usize {
    let mut stream = TcpStream::connect(http).expect("the metrics' listener");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let tasks = text.lines().find_map(|line| line.strip_prefix("ottla_tasks ")).expect("a metric");
    tasks.parse().expect("a number")
}

fn http_address(data: &Path) -> String {
    let properties = fs::read_to_string(data.join("brokers/0/server.properties")).unwrap();
    let line = properties.lines().find_map(|line| line.strip_prefix("ottla.http.listener="));
    line.expect("the listener").to_owned()
}

/// Whether there is something in a partition's first segment.
fn has_records(data: &Path, partition: usize) -> bool {
    let segment = data.join(format!("brokers/0/data/many-{partition}/00000000000000000000.log"));
    fs::metadata(segment).is_ok_and(|segment| segment.len() > 0)
}

#[test]
fn an_idle_partition_costs_no_file_map_thread_or_task() {
    let dir = tempfile::tempdir().unwrap();
    let (data, manifests) = (dir.path().join("data"), dir.path().join("manifests.yaml"));
    fs::write(&manifests, MANIFESTS).unwrap();
    let up = Up::start(&data, free_ports(), &["-f", manifests.to_str().unwrap()]);
    let (pid, http) = (up.broker_pid(0), http_address(&data));
    let before = Held::by(pid, &http);
    let many = format!(
        "apiVersion: ottla.dev/v1alpha1\nkind: Topic\nmetadata: {{name: many}}\n\
         spec: {{clusterRef: {{name: idle}}, partitions: {PARTITIONS}}}\n"
    );
    let output = up.run_with_input(&["apply", "-f", "-"], &many);
    assert_eq!(output.code, Some(0), "{output:?}");
    let is_led = |p: &&serde_json::Value| p["topic"] == "many" && p["leader"].is_i64();
    up.get_until("partitions", |items| items.iter().filter(is_led).count() == PARTITIONS);
    // Batches of one record each, so that all partitions come to be written.
    let records = (PARTITIONS * 4).to_string();
    let filled = up.run(&["bench", "produce", "many", "-n", &records, "--batch-size", "1"]);
    assert_eq!(filled.code, Some(0), "{filled:?}");
    assert_eq!((0..PARTITIONS).filter(|p| has_records(&data, *p)).count(), PARTITIONS, "all are written");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = Held::by(pid, &http);
        if now.is_at_most(&before) {
            return;
        }
        assert!(Instant::now() < deadline, "{now:?} with {PARTITIONS} idle partitions, {before:?} without");
        thread::sleep(Duration::from_millis(100));
    }
}
