//! Checks of record batches: what a client may send, and what a replica or the disk may hold.
//!
//! A client's Produce carries exactly one batch per partition; a replica's fetch or a file carries many.

use std::fmt;

use ottla_types::{LeaderEpoch, Offset};

use crate::compression::{DECODER_BYTES_MAX, decoder_bytes};
use crate::config::LogConfig;
use crate::header::{
    BatchHeader, CRC_START, Codec, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, NO_TIMESTAMP, TimestampType,
    patch_header, with_times,
};
use crate::outline::{OutlineError, RecordOutline, outline};
use crate::records::RecordError;
use crate::refused::{RecordFault, RefusedRecords};

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
    /// Single records that the topic doesn't take.
    Refused(RefusedRecords),
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
    /// Larger than a limit.
    TooLarge {
        /// Which one.
        limit: SizeLimit,
        /// The size in bytes; of what is decompressed only that it is more than the limit.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
}

/// What limits a batch's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeLimit {
    /// `max.message.bytes`: the batch as it is sent.
    Message,
    /// `segment.bytes`: no segment would hold it.
    Segment,
    /// What a batch may become when it is decompressed, all of it or one block of it.
    Inflated,
}

impl SizeLimit {
    fn name(self) -> &'static str {
        match self {
            Self::Message => "max.message.bytes",
            Self::Segment => "segment.bytes",
            Self::Inflated => "the limit of what is decompressed",
        }
    }
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
            Self::Refused(refused) => refused.fmt(f),
            Self::BatchCount => f.write_str("a partition's records have to be exactly one batch"),
            Self::Sequence { base_sequence } => {
                write!(f, "the base sequence {base_sequence} does not fit the producer id")
            }
            Self::LeaderEpoch(epoch) => write!(f, "no leader of epoch {epoch} wrote there"),
            Self::Record(error) => error.fmt(f),
            Self::TooLarge { limit, bytes, bytes_max } => {
                write!(f, "the record batch has {bytes} bytes, {} is {bytes_max}", limit.name())
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
            assert!(header.batch_bytes() >= HEADER_BYTES, "a checked batch holds its header");
            let (batch, rest) = bytes.split_at(header.batch_bytes());
            self.rest = rest;
            (header, batch)
        }))
    }
}

/// A client's batch that was checked, and the header that it has in a log, but for its offset and epoch.
#[derive(Clone, Debug)]
pub struct ValidBatch {
    header: [u8; HEADER_BYTES],
}

impl ValidBatch {
    /// The header with the times as they are to be written, and the checksum over them.
    pub fn header(&self) -> BatchHeader<'_> {
        BatchHeader::from(&self.header)
    }

    /// The header to write, with the offset and epoch that the leader assigns.
    pub fn placed(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> [u8; HEADER_BYTES] {
        patch_header(&self.header, base_offset, leader_epoch)
    }

    /// The time that was set in place of the records' own, in ms.
    pub fn append_time_ms(&self) -> Option<i64> {
        let header = self.header();
        (header.timestamp_type() == TimestampType::Append).then(|| header.max_timestamp())
    }
}

/// Checks what a client sends for one partition: exactly one batch that a client may write, and each of its
/// records.
///
/// The header that comes back has the greatest timestamp as the records say it, or the time of the append
/// where the topic wants that. Compressed records are read as a stream, up to `inflated_max` bytes.
///
/// # Errors
/// Says the first rule that it breaks, in the order in which Kafka looks.
pub fn validate_produce(
    payload: &[u8],
    config: &LogConfig,
    now_ms: i64,
    inflated_max: usize,
) -> Result<ValidBatch, BatchError> {
    if payload.len() >= HEADER_BYTES {
        let bytes = BatchHeader::new(payload).map_or(0, |header| header.batch_bytes());
        let bytes_max = config.max_message_bytes as usize;
        if bytes > bytes_max {
            return Err(BatchError::TooLarge { limit: SizeLimit::Message, bytes, bytes_max });
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
    let max_timestamp_ms = check_records(header, &payload[HEADER_BYTES..], config, now_ms, inflated_max)?;
    let time = match config.timestamp_type {
        TimestampType::Create => max_timestamp_ms,
        TimestampType::Append => now_ms,
    };
    Ok(ValidBatch { header: with_times(payload, config.timestamp_type, time) })
}

/// Checks that a client's batch fits into a segment. A log takes others too, such as a leader took with other
/// settings.
///
/// # Errors
/// When it doesn't.
pub fn check_fits_segment(batch: &[u8], config: &LogConfig) -> Result<(), BatchError> {
    let (bytes, bytes_max) = (batch.len(), config.segment_bytes as usize);
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(BatchError::TooLarge { limit: SizeLimit::Segment, bytes, bytes_max })
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

/// Checks each record; returns their greatest timestamp.
fn check_records(
    header: BatchHeader<'_>,
    records: &[u8],
    config: &LogConfig,
    now_ms: i64,
    inflated_max: usize,
) -> Result<i64, BatchError> {
    let inflated = |bytes, bytes_max| BatchError::TooLarge { limit: SizeLimit::Inflated, bytes, bytes_max };
    let decoder_bytes = decoder_bytes(header.codec().unwrap_or(Codec::None), records);
    if decoder_bytes > DECODER_BYTES_MAX {
        return Err(inflated(decoder_bytes, DECODER_BYTES_MAX));
    }
    let mut refused = RefusedRecords::default();
    let mut max_timestamp_ms = NO_TIMESTAMP;
    let mut misplaced = None;
    outline(header, records, inflated_max, |record| {
        if record.offset_delta != record.index {
            misplaced = Some(RecordError { index: record.index, what: "its offset is not the next one" });
        } else if let Some(fault) = fault(record, header, config, now_ms) {
            refused.push(record.index, fault);
        }
        max_timestamp_ms = max_timestamp_ms.max(record.timestamp_ms);
        misplaced.is_none()
    })
    .map_err(|error| match error {
        OutlineError::Record(error) => BatchError::Record(error),
        OutlineError::TooLong { bytes_max } => inflated(bytes_max.saturating_add(1), bytes_max),
    })?;
    match misplaced {
        Some(error) => Err(BatchError::Record(error)),
        None if refused.is_empty() => Ok(max_timestamp_ms),
        None => Err(BatchError::Refused(refused)),
    }
}

/// Why a topic doesn't take a record that is well-formed.
fn fault(
    record: RecordOutline,
    header: BatchHeader<'_>,
    config: &LogConfig,
    now_ms: i64,
) -> Option<RecordFault> {
    let timestamp_ms = record.timestamp_ms;
    if config.compact && !record.has_key {
        return Some(RecordFault::NoKey);
    }
    if header.timestamp_type() == TimestampType::Append {
        return Some(RecordFault::AppendTime);
    }
    if config.timestamp_type == TimestampType::Append || timestamp_ms == NO_TIMESTAMP {
        return None;
    }
    if timestamp_ms.saturating_sub(now_ms) > config.timestamp_after_max_ms {
        return Some(RecordFault::TooLate { timestamp_ms });
    }
    let is_early = now_ms.saturating_sub(timestamp_ms) > config.timestamp_before_max_ms;
    is_early.then_some(RecordFault::TooEarly { timestamp_ms })
}
