//! Measures what checking a client's batch costs: `cargo run --release -p ottla-store --example contents`.
//!
//! For each compression, and records of 100 bytes and of a KiB in batches of about 16 KiB and 1 MiB, it
//! prints the processor's time for each GB of records, uncompressed, beside that of the checksum, which was
//! all that compressed batches paid before they were opened.

use std::error::Error;
use std::time::Duration;

use ottla_log::{
    BatchBuilder, Codec, LogConfig, check_batch, compress, inflated_bytes_max, validate_produce,
};
use ottla_types::{LeaderEpoch, Offset};

const TIME_MS: i64 = 1_700_000_000_000;
const TURN: Duration = Duration::from_millis(500);

/// Words that compress about as well as log lines do.
fn value(bytes: usize, seed: &mut u64) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "INFO",
        "request",
        "served",
        "in",
        "ms",
        "by",
        "partition",
        "offset",
        "client",
        "error=none",
        "{",
        "}",
    ];
    let mut text = String::new();
    while text.len() < bytes {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = (*seed >> 33) as usize;
        text.push_str(WORDS[number % WORDS.len()]);
        text.push_str(&format!(" {} ", number % 10_000));
    }
    text.into_bytes()[..bytes].to_vec()
}

/// The processor's time that this thread has had.
fn processor_time() -> std::io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| std::io::Error::other("no time in schedstat"))
}

/// The processor's seconds for each GB of `bytes`, when `work` handles so many in each turn.
fn seconds_a_gb(bytes: usize, mut work: impl FnMut()) -> std::io::Result<f64> {
    let begin = processor_time()?;
    let mut turns = 0_u32;
    loop {
        (0..16).for_each(|_| work());
        turns += 16;
        let spent = processor_time()? - begin;
        if spent >= TURN {
            return Ok(spent.as_secs_f64() / (f64::from(turns) * bytes as f64 / 1e9));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{:>8} {:>8} {:>8} {:>7} {:>12} {:>12}",
        "codec", "record", "batch", "ratio", "checked s/GB", "crc s/GB"
    );
    let mut seed = 7;
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        for (record_bytes, batch_bytes) in
            [(100, 16 << 10), (1_024, 16 << 10), (100, 1 << 20), (1_024, 1 << 20)]
        {
            let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
            while builder.bytes() + record_bytes < batch_bytes {
                builder.push(TIME_MS, None, Some(&value(record_bytes, &mut seed)), &[]);
            }
            let bytes = builder.records().len();
            let batch = builder.build_compressed(codec, &compress(codec, builder.records())?);
            let config = LogConfig { max_message_bytes: 2 << 20, ..LogConfig::default() };
            validate_produce(&batch, &config, TIME_MS, inflated_bytes_max(batch.len()))?;
            let checked = seconds_a_gb(bytes, || {
                let _ = validate_produce(&batch, &config, TIME_MS, inflated_bytes_max(batch.len()));
            })?;
            let crc = seconds_a_gb(bytes, || {
                let _ = check_batch(&batch);
            })?;
            let ratio = bytes as f64 / batch.len() as f64;
            println!(
                "{:>8} {record_bytes:>8} {batch_bytes:>8} {ratio:>7.1} {checked:>12.3} {crc:>12.3}",
                format!("{codec:?}")
            );
        }
    }
    Ok(())
}
