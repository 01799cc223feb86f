//! `ottla consume`: prints records, one a line.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use ottla_client::{Client, Consumer, ConsumerConfig, Start};
use ottla_wire::messages::TIMESTAMP_LATEST;

use crate::args::ConsumeArgs;
use crate::failure::Failure;
use crate::target;

/// Prints records until Ctrl-C, or as far as was asked for.
///
/// # Errors
/// When the cluster can't be reached, or there is no such topic, partition or offset.
pub async fn run(args: &ConsumeArgs) -> Result<(), Failure> {
    let client = target::connect(&args.target).await?;
    let partitions = partitions(&client, args).await?;
    let start = match (args.offset, args.from_beginning) {
        (Some(offset), _) => Start::Offset(offset),
        (None, true) => Start::Earliest,
        (None, false) => Start::Latest,
    };
    let mut consumer = Consumer::new(&client, ConsumerConfig::default());
    for partition in &partitions {
        consumer.assign(&args.topic, *partition, start).await.map_err(target::failed)?;
    }
    let mut ends = match args.exit_at_end {
        true => ends(&client, &args.topic, &partitions).await?,
        false => BTreeMap::new(),
    };
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut out = BufWriter::new(io::stdout().lock());
    loop {
        ends.retain(|partition, end| consumer.position(&args.topic, *partition).is_some_and(|at| at < *end));
        if left == 0 || (args.exit_at_end && ends.is_empty()) {
            return Ok(out.flush()?);
        }
        for fetched in consumer.poll().await.map_err(target::failed)? {
            for record in fetched.records() {
                if left == 0 {
                    break;
                }
                let record = record.map_err(target::failed)?;
                print(&mut out, args.key_separator.as_deref(), record.key, record.value)?;
                left -= 1;
            }
        }
        out.flush()?;
    }
}

async fn partitions(client: &Client, args: &ConsumeArgs) -> Result<Vec<i32>, Failure> {
    let topic = client.topic(&args.topic).await.map_err(target::failed)?;
    let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
    match args.partition {
        None => Ok(all),
        Some(one) if all.contains(&one) => Ok(vec![one]),
        Some(one) => Err(Failure::new(format!("topic {} has no partition {one}", args.topic))
            .remedy(format!("it has {}, counted from 0", all.len()))),
    }
}

/// Where each partition ends now; empty ones are left out.
async fn ends(client: &Client, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, Failure> {
    let mut ends = BTreeMap::new();
    for partition in partitions {
        let end = client.list_offset(topic, *partition, TIMESTAMP_LATEST).await.map_err(target::failed)?;
        ends.insert(*partition, end.offset);
    }
    Ok(ends)
}

/// A record as a line; without a value it is an empty one.
fn print(
    out: &mut impl Write,
    separator: Option<&str>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> io::Result<()> {
    if let Some(separator) = separator {
        out.write_all(key.unwrap_or_default())?;
        out.write_all(separator.as_bytes())?;
    }
    out.write_all(value.unwrap_or_default())?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_lines() {
        let line = |separator, key: Option<&str>, value: Option<&str>| {
            let mut out = Vec::new();
            print(&mut out, separator, key.map(str::as_bytes), value.map(str::as_bytes)).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(None, Some("k"), Some("v")), "v\n");
        assert_eq!(line(Some(":"), Some("k"), Some("v")), "k:v\n");
        assert_eq!(line(Some(":"), None, None), ":\n");
    }
}
