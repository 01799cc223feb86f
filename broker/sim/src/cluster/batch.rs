//! Batches as the judge remembers them, and as producers make them.

use bytes::Bytes;
use ottla_log::{BatchBuilder, BatchHeader, Batches, Records};
use ottla_store::{PartitionLog, UpTo};
use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// One batch of a log, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) base: i64,
    pub(super) next: i64,
    pub(super) epoch: i32,
    /// Over all its bytes.
    pub(super) hash: u32,
    pub(super) producer: i64,
    pub(super) producer_epoch: i16,
    pub(super) sequence: i32,
    pub(super) time_ms: i64,
}

impl Mark {
    /// How many records it has.
    pub(super) fn count(&self) -> i32 {
        i32::try_from(self.next - self.base).expect("batches are small")
    }

    fn of(header: BatchHeader<'_>, batch: &[u8]) -> Self {
        Self {
            base: header.base_offset().0,
            next: header.next_offset().0,
            epoch: header.leader_epoch().0,
            hash: crc32c::crc32c(batch),
            producer: header.producer_id().0,
            producer_epoch: header.producer_epoch().0,
            sequence: header.base_sequence(),
            time_ms: header.max_timestamp(),
        }
    }
}

/// The batches of a byte string, up to the first that isn't whole.
pub(super) fn marks_of(bytes: &Bytes) -> Vec<Mark> {
    Batches::new(bytes).map_while(Result::ok).map(|(header, batch)| Mark::of(header, batch)).collect()
}

/// What a log holds from `from` on, as far as it can be read; and whether that was all.
pub(super) fn marks_in(log: &PartitionLog, from: i64) -> (Vec<Mark>, bool) {
    let (mut marks, mut at) = (Vec::new(), from.max(log.log_start_offset().0));
    while at < log.end_offset().0 {
        match log.read_bytes(Offset(at), 1 << 20, UpTo::End) {
            Ok(bytes) if !bytes.is_empty() => marks.extend(marks_of(&bytes)),
            _ => return (marks, false),
        }
        match marks.last() {
            Some(last) if last.next > at => at = last.next,
            _ => return (marks, false),
        }
    }
    (marks, true)
}

/// A producer's batch, each record with a number that no other record has.
pub(super) fn produce_batch(
    (producer, epoch, sequence): (i64, i16, i32),
    values: std::ops::Range<u64>,
    now_ms: i64,
    padding: usize,
) -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    for value in values {
        let mut bytes = value.to_be_bytes().to_vec();
        bytes.resize(8 + padding, 7);
        builder.push(now_ms, None, Some(&bytes), &[]);
    }
    builder.build().into()
}

/// The numbers in a batch, with their offsets.
pub(super) fn values_of(batch: &[u8]) -> Vec<(i64, u64)> {
    let Some(header) = BatchHeader::new(batch) else { return Vec::new() };
    let records = Records::new(header, &batch[ottla_log::HEADER_BYTES..]);
    let value = |record: ottla_log::Record<'_>| {
        Some((record.offset.0, u64::from_be_bytes(*record.value?.first_chunk()?)))
    };
    records.map_while(Result::ok).filter_map(value).collect()
}
