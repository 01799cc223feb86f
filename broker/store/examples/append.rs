//! Measures appending: `cargo run --release -p ottla-store --example append -- DIR [BATCH_BYTES] [SECONDS]
//! [IN_FLIGHT]`.
//!
//! For 1, 10, 100 and 1,000 active partitions it prints what `ack.durability=written` takes, what syncing
//! each segment in place takes, and what the journal takes: throughput, its ratio to `written`, and the time
//! until an append is durable. Each partition has IN_FLIGHT appends under way, as a producer has. DIR keeps
//! the files, so that Apache Kafka's dump-log can read them.

use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_log::BatchBuilder;
use ottla_store::{AckDurability, LogConfig, PartitionLog, Store, StoreConfig};
use ottla_types::{BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

type Failure = Box<dyn Error + Send + Sync>;

const WORKERS: usize = 4;
const TIME_MS: i64 = 1_700_000_000_000;

/// One partition and its appends that aren't durable yet.
struct Lane {
    log: Arc<PartitionLog>,
    in_flight: VecDeque<(Offset, Instant)>,
}

#[derive(Clone, Copy)]
struct Load {
    partitions: usize,
    bytes: usize,
    time: Duration,
    in_flight: usize,
}

/// What was reached: appends a second, and the times in µs, sorted.
struct Reached {
    rate: f64,
    micros: Vec<u32>,
}

impl Reached {
    fn quantile(&self, share: f64) -> u32 {
        let at = (self.micros.len() as f64 * share) as usize;
        self.micros.get(at.min(self.micros.len().saturating_sub(1))).copied().unwrap_or(0)
    }
}

fn batch(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    builder.push(TIME_MS, None, Some(&vec![b'v'; bytes.saturating_sub(75)]), &[]);
    builder.build().into()
}

/// Keeps the lanes full until the time is over; returns how long each append took.
fn work(lanes: &mut [Lane], batch: &Bytes, load: Load) -> Result<Vec<u32>, Failure> {
    let mut micros = Vec::new();
    let started = Instant::now();
    while started.elapsed() < load.time {
        let mut moved = false;
        for lane in &mut *lanes {
            let durable = lane.log.durable_end_offset();
            while let Some((_, since)) = lane.in_flight.pop_front_if(|(last, _)| *last < durable) {
                micros.push(since.elapsed().as_micros() as u32);
                moved = true;
            }
            while lane.in_flight.len() < load.in_flight {
                let since = Instant::now();
                let appended = lane.log.append(batch, LeaderEpoch(0), TIME_MS)?;
                lane.in_flight.push_back((appended.last_offset, since));
                moved = true;
            }
        }
        if !moved {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    Ok(micros)
}

/// Fills the journal's files once: their blocks are there from then on.
fn warm_up(log: &Arc<PartitionLog>) -> Result<(), Failure> {
    let batch = batch(60 << 10);
    for _ in 0..(140 << 20) / batch.len() {
        log.append(&batch, LeaderEpoch(0), TIME_MS)?;
        log.sync()?;
    }
    Ok(())
}

fn measure(store: &Store, name: &str, load: Load, durability: AckDurability) -> Result<Reached, Failure> {
    let topic = TopicName::new(name)?;
    let config =
        LogConfig { ack_durability: durability, max_message_bytes: 16 << 20, ..LogConfig::default() };
    let id = TopicId(*name.as_bytes().first_chunk().ok_or("a name of 16 letters")?);
    let mut lanes = Vec::new();
    for index in 0..load.partitions {
        let index = PartitionIndex(index as i32);
        let log = store.create_partition(topic.clone(), id, index, config.clone())?;
        log.append(&batch(200), LeaderEpoch(0), TIME_MS)?;
        log.sync()?;
        lanes.push(Lane { log, in_flight: VecDeque::new() });
    }
    let batch = batch(load.bytes);
    warm_up(&lanes[0].log)?;
    let share = lanes.len().div_ceil(WORKERS);
    let started = Instant::now();
    let all = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for lanes in lanes.chunks_mut(share) {
            let batch = &batch;
            threads.push(scope.spawn(move || {
                let me: Thread = std::thread::current();
                for lane in &*lanes {
                    let me = me.clone();
                    lane.log.add_durable_hook(Arc::new(move |_| me.unpark()));
                }
                work(lanes, batch, load)
            }));
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Ok(Vec::new())))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let mut micros = all.concat();
    micros.sort_unstable();
    Ok(Reached { rate: micros.len() as f64 / started.elapsed().as_secs_f64(), micros })
}

fn open(dir: &Path, journal_file_bytes: u64) -> Result<Store, Failure> {
    let cluster_id = Some(ClusterId([1; 16]));
    let config = StoreConfig { cluster_id, journal_file_bytes, ..StoreConfig::new(dir, BrokerId(1)) };
    Ok(Store::open(config)?)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let dir = std::path::PathBuf::from(arguments.next().ok_or("name a directory")?);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (bytes, seconds, in_flight) = (number(4 << 10)?, number(3)?, number(5)?);
    println!("batches of {bytes} bytes, {in_flight} in flight for each partition");
    println!(
        "{:>10} {:<10} {:>10} {:>9} {:>10} {:>9} {:>9}",
        "partitions", "", "appends/s", "MB/s", "of written", "p50", "p99"
    );
    for partitions in [1, 10, 100, 1_000] {
        let load = Load { partitions, bytes, time: Duration::from_secs(seconds as u64), in_flight };
        let mut written = 0.0;
        let kinds = [
            ("written", AckDurability::Written, StoreConfig::new(&dir, BrokerId(1)).journal_file_bytes),
            ("in place", AckDurability::Synced, 0),
            ("journal", AckDurability::Synced, StoreConfig::new(&dir, BrokerId(1)).journal_file_bytes),
        ];
        for (kind, durability, journal_file_bytes) in kinds {
            let store = open(&dir, journal_file_bytes)?;
            let name = format!("{}-{partitions}-batches-of-records", kind.replace(' ', "-"));
            let reached = measure(&store, &name, load, durability)?;
            if kind == "written" {
                written = reached.rate;
            }
            println!(
                "{partitions:>10} {kind:<10} {:>10.0} {:>9.1} {:>9.0}% {:>6} µs {:>6} µs",
                reached.rate,
                reached.rate * bytes as f64 / 1e6,
                100.0 * reached.rate / written,
                reached.quantile(0.5),
                reached.quantile(0.99),
            );
            store.close()?;
        }
    }
    Ok(())
}
