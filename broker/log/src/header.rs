//! The header of a record batch, format version 2: a view over its bytes and the patched copy that is
//! written.
//!
//! Not here: checks ([`crate::validate_produce`], [`crate::check_batch`]) and single records
//! ([`crate::Records`]).

use std::fmt;

use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// The bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;

/// The bytes before the ones that `batchLength` counts: base offset and the length itself.
pub const LENGTH_PREFIX_BYTES: usize = 12;

/// The first byte that the CRC covers (the attributes); it covers all from there to the batch's end.
pub const CRC_START: usize = 21;

/// The only format version that is written or read.
pub const MAGIC: i8 = 2;

/// "No timestamp", as in Kafka.
pub const NO_TIMESTAMP: i64 = -1;

const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
/// The base timestamp is a delete horizon (KIP-534).
const DELETE_HORIZON_BIT: i16 = 1 << 6;
const CODEC_MASK: i16 = 0b111;

/// How the records of a batch are compressed. The log passes them through as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy, framed or raw.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard; producers need Produce version 7 for it.
    Zstd,
}

impl Codec {
    /// The codec with this number in a batch's attributes, if there is one.
    pub fn from_id(id: i16) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd].get(usize::try_from(id).ok()?).copied()
    }

    /// The number of this codec in a batch's attributes.
    pub fn id(self) -> i16 {
        self as i16
    }
}

/// What a batch's timestamps are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's, `CreateTime`.
    #[default]
    Create,
    /// The broker's at append, `LogAppendTime`.
    Append,
}

/// The header of one batch, read in place.
#[derive(Clone, Copy)]
pub struct BatchHeader<'a> {
    bytes: &'a [u8; HEADER_BYTES],
}

impl<'a> From<&'a [u8; HEADER_BYTES]> for BatchHeader<'a> {
    fn from(bytes: &'a [u8; HEADER_BYTES]) -> Self {
        Self { bytes }
    }
}

impl<'a> BatchHeader<'a> {
    /// Views the header at the start of `bytes`; `None` when there are fewer than [`HEADER_BYTES`]. Checks
    /// nothing else.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { bytes: bytes.first_chunk()? })
    }

    /// All of its bytes.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        *self.bytes
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[at..at + N]);
        field
    }

    /// The offset of the first record.
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(self.field(0)))
    }

    /// The field `batchLength`: the bytes that follow it. May be anything in unchecked bytes.
    pub fn batch_length(&self) -> i32 {
        i32::from_be_bytes(self.field(8))
    }

    /// The bytes of the whole batch, header included; 0 when the length field is negative.
    pub fn batch_bytes(&self) -> usize {
        usize::try_from(self.batch_length()).map_or(0, |length| length + LENGTH_PREFIX_BYTES)
    }

    /// The epoch of the leader that appended the batch.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(self.field(12)))
    }

    /// The format version.
    pub fn magic(&self) -> i8 {
        i8::from_be_bytes(self.field(16))
    }

    /// The CRC32C that the header states for the bytes from [`CRC_START`] on.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.field(17))
    }

    /// The attribute bits.
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field(21))
    }

    /// The compression; `None` when its number is unknown.
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_id(self.attributes() & CODEC_MASK)
    }

    /// Whose timestamps they are.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes() & TIMESTAMP_TYPE_BIT == 0 {
            TimestampType::Create
        } else {
            TimestampType::Append
        }
    }

    /// Whether the batch is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// Whether it holds control records, which only brokers write.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// When the tombstones and markers in it may go, in ms since 1970; the first cleaning that meets them
    /// says so, in the place of the base timestamp (KIP-534). The records' times are relative to it all the
    /// same.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON_BIT != 0).then(|| self.base_timestamp())
    }

    /// The last record's offset minus the base offset.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field(23))
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset().0.saturating_add(i64::from(self.last_offset_delta())))
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// What the records' timestamps are relative to, in ms since 1970: the first one's, or the delete
    /// horizon.
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(27))
    }

    /// The greatest timestamp in the batch, in ms since 1970.
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(35))
    }

    /// The idempotent producer, or −1.
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(i64::from_be_bytes(self.field(43)))
    }

    /// The producer's epoch, or −1.
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(i16::from_be_bytes(self.field(51)))
    }

    /// The sequence number of the first record, or −1.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.field(53))
    }

    /// The sequence number of the last record; it wraps from 2³¹ − 1 to 0. −1 when there is none.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence() < 0 {
            return -1;
        }
        sequence_plus(self.base_sequence(), self.last_offset_delta())
    }

    /// The number of records.
    pub fn records_count(&self) -> i32 {
        i32::from_be_bytes(self.field(57))
    }

    /// The header of this batch with these of its records, as their bytes are in the new one. Offsets,
    /// epochs, producer, sequence and the kind of timestamps stay.
    ///
    /// # Panics
    /// When the batch would have 2 GiB.
    pub(crate) fn with_contents(self, new: &NewContents, records: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = self.to_bytes();
        let length = i32::try_from(HEADER_BYTES - LENGTH_PREFIX_BYTES + records.len());
        let length = length.expect("a batch is shorter than 2 GiB");
        let horizon = if new.has_delete_horizon { DELETE_HORIZON_BIT } else { 0 };
        let kept = self.attributes() & (TIMESTAMP_TYPE_BIT | TRANSACTIONAL_BIT | CONTROL_BIT);
        header[8..12].copy_from_slice(&length.to_be_bytes());
        header[21..23].copy_from_slice(&(kept | horizon | new.codec.id()).to_be_bytes());
        header[27..35].copy_from_slice(&new.base_timestamp.to_be_bytes());
        header[35..43].copy_from_slice(&new.max_timestamp.to_be_bytes());
        header[57..61].copy_from_slice(&new.records_count.to_be_bytes());
        seal(header, records)
    }
}

/// What is new of a batch that keeps its offsets and its producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewContents {
    /// How the records are compressed.
    pub(crate) codec: Codec,
    /// Whether the base timestamp is when tombstones and markers may go.
    pub(crate) has_delete_horizon: bool,
    /// What the records' timestamps are relative to, in ms.
    pub(crate) base_timestamp: i64,
    /// The greatest timestamp, in ms.
    pub(crate) max_timestamp: i64,
    /// The number of records.
    pub(crate) records_count: i32,
}

/// A header with the checksum of itself and the records that follow it.
fn seal(mut header: [u8; HEADER_BYTES], records: &[u8]) -> [u8; HEADER_BYTES] {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[CRC_START..]), records);
    header[17..21].copy_from_slice(&crc.to_be_bytes());
    header
}

impl fmt::Debug for BatchHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "batch {}..={} epoch {} bytes {} count {}",
            self.base_offset(),
            self.last_offset(),
            self.leader_epoch(),
            self.batch_bytes(),
            self.records_count()
        )
    }
}

/// `sequence + delta` in the numbers 0 to 2³¹ − 1, which wrap.
pub fn sequence_plus(sequence: i32, delta: i32) -> i32 {
    ((i64::from(sequence) + i64::from(delta)) & i64::from(i32::MAX)) as i32
}

/// The header to write in place of a batch's own: with the offset and epoch that the leader assigns.
///
/// The CRC covers neither, so it stays.
///
/// # Panics
/// When `batch` is shorter than a header; it has been checked before.
pub fn patch_header(batch: &[u8], base_offset: Offset, leader_epoch: LeaderEpoch) -> [u8; HEADER_BYTES] {
    assert!(base_offset.0 >= 0, "a log has no offset {base_offset}");
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(&batch[..HEADER_BYTES]);
    header[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    header[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
    header
}

/// The header of `batch`, which holds all of it, with this greatest timestamp. Where something changes by
/// that, the CRC is computed again.
///
/// # Panics
/// When `batch` is shorter than a header; it has been checked before.
pub fn with_times(batch: &[u8], kind: TimestampType, max_timestamp_ms: i64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(&batch[..HEADER_BYTES]);
    let old = BatchHeader { bytes: &header };
    assert_eq!(old.batch_bytes(), batch.len(), "the checksum is that of all of the batch");
    if old.timestamp_type() == kind && old.max_timestamp() == max_timestamp_ms {
        return header;
    }
    let attributes = match kind {
        TimestampType::Create => old.attributes() & !TIMESTAMP_TYPE_BIT,
        TimestampType::Append => old.attributes() | TIMESTAMP_TYPE_BIT,
    };
    header[21..23].copy_from_slice(&attributes.to_be_bytes());
    header[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    seal(header, &batch[HEADER_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, check_batch};

    #[test]
    fn a_header_reads_back_what_the_builder_was_given() {
        let batch = BatchBuilder::new(Offset(7), LeaderEpoch(3))
            .producer(ProducerId(9), ProducerEpoch(1), i32::MAX)
            .record(100, Some(b"k"), Some(b"v"))
            .record(90, None, None)
            .build();
        let header = BatchHeader::new(&batch).unwrap();
        assert_eq!(
            (header.base_offset(), header.last_offset(), header.next_offset()),
            (Offset(7), Offset(8), Offset(9))
        );
        assert_eq!((header.base_timestamp(), header.max_timestamp()), (100, 100));
        assert_eq!((header.base_sequence(), header.last_sequence()), (i32::MAX, 0));
        assert_eq!((header.batch_bytes(), header.records_count()), (batch.len(), 2));
        assert_eq!(header.codec(), Some(Codec::None));
        assert!(!header.is_control() && !header.is_transactional());
        assert!(BatchHeader::new(&batch[..60]).is_none());
    }

    #[test]
    fn patching_keeps_the_crc_right_with_and_without_append_time() {
        let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(5, None, Some(b"value")).build();
        for (kind, time) in
            [(TimestampType::Create, 5), (TimestampType::Create, 7), (TimestampType::Append, 1_234)]
        {
            let mut patched = batch.clone();
            patched[..HEADER_BYTES].copy_from_slice(&with_times(&batch, kind, time));
            let placed = patch_header(&patched, Offset(40), LeaderEpoch(2));
            patched[..HEADER_BYTES].copy_from_slice(&placed);
            let header = check_batch(&patched).unwrap();
            assert_eq!((header.base_offset(), header.leader_epoch()), (Offset(40), LeaderEpoch(2)));
            assert_eq!((header.timestamp_type(), header.max_timestamp()), (kind, time));
        }
    }
    #[test]
    fn new_contents_keep_offsets_producer_and_the_kind_of_times() {
        let batch = BatchBuilder::new(Offset(7), LeaderEpoch(3))
            .producer(ProducerId(9), ProducerEpoch(1), 5)
            .transactional()
            .control()
            .record(100, Some(b"k"), Some(b"v"))
            .build();
        let mut marked: [u8; HEADER_BYTES] = *batch.first_chunk().unwrap();
        marked[21..23].copy_from_slice(&0x7fff_i16.to_be_bytes());
        let old = BatchHeader::from(&marked);
        for (horizon, attributes) in [(true, 0b111_1011), (false, 0b011_1011)] {
            let new = NewContents {
                codec: Codec::Lz4,
                has_delete_horizon: horizon,
                base_timestamp: 70,
                max_timestamp: 80,
                records_count: 1,
            };
            let bytes = [&old.with_contents(&new, b"records"), &b"records"[..]].concat();
            let header = check_batch(&bytes).unwrap();
            assert_eq!(header.attributes(), attributes);
            assert_eq!(header.delete_horizon_ms(), horizon.then_some(70));
            assert_eq!((header.base_timestamp(), header.max_timestamp()), (70, 80));
            assert_eq!((header.base_offset(), header.leader_epoch()), (Offset(7), LeaderEpoch(3)));
            assert_eq!((header.producer_id(), header.producer_epoch()), (ProducerId(9), ProducerEpoch(1)));
            assert_eq!((header.base_sequence(), header.last_offset()), (5, Offset(7)));
        }
    }
}
