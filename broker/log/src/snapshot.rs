//! The file of the producers' state, `<offset>.snapshot`, in Kafka's format (version 1).
//!
//! Kafka keeps one entry a producer: its last batch. We write one for each batch that is remembered, the last
//! one last: Kafka's reader lets the last entry of a producer win, ours joins them, so retries of all five
//! are still recognized after a restart. The last batch is written once more, with the time at which the
//! producer was last heard in the place of the batch's: a reader takes that field for the producer's age.

use std::fmt;

use ottla_types::{Offset, ProducerEpoch, ProducerId};

use crate::header::sequence_plus;
use crate::producers::{BatchMeta, ProducerEntry, ProducerStates};

const VERSION: i16 = 1;
const ENTRIES_AT: usize = 6;
const ENTRY_BYTES: usize = 46;

/// The bytes are no producer snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotError(
    /// What is wrong.
    pub &'static str,
);

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the producer snapshot is corrupt: {}", self.0)
    }
}

impl std::error::Error for SnapshotError {}

/// The snapshot's bytes. The same state gives the same bytes.
pub fn encode_snapshot(states: &ProducerStates) -> Vec<u8> {
    let mut producers: Vec<_> = states.entries().collect();
    producers.sort_by_key(|(id, _)| *id);
    let mut bytes = Vec::with_capacity(ENTRIES_AT + 4 + producers.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    let mut count = 0i32;
    for (id, entry) in producers {
        if entry.batches.is_empty() {
            put_entry(&mut bytes, id, entry.epoch, None, entry.heard_ms.unwrap_or(-1));
            count += 1;
        }
        for batch in &entry.batches {
            put_entry(&mut bytes, id, entry.epoch, Some(batch), batch.timestamp_ms);
            count += 1;
        }
        if let (Some(last), Some(heard_ms)) = (entry.batches.back(), entry.heard_ms) {
            put_entry(&mut bytes, id, entry.epoch, Some(last), heard_ms);
            count += 1;
        }
    }
    assert_eq!(
        bytes.len(),
        ENTRIES_AT + 4 + count as usize * ENTRY_BYTES,
        "the reader compares count and size"
    );
    bytes[ENTRIES_AT..ENTRIES_AT + 4].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[ENTRIES_AT..]);
    bytes[2..ENTRIES_AT].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn put_entry(
    bytes: &mut Vec<u8>,
    id: ProducerId,
    epoch: ProducerEpoch,
    batch: Option<&BatchMeta>,
    timestamp_ms: i64,
) {
    bytes.extend_from_slice(&id.0.to_be_bytes());
    bytes.extend_from_slice(&epoch.0.to_be_bytes());
    bytes.extend_from_slice(&batch.map_or(-1, |batch| batch.last_sequence).to_be_bytes());
    bytes.extend_from_slice(&batch.map_or(-1, |batch| batch.last_offset.0).to_be_bytes());
    let delta = batch.map_or(0, |batch| (batch.last_offset.0 - batch.base_offset.0) as i32);
    bytes.extend_from_slice(&delta.to_be_bytes());
    bytes.extend_from_slice(&timestamp_ms.to_be_bytes());
    // The coordinator's epoch and the first offset of an open transaction: none yet.
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    bytes.extend_from_slice(&(-1i64).to_be_bytes());
}

/// Reads a snapshot.
///
/// # Errors
/// When version, CRC or size are wrong.
pub fn decode_snapshot(bytes: &[u8]) -> Result<ProducerStates, SnapshotError> {
    let (head, entries) = bytes.split_at_checked(ENTRIES_AT + 4).ok_or(SnapshotError("too short"))?;
    if head[..2] != VERSION.to_be_bytes() {
        return Err(SnapshotError("unknown version"));
    }
    if head[2..ENTRIES_AT] != crc32c::crc32c(&bytes[ENTRIES_AT..]).to_be_bytes() {
        return Err(SnapshotError("wrong CRC"));
    }
    let count = i32::from_be_bytes([head[6], head[7], head[8], head[9]]);
    if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_BYTES)) != Some(entries.len()) {
        return Err(SnapshotError("the count does not fit the size"));
    }
    let mut states = ProducerStates::default();
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        join_entry(&mut states, entry);
    }
    Ok(states)
}

fn join_entry(states: &mut ProducerStates, bytes: &[u8]) {
    assert_eq!(bytes.len(), ENTRY_BYTES, "an entry is read as a whole");
    let i32_at = |at: usize| i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let i64_at = |at: usize| (i64::from(i32_at(at)) << 32) | i64::from(i32_at(at + 4) as u32);
    let id = ProducerId(i64_at(0));
    let epoch = ProducerEpoch(i16::from_be_bytes([bytes[8], bytes[9]]));
    let (last_sequence, last_offset, delta) = (i32_at(10), i64_at(14), i32_at(22));
    let timestamp_ms = i64_at(26);
    let mut known = match states.get(id) {
        Some(known) if known.epoch == epoch => known.clone(),
        _ => ProducerEntry::new(epoch, None),
    };
    let batch = BatchMeta {
        base_sequence: sequence_plus(last_sequence, delta.wrapping_neg()),
        last_sequence,
        base_offset: Offset(last_offset.saturating_sub(i64::from(delta))),
        last_offset: Offset(last_offset),
        timestamp_ms,
    };
    let is_again = known.batches.back().is_some_and(|last| BatchMeta { timestamp_ms, ..*last } == batch);
    if last_sequence < 0 || is_again {
        known.heard_ms = (timestamp_ms >= 0).then_some(timestamp_ms);
    } else {
        known.push(batch);
    }
    states.insert(id, known);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, BatchHeader};
    use ottla_types::LeaderEpoch;

    fn states() -> ProducerStates {
        let mut states = ProducerStates::default();
        for (id, sequence, offset, heard_ms) in
            [(7, i32::MAX, 0, Some(900)), (7, 1, 2, Some(1_000)), (9, 0, 4, None), (7, 3, 6, Some(1_100))]
        {
            let batch = BatchBuilder::new(Offset(0), LeaderEpoch(0))
                .producer(ProducerId(id), ProducerEpoch(2), sequence)
                .record(50, None, None)
                .record(60, None, None)
                .build();
            states.on_append(BatchHeader::new(&batch).unwrap(), Offset(offset), 60, heard_ms);
        }
        states
    }

    #[test]
    fn all_remembered_batches_survive() {
        let bytes = encode_snapshot(&states());
        assert_eq!(bytes.len(), 10 + 5 * ENTRY_BYTES, "of one it is known when it was heard");
        assert_eq!(decode_snapshot(&bytes), Ok(states()));
        assert_eq!(encode_snapshot(&states()), bytes);
        let empty = ProducerStates::default();
        assert_eq!(decode_snapshot(&encode_snapshot(&empty)), Ok(empty));
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let good = encode_snapshot(&states());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(decode_snapshot(&bad).is_err(), "byte {at}");
            assert!(decode_snapshot(&good[..at]).is_err(), "cut at {at}");
        }
    }
}
