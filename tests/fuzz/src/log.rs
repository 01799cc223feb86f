//! Decoders of record batches and of the files that a crash may leave in any state.

use ottla_log::{
    BatchHeader, Batches, CRC_START, Depth, HEADER_BYTES, LENGTH_PREFIX_BYTES, LeaderEpochs, LogConfig,
    MAGIC, MetaProperties, PartitionMetadata, Records, decode_offsets, decode_snapshot, decompress, encode_offsets,
    encode_snapshot, scan, validate_produce,
};
use ottla_types::Offset;

const MAGIC_AT: usize = 16;
const NOW_MS: i64 = 1_700_000_000_000;
const INFLATED_MAX: usize = 1 << 20;

/// Makes the length, the magic and the checksum right, so that what lies behind them is reached.
fn seal(data: &[u8]) -> Option<Vec<u8>> {
    let mut batch = data.to_vec();
    let length = i32::try_from(batch.len().checked_sub(LENGTH_PREFIX_BYTES)?).ok()?;
    if batch.len() < HEADER_BYTES {
        return None;
    }
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[MAGIC_AT] = MAGIC as u8;
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[MAGIC_AT + 1..CRC_START].copy_from_slice(&crc.to_be_bytes());
    Some(batch)
}

/// What a producer sends for one partition.
pub fn batch(data: &[u8]) {
    let _ = validate_produce(data, &LogConfig::default(), NOW_MS, INFLATED_MAX);
    let Some(batch) = seal(data) else { return };
    if let Ok(valid) = validate_produce(&batch, &LogConfig::default(), NOW_MS, INFLATED_MAX) {
        let header = valid.header();
        assert_eq!(header.batch_bytes(), batch.len());
        assert!(header.records_count() > 0 && header.last_offset() >= header.base_offset());
        let codec = header.codec().expect("it was checked");
        let records = decompress(codec, &batch[HEADER_BYTES..], INFLATED_MAX).expect("it was read before");
        let times: Vec<i64> = Records::new(header, &records)
            .map(|record| record.expect("it was read before").timestamp_ms)
            .collect();
        assert_eq!(times.len(), header.records_count() as usize);
        assert_eq!(times.into_iter().max().unwrap_or(-1).max(-1), header.max_timestamp());
    }
    if let Some(header) = BatchHeader::new(&batch) {
        let count = Records::new(header, &batch[HEADER_BYTES..]).take_while(Result::is_ok).count();
        assert!(count <= batch.len(), "more records than bytes");
    }
}

/// A segment: both depths of the scan end within it, and the thorough one never later than the quick one.
pub fn segment(data: &[u8]) {
    // Each chunk of the input becomes a batch with a right checksum, so that the scan gets somewhere.
    let sealed: Vec<u8> =
        data.chunks(97).flat_map(|chunk| seal(chunk).unwrap_or_else(|| chunk.to_vec())).collect();
    for bytes in [data, &sealed[..]] {
        let first = BatchHeader::new(bytes).map_or(Offset(0), |header| header.base_offset());
        let ends = [Depth::Crc, Depth::Headers].map(|depth| {
            let end = scan(bytes, 0..bytes.len() as u64, first, depth, |_| true)
                .unwrap_or_else(|never| match never {});
            assert!(end.position <= bytes.len() as u64, "the scan ran past the segment");
            end.position
        });
        assert!(ends[0] <= ends[1], "a batch with a wrong checksum or header was passed");
        let walked = Batches::new(bytes).take_while(Result::is_ok).count();
        assert!(walked * HEADER_BYTES <= bytes.len());
    }
}

/// The small files: what is read is written as a text that reads the same.
pub fn checkpoints(data: &[u8]) {
    if let Ok(states) = decode_snapshot(data) {
        assert_eq!(encode_snapshot(&states).len(), data.len(), "a snapshot has one form");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(offsets) = decode_offsets(text) {
        let again = decode_offsets(&encode_offsets(&offsets)).expect("we read what we wrote");
        assert_eq!(encode_offsets(&again), encode_offsets(&offsets));
    }
    if let Ok(epochs) = LeaderEpochs::decode(text) {
        let again = LeaderEpochs::decode(&epochs.encode()).expect("we read what we wrote");
        assert_eq!(again.encode(), epochs.encode());
    }
    if let Ok(meta) = MetaProperties::decode(text) {
        assert!(MetaProperties::decode(&meta.encode()).is_ok(), "we read what we wrote");
    }
    if let Ok(partition) = PartitionMetadata::decode(text) {
        assert!(PartitionMetadata::decode(&partition.encode()).is_ok(), "we read what we wrote");
    }
}
