//! Measures appending: `cargo run --release -p ottla-store --example append -- DIR [PARTITIONS] [BATCH_BYTES] [SECONDS]`.
//!
//! Prints appends and bytes a second as written, and as durable with one append in flight per thread. DIR keeps
//! the files, so that Apache Kafka's dump-log can read them.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_log::BatchBuilder;
use ottla_store::{AckDurability, LogConfig, PartitionLog, Store, StoreConfig};
use ottla_types::{
    BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicName,
};

type Failure = Box<dyn Error + Send + Sync>;

fn batch(bytes: usize, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    builder = builder.producer(ProducerId(1), ProducerEpoch(0), sequence);
    let value = vec![b'v'; bytes.saturating_sub(80).clamp(1, 1_000)];
    while builder.count() == 0 || builder.bytes() + value.len() < bytes {
        builder.push(
            1_700_000_000_000 + i64::from(sequence),
            Some(b"key"),
            Some(&value),
            &[(b"h", Some(b"1"))],
        );
    }
    builder.build().into()
}

/// Appends until the time is over, waiting for each to be durable or not; returns how many.
fn run(log: &Arc<PartitionLog>, batch: &Bytes, time: Duration, durable: bool) -> Result<u64, Failure> {
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < time {
        let appended = log.append(batch, LeaderEpoch(0), 1_700_000_000_000)?;
        if durable {
            while log.durable_end_offset() <= appended.last_offset {
                std::thread::yield_now();
            }
        }
        count += 1;
    }
    Ok(count)
}

fn measure(logs: &[Arc<PartitionLog>], bytes: usize, time: Duration, durable: bool) -> Result<(), Failure> {
    let batch = {
        let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
        builder.push(1_700_000_000_000, None, Some(&vec![b'v'; bytes.saturating_sub(75)]), &[]);
        Bytes::from(builder.build())
    };
    let started = Instant::now();
    let counts = std::thread::scope(|scope| {
        let work = |log| {
            scope.spawn({
                let batch = &batch;
                move || run(log, batch, time, durable)
            })
        };
        let threads: Vec<_> = logs.iter().map(work).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Ok(0))).collect::<Result<Vec<_>, _>>()
    })?;
    let (count, seconds) = (counts.iter().sum::<u64>() as f64, started.elapsed().as_secs_f64());
    let what = if durable { "durable, one in flight a partition" } else { "written" };
    let rate = count / seconds;
    println!(
        "{what}: {} partitions, {} bytes: {rate:.0} appends/s, {:.1} MB/s",
        logs.len(),
        batch.len(),
        rate * batch.len() as f64 / 1e6
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("name a directory")?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (partitions, bytes, seconds) = (number(4)?, number(16 << 10)?, number(3)?);
    let config = StoreConfig { cluster_id: Some(ClusterId([1; 16])), ..StoreConfig::new(dir, BrokerId(1)) };
    let store = Store::open(config)?;
    let name = TopicName::new("bench")?;
    let create = |index: usize, config| {
        store.create_partition(name.clone(), TopicId([2; 16]), PartitionIndex(index as i32), config)
    };
    let config =
        |ack_durability| LogConfig { ack_durability, max_message_bytes: 16 << 20, ..LogConfig::default() };
    let written = (0..partitions).map(|index| create(index, config(AckDurability::Written)));
    let logs = written.collect::<Result<Vec<_>, _>>()?;
    let mut sequence = 0;
    for bytes in [100, 2_000, 5_000] {
        let appended = logs[0].append(&batch(bytes, sequence), LeaderEpoch(0), 1_700_000_000_000)?;
        sequence = appended.last_offset.0 as i32 + 1;
    }
    let time = Duration::from_secs(seconds as u64);
    measure(&logs, bytes, time, false)?;
    for log in &logs {
        log.set_config(config(AckDurability::Synced));
        log.sync()?;
    }
    measure(&logs, bytes, time, true)?;
    store.close()?;
    Ok(())
}
