//! Brokers are killed with SIGKILL at random moments under load; no acknowledged record may be missing,
//! moved, or, from an idempotent producer, there twice.
//!
//! `OTTLA_SEED` chooses the moments, `OTTLA_ROUNDS` how many there are.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ottla_client::{
    Client, ClientConfig, Consumer, ConsumerConfig, Delivery, Producer, ProducerConfig, Start,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{Up, free_ports, signal};

const PARTITIONS: i32 = 6;
/// Records that wait for their acknowledgment at a time.
const WINDOW: usize = 64;

const MANIFESTS: &str = "\
apiVersion: ottla.dev/v1alpha1
kind: KafkaCluster
metadata: {name: crash}
spec: {replicas: 3}
---
apiVersion: ottla.dev/v1alpha1
kind: Topic
metadata: {name: crash}
spec: {clusterRef: {name: crash}, partitions: 6}
";

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A small generator: the same seed, the same moments.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// What became of each record of one partition.
struct History {
    partition: i32,
    /// Acknowledged: offset to number.
    acknowledged: BTreeMap<i64, u64>,
    /// Not acknowledged: they may be there or not.
    unknown: Vec<u64>,
    sent: u64,
}

/// Sends numbered records to one partition until told to stop. A producer that fails for good is replaced.
async fn write(client: Client, partition: i32, stop: Arc<AtomicBool>) -> History {
    let mut history = History { partition, acknowledged: BTreeMap::new(), unknown: Vec::new(), sent: 0 };
    while !stop.load(Ordering::Relaxed) {
        let config = ProducerConfig { delivery_timeout: Duration::from_secs(60), ..Default::default() };
        assert!(config.idempotent, "the default");
        let producer = Producer::new(&client, config);
        let mut pending: VecDeque<(u64, Delivery)> = VecDeque::new();
        let mut failed = false;
        while !failed && !stop.load(Ordering::Relaxed) {
            let number = history.sent;
            history.sent += 1;
            match producer.send("crash", Some(partition), None, Some(number.to_string().as_bytes())).await {
                Ok(delivery) => pending.push_back((number, delivery)),
                Err(_) => {
                    history.unknown.push(number);
                    failed = true;
                }
            }
            if pending.len() >= WINDOW {
                failed |= !settle(&mut pending, &mut history).await;
            }
        }
        while !pending.is_empty() {
            settle(&mut pending, &mut history).await;
        }
    }
    history
}

/// Waits for the oldest record; tells whether it was acknowledged.
async fn settle(pending: &mut VecDeque<(u64, Delivery)>, history: &mut History) -> bool {
    let Some((number, delivery)) = pending.pop_front() else { return true };
    match delivery.await {
        Ok(delivered) => {
            let before = history.acknowledged.insert(delivered.offset, number);
            assert_eq!(before, None, "an offset acknowledged twice: {delivered:?}");
            true
        }
        Err(error) => {
            if pending.is_empty() {
                println!("partition {}: {error}", history.partition);
            }
            history.unknown.push(number);
            false
        }
    }
}

/// Everything that is in the topic, by partition in order of offsets.
async fn read(client: &Client) -> BTreeMap<i32, Vec<(i64, u64)>> {
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    let mut ends = BTreeMap::new();
    for partition in 0..PARTITIONS {
        consumer.assign("crash", partition, Start::Earliest).await.unwrap();
        ends.insert(partition, client.list_offset("crash", partition, -1).await.unwrap().offset);
    }
    let mut found: BTreeMap<i32, Vec<(i64, u64)>> = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while ends.iter().any(|(partition, end)| consumer.position("crash", *partition).unwrap() < *end) {
        assert!(Instant::now() < deadline, "the topic can't be read to its end");
        for fetched in consumer.poll().await.unwrap() {
            for record in fetched.records() {
                let record = record.unwrap();
                let number = std::str::from_utf8(record.value.unwrap()).unwrap().parse().unwrap();
                found.entry(fetched.partition).or_default().push((record.offset.0, number));
            }
        }
    }
    found
}

/// Holds what one partition was told against what is in it.
fn check(history: &History, found: &[(i64, u64)]) {
    let partition = history.partition;
    let mut seen = BTreeMap::new();
    for (expected, (offset, number)) in (0..).zip(found) {
        assert_eq!(*offset, expected, "offsets of partition {partition} have no holes");
        let before = seen.insert(*number, *offset);
        assert_eq!(before, None, "record {number} is in partition {partition} twice, at {offset} too");
    }
    let is_there = |(at, number): &(&i64, &u64)| seen.get(number) == Some(at);
    let lost: Vec<_> = history.acknowledged.iter().filter(|told| !is_there(told)).collect();
    assert!(lost.is_empty(), "partition {partition}: acknowledged (offset, record) lost or moved: {lost:?}");
    let known = history.acknowledged.len() + history.unknown.len();
    assert_eq!(known as u64, history.sent, "every record has an outcome");
}

/// Kills a broker that runs, or all of them at once, at random moments.
fn kill_at_random(up: &Up, random: &mut Random, rounds: u64) {
    let deadline = Instant::now() + Duration::from_secs(180);
    let mut done = 0;
    while done < rounds {
        assert!(Instant::now() < deadline, "only {done} of {rounds} rounds in time");
        std::thread::sleep(Duration::from_millis(100 + random.below(600)));
        let brokers = up.get("brokers");
        // Mostly those that serve; now and then one that is just starting.
        let any = random.below(6) == 0;
        let running = brokers.iter().filter(|b| any || b["state"] == "Ready");
        let mut pids: Vec<u32> = running.filter_map(|b| b["pid"].as_u64()?.try_into().ok()).collect();
        if pids.is_empty() {
            continue;
        }
        if random.below(8) != 0 {
            let chosen = usize::try_from(random.below(pids.len() as u64)).unwrap();
            pids = vec![pids[chosen]];
        }
        pids.into_iter().for_each(|pid| signal(pid, Signal::KILL));
        done += 1;
    }
}

#[test]
fn no_acknowledged_record_is_lost_when_brokers_are_killed() {
    let (seed, rounds) = (from_environment("OTTLA_SEED", 20_261_122), from_environment("OTTLA_ROUNDS", 50));
    println!("OTTLA_SEED={seed} OTTLA_ROUNDS={rounds}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("crash.yaml");
    fs::write(&file, MANIFESTS).unwrap();
    let port = free_ports();
    let up = Up::start(&dir.path().join("data"), port, &["-f", file.to_str().unwrap()]);
    let addresses: Vec<String> = (0..3).map(|id| format!("127.0.0.1:{}", port + id)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let client = runtime.block_on(Client::connect(ClientConfig::new(&addresses.join(",")))).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let write = |partition| runtime.spawn(write(client.clone(), partition, stop.clone()));
    let writers: Vec<_> = (0..PARTITIONS).map(write).collect();
    let began = Instant::now();
    kill_at_random(&up, &mut Random(seed.max(1)), rounds);
    println!("{rounds} rounds in {:?}", began.elapsed());
    up.get_until("brokers", |items: &[Value]| {
        items.len() == 3 && items.iter().all(|b| b["state"] == "Ready")
    });
    stop.store(true, Ordering::Relaxed);
    let histories: Vec<History> =
        writers.into_iter().map(|writer| runtime.block_on(writer).unwrap()).collect();
    let found = runtime.block_on(read(&client));
    let acknowledged: usize = histories.iter().map(|history| history.acknowledged.len()).sum();
    let unknown: usize = histories.iter().map(|history| history.unknown.len()).sum();
    println!("{acknowledged} acknowledged, {unknown} unknown");
    assert!(acknowledged as u64 > 10 * rounds, "there was load");
    for history in &histories {
        check(history, found.get(&history.partition).map_or(&[], Vec::as_slice));
    }
}
