//! What stays of batches and records, rule by rule.

use std::convert::Infallible;

use ottla_types::{Offset, ProducerId};

use super::test_support::{Given, batch, check, segment, show};
use super::{CleanerError, Holes};
use crate::header::{CRC_START, HEADER_BYTES, NO_TIMESTAMP};
use crate::{BatchError, BatchHeader, Batches, check_batch};

fn given(log: &str) -> Given<'_> {
    Given { log, ..Given::default() }
}

#[test]
fn the_last_value_of_each_key_stays_where_it_was() {
    check(&given("0..2: a=1 b=1 a=2\n3..4: c=1 b=2"), "0..2: _ _ a=2\n3..4: c=1 b=2");
    check(&given("0..0: a=1\n1..1: a=2\n2..2: a=3"), "2..2: a=3");
    check(&given("0..1: a=1 b=1\n7..9: _ a=2 _"), "0..1: _ b=1\n7..9: _ a=2");
    check(&given("0..1: =1 a=1"), "0..1: _ a=1");
}

#[test]
fn records_without_a_key_go_and_are_counted() {
    let cleaned = check(&given("0..3: =1 a=1 =2 a!\n4..4: =3"), "0..3 horizon=1050: _ _ _ a!");
    assert_eq!(cleaned.stats.records_without_key, 3);
}

#[test]
fn what_is_rewritten_keeps_all_but_its_records() {
    for codec in ["", " gzip", " snappy", " lz4", " zstd"] {
        let log = format!("5..8 e3 p7/2/9 txn{codec}: a=1@70 b=h@60 c=2@90 a=3@50\n9..9 e4 p7/2/13 txn: c=3");
        let new = format!("5..8 e3 p7/2/9 txn{codec}: _ b=h@60 _ a=3@50\n9..9 e4 p7/2/13 txn: c=3");
        let cleaned = check(&given(&log), &new);
        let header = BatchHeader::new(&cleaned.bytes).unwrap();
        assert_eq!((header.base_timestamp(), header.max_timestamp()), (60, 60), "of those that are left");
        assert_eq!(header.last_sequence(), 12);
    }
    let append = "0..1 append max=500: a=1@500 b=1@500\n2..2: a=2";
    let cleaned = check(&given(append), "0..1 append max=500: _ b=1\n2..2: a=2");
    assert_eq!(BatchHeader::new(&cleaned.bytes).unwrap().base_timestamp(), 500, "as Kafka writes it");
}

#[test]
fn what_loses_nothing_stays_byte_for_byte() {
    let log = segment("0..3 e3 p7/2/9 lz4 max=900: a=1@70 _ b=h@60 _\n4..4 horizon=2000: c!\n5..5: d=1");
    let cleaned = given("").clean_bytes(&log).unwrap();
    assert_eq!(cleaned.bytes, log);
    let again = Given { first_dirty: 6, ..given("") }.clean_bytes(&cleaned.bytes).unwrap();
    assert_eq!(again.bytes, log);
}

#[test]
fn a_tombstone_stays_until_its_delete_horizon() {
    let log = "0..1: a=1 b=1@90\n2..3: a!@80 c=1";
    let first = check(&given(log), "0..1: _ b=1@90\n2..3 horizon=1050: a!@80 c=1");
    let header = BatchHeader::new(&first.bytes[first.bytes.len() / 2..]);
    assert!(header.is_some());
    let cleaned = show(&first.bytes);
    for (now_ms, left) in [(1_049, "2..3 horizon=1050: a!@80 c=1"), (1_050, "2..3 horizon=1050: _ c=1")] {
        let later = Given { first_dirty: 4, now_ms, log: &cleaned, ..given("") };
        check(&later, &format!("0..1: _ b=1@90\n{left}"));
    }
    let alone = "0..0: a=1\n1..1 horizon=999: a!";
    check(&given(alone), "");
    let never = Given { delete_retention_ms: i64::MAX, ..given("0..0: a!") };
    check(&never, &format!("0..0 horizon={}: a!", i64::MAX));
    let at_once = Given { delete_retention_ms: 0, ..given("0..0: a!") };
    check(&at_once, "0..0 horizon=1000: a!");
}

#[test]
fn what_deletes_stays_while_a_replica_has_not_seen_it() {
    let log = "0..0: a=1\n1..1 horizon=5: a!\n2..2 p7/0/-1 txn ctl horizon=5: commit\n3..3: b=1";
    let given = Given { lets_deletes_go: false, ..given(log) };
    check(&given, "1..1 horizon=5: a!\n2..2 p7/0/-1 txn ctl horizon=5: commit\n3..3: b=1");
    check(&Given { lets_deletes_go: true, ..given }, "3..3: b=1");
}

#[test]
fn a_horizon_that_is_set_stays() {
    let log = "0..2 horizon=1500: a! b! c=1\n3..3: a=2";
    check(&given(log), "0..2 horizon=1500: _ b! c=1\n3..3: a=2");
    check(&given("0..1 horizon=700: c=1 d=1\n2..2: d=2"), "0..1 horizon=700: c=1\n2..2: d=2");
}

#[test]
fn a_value_after_a_tombstone_takes_its_place() {
    check(&given("0..0: a=1\n1..1: a!\n2..2: a=2"), "2..2: a=2");
    check(&given("0..1: a! b=1\n2..2: a=2"), "0..1: _ b=1\n2..2: a=2");
}

#[test]
fn what_the_map_did_not_reach_stays_as_it_is() {
    let log = "0..2: a=1 b=1 a=2\n3..5: a=3 c! a=4\n6..6: b!\n7..7: =1";
    let full = Given { keys_max: 2, ..given(log) };
    // The map takes `a` and `b`; from offset 2 on it knows nothing.
    let cleaned = check(&full, log);
    assert_eq!(cleaned.map.latest_offset(), Some(Offset(1)));
    // In the midst of a batch: what comes before goes, and a tombstone's time begins when all before it is
    // mapped.
    let log = "0..3: a=1 a=2 c=1 b!\n4..4: d=1";
    let full = Given { keys_max: 2, ..given(log) };
    check(&full, "0..3: _ a=2 c=1 b!\n4..4: d=1");
}

#[test]
fn what_is_below_the_dirty_part_is_compared_with_it() {
    let log = "0..1: a=1 b=1\n2..3: b=2 c=1";
    check(&Given { first_dirty: 2, ..given(log) }, "0..1: a=1\n2..3: b=2 c=1");
    check(&Given { first_dirty: 3, ..given(log) }, log);
}

#[test]
fn a_batch_stays_empty_while_it_holds_its_producers_last_sequence() {
    let log = "0..1 e2 p7/0/5 lz4: a=1@70 b=1@90\n2..2 p8/0/0: a=2\n3..3: a=3\n4..4: b=2";
    let rest = "3..3: a=3\n4..4: b=2";
    let last = |last_records| Given { last_records, ..given(log) };
    let cleaned = check(&last(&[(7, Some(1), 0)]), &format!("0..1 e2 p7/0/5 max=90:\n{rest}"));
    let header = BatchHeader::new(&cleaned.bytes).unwrap();
    assert_eq!((header.base_timestamp(), header.last_sequence()), (NO_TIMESTAMP, 6));
    assert_eq!(cleaned.stats.batches_emptied, 1);
    let both = format!("0..1 e2 p7/0/5 max=90:\n2..2 p8/0/0 max=100:\n{rest}");
    check(&last(&[(7, Some(1), 0), (8, Some(2), 0)]), &both);
    check(&last(&[(7, Some(9), 0)]), rest);
    check(&last(&[(7, None, 0)]), rest);
    check(&last(&[]), rest);
    check(&Given { last_records: &[(-1, Some(0), 0)], ..given("0..0: a=1\n1..1: a=2") }, "1..1: a=2");
}

#[test]
fn an_empty_batch_goes_once_its_producer_wrote_more() {
    let log = "0..1 p7/0/5 max=90:\n2..2: a=3";
    check(&Given { last_records: &[(7, Some(1), 0)], ..given(log) }, log);
    check(&Given { last_records: &[(7, Some(9), 0)], ..given(log) }, "2..2: a=3");
}

#[test]
fn the_last_batch_before_what_is_not_cleaned_stays_empty() {
    let log = "0..0: a=1\n1..2: a=2\n3..4: =1 =2";
    check(&Given { end: 5, ..given(log) }, "1..2: a=2\n3..4 max=100:");
    check(&Given { end: 6, ..given(log) }, "1..2: a=2");
    let aborted = Given { end: 2, aborted: &[(7, 0, 2)], ..given("0..1 p7/0/0 txn: a=1 b=1") };
    check(&aborted, "0..1 p7/0/0 txn max=100:");
}

#[test]
fn a_marker_stays_until_nothing_of_its_transaction_is_left_and_its_horizon_passed() {
    for kind in ["commit", "abort"] {
        let marker = format!("1..1 p7/0/-1 txn ctl: {kind}@80");
        let data = format!("0..0 p7/0/0 txn: a=1\n{marker}\n2..2: a=2");
        // Its data goes now, so that somebody may be about to read it.
        let aborted: &[_] = if kind == "abort" { &[(7, 0, 1)] } else { &[] };
        let kept = check(&Given { aborted, ..given(&data) }, &format!("{marker}\n2..2: a=2"));
        assert_eq!(kept.retained.len(), aborted.len(), "the index goes on to tell of it");
        // With the next cleaning its time begins.
        let alone = format!("{marker}\n2..2: a=2");
        let timed = format!("1..1 p7/0/-1 txn ctl horizon=1050: {kind}@80\n2..2: a=2");
        let kept = check(&Given { aborted, ..given(&alone) }, &timed);
        assert!(kept.retained.is_empty(), "nothing is left to tell of");
        for (now_ms, left) in [(1_049, timed.as_str()), (1_050, "2..2: a=2")] {
            check(&Given { now_ms, aborted, ..given(&timed) }, left);
        }
    }
}

#[test]
fn a_marker_stays_while_records_of_its_transaction_do() {
    let log = "0..0 p7/0/0 txn: a=1\n1..1 p8/0/0 txn: b=1\n2..2 p7/0/-1 txn ctl horizon=5: commit\n3..3 p8/0/-1 txn ctl: commit";
    check(&given(log), log);
    // The next transaction of the producer is another one.
    let two = format!("{log}\n4..4 p7/0/-1 txn ctl horizon=5: commit");
    check(&given(&two), log);
}

#[test]
fn an_expired_marker_stays_empty_as_its_producers_last_word() {
    let log = "0..0 p7/3/-1 txn ctl horizon=5: commit\n1..1: a=1";
    let empty = "0..0 p7/3/-1 txn ctl max=100:\n1..1: a=1";
    check(&Given { last_records: &[(7, None, 3)], ..given(log) }, empty);
    check(&Given { last_records: &[(7, None, 4)], ..given(log) }, "1..1: a=1");
    check(&Given { last_records: &[(7, Some(0), 3)], ..given(log) }, empty);
    check(&Given { last_records: &[(7, None, 3)], ..given(empty) }, empty);
    check(&given(empty), "1..1: a=1");
}

#[test]
fn control_records_have_no_keys_that_count() {
    // A record of data whose key has the bytes of a marker's.
    let log = "0..0 p7/0/0 txn: a=1\n1..1 p7/0/-1 txn ctl: commit\n2..2: commit";
    check(&given(log), log);
}

#[test]
fn control_records_of_other_kinds_stay() {
    let log = "0..0 ctl horizon=5: other\n1..1 p7/0/-1 ctl: other";
    check(&given(log), log);
}

#[test]
fn records_of_aborted_transactions_go_whatever_their_keys() {
    let log = "0..0: a=1\n1..2 p7/0/0 txn gzip: a=2 b=1\n3..3 p8/0/0 txn: c=1\n4..4 p7/0/0: d=1\n\
               5..5 p7/0/-1 txn ctl: abort\n6..6 p7/0/1 txn: e=1\n7..7 p8/0/-1 txn ctl: commit";
    let left = "0..0: a=1\n3..3 p8/0/0 txn: c=1\n4..4 p7/0/0: d=1\n\
                5..5 p7/0/-1 txn ctl: abort\n6..6 p7/0/1 txn: e=1\n7..7 p8/0/-1 txn ctl: commit";
    let cleaned = check(&Given { aborted: &[(7, 1, 5)], ..given(log) }, left);
    assert_eq!((cleaned.map.len(), cleaned.map.get(b"b")), (4, None), "nor do they hide what came before");
    let retained: Vec<_> = cleaned.retained.iter().map(|one| (one.producer_id, one.last_offset)).collect();
    assert_eq!(retained, [(ProducerId(7), Offset(5))]);
    // As its last sequence an aborted batch stays empty, and so does its marker stay.
    let last = Given { aborted: &[(7, 1, 5)], last_records: &[(7, Some(2), 0)], ..given(log) };
    check(&last, &left.replace("3..3", "1..2 p7/0/0 txn max=100:\n3..3"));
}

#[test]
fn holes_can_be_filled_so_that_batches_follow_each_other() {
    let filled = |log, end| Given { holes: Holes::Filled, end, ..given(log) };
    let log = "0..0: a=1\n1..1: b=1\n2..2: c=1\n3..3: b=2\n4..4: a=2\n5..5: x=1";
    check(&filled(log, 9), "0..1:\n2..2: c=1\n3..3: b=2\n4..4: a=2\n5..5: x=1");
    // A filler is of one epoch, so that nothing else is said of where each begins.
    let log = "0..0: a=1\n1..2 e1: a=2 a=3\n3..3 e1: a=4\n4..4 e2: a=5\n5..5 e3: a=6\n6..6 e3: a!";
    let cleaned = check(&filled(log, 9), "0..0:\n1..3 e1:\n4..4 e2:\n5..5 e3:\n6..6 e3 horizon=1050: a!");
    assert_eq!((cleaned.stats.fillers_written, cleaned.stats.batches_emptied), (4, 0));
    // The next cleaning makes one of those that are neighbours then.
    let next = "0..0:\n1..3:\n4..4: b=1\n5..5: c=1\n6..6: b=2";
    check(&filled(next, 9), "0..4:\n5..5: c=1\n6..6: b=2");
    // So it does of holes, also at the end.
    check(&filled("3..3: b=0\n8..8: b=1\n9..9: b=2\n10..10 e1: =1", 99), "0..8:\n9..9: b=2\n10..10 e1:");
    check(&filled("", 9), "");
    let bytes = filled("0..0: a=1\n1..1: a=2", 9).clean().unwrap().bytes;
    let header = BatchHeader::new(&bytes).unwrap();
    assert_eq!((header.base_timestamp(), header.max_timestamp()), (NO_TIMESTAMP, NO_TIMESTAMP));
    assert_eq!((header.producer_id().0, header.producer_epoch().0, header.base_sequence()), (-1, -1, -1));
    assert_eq!((header.attributes(), header.batch_bytes()), (0, HEADER_BYTES));
}

#[test]
fn a_filler_has_no_more_offsets_than_a_batch_can_have() {
    let far = (1_i64 << 31) + 5;
    let log = format!("{far}..{far}: a=1\n{0}..{0}: b=1", far + 1);
    let given = Given { holes: Holes::Filled, end: far + 9, ..given(&log) };
    check(&given, &format!("0..{}:\n{}..{}:\n{log}", (1_i64 << 31) - 1, 1_i64 << 31, far - 1));
    let log = format!("0..0: a=1\n1..1: a=2\n{far}..{far}: a=3");
    let given = Given { log: &log, ..given };
    check(&given, &format!("0..{}:\n{}..{}:\n{far}..{far}: a=3", (1_i64 << 31) - 1, 1_i64 << 31, far - 1));
}

#[test]
fn cleaning_twice_changes_nothing_more() {
    let log = "0..3: a=1 b=1 =x a!\n4..4 p7/0/0 lz4: b=2\n5..6: c! d=1";
    let given = given(log);
    let once = given.clean().unwrap().bytes;
    assert_eq!(given.clean_bytes(&once).unwrap().bytes, once);
}

#[test]
fn the_stats_say_what_was_read_and_written() {
    let log = "0..3: a=1 b=1 =x a=2\n4..4: =y\n5..5: c=1";
    let cleaned = check(&given(log), "0..3: _ b=1 _ a=2\n5..5: c=1");
    let (stats, bytes) = (cleaned.stats, segment(log).len() as u64);
    assert_eq!((stats.map_bytes_read, stats.map_records_read), (bytes, 6));
    assert_eq!((stats.bytes_read, stats.records_read), (bytes, 6));
    assert_eq!((stats.records_written, stats.records_without_key, stats.batches_emptied), (3, 2, 0));
}

/// What is wrong, with the position and the offset that it names.
fn error_of(log: &[u8], given: &Given<'_>) -> (u64, Offset, BatchError) {
    match given.clean_bytes(log).map(|cleaned| show(&cleaned.bytes)) {
        Err(CleanerError::Batch { position, offset, error }) => (position, offset, error),
        Err(CleanerError::Io(error)) => match error {},
        Ok(left) => panic!("cleaned: {left}"),
    }
}

#[test]
fn a_torn_or_corrupt_batch_is_an_error_that_names_where() {
    let (first, second) = (batch("0..1: a=1 b=1"), batch("2..4 p7/0/0: a=2 b=2 c=3"));
    let log = [&first[..], &second].concat();
    let at = first.len() as u64;
    for cut in first.len() + 1..log.len() {
        let (position, offset, error) = error_of(&log[..cut], &given(""));
        assert_eq!((position, offset), (at, Offset(2)), "cut to {cut}");
        assert!(matches!(error, BatchError::Truncated { .. }), "cut to {cut}: {error}");
    }
    for byte in 0..second.len() {
        let mut damaged = log.clone();
        damaged[first.len() + byte] ^= 0x41;
        // The base offset and the leader epoch stand outside the checksum. A base offset that is greater, and
        // not too great, can't be told from one after a hole.
        if byte == 7 || (12..16).contains(&byte) {
            continue;
        }
        let (position, offset, _) = error_of(&damaged, &given(""));
        assert_eq!((position, offset), (at, Offset(2)), "byte {byte}");
    }
}

#[test]
fn offsets_out_of_order_are_errors() {
    for (log, wanted) in [
        ("0..1: a=1 b=1\n1..1: a=2", 1),
        ("5..5: a=1\n3..3: a=2", 3),
        ("5..9: a=1\n10..10: a=2", 10),
        ("5..9: a=1\n6..12: a=2", 6),
    ] {
        let (_, _, error) = error_of(&segment(log), &Given { end: 10, ..given("") });
        assert!(matches!(error, BatchError::Offsets { base_offset, .. } if base_offset == wanted), "{log}");
    }
    let mut below = segment("0..0: a=1");
    below[0] = 0x80;
    assert!(matches!(error_of(&below, &given("")).2, BatchError::Offsets { .. }));
}

/// A batch whose records are not what they should be, under a right checksum.
fn forged(line: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut batch = batch(line);
    change(&mut batch);
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    check_batch(&batch).unwrap();
    [segment("0..0: z=1"), batch].concat()
}

#[test]
fn lies_under_a_right_checksum_are_errors_that_name_where() {
    let at = segment("0..0: z=1").len() as u64;
    for (name, log, wanted) in [
        ("a record fewer", forged("1..3: a=1 b=1", |batch| batch[60] = 3), "no length"),
        ("a record more", forged("1..3: a=1 b=1 c=1", |batch| batch[60] = 2), "bytes after the last"),
        ("offsets that go back", forged("1..3: a=1 b=1", |batch| batch[61 + 3] = 4), "isn't after the one"),
        ("an offset too far", forged("1..2: a=1 b=1", |batch| batch[61 + 9 + 3] = 4), "isn't after the one"),
        ("another compression", forged("1..2: a=1 b=1", |batch| batch[22] = 4), "not what the compression"),
        ("a short marker", forged("1..1 ctl: commit", |batch| batch[61 + 4] = 2), "bytes after the headers"),
        ("a marker of no version", forged("1..1 ctl: commit", |batch| batch[61 + 5] = 0xff), "negative"),
    ] {
        let (position, offset, error) = error_of(&log, &given(""));
        assert_eq!((position, offset), (at, Offset(1)), "{name}");
        assert!(error.to_string().contains(wanted), "{name}: {error}");
    }
    let large = format!("1..1 gzip: a={}", "x".repeat(2 << 20));
    let (position, _, error) = error_of(&forged(&large, |_| {}), &given(""));
    assert!(position == at && matches!(error, BatchError::TooLarge { .. }), "{error}");
}

#[test]
fn an_error_says_where_in_words() {
    let error: CleanerError<Infallible> = CleanerError::Batch {
        position: 70,
        offset: Offset(4),
        error: BatchError::Crc { stated: 1, computed: 2 },
    };
    assert!(error.to_string().starts_with("at byte 70 of the segment, from offset 4 on: the record batch"));
}

#[test]
fn the_lines_of_these_tests_mean_what_they_say() {
    for line in [
        "10..14 e3 p7/0/5 txn lz4 horizon=900: a=1 b! _ =x c=2@70",
        "0..0 p1/2/-1 txn ctl: abort",
        "3..5 append max=77: a=1",
        "3..5 max=9:",
    ] {
        let bytes = batch(line);
        assert_eq!(Batches::new(&bytes).count(), 1);
        let time = line.replace("append max=77: a=1", "append max=77: a=1@77");
        assert_eq!(show(&batch(&time)), line);
    }
}
