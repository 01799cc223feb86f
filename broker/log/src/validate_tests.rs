//! What clients may send, as a table: one change to a good batch a line.

use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::header::{CRC_START, HEADER_BYTES, TimestampType};
use crate::{
    BatchBuilder, BatchError, Batches, LogConfig, RecordFault, Records, ValidBatch, check_batch,
    check_fits_segment, validate_produce,
};

const NOW: i64 = 1_000_000;

fn good() -> BatchBuilder {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    builder.record(NOW, Some(b"k"), Some(b"v")).record_with(
        NOW + 5,
        None,
        None,
        &[(b"h", Some(b"1")), (b"n", None)],
    )
}

/// Sets bytes and makes the CRC right again.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = good().build();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn validate(batch: &[u8], config: &LogConfig, now_ms: i64) -> Result<ValidBatch, BatchError> {
    validate_produce(batch, config, now_ms, usize::MAX)
}

#[test]
fn clients_may_send_what_kafka_accepts() {
    let config = LogConfig::default();
    let with_producer = good().producer(ProducerId(1), ProducerEpoch(0), 0);
    let no_time = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(-1, None, Some(b"v")).build();
    for (name, batch) in [
        ("plain", good().build()),
        ("idempotent", with_producer.clone().build()),
        ("transactional", with_producer.transactional().build()),
        ("no timestamp", no_time),
        ("from before 1970", BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(-7, None, None).build()),
        ("another leader epoch, which the leader sets anyway", patched(12, &[0, 0, 0, 9])),
    ] {
        assert!(validate(&batch, &config, NOW).is_ok(), "{name}");
    }
}

#[test]
fn clients_may_not_send_the_rest() {
    let config = LogConfig { max_message_bytes: 1_000, ..LogConfig::default() };
    let mut long = good();
    long.push(NOW, None, Some(&[0; 1_000]), &[]);
    let mut flipped = good().build();
    flipped[70] ^= 1;
    let hour = 3_600_000;
    let late = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(NOW + hour + 1, None, None).build();
    for (name, batch, wanted) in [
        ("empty", Vec::new(), "needs 61 bytes"),
        ("cut header", good().build()[..60].to_vec(), "needs 61 bytes"),
        ("cut records", good().build()[..70].to_vec(), "bytes, 70 are present"),
        ("two batches", [good().build(), good().build()].concat(), "exactly one batch"),
        ("a byte too many", [good().build(), vec![0]].concat(), "exactly one batch"),
        ("length less than a header", patched(8, &[0, 0, 0, 48]), "less than its header"),
        ("negative length", patched(8, &[0xff; 4]), "less than its header"),
        ("old format", patched(16, &[1]), "format version 1"),
        ("flipped bit", flipped, "corrupt"),
        ("unknown codec", patched(21, &[0, 5]), "compression type 5"),
        ("control", good().control().build(), "control"),
        ("base offset", patched(0, &[0, 0, 0, 0, 0, 0, 0, 1]), "base offset 1"),
        ("count", patched(57, &[0, 0, 0, 1]), "disagree"),
        ("no records", patched(57, &[0, 0, 0, 0]), "disagree"),
        ("negative delta", patched(23, &[0xff; 4]), "disagree"),
        ("append time", patched(21, &[0, 8]), "only the broker sets"),
        ("too late", late, "after.max.ms"),
        ("too large", long.build(), "max.message.bytes"),
        (
            "producer without sequence",
            good().producer(ProducerId(1), ProducerEpoch(0), -1).build(),
            "base sequence",
        ),
        (
            "producer without epoch",
            good().producer(ProducerId(1), ProducerEpoch(-1), 0).build(),
            "base sequence",
        ),
        ("transaction without producer", good().transactional().build(), "base sequence"),
        ("a record longer than its batch", patched(HEADER_BYTES, &[0x7e]), "record 0"),
        ("a record's offset", patched(HEADER_BYTES + 3, &[2]), "not the next one"),
        ("a record shorter than its fields", patched(HEADER_BYTES, &[8]), "record 0"),
    ] {
        let error = validate(&batch, &config, NOW).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(wanted), "{name}: {error}");
    }
    let compacted = LogConfig { compact: true, ..config };
    let error = validate(&good().build(), &compacted, NOW).map(|_| ()).unwrap_err();
    let BatchError::Refused(refused) = &error else { panic!("{error}") };
    assert_eq!((refused.first(), refused.is_of_time()), (&[(1, RecordFault::NoKey)][..], false));
    let small = LogConfig { segment_bytes: good().build().len() as u32 - 1, ..LogConfig::default() };
    let error = check_fits_segment(&good().build(), &small).unwrap_err();
    assert!(error.to_string().contains("segment.bytes"), "{error}");
    assert_eq!(check_fits_segment(&good().build()[1..], &small), Ok(()));
}

#[test]
fn timestamps_count_only_where_they_are_kept() {
    let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(0, None, None).build();
    let strict = LogConfig { timestamp_before_max_ms: 10, ..LogConfig::default() };
    assert!(matches!(validate(&batch, &strict, 11), Err(BatchError::Refused(_))));
    assert!(validate(&batch, &strict, 10).is_ok());
    let append_time = LogConfig { timestamp_type: TimestampType::Append, ..strict };
    assert!(validate(&batch, &append_time, i64::MAX).is_ok());
}

#[test]
fn batches_are_walked_to_the_first_bad_one() {
    let bytes = [good().build(), good().build(), vec![0; 61]].concat();
    let walked: Vec<bool> = Batches::new(&bytes).map(|batch| batch.is_ok()).collect();
    assert_eq!(walked, [true, true, false]);
}

#[test]
fn records_read_back_with_their_headers_and_never_past_their_bytes() {
    let batch = good().build();
    let header = check_batch(&batch).unwrap();
    let records = Records::new(header, &batch[HEADER_BYTES..]).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(
        (records[0].key, records[0].value, records[0].timestamp_ms),
        (Some(&b"k"[..]), Some(&b"v"[..]), NOW)
    );
    assert_eq!((records[1].offset, records[1].key, records[1].value), (Offset(1), None, None));
    assert_eq!(records[1].headers, [(&b"h"[..], Some(&b"1"[..])), (&b"n"[..], None)]);
    for cut in HEADER_BYTES..batch.len() {
        let read = Records::new(header, &batch[HEADER_BYTES..cut]);
        assert!(read.clone().count() <= 2 && read.last().unwrap().is_err(), "cut at {cut}");
    }
    let longer = [&batch[HEADER_BYTES..], &[0]].concat();
    assert!(Records::new(header, &longer).last().unwrap().is_err());
}
