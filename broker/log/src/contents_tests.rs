//! What lies inside of batches, compressed and not: each lie about it is found, and the header is made true.

use std::io::Write;

use ottla_types::{LeaderEpoch, Offset};

use crate::header::{CRC_START, HEADER_BYTES, NO_TIMESTAMP, TimestampType, with_times};
use crate::{
    BatchBuilder, BatchError, BatchHeader, Codec, LogConfig, RecordFault, SizeLimit, ValidBatch, compress,
    inflated_bytes_max, outline, validate_produce, varint,
};

const NOW: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// A record as its bytes.
fn record(offset_delta: i64, timestamp_delta: i64, key: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![0];
    varint::put(&mut body, timestamp_delta);
    varint::put(&mut body, offset_delta);
    varint::put(&mut body, key.map_or(-1, |key| key.len() as i64));
    body.extend_from_slice(key.unwrap_or_default());
    varint::put(&mut body, 1_000);
    body.extend_from_slice(&[b'v'; 1_000]);
    varint::put(&mut body, 0);
    let mut record = Vec::new();
    varint::put(&mut record, body.len() as i64);
    [record, body].concat()
}

fn records(count: i64) -> Vec<u8> {
    (0..count).flat_map(|index| record(index, index, Some(b"k"))).collect()
}

/// A batch that says that it has three records from [`NOW`] on, and holds these bytes.
fn holding(codec: Codec, payload: &[u8]) -> Vec<u8> {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let builder = builder.record(NOW, None, None).record(NOW + 1, None, None).record(NOW + 2, None, None);
    builder.build_compressed(codec, payload)
}

fn batch(codec: Codec, records: &[u8]) -> Vec<u8> {
    holding(codec, &compress(codec, records).unwrap())
}

fn validate(batch: &[u8], config: &LogConfig) -> Result<ValidBatch, BatchError> {
    validate_produce(batch, config, NOW, inflated_bytes_max(batch.len()))
}

#[test]
fn lies_about_what_is_inside_are_found_in_every_compression() {
    let config = LogConfig::default();
    let mut torn = records(3);
    torn.truncate(torn.len() - 1);
    let longer = [records(3), vec![0]].concat();
    let zero = record(0, 0, None);
    for codec in CODECS {
        assert!(validate(&batch(codec, &records(3)), &config).is_ok(), "{codec:?}");
        for (name, inside, wanted) in [
            ("two of three", records(2), "record 2"),
            ("four of three", records(4), "bytes after the last record"),
            ("all at the first offset", [zero.clone(), zero.clone(), zero.clone()].concat(), "not the next"),
            ("none", Vec::new(), "record 0"),
            ("cut short", torn.clone(), "record 2"),
            ("a byte too many", longer.clone(), "bytes after the last record"),
        ] {
            let error = validate(&batch(codec, &inside), &config).map(drop).unwrap_err();
            assert!(matches!(error, BatchError::Record(_)), "{codec:?}, {name}: {error}");
            assert!(error.to_string().contains(wanted), "{codec:?}, {name}: {error}");
        }
    }
}

#[test]
fn what_is_not_compressed_as_it_says_is_refused() {
    for codec in &CODECS[1..] {
        let whole = compress(*codec, &records(3)).unwrap();
        for (name, payload) in [
            ("nothing", &[][..]),
            ("plain text", b"not compressed at all"),
            ("bits", &[0xff; 30]),
            ("plain records", &records(3)),
            ("cut short", &whole[..whole.len() - 4]),
            ("half", &whole[..whole.len() / 2]),
        ] {
            let error = validate(&holding(*codec, payload), &LogConfig::default()).map(drop);
            assert!(matches!(error, Err(BatchError::Record(_))), "{codec:?}, {name}: {error:?}");
        }
    }
}

#[test]
fn both_forms_of_snappy_and_streams_of_zstandard_are_read() {
    let config = LogConfig::default();
    let raw = snap::raw::Encoder::new().compress_vec(&records(3)).unwrap();
    assert!(validate(&holding(Codec::Snappy, &raw), &config).is_ok());
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    for byte in records(3) {
        encoder.write_all(&[byte]).unwrap();
    }
    assert!(validate(&holding(Codec::Zstd, &encoder.finish().unwrap()), &config).is_ok());
}

#[test]
fn each_record_that_a_topic_does_not_take_is_named() {
    let compacted = LogConfig { compact: true, ..LogConfig::default() };
    let strict = LogConfig { timestamp_before_max_ms: DAY, ..LogConfig::default() };
    let (late, early) = (NOW + 10 * DAY, NOW - 2 * DAY);
    for codec in CODECS {
        let refused = |inside: &[u8], config| match validate(&batch(codec, inside), config) {
            Err(BatchError::Refused(refused)) => (refused.first().to_vec(), refused.is_of_time()),
            other => panic!("{codec:?}: {other:?}"),
        };
        let keyless = [record(0, 0, None), record(1, 0, Some(b"")), record(2, 0, None)].concat();
        let named = vec![(0, RecordFault::NoKey), (2, RecordFault::NoKey)];
        assert_eq!(refused(&keyless, &compacted), (named, false));
        let times = [record(0, 0, None), record(1, 10 * DAY, None), record(2, -2 * DAY, None)].concat();
        let named = vec![
            (1, RecordFault::TooLate { timestamp_ms: late }),
            (2, RecordFault::TooEarly { timestamp_ms: early }),
        ];
        assert_eq!(refused(&times, &strict), (named, true));
        let append = LogConfig { timestamp_type: TimestampType::Append, ..strict.clone() };
        assert!(validate(&batch(codec, &times), &append).is_ok(), "the times don't count there");
    }
}

#[test]
fn many_refused_records_take_little_memory() {
    let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    for _ in 0..5_000 {
        builder.push(NOW, None, None, &[]);
    }
    let compacted = LogConfig { compact: true, ..LogConfig::default() };
    let error = validate(&builder.build(), &compacted).map(drop).unwrap_err();
    assert!(error.to_string().contains("5000 of the batch's records"), "{error}");
    assert!(matches!(&error, BatchError::Refused(refused) if refused.first().len() == 1_000));
}

#[test]
fn the_greatest_time_is_that_of_the_records() {
    let inside = [record(0, 5, None), record(1, 70, None), record(2, -9, None)].concat();
    for codec in CODECS {
        for claimed in [NO_TIMESTAMP, 0, NOW - 30 * DAY, NOW + 70, i64::MAX] {
            let mut batch = batch(codec, &inside);
            let header = with_times(&batch, TimestampType::Create, claimed);
            batch[..HEADER_BYTES].copy_from_slice(&header);
            for (kind, wanted) in [(TimestampType::Create, NOW + 70), (TimestampType::Append, NOW)] {
                let config = LogConfig { timestamp_type: kind, ..LogConfig::default() };
                let valid = validate(&batch, &config).unwrap();
                let header = valid.header();
                assert_eq!((header.timestamp_type(), header.max_timestamp()), (kind, wanted));
                assert_eq!(valid.append_time_ms(), (kind == TimestampType::Append).then_some(NOW));
                let mut written = batch.clone();
                let placed = valid.placed(Offset(9), LeaderEpoch(2));
                written[..HEADER_BYTES].copy_from_slice(&placed);
                let written = crate::check_batch(&written).unwrap();
                assert_eq!((written.base_offset(), written.leader_epoch()), (Offset(9), LeaderEpoch(2)));
            }
        }
    }
}

#[test]
fn records_without_a_time_have_none() {
    let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(NO_TIMESTAMP, None, None).build();
    let valid = validate(&batch, &LogConfig::default()).unwrap();
    assert_eq!(valid.header().max_timestamp(), NO_TIMESTAMP);
}

#[test]
fn a_batch_does_not_grow_without_limit() {
    for codec in &CODECS[1..] {
        let inside = records(3);
        let batch = batch(*codec, &inside);
        assert!(validate_produce(&batch, &LogConfig::default(), NOW, inside.len()).is_ok(), "{codec:?}");
        let error = validate_produce(&batch, &LogConfig::default(), NOW, inside.len() - 1).map(drop);
        let too_large = matches!(error, Err(BatchError::TooLarge { limit: SizeLimit::Inflated, .. }));
        assert!(too_large, "{codec:?}: {error:?}");
    }
    // A block that is said to have 200 MiB: nothing of it is even begun.
    let mut claims = Vec::new();
    let mut length = 200_u32 << 20;
    while length >= 0x80 {
        claims.push(length as u8 | 0x80);
        length >>= 7;
    }
    claims.push(length as u8);
    let error = validate(&holding(Codec::Snappy, &claims), &LogConfig::default()).map(drop);
    assert!(matches!(error, Err(BatchError::TooLarge { limit: SizeLimit::Inflated, .. })), "{error:?}");
}

#[test]
fn records_are_shown_until_enough_were_seen() {
    let inside = [record(0, 5, None), record(1, 70, Some(b"k")), record(2, 70, None)].concat();
    for codec in CODECS {
        let batch = batch(codec, &inside);
        let header = BatchHeader::new(&batch).unwrap();
        let mut seen = Vec::new();
        let look = |record: crate::RecordOutline| {
            seen.push((record.offset_delta, record.timestamp_ms, record.has_key));
            seen.len() < 2
        };
        outline(header, &batch[HEADER_BYTES..], inside.len(), look).unwrap();
        assert_eq!(seen, [(0, NOW + 5, false), (1, NOW + 70, true)], "{codec:?}");
    }
}

/// Any change of a byte behind the header is either found, or leaves what a consumer can read.
#[test]
fn whatever_is_accepted_can_be_read() {
    let mut seed = 7_u64;
    for codec in CODECS {
        let whole = batch(codec, &records(3));
        for _ in 0..2_000 {
            let mut changed = whole.clone();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = HEADER_BYTES + (seed >> 33) as usize % (changed.len() - HEADER_BYTES);
            changed[at] ^= 1 << (seed >> 30 & 7);
            let crc = crc32c::crc32c(&changed[CRC_START..]);
            changed[17..21].copy_from_slice(&crc.to_be_bytes());
            if validate(&changed, &LogConfig::default()).is_err() {
                continue;
            }
            let inside = crate::decompress(codec, &changed[HEADER_BYTES..], 1 << 20).unwrap();
            let header = BatchHeader::new(&changed).unwrap();
            let read: Vec<_> = crate::Records::new(header, &inside).collect::<Result<_, _>>().unwrap();
            let offsets: Vec<i64> = read.iter().map(|record| record.offset.0).collect();
            assert_eq!(offsets, [0, 1, 2], "{codec:?}");
        }
    }
}
