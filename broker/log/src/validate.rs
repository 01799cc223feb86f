//! Checks of record batches: what a client may send, and what a replica or the disk may hold.
//!
//! A client's Produce carries exactly one batch per partition; a replica's fetch or a file carries many.

use std::fmt;

use crate::config::LogConfig;
use crate::header::TimestampType;
use crate::header::{BatchHeader, CRC_START, Codec, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, NO_TIMESTAMP};
use crate::records::{RecordError, Records};

/// Why bytes are not an acceptable record batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the header or its length field ask for.
    Truncated {
        /// Bytes that the batch should have.
        needed: usize,
        /// Bytes that there are.
        present: usize,
    },
    /// The length field is less than a header.
    Length(i32),
    /// Not format version 2.
    Magic(i8),
    /// The checksum is another one.
    Crc {
        /// In the header.
        stated: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// No known compression.
    Codec(i16),
    /// Base offset, last offset delta and record count don't fit together.
    Offsets {
        /// The base offset.
        base_offset: i64,
        /// The last offset delta.
        last_offset_delta: i32,
        /// The record count.
        records_count: i32,
    },
    /// The timestamp isn't one, or lies too far from the broker's clock.
    Timestamp {
        /// The timestamp in ms.
        timestamp_ms: i64,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A client sent another number of batches than one.
    BatchCount,
    /// Producer id, epoch and sequence don't fit together.
    Sequence {
        /// The base sequence.
        base_sequence: i32,
    },
    /// It isn't the epoch of the leader that wrote there.
    LeaderEpoch(i32),
    /// A record is malformed, or of a kind that clients may not write.
    Record(RecordError),
    /// Larger than `max.message.bytes`.
    TooLarge {
        /// The batch's size in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: u32,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, present } => {
                write!(f, "the record batch needs {needed} bytes, {present} are present")
            }
            Self::Length(length) => {
                write!(f, "the record batch states a length of {length}, less than its header")
            }
            Self::Magic(magic) => {
                write!(f, "the record batch has format version {magic}, only 2 is supported")
            }
            Self::Crc { stated, computed } => {
                write!(
                    f,
                    "the record batch is corrupt: it states CRC {stated:08x}, its bytes have {computed:08x}"
                )
            }
            Self::Codec(codec) => write!(f, "the compression type {codec} is unknown"),
            Self::Offsets { base_offset, last_offset_delta, records_count } => write!(
                f,
                "base offset {base_offset}, last offset delta {last_offset_delta} and record count {records_count} disagree"
            ),
            Self::Timestamp { timestamp_ms, rule } => write!(f, "the timestamp {timestamp_ms} {rule}"),
            Self::BatchCount => f.write_str("a partition's records have to be exactly one batch"),
            Self::Sequence { base_sequence } => {
                write!(f, "the base sequence {base_sequence} does not fit the producer id")
            }
            Self::LeaderEpoch(epoch) => write!(f, "no leader of epoch {epoch} wrote there"),
            Self::Record(error) => error.fmt(f),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "the record batch has {bytes} bytes, max.message.bytes is {bytes_max}")
            }
        }
    }
}

impl std::error::Error for BatchError {}

/// Checks a header for itself: format version, length, offsets and codec; not the CRC.
///
/// # Errors
/// Says the first rule that it breaks.
pub fn check_header(header: BatchHeader<'_>) -> Result<(), BatchError> {
    if header.batch_length() < (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32 {
        return Err(BatchError::Length(header.batch_length()));
    }
    if header.magic() != MAGIC {
        return Err(BatchError::Magic(header.magic()));
    }
    if header.codec().is_none() {
        return Err(BatchError::Codec(header.attributes() & 7));
    }
    let (base, delta, count) = (header.base_offset().0, header.last_offset_delta(), header.records_count());
    // Compaction may take records out of a batch, so the count may be less than the offsets say.
    let fits = base >= 0 && delta >= 0 && base.checked_add(i64::from(delta) + 1).is_some();
    if !fits || count < 0 || i64::from(count) > i64::from(delta) + 1 {
        return Err(BatchError::Offsets {
            base_offset: base,
            last_offset_delta: delta,
            records_count: count,
        });
    }
    Ok(())
}

/// Checks that `bytes` begin with a whole batch whose CRC is right, as a replica or the disk may hold it.
///
/// # Errors
/// Says the first rule that it breaks.
pub fn check_batch(bytes: &[u8]) -> Result<BatchHeader<'_>, BatchError> {
    let truncated = |needed| BatchError::Truncated { needed, present: bytes.len() };
    let header = BatchHeader::new(bytes).ok_or(truncated(HEADER_BYTES))?;
    check_header(header)?;
    let batch = bytes.get(..header.batch_bytes()).ok_or(truncated(header.batch_bytes()))?;
    let computed = crc32c::crc32c(&batch[CRC_START..]);
    if computed != header.crc() {
        return Err(BatchError::Crc { stated: header.crc(), computed });
    }
    Ok(header)
}

/// The batches of a byte string, each checked as [`check_batch`] does; ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Reads batches from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(BatchHeader<'a>, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = self.rest;
        self.rest = &[];
        Some(check_batch(bytes).map(|header| {
            let (batch, rest) = bytes.split_at(header.batch_bytes());
            self.rest = rest;
            (header, batch)
        }))
    }
}

/// Checks what a client sends for one partition: exactly one batch that a client may write.
///
/// # Errors
/// Says the first rule that it breaks, in the order in which Kafka looks.
pub fn validate_produce<'a>(
    payload: &'a [u8],
    config: &LogConfig,
    now_ms: i64,
) -> Result<BatchHeader<'a>, BatchError> {
    if payload.len() >= HEADER_BYTES {
        let bytes = BatchHeader::new(payload).map_or(0, |header| header.batch_bytes());
        if bytes > config.max_message_bytes as usize {
            return Err(BatchError::TooLarge { bytes, bytes_max: config.max_message_bytes });
        }
    }
    let header = check_batch(payload)?;
    if header.batch_bytes() != payload.len() {
        return Err(BatchError::BatchCount);
    }
    let (base, delta, count) = (header.base_offset().0, header.last_offset_delta(), header.records_count());
    if base != 0 || count < 1 || i64::from(count) != i64::from(delta) + 1 {
        return Err(BatchError::Offsets {
            base_offset: base,
            last_offset_delta: delta,
            records_count: count,
        });
    }
    if header.is_control() {
        let what = "clients may not write control records";
        return Err(BatchError::Record(RecordError { index: 0, what }));
    }
    check_sequence(header)?;
    check_timestamps(header, config, now_ms)?;
    if header.codec() == Some(Codec::None) {
        check_records(header, &payload[HEADER_BYTES..], config.compact).map_err(BatchError::Record)?;
    }
    Ok(header)
}

fn check_sequence(header: BatchHeader<'_>) -> Result<(), BatchError> {
    let with_producer = header.producer_id().0 >= 0;
    let fits = if with_producer {
        header.base_sequence() >= 0 && header.producer_epoch().0 >= 0
    } else {
        !header.is_transactional()
    };
    if fits { Ok(()) } else { Err(BatchError::Sequence { base_sequence: header.base_sequence() }) }
}

fn check_timestamps(header: BatchHeader<'_>, config: &LogConfig, now_ms: i64) -> Result<(), BatchError> {
    let wrong = |timestamp_ms, rule| Err(BatchError::Timestamp { timestamp_ms, rule });
    if header.timestamp_type() == TimestampType::Append {
        return wrong(header.max_timestamp(), "is marked as append time, which only the broker sets");
    }
    for timestamp_ms in [header.base_timestamp(), header.max_timestamp()] {
        if timestamp_ms < NO_TIMESTAMP {
            return wrong(timestamp_ms, "is negative");
        }
        if config.timestamp_type == TimestampType::Append || timestamp_ms == NO_TIMESTAMP {
            continue;
        }
        if timestamp_ms.saturating_sub(now_ms) > config.timestamp_after_max_ms {
            return wrong(timestamp_ms, "is later than message.timestamp.after.max.ms allows");
        }
        if now_ms.saturating_sub(timestamp_ms) > config.timestamp_before_max_ms {
            return wrong(timestamp_ms, "is earlier than message.timestamp.before.max.ms allows");
        }
    }
    Ok(())
}

fn check_records(header: BatchHeader<'_>, records: &[u8], need_keys: bool) -> Result<(), RecordError> {
    let base = header.base_offset().0;
    let mut count = 0;
    for record in Records::new(header, records) {
        let record = record?;
        if record.offset.0 != base + i64::from(count) {
            return Err(RecordError { index: count, what: "its offset is not the next one" });
        }
        if need_keys && record.key.is_none() {
            return Err(RecordError { index: count, what: "a compacted topic needs a key" });
        }
        count += 1;
    }
    assert_eq!(count, header.records_count(), "the iterator ends early only with an error");
    Ok(())
}
