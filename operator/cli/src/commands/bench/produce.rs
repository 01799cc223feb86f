//! `ottla bench produce`: sends records as fast as the cluster takes them, or at an even rate.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ottla_client::{Delivery, Producer};
use tokio::sync::mpsc;

use super::figures::{Figures, Measurement};
use crate::args::BenchProduceArgs;
use crate::commands::produce::producer_config;
use crate::failure::{Context, Failure};
use crate::target;

/// The longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;
/// How many records may wait for their acknowledgment, beyond what the producer holds.
const PENDING_MAX: usize = 1_000_000;

/// Sends the records and prints the figures.
///
/// # Errors
/// When the cluster can't be reached or doesn't acknowledge a record.
pub async fn run(args: &BenchProduceArgs) -> Result<(), Failure> {
    let client = target::connect(&args.target).await?;
    client.topic(&args.topic).await.map_err(target::failed)?;
    let mut config = producer_config(args.acks, args.compression);
    config.batch_bytes = args.batch_size;
    let producer = Producer::new(&client, config);
    let value = noise(args.record_size);
    let measurement = Measurement::begin(&args.target).await;
    let (sender, deliveries) = mpsc::channel(PENDING_MAX);
    let waiter = tokio::spawn(acknowledgments(deliveries));
    let start = tokio::time::Instant::now();
    for number in 0..args.records {
        if args.rate > 0 {
            // By the clock from the start, so that a slow answer doesn't thin out what follows it.
            let due = Duration::from_secs_f64(number as f64 / f64::from(args.rate));
            tokio::time::sleep_until(start + due).await;
        }
        let began = Instant::now();
        let delivery = producer.send(&args.topic, None, None, Some(&value)).await.map_err(target::failed)?;
        if sender.send((began, delivery)).await.is_err() {
            break;
        }
    }
    drop(sender);
    let latency = waiter.await.context("the measurement broke off")??;
    let figures = Figures {
        records: args.records,
        bytes: args.records * args.record_size as u64,
        latency: Some(latency),
    };
    measurement.end(&figures, args.output)
}

/// Waits for each record in turn, and notes how long it took.
async fn acknowledgments(
    mut deliveries: mpsc::Receiver<(Instant, Delivery)>,
) -> Result<Histogram<u64>, Failure> {
    let mut latency = Histogram::new_with_max(LATENCY_MAX_US, 3).context("no room for latencies")?;
    while let Some((began, delivery)) = deliveries.recv().await {
        delivery.await.map_err(target::failed)?;
        latency.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(latency)
}

/// Bytes that don't compress to nothing: half of the alphabet's entropy, as text has.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + (state % 26) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_length_that_was_asked_for() {
        assert_eq!(noise(1000).len(), 1000);
        assert!(noise(1000).iter().all(u8::is_ascii_lowercase));
        assert!(noise(0).is_empty());
    }
}
