//! `ottla produce`: sends a record for each line of the standard input.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};

use ottla_client::{Delivery, Producer};
use tokio::sync::mpsc;

use crate::args::{AcksArg, CompressionArg, ProduceArgs};
use crate::failure::Failure;
use crate::target;

/// The longest line, in bytes: more than any broker takes by default.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many lines are read ahead of what is sent.
const LINES_AHEAD: usize = 1024;
/// How many records may wait for their acknowledgment.
const PENDING_MAX: usize = 100_000;

/// Sends the lines, and waits until all are acknowledged.
///
/// # Errors
/// When the cluster can't be reached, or a record isn't acknowledged: with the number of its line.
pub async fn run(args: &ProduceArgs) -> Result<(), Failure> {
    let client = target::connect(&args.target).await?;
    client.topic(&args.topic).await.map_err(target::failed)?;
    let config = producer_config(args.acks, args.compression);
    let producer = Producer::new(&client, config);
    if std::io::stdin().is_terminal() {
        eprintln!("Type records, one a line; Ctrl-D ends.");
    }
    let (sender, mut lines) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || read_lines(&sender));
    let mut sent = Sent::default();
    let outcome = send_lines(args, &producer, &mut lines, &mut sent).await;
    // Those before a line that is no record are sent all the same.
    while !sent.pending.is_empty() {
        sent.wait_for_one().await?;
    }
    outcome
}

async fn send_lines(
    args: &ProduceArgs,
    producer: &Producer,
    lines: &mut mpsc::Receiver<Result<Vec<u8>, Failure>>,
    sent: &mut Sent,
) -> Result<(), Failure> {
    let separator = args.key_separator.as_deref();
    while let Some(line) = lines.recv().await {
        let line = line?;
        let (key, value) =
            split(&line, separator).ok_or_else(|| no_key(sent.count() + 1, separator.unwrap_or_default()))?;
        let delivery = producer.send(&args.topic, args.partition, key, Some(value)).await;
        sent.pending.push_back(delivery.map_err(target::failed)?);
        if sent.pending.len() >= PENDING_MAX {
            sent.wait_for_one().await?;
        }
    }
    Ok(())
}

/// How the command line's words are a producer's settings.
pub fn producer_config(acks: AcksArg, compression: CompressionArg) -> ottla_client::ProducerConfig {
    use ottla_client::{Acks, Codec};
    ottla_client::ProducerConfig {
        acks: match acks {
            AcksArg::All => Acks::All,
            AcksArg::One => Acks::Leader,
            AcksArg::None => Acks::None,
        },
        codec: match compression {
            CompressionArg::None => Codec::None,
            CompressionArg::Gzip => Codec::Gzip,
            CompressionArg::Snappy => Codec::Snappy,
            CompressionArg::Lz4 => Codec::Lz4,
            CompressionArg::Zstd => Codec::Zstd,
        },
        ..Default::default()
    }
}

/// Records that were sent, in their order.
#[derive(Default)]
struct Sent {
    pending: VecDeque<Delivery>,
    acknowledged: usize,
}

impl Sent {
    fn count(&self) -> usize {
        self.acknowledged + self.pending.len()
    }

    async fn wait_for_one(&mut self) -> Result<(), Failure> {
        let Some(delivery) = self.pending.pop_front() else { return Ok(()) };
        let line = self.acknowledged + 1;
        delivery
            .await
            .map_err(|error| target::failed(error).about(format!("line {line} was not acknowledged")))?;
        self.acknowledged += 1;
        Ok(())
    }
}

fn no_key(line: usize, separator: &str) -> Failure {
    Failure::new(format!("line {line} has no key: {separator:?} is not in it; the lines before it were sent"))
        .remedy("write each line as KEY, the separator, VALUE, or leave --key-separator out")
}

/// Key and value of a line; none where the separator is missing.
fn split<'a>(line: &'a [u8], separator: Option<&str>) -> Option<(Option<&'a [u8]>, &'a [u8])> {
    let Some(separator) = separator.map(str::as_bytes).filter(|separator| !separator.is_empty()) else {
        return Some((None, line));
    };
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((Some(&line[..at]), &line[at + separator.len()..]))
}

fn read_lines(sender: &mpsc::Sender<Result<Vec<u8>, Failure>>) {
    let mut input = BufReader::new(std::io::stdin().lock());
    loop {
        let mut line = Vec::new();
        let result = match (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(length) if length as u64 == LINE_BYTES_MAX => {
                Err(Failure::new("a line is longer than 64 MiB"))
            }
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                Ok(line)
            }
            Err(error) => Err(Failure::new(format!("cannot read the standard input: {error}"))),
        };
        let failed = result.is_err();
        if sender.blocking_send(result).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(split(b"a:b:c", Some(":")), Some((Some(&b"a"[..]), &b"b:c"[..])));
        assert_eq!(split(b"a=>b", Some("=>")), Some((Some(&b"a"[..]), &b"b"[..])));
        assert_eq!(split(b"plain", None), Some((None, &b"plain"[..])));
        assert_eq!(split(b"plain", Some(":")), None);
    }
}
