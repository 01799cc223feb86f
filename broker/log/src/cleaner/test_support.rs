//! Batches as lines of text, and a whole cleaning of one segment of them.
//!
//! `10..14 e3 p7/0/5 txn lz4 horizon=900: a=1 b! _ =x c=2@70` is a batch of the offsets 10 to 14 from leader
//! epoch 3, of producer 7 in epoch 0 from sequence 5 on, in a transaction, compressed, with a delete horizon.
//! Its records are a value, a tombstone, a hole, a value without a key, and a value with its own time; others
//! have [`TIME`]. `ctl` has `commit`, `abort` or `other` for records; `append` is the time of the append;
//! `max=` is the greatest timestamp where it isn't that of the records.

use std::collections::HashMap;
use std::convert::Infallible;

use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::{
    AbortedTransaction, BatchFilter, CleanerError, CleanerLimits, CleanerStats, CleaningRound, Holes,
    OffsetMap, OffsetMapBuilder, SegmentPart,
};
use crate::header::{BatchHeader, Codec, HEADER_BYTES, NO_TIMESTAMP, NewContents, TimestampType};
use crate::records::put_record;
use crate::{BatchBuilder, Batches, LastRecord, Records, compress, decompress};

/// The time of records that say none.
pub(super) const TIME: i64 = 100;

pub(super) const LIMITS: CleanerLimits = CleanerLimits { buffer_bytes: 100, inflated_bytes_max: 1 << 20 };

const CODECS: [(&str, Codec); 4] =
    [("gzip", Codec::Gzip), ("snappy", Codec::Snappy), ("lz4", Codec::Lz4), ("zstd", Codec::Zstd)];

/// One batch from its line.
pub(super) fn batch(line: &str) -> Vec<u8> {
    let (head, tail) = line.split_once(':').unwrap();
    let mut words = head.split_whitespace();
    let (first, last) = words.next().unwrap().split_once("..").unwrap();
    let (first, last): (i64, i64) = (first.parse().unwrap(), last.parse().unwrap());
    let (mut builder, mut codec, mut append, mut horizon, mut max) = (
        BatchBuilder::new(Offset(first), LeaderEpoch(0)).record(0, None, None),
        Codec::None,
        false,
        None,
        None,
    );
    let mut epoch = 0_i32;
    for word in words {
        if let Some(producer) = word.strip_prefix('p') {
            let parts: Vec<i64> = producer.split('/').map(|part| part.parse().unwrap()).collect();
            builder.set_producer(ProducerId(parts[0]), ProducerEpoch(parts[1] as i16), parts[2] as i32);
        } else if let Some(number) = word.strip_prefix("horizon=") {
            horizon = Some(number.parse::<i64>().unwrap());
        } else if let Some(number) = word.strip_prefix("max=") {
            max = Some(number.parse::<i64>().unwrap());
        } else if let Some((_, found)) = CODECS.iter().find(|(name, _)| *name == word) {
            codec = *found;
        } else if let Some(number) = word.strip_prefix('e') {
            epoch = number.parse().unwrap();
        } else {
            match word {
                "txn" => builder = builder.transactional(),
                "ctl" => builder = builder.control(),
                "append" => append = true,
                _ => panic!("what is {word}?"),
            }
        }
    }
    let mut header: [u8; HEADER_BYTES] = *builder.build().first_chunk().unwrap();
    header[12..16].copy_from_slice(&epoch.to_be_bytes());
    header[23..27].copy_from_slice(&((last - first) as i32).to_be_bytes());
    header[22] |= if append { 1 << 3 } else { 0 };
    let (records, times) = put_records(tail, horizon);
    let new = NewContents {
        codec,
        has_delete_horizon: horizon.is_some(),
        base_timestamp: horizon.or(times.first().copied()).unwrap_or(NO_TIMESTAMP),
        max_timestamp: max.or(times.iter().max().copied()).unwrap_or(NO_TIMESTAMP),
        records_count: times.len() as i32,
    };
    let records = compress(codec, &records).unwrap();
    [&BatchHeader::from(&header).with_contents(&new, &records), &records[..]].concat()
}

/// The records' bytes and times.
fn put_records(words: &str, horizon: Option<i64>) -> (Vec<u8>, Vec<i64>) {
    let (mut bytes, mut times) = (Vec::new(), Vec::new());
    for (delta, word) in words.split_whitespace().enumerate().filter(|(_, word)| *word != "_") {
        let (word, time) = word.split_once('@').map_or((word, TIME), |(word, t)| (word, t.parse().unwrap()));
        let base = horizon.or(times.first().copied()).unwrap_or(time);
        let marker = ["abort", "commit", "other"].iter().position(|name| *name == word);
        let marker = marker.map(|kind| [0, 0, 0, kind as u8]);
        let (key, value) = match (&marker, word.strip_suffix('!'), word.split_once('=')) {
            (Some(marker), ..) => (Some(&marker[..]), Some(&b"\0"[..])),
            (_, Some(key), _) => (Some(key.as_bytes()), None),
            (_, _, Some(("", value))) => (None, Some(value.as_bytes())),
            (_, _, Some((key, value))) => (Some(key.as_bytes()), Some(value.as_bytes())),
            _ => panic!("what is {word}?"),
        };
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"name", Some(b"h")), (b"none", None)];
        let headers = if word.contains("=h") { &headers[..] } else { &[] };
        put_record(&mut bytes, &mut Vec::new(), (time - base, delta as i64), (key, value, headers));
        times.push(time);
    }
    (bytes, times)
}

/// Lines as a segment's bytes.
pub(super) fn segment(lines: &str) -> Vec<u8> {
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).flat_map(batch).collect()
}

/// A segment's bytes as lines.
pub(super) fn show(segment: &[u8]) -> String {
    let lines = Batches::new(segment).map(|batch| {
        let (header, bytes) = batch.unwrap();
        show_batch(header, &bytes[HEADER_BYTES..])
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn show_batch(header: BatchHeader<'_>, records: &[u8]) -> String {
    let mut line = format!("{}..{}", header.base_offset(), header.last_offset());
    if header.leader_epoch().0 != 0 {
        line.push_str(&format!(" e{}", header.leader_epoch()));
    }
    if header.producer_id().0 >= 0 {
        let (id, epoch) = (header.producer_id(), header.producer_epoch());
        line.push_str(&format!(" p{id}/{epoch}/{}", header.base_sequence()));
    }
    line.push_str(if header.is_transactional() { " txn" } else { "" });
    line.push_str(if header.is_control() { " ctl" } else { "" });
    let codec = header.codec().unwrap();
    if let Some((name, _)) = CODECS.iter().find(|(_, known)| *known == codec) {
        line.push_str(&format!(" {name}"));
    }
    let is_append = header.timestamp_type() == TimestampType::Append;
    line.push_str(if is_append { " append" } else { "" });
    if let Some(horizon) = header.delete_horizon_ms() {
        line.push_str(&format!(" horizon={horizon}"));
    }
    let records = decompress(codec, records, 1 << 20).unwrap();
    let records: Vec<_> = Records::new(header, &records).collect::<Result<_, _>>().unwrap();
    let times = records.iter().map(|record| record.timestamp_ms);
    if times.max().unwrap_or(NO_TIMESTAMP) != header.max_timestamp() || is_append {
        line.push_str(&format!(" max={}", header.max_timestamp()));
    }
    line.push(':');
    let mut next = header.base_offset().0;
    for record in &records {
        line.push_str(&" _".repeat((record.offset.0 - next) as usize));
        next = record.offset.0 + 1;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        line.push_str(&match (record.key, record.value) {
            (Some([0, 0, 0, kind]), _) => format!(" {}", ["abort", "commit", "other"][*kind as usize]),
            (key, None) => format!(" {}!", text(key.unwrap_or_default())),
            (key, Some(value)) => format!(" {}={}", text(key.unwrap_or_default()), text(value)),
        });
        if record.timestamp_ms != TIME && !is_append {
            line.push_str(&format!("@{}", record.timestamp_ms));
        }
        assert_eq!(record.value == Some(b"h"), record.headers.len() == 2, "headers stay");
    }
    line
}

/// A cleaning of one segment that begins at offset 0.
pub(super) struct Given<'a> {
    pub(super) log: &'a str,
    pub(super) first_dirty: i64,
    /// The first uncleanable offset, where the next segment begins.
    pub(super) end: i64,
    pub(super) now_ms: i64,
    pub(super) delete_retention_ms: i64,
    pub(super) lets_deletes_go: bool,
    /// Producers, the offsets of their last records, and their epochs.
    pub(super) last_records: &'a [(i64, Option<i64>, i16)],
    /// Producers, and the first and last offsets of aborted transactions.
    pub(super) aborted: &'a [(i64, i64, i64)],
    /// How many keys the map takes.
    pub(super) keys_max: usize,
    pub(super) holes: Holes,
}

impl Default for Given<'_> {
    fn default() -> Self {
        Self {
            log: "",
            first_dirty: 0,
            end: 1_000,
            now_ms: 1_000,
            delete_retention_ms: 50,
            lets_deletes_go: true,
            last_records: &[],
            aborted: &[],
            keys_max: 1_000,
            holes: Holes::Left,
        }
    }
}

/// What a cleaning gives.
pub(super) struct Cleaned {
    pub(super) bytes: Vec<u8>,
    pub(super) map: OffsetMap,
    pub(super) stats: CleanerStats,
    pub(super) retained: Vec<AbortedTransaction>,
}

impl Given<'_> {
    pub(super) fn clean(&self) -> Result<Cleaned, CleanerError<Infallible>> {
        self.clean_bytes(&segment(self.log))
    }

    pub(super) fn clean_bytes(&self, log: &[u8]) -> Result<Cleaned, CleanerError<Infallible>> {
        let mut map = OffsetMap::new((self.keys_max + 1) * OffsetMap::ENTRY_BYTES, 1.0).unwrap();
        let part = part(log, self.end);
        let mut stats = CleanerStats::default();
        let mut builder = OffsetMapBuilder::new(&mut map, Offset(self.first_dirty), LIMITS);
        builder.transactions().add_aborted(self.aborted());
        builder.add(log, &part, &mut stats)?;
        let last = |(id, data_offset, epoch): &(i64, Option<i64>, i16)| {
            let data_offset = data_offset.map(Offset);
            (ProducerId(*id), LastRecord { data_offset, epoch: ProducerEpoch(*epoch) })
        };
        let last_records: HashMap<_, _> = self.last_records.iter().map(last).collect();
        let round = CleaningRound {
            map: &map,
            last_records: &last_records,
            first_uncleanable_offset: Offset(self.end),
            now_ms: self.now_ms,
            delete_retention_ms: self.delete_retention_ms,
            lets_deletes_go: self.lets_deletes_go,
            holes: self.holes,
            limits: LIMITS,
        };
        let mut filter = BatchFilter::new(round, stats);
        filter.transactions().add_aborted(self.aborted());
        let mut bytes = Vec::new();
        filter.clean_into(log, &part, |batch| {
            bytes.extend_from_slice(batch);
            Ok(())
        })?;
        let (stats, retained) = (filter.stats(), filter.transactions().take_retained());
        Ok(Cleaned { bytes, map, stats, retained })
    }

    fn aborted(&self) -> impl Iterator<Item = AbortedTransaction> {
        self.aborted.iter().map(|(id, first, last)| AbortedTransaction {
            producer_id: ProducerId(*id),
            first_offset: Offset(*first),
            last_offset: Offset(*last),
            last_stable_offset: Offset(*first),
        })
    }
}

/// All of a segment.
pub(super) fn part(log: &[u8], end: i64) -> SegmentPart {
    SegmentPart { positions: 0..log.len() as u64, first_offset: Offset(0), end_offset: Offset(end) }
}

/// Checks what a cleaning leaves.
#[track_caller]
pub(super) fn check(given: &Given<'_>, expected: &str) -> Cleaned {
    let cleaned = given.clean().unwrap();
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(show(&cleaned.bytes), expected.join("\n"), "of {}", given.log);
    assert_eq!(cleaned.stats.bytes_written, cleaned.bytes.len() as u64);
    cleaned
}
