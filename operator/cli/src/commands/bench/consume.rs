//! `ottla bench consume`: reads a topic as fast as the cluster gives it.

use ottla_client::{Consumer, ConsumerConfig, Start};
use ottla_wire::messages::TIMESTAMP_LATEST;

use super::figures::{Figures, Measurement};
use crate::args::BenchConsumeArgs;
use crate::failure::Failure;
use crate::target;

/// Reads from the beginning to the end, or as many records as were asked for, and prints the figures.
///
/// # Errors
/// When the cluster can't be reached or a record is damaged.
pub async fn run(args: &BenchConsumeArgs) -> Result<(), Failure> {
    let client = target::connect(&args.target).await?;
    let topic = client.topic(&args.topic).await.map_err(target::failed)?;
    let mut consumer = Consumer::new(&client, ConsumerConfig::default());
    let mut ends = Vec::new();
    for partition in topic.partitions.iter().map(|partition| partition.index) {
        consumer.assign(&args.topic, partition, Start::Earliest).await.map_err(target::failed)?;
        let end =
            client.list_offset(&args.topic, partition, TIMESTAMP_LATEST).await.map_err(target::failed)?;
        ends.push((partition, end.offset));
    }
    let measurement = Measurement::begin(&args.target).await;
    let (mut records, mut bytes) = (0, 0);
    let wanted = args.records.unwrap_or(u64::MAX);
    loop {
        ends.retain(|(partition, end)| {
            consumer.position(&args.topic, *partition).is_some_and(|at| at < *end)
        });
        if records >= wanted || ends.is_empty() {
            break;
        }
        for fetched in consumer.poll().await.map_err(target::failed)? {
            for record in fetched.records() {
                let record = record.map_err(target::failed)?;
                records += 1;
                bytes += (record.key.as_ref().map_or(0, |k| k.len())
                    + record.value.as_ref().map_or(0, |v| v.len())) as u64;
            }
        }
    }
    measurement.end(&Figures { records, bytes, latency: None }, args.output)
}
