//! A batch without some of its records, as Kafka writes it anew.
//!
//! Kept are base offset, last offset delta, leader epoch, producer, sequence, the kind of timestamps and the
//! compression: what a producer's next batch is compared with, and what offsets mean. New are the records,
//! how many they are, and their times.

use std::ops::Range;

use ottla_types::{LeaderEpoch, Offset};

use super::contents::{malformed, records};
use crate::compression::compress;
use crate::header::{BatchHeader, Codec, HEADER_BYTES, MAGIC, NO_TIMESTAMP, NewContents, patch_header};
use crate::records::put_record;
use crate::validate::BatchError;

/// Appends a batch to `out` that has those of a batch's records that are `kept`, one or more, with this
/// delete horizon in ms, if any.
pub(super) fn rewrite(
    header: BatchHeader<'_>,
    inflated: &[u8],
    kept: &[bool],
    delete_horizon_ms: Option<i64>,
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let mut base = delete_horizon_ms;
    let (mut count, mut max_timestamp, mut bytes, mut scratch) = (0, NO_TIMESTAMP, Vec::new(), Vec::new());
    for (record, _) in records(header, inflated).zip(kept).filter(|(_, kept)| **kept) {
        let record = record?;
        let timestamp_delta = record.timestamp_ms.wrapping_sub(*base.get_or_insert(record.timestamp_ms));
        let deltas = (timestamp_delta, record.offset.0 - header.base_offset().0);
        put_record(&mut bytes, &mut scratch, deltas, (record.key, record.value, &record.headers));
        max_timestamp = max_timestamp.max(record.timestamp_ms);
        count += 1;
    }
    assert!(count > 0 && count <= header.records_count(), "records were only taken out of {header:?}");
    let codec = header.codec().expect("the compression of a checked batch is known");
    let bytes = match codec {
        Codec::None => bytes,
        _ => compress(codec, &bytes).map_err(|_| malformed(0, "those that are left can't be compressed"))?,
    };
    let new = NewContents {
        codec,
        has_delete_horizon: delete_horizon_ms.is_some(),
        base_timestamp: base.unwrap_or(NO_TIMESTAMP),
        max_timestamp,
        records_count: count,
    };
    if i32::try_from(HEADER_BYTES + bytes.len()).is_err() {
        return Err(malformed(0, "those that are left have 2 GiB or more"));
    }
    out.extend_from_slice(&header.with_contents(&new, &bytes));
    out.extend_from_slice(&bytes);
    Ok(())
}

/// Appends what is left of a batch when it has no record any more: its header, which says its offsets and its
/// producer's last sequence number. It keeps its greatest timestamp, and has no delete horizon.
pub(super) fn put_emptied(header: BatchHeader<'_>, out: &mut Vec<u8>) {
    let new = NewContents {
        codec: Codec::None,
        has_delete_horizon: false,
        base_timestamp: NO_TIMESTAMP,
        max_timestamp: header.max_timestamp(),
        records_count: 0,
    };
    out.extend_from_slice(&header.with_contents(&new, &[]));
}

/// A batch of nobody's, without records: it says that what stood at these offsets is gone.
pub(super) fn filler(offsets: &Range<Offset>, epoch: LeaderEpoch) -> Vec<u8> {
    let delta =
        i32::try_from(offsets.end.0 - offsets.start.0 - 1).expect("a filler is of 2^31 offsets at most");
    assert!(delta >= 0, "there is something to fill in {offsets:?}");
    let mut header = [0; HEADER_BYTES];
    header[16..17].copy_from_slice(&MAGIC.to_be_bytes());
    header[23..27].copy_from_slice(&delta.to_be_bytes());
    // Its greatest timestamp, producer, producer's epoch and sequence are −1, which is none.
    header[35..57].fill(0xff);
    let header = patch_header(&header, offsets.start, epoch);
    let mut batch = Vec::new();
    put_emptied(BatchHeader::from(&header), &mut batch);
    batch
}
