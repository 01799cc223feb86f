//! Random logs, cleaned again and again, against a simple model: a map of the last value of each key.

use std::collections::BTreeMap;

use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use proptest::prelude::*;

use super::test_support::{LIMITS, part};
use super::{
    BatchFilter, CleanableSegment, CleanerStats, CleaningRound, Holes, Mapped, OffsetMap, OffsetMapBuilder,
    SegmentLimits, SegmentPart, group_segments,
};
use crate::header::HEADER_BYTES;
use crate::{
    BatchBuilder, BatchHeader, Batches, Codec, LeaderEpochs, ProducerEntry, ProducerStates, Records,
    compress, decompress,
};

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const RETENTION_MS: i64 = 100;

/// A key from few, a value or none, and a time.
type Write = (Option<u8>, Option<u8>, i64);

/// A batch: its producer, if any, its compression, its records, and whether a segment ends after it.
#[derive(Clone, Debug)]
struct Sent {
    producer: Option<i64>,
    codec: Codec,
    records: Vec<Write>,
    ends_segment: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let record = (prop::option::weighted(0.9, 0_u8..12), prop::option::weighted(0.8, any::<u8>()), 0_i64..50);
    let records = prop::collection::vec(record, 1..6);
    let batch = (prop::option::of(0_i64..3), prop::sample::select(&CODECS[..]), records, any::<bool>());
    batch.prop_map(|(producer, codec, records, ends_segment)| Sent { producer, codec, records, ends_segment })
}

/// A log as this test holds it.
#[derive(Clone, Debug, Default)]
struct Log {
    /// Bases and bytes; the last one is the active one.
    segments: Vec<(Offset, Vec<u8>)>,
    end: i64,
    producers: ProducerStates,
    epochs: LeaderEpochs,
}

impl Log {
    fn new(batches: &[Sent]) -> Self {
        let mut log = Self { segments: vec![(Offset(0), Vec::new())], ..Self::default() };
        let mut sequences = [0; 3];
        for sent in batches {
            // So that all of a batch is of one epoch.
            let epoch = log.epochs.latest().unwrap_or(LeaderEpoch(0));
            let epoch = if log.end >= i64::from(epoch.0 + 1) * 10 { LeaderEpoch(epoch.0 + 1) } else { epoch };
            log.epochs.assign(epoch, Offset(log.end));
            let mut builder = BatchBuilder::new(Offset(log.end), epoch);
            if let Some(id) = sent.producer {
                let sequence = &mut sequences[id as usize];
                builder.set_producer(ProducerId(id), ProducerEpoch(0), *sequence);
                *sequence += sent.records.len() as i32;
            }
            for (key, value, time) in &sent.records {
                let value = value.map(|value| [value; 4]);
                builder.push(
                    *time,
                    key.as_ref().map(std::slice::from_ref),
                    value.as_ref().map(|value| &value[..]),
                    &[],
                );
            }
            let records = compress(sent.codec, builder.records()).unwrap();
            let batch = builder.build_compressed(sent.codec, &records);
            let header = BatchHeader::new(&batch).unwrap();
            log.producers.on_append(header, Offset(log.end), header.max_timestamp(), None);
            log.segments.last_mut().unwrap().1.extend_from_slice(&batch);
            log.end += sent.records.len() as i64;
            if sent.ends_segment {
                log.segments.push((Offset(log.end), Vec::new()));
            }
        }
        log
    }

    fn active_base(&self) -> i64 {
        self.segments.last().unwrap().0.0
    }

    /// All records with their offsets: key and value.
    fn records(&self) -> BTreeMap<i64, (Option<u8>, Option<u8>)> {
        let mut all = BTreeMap::new();
        for (_, bytes) in &self.segments {
            for batch in Batches::new(bytes) {
                let (header, batch) = batch.unwrap();
                let records = decompress(header.codec().unwrap(), &batch[HEADER_BYTES..], 1 << 20).unwrap();
                for record in Records::new(header, &records) {
                    let record = record.unwrap();
                    let first = |bytes: &[u8]| bytes[0];
                    all.insert(record.offset.0, (record.key.map(first), record.value.map(first)));
                }
            }
        }
        all
    }

    /// What each producer and each reader of epochs sees of the batches: sequence, epoch, offsets.
    fn producers_from_bytes(&self) -> ProducerStates {
        let mut producers = ProducerStates::default();
        for (_, bytes) in &self.segments {
            for batch in Batches::new(bytes) {
                let header = batch.unwrap().0;
                producers.on_append(header, header.base_offset(), header.max_timestamp(), None);
            }
        }
        producers
    }

    /// Cleans everything but the active segment, as far as the map goes; returns the next first dirty offset.
    fn clean(&mut self, first_dirty: i64, keys_max: usize, now_ms: i64, holes: Holes) -> i64 {
        let end = self.active_base();
        let closed = self.segments.len() - 1;
        let mut map = OffsetMap::new((keys_max + 1) * OffsetMap::ENTRY_BYTES, 1.0).unwrap();
        let (mut builder, mut stats) =
            (OffsetMapBuilder::new(&mut map, Offset(first_dirty), LIMITS), CleanerStats::default());
        for at in 0..closed {
            let (segment, next) = (&self.segments[at].1, self.segments[at + 1].0.0);
            if next <= first_dirty {
                continue;
            }
            let part = SegmentPart { first_offset: self.segments[at].0, ..part(segment, next) };
            if builder.add(&segment[..], &part, &mut stats).unwrap() == Mapped::Full {
                break;
            }
        }
        let Some(latest) = map.latest_offset() else { return first_dirty };
        let last_records = self.producers.last_records();
        let round = CleaningRound {
            map: &map,
            last_records: &last_records,
            first_uncleanable_offset: Offset(end),
            now_ms,
            delete_retention_ms: RETENTION_MS,
            lets_deletes_go: true,
            holes,
            limits: LIMITS,
        };
        let mut filter = BatchFilter::new(round, stats);
        let count = self.segments[..closed].iter().filter(|(base, _)| *base <= latest).count();
        let limits = SegmentLimits { segment_bytes: 1_000, index_bytes: 1_000 };
        let facts: Vec<_> = self.segments[..count].iter().map(facts).collect();
        let mut cleaned = Vec::new();
        for group in group_segments(&facts, limits, Offset(end)) {
            let mut bytes = Vec::new();
            for at in group.clone() {
                let (base, segment) = &self.segments[at];
                let part = SegmentPart { first_offset: *base, ..part(segment, self.segments[at + 1].0.0) };
                let written = filter.clean_into(&segment[..], &part, |batch| {
                    bytes.extend_from_slice(batch);
                    Ok(())
                });
                written.unwrap();
            }
            cleaned.push((self.segments[group.start].0, bytes));
        }
        self.segments.splice(..count, cleaned);
        latest.0 + 1
    }
}

fn facts((base_offset, bytes): &(Offset, Vec<u8>)) -> CleanableSegment {
    CleanableSegment {
        base_offset: *base_offset,
        bytes: bytes.len() as u64,
        index_bytes: 8,
        time_index_bytes: 12,
        first_timestamp_ms: None,
        max_timestamp_ms: None,
        modified_ms: 0,
    }
}

/// Sequence numbers and offsets of a producer's last batch; its timestamp is that of the records that are
/// left.
fn last_batch(entry: &ProducerEntry) -> Option<(i32, i32, Offset, Offset)> {
    let last = entry.batches.back()?;
    Some((last.base_sequence, last.last_sequence, last.base_offset, last.last_offset))
}

/// What stays of `all` when it is clean up to `to` and tombstones below it are gone, or not.
fn model(
    all: &BTreeMap<i64, (Option<u8>, Option<u8>)>,
    to: i64,
    tombstones_go: bool,
) -> BTreeMap<i64, (Option<u8>, Option<u8>)> {
    let mut last = BTreeMap::new();
    for (offset, (key, _)) in all.range(..to) {
        last.insert(*key, *offset);
    }
    let stays = |(offset, (key, value)): &(&i64, &(Option<u8>, Option<u8>))| {
        let is_last = key.is_some() && last.get(key) == Some(*offset);
        **offset >= to || (is_last && (value.is_some() || !tombstones_go))
    };
    all.iter().filter(stays).map(|(offset, record)| (*offset, *record)).collect()
}

proptest! {
    #[test]
    fn a_clean_log_is_the_last_values(
        batches in prop::collection::vec(sent(), 0..25),
        keys_max in 2_usize..14,
        holes in prop::sample::select(&[Holes::Left, Holes::Filled][..]),
    ) {
        let mut log = Log::new(&batches);
        let (all, producers) = (log.records(), log.producers.clone());
        let (end, first_dirty) = (log.active_base(), 0);
        let mut dirty = first_dirty;
        // A small map takes several rounds, each from where the last one ended.
        for round in 0.. {
            prop_assert!(round <= all.len(), "each round gets ahead");
            let next = log.clean(dirty, keys_max, 0, holes);
            prop_assert_eq!(log.records(), model(&all, next, false), "from {} to {}", dirty, next);
            if next == dirty {
                break;
            }
            prop_assert!(next > dirty && next <= end);
            dirty = next;
        }
        prop_assert_eq!(dirty, end);
        // Until the horizon tombstones stay, and then they go: their first cleaning was at 0.
        let before = log.clone();
        log.clean(0, 1_000, RETENTION_MS - 1, holes);
        prop_assert_eq!(log.records(), before.records());
        log.clean(0, 1_000, RETENTION_MS, holes);
        prop_assert_eq!(log.records(), model(&all, end, true));

        // What is left can be told in offsets and producers as before.
        let mut next = Offset(0);
        for (base, bytes) in &log.segments {
            prop_assert!(*base >= next);
            for batch in Batches::new(bytes) {
                let header = batch.unwrap().0;
                prop_assert!(header.base_offset() >= next && header.base_offset() >= *base);
                prop_assert!(holes == Holes::Left || header.base_offset() == next, "no hole before {}", next);
                prop_assert_eq!(header.leader_epoch(), log.epochs.epoch_at(header.base_offset()).unwrap());
                prop_assert_eq!(header.leader_epoch(), log.epochs.epoch_at(header.last_offset()).unwrap());
                next = header.next_offset();
            }
        }
        if all.keys().next_back().is_some() {
            prop_assert_eq!(next, Offset(log.end), "the last offset isn't lost");
        }
        let from_bytes = log.producers_from_bytes();
        for (id, entry) in producers.entries() {
            let found = from_bytes.get(id).and_then(last_batch);
            prop_assert_eq!(found, last_batch(entry), "the last sequence of {}", id);
        }
    }
}
