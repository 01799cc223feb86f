//! The second pass of a cleaning: which batches and records stay, and the bytes that take their place.

use std::collections::HashMap;
use std::ops::Range;

use ottla_types::{LeaderEpoch, Offset, ProducerId};

use super::batches::{CleanerLimits, SegmentBatches, SegmentPart};
use super::contents::{inflate, read_marker, records};
use super::error::CleanerError;
use super::offset_map::OffsetMap;
use super::rewrite::{filler, put_emptied, rewrite};
use super::stats::CleanerStats;
use super::transactions::CleanedTransactions;
use crate::header::BatchHeader;
use crate::producers::LastRecord;
use crate::records::Record;
use crate::recovery::ByteSource;
use crate::validate::BatchError;

/// What one cleaning knows of its log.
#[derive(Clone, Copy, Debug)]
pub struct CleaningRound<'a> {
    /// The last offset of each key in the dirty segments.
    pub map: &'a OffsetMap,
    /// The last record of each producer that is still known.
    pub last_records: &'a HashMap<ProducerId, LastRecord>,
    /// Nothing from here on is cleaned. The batch before it is kept even without records, so that the offset
    /// after it isn't lost.
    pub first_uncleanable_offset: Offset,
    /// The time now in ms.
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Whether tombstones and markers go whose time is up. Not while a replica is away that hasn't seen them:
    /// it would keep for ever what they delete, and may lead one day. (In Kafka they go.)
    pub lets_deletes_go: bool,
    /// What is left where whole batches go.
    pub holes: Holes,
    /// How much memory is taken.
    pub limits: CleanerLimits,
}

/// What a cleaning leaves where whole batches go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holes {
    /// Nothing, as Kafka does: the next batch begins later than the one before ends.
    Left,
    /// Batches of nobody's, without records: so batches go on to follow each other without a gap. Base
    /// offsets stand under no checksum, and this is what finds one that is changed. A filler takes 61 bytes,
    /// and neighbours become one.
    Filled,
}

/// The offsets that one batch may have.
const FILLER_OFFSETS_MAX: i64 = 1 << 31;

/// Filters the segments of a log, oldest first.
#[derive(Debug)]
pub struct BatchFilter<'a> {
    round: CleaningRound<'a>,
    transactions: CleanedTransactions,
    stats: CleanerStats,
    /// The batch that is written anew.
    rewritten: Vec<u8>,
    /// Offsets of batches that go, all of one leader epoch, while these are filled. Nothing was written
    /// since.
    hole: Option<(Range<Offset>, LeaderEpoch)>,
}

/// What becomes of a batch that loses all its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Emptied {
    Stays,
    Goes,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It stays as it is.
    Unchanged,
    /// It stays as it was written anew.
    Rewritten,
    Gone,
}

impl<'a> BatchFilter<'a> {
    /// Begins a pass. `stats` has what making the map took.
    pub fn new(round: CleaningRound<'a>, stats: CleanerStats) -> Self {
        assert!(round.delete_retention_ms >= 0, "tombstones are kept for {} ms", round.delete_retention_ms);
        let (transactions, rewritten) = Default::default();
        Self { round, transactions, stats, rewritten, hole: None }
    }

    /// Where what the log's index knows of aborted transactions is added, before the segments are read that
    /// it speaks of, and where those are taken from of which something is left.
    pub fn transactions(&mut self) -> &mut CleanedTransactions {
        &mut self.transactions
    }

    /// What was read and written so far.
    pub fn stats(&self) -> CleanerStats {
        self.stats
    }

    /// Reads a part of a segment and gives each batch that stays to `write`, whole, in their order. An error
    /// of `write` ends it, and so may say that the cleaning is given up. After an error the filter is of no
    /// use any more.
    ///
    /// # Errors
    /// Those of the source and of `write`, and batches that are torn or corrupt.
    pub fn clean_into<S: ByteSource + ?Sized>(
        &mut self,
        source: &S,
        part: &SegmentPart,
        mut write: impl FnMut(&[u8]) -> Result<(), S::Error>,
    ) -> Result<(), CleanerError<S::Error>> {
        let mut batches = SegmentBatches::new(source, part, self.round.limits.buffer_bytes);
        let mut next_offset = part.first_offset;
        while let Some(batch) = batches.next_batch()? {
            let header = BatchHeader::new(batch).expect("a checked batch has its header");
            let (offsets, epoch) = (header.base_offset()..header.next_offset(), header.leader_epoch());
            self.rewritten.clear();
            let fate = match self.filter(batch) {
                Ok(fate) => fate,
                Err(error) => return Err(batches.in_last(error)),
            };
            // An earlier cleaning may have left a hole before it.
            self.note_hole(next_offset..offsets.start, epoch, &mut write)?;
            next_offset = offsets.end;
            if fate == Fate::Gone {
                self.note_hole(offsets, epoch, &mut write)?;
                continue;
            }
            self.fill_hole(&mut write)?;
            let rewritten = std::mem::take(&mut self.rewritten);
            self.put(if fate == Fate::Unchanged { batch } else { &rewritten }, &mut write)?;
            self.rewritten = rewritten;
        }
        self.fill_hole(&mut write)
    }

    fn put<E>(
        &mut self,
        batch: &[u8],
        write: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), CleanerError<E>> {
        let header = BatchHeader::new(batch).expect("what stays has a header");
        assert_eq!(header.batch_bytes(), batch.len(), "what stays is one batch");
        self.stats.bytes_written += batch.len() as u64;
        self.stats.records_written += u64::from(header.records_count().unsigned_abs());
        write(batch).map_err(CleanerError::Io)
    }

    /// Takes note that nothing is left of `offsets`, if that is to be filled. A filler is of one leader
    /// epoch, so that where each begins can be read from the batches as before.
    fn note_hole<E>(
        &mut self,
        offsets: Range<Offset>,
        epoch: LeaderEpoch,
        write: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), CleanerError<E>> {
        if self.round.holes == Holes::Left {
            return Ok(());
        }
        let mut rest = offsets;
        while !rest.is_empty() {
            let follows = self.hole.as_ref().is_none_or(|(hole, _)| hole.end == rest.start);
            assert!(follows, "whatever stands between {:?} and {rest:?} is filled first", self.hole);
            let before = self.hole.as_ref().filter(|(_, of)| *of == epoch);
            let start = before.map_or(rest.start, |(hole, _)| hole.start);
            let end = rest.end.min(Offset(start.0.saturating_add(FILLER_OFFSETS_MAX)));
            if before.is_none() || end == rest.start {
                self.fill_hole(write)?;
            }
            if end > rest.start {
                self.hole = Some((start..end, epoch));
                rest.start = end;
            }
        }
        Ok(())
    }

    fn fill_hole<E>(
        &mut self,
        write: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), CleanerError<E>> {
        let Some((offsets, epoch)) = self.hole.take() else { return Ok(()) };
        self.stats.fillers_written += 1;
        self.put(&filler(&offsets, epoch), write)
    }

    fn filter(&mut self, batch: &[u8]) -> Result<Fate, BatchError> {
        let header = BatchHeader::new(batch).expect("a checked batch has its header");
        self.stats.bytes_read += batch.len() as u64;
        self.stats.records_read += u64::from(header.records_count().unsigned_abs());
        // Of a control batch: nothing of its transaction is left. Of another one: its transaction was
        // aborted.
        let is_needless = if header.is_control() {
            let marker = read_marker(batch, self.round.limits.inflated_bytes_max)?;
            self.transactions.on_marker(header, marker)
        } else {
            self.transactions.on_batch(header)
        };
        let goes = is_needless && (!header.is_control() || self.has_expired(header));
        let emptied = self.when_emptied(header);
        if goes {
            return Ok(self.without_records(header, emptied));
        }
        let needs_horizon = is_needless && header.is_control() && header.delete_horizon_ms().is_none();
        self.filter_records(batch, emptied, needs_horizon)
    }

    /// Whether a batch is to stay when it has no record any more: because its producer's next one is compared
    /// with it, or because it is the last one of this cleaning.
    fn when_emptied(&self, header: BatchHeader<'_>) -> Emptied {
        let is_last_of_producer = match self.round.last_records.get(&header.producer_id()) {
            None => false,
            Some(LastRecord { data_offset: Some(offset), .. }) => header.last_offset() == *offset,
            // Only a marker is known of it: its epoch is what fences older ones.
            Some(LastRecord { epoch, .. }) => header.is_control() && header.producer_epoch() == *epoch,
        };
        let is_last = header.next_offset() == self.round.first_uncleanable_offset;
        let stays = is_last || (header.producer_id().0 >= 0 && is_last_of_producer);
        if stays { Emptied::Stays } else { Emptied::Goes }
    }

    fn without_records(&mut self, header: BatchHeader<'_>, emptied: Emptied) -> Fate {
        if emptied == Emptied::Goes {
            return Fate::Gone;
        }
        put_emptied(header, &mut self.rewritten);
        self.stats.batches_emptied += 1;
        Fate::Rewritten
    }

    fn filter_records(
        &mut self,
        batch: &[u8],
        emptied: Emptied,
        marker_needs_horizon: bool,
    ) -> Result<Fate, BatchError> {
        let header = BatchHeader::new(batch).expect("a checked batch has its header");
        let inflated = inflate(batch, self.round.limits.inflated_bytes_max)?;
        let (mut kept, mut has_tombstone) = (Vec::new(), false);
        for record in records(header, &inflated) {
            let record = record?;
            let stays = header.is_control() || self.stays(header, &record);
            has_tombstone |= stays && record.value.is_none();
            kept.push(stays);
        }
        if !kept.contains(&true) {
            return Ok(self.without_records(header, emptied));
        }
        // What the map knows nothing of is left alone: values before such a tombstone may still be there, and
        // its time begins when they go. (Kafka begins it now.)
        let tombstone_needs_horizon = has_tombstone && !self.round.map.is_behind(header.last_offset());
        let horizon_ms = match header.delete_horizon_ms() {
            None if marker_needs_horizon || tombstone_needs_horizon => {
                Some(self.round.now_ms.saturating_add(self.round.delete_retention_ms))
            }
            horizon_ms => horizon_ms,
        };
        if horizon_ms == header.delete_horizon_ms() && !kept.contains(&false) {
            return Ok(Fate::Unchanged);
        }
        rewrite(header, &inflated, &kept, horizon_ms, &mut self.rewritten)?;
        Ok(Fate::Rewritten)
    }

    /// Whether a record of data stays: as the last one of its key, and as a tombstone until its time is up.
    fn stays(&mut self, header: BatchHeader<'_>, record: &Record<'_>) -> bool {
        if self.round.map.is_behind(record.offset) {
            return true;
        }
        let Some(key) = record.key else {
            self.stats.records_without_key += 1;
            return false;
        };
        let is_last = self.round.map.get(key).is_none_or(|last| record.offset >= last);
        is_last && (record.value.is_some() || !self.has_expired(header))
    }

    /// Whether the tombstones and markers in a batch go as their time is up.
    fn has_expired(&self, header: BatchHeader<'_>) -> bool {
        let is_past = header.delete_horizon_ms().is_some_and(|horizon| horizon <= self.round.now_ms);
        is_past && self.round.lets_deletes_go
    }
}
