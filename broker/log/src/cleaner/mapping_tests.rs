//! Which keys a map gets from which part of a log, and how batches are read for it.

use ottla_types::Offset;

use super::batches::SegmentBatches;
use super::test_support::{Given, LIMITS, part, segment};
use super::{CleanerError, CleanerStats, Mapped, OffsetMap, OffsetMapBuilder, SegmentPart};
use crate::ByteSource;

/// The map of segments that begin at these offsets, in lines.
fn map(keys_max: usize, first_dirty: i64, segments: &[(i64, &str)], end: i64) -> (OffsetMap, Vec<Mapped>) {
    let mut map = OffsetMap::new((keys_max + 1) * OffsetMap::ENTRY_BYTES, 1.0).unwrap();
    let mut builder = OffsetMapBuilder::new(&mut map, Offset(first_dirty), LIMITS);
    let mut all = Vec::new();
    for (at, (base, lines)) in segments.iter().enumerate() {
        let next = segments.get(at + 1).map_or(end, |next| next.0);
        let bytes = segment(lines);
        let part = SegmentPart { first_offset: Offset(*base), ..part(&bytes, next) };
        let mapped = builder.add(&bytes[..], &part, &mut CleanerStats::default()).unwrap();
        all.push(mapped);
        if mapped == Mapped::Full {
            break;
        }
    }
    (map, all)
}

#[test]
fn it_is_complete_up_to_where_the_next_segment_begins() {
    let segments = [(0, "0..1: a=1 b=1"), (10, ""), (20, "21..22 lz4: a=2 c=1")];
    let (map, mapped) = map(9, 0, &segments, 30);
    assert_eq!(mapped, [Mapped::Whole; 3]);
    assert_eq!(map.latest_offset(), Some(Offset(29)));
    assert_eq!([&b"a"[..], b"b", b"c"].map(|key| map.get(key)), [21, 1, 22].map(|at| Some(Offset(at))));
}

#[test]
fn what_was_cleaned_before_is_left_out() {
    let (map, _) = map(9, 2, &[(0, "0..1: a=1 b=1\n2..3: c=1 d=1"), (4, "4..4: a=2")], 5);
    assert_eq!((map.len(), map.get(b"b"), map.get(b"c")), (3, None, Some(Offset(2))));
    let (map, _) = self::map(9, 3, &[(0, "0..1: a=1 b=1\n2..3: c=1 d=1")], 5);
    assert_eq!((map.len(), map.get(b"c"), map.latest_offset()), (1, None, Some(Offset(4))));
    let (map, _) = self::map(9, 8, &[(0, "0..1: a=1 b=1")], 5);
    assert_eq!((map.len(), map.latest_offset()), (0, None), "nothing of it is dirty");
}

#[test]
fn a_full_map_says_how_far_it_goes() {
    for (keys_max, segments, latest) in [
        (2, &[(0, "0..1: a=1 b=1\n2..4: a=2 b=2 c=3"), (5, "5..5: d=1")][..], 1),
        (3, &[(0, "0..1: a=1 b=1\n2..4: a=2 c=2 d=3"), (5, "5..5: e=1")], 3),
        (2, &[(0, "0..1: a=1 b=1\n2..4: =1 =2 =3"), (5, "5..5: e=1")], 4),
        (2, &[(0, "0..1: a=1 b=1\n2..4: =1 =2 =3\n5..5: e=1")], 4),
    ] {
        let (map, mapped) = map(keys_max, 0, segments, 6);
        assert_eq!(*mapped.last().unwrap(), Mapped::Full);
        assert_eq!(map.latest_offset(), Some(Offset(latest)), "{segments:?}");
    }
}

#[test]
#[should_panic(expected = "nothing is left out")]
fn a_full_map_takes_no_later_segment() {
    let mut map = OffsetMap::new(3 * OffsetMap::ENTRY_BYTES, 1.0).unwrap();
    let mut builder = OffsetMapBuilder::new(&mut map, Offset(0), LIMITS);
    let (first, second) = (segment("0..2: a=1 b=1 c=1"), segment("3..3: d=1"));
    let mapped = builder.add(&first[..], &part(&first, 3), &mut CleanerStats::default());
    assert_eq!(mapped, Ok(Mapped::Full));
    let next = SegmentPart { first_offset: Offset(3), ..part(&second, 4) };
    let _ = builder.add(&second[..], &next, &mut CleanerStats::default());
}

#[test]
fn markers_and_records_without_keys_have_no_place() {
    let log = "0..0 p7/0/0 txn: a=1\n1..1 p7/0/-1 txn ctl: commit\n2..2: =1\n3..3 p9/0/0 max=4:";
    let (map, _) = map(9, 0, &[(0, log)], 4);
    assert_eq!((map.len(), map.get(&[0, 0, 0, 1]), map.latest_offset()), (1, None, Some(Offset(3))));
}

#[test]
fn a_map_is_begun_anew() {
    let mut map = OffsetMap::new(2_400, 1.0).unwrap();
    map.put(b"old", Offset(7)).unwrap();
    OffsetMapBuilder::new(&mut map, Offset(0), LIMITS);
    assert!(map.is_empty() && map.latest_offset().is_none());
}

/// A source that notes what is read, and fails at a position.
struct Noted<'a> {
    bytes: &'a [u8],
    fails_at: u64,
    reads: std::cell::RefCell<Vec<(u64, usize)>>,
}

impl ByteSource for Noted<'_> {
    type Error = &'static str;

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        if position >= self.fails_at {
            return Err("no such sector");
        }
        self.reads.borrow_mut().push((position, buffer.len()));
        self.bytes.read_at(position, buffer).map_err(|error| match error {})
    }
}

#[test]
fn batches_are_read_together_and_one_at_a_time_is_in_memory() {
    let value = "x".repeat(3_000);
    let mut lines: Vec<String> = (0..100).map(|offset| format!("{offset}..{offset}: a=1")).collect();
    lines[50] = format!("50..50: b={value}");
    let log = segment(&lines.join("\n"));
    let source = Noted { bytes: &log, fails_at: u64::MAX, reads: Default::default() };
    let mut batches = SegmentBatches::new(&source, &part(&log, 1_000), 1_000);
    let mut count = 0;
    while batches.next_batch().unwrap().is_some() {
        count += 1;
        assert!(batches.buffer_capacity() <= 3_200, "{} bytes", batches.buffer_capacity());
    }
    assert_eq!(count, 100);
    assert!(batches.buffer_capacity() <= 1_000, "a large batch's memory isn't kept");
    let reads = source.reads.borrow();
    assert!(reads.len() <= log.len() / 900 + 2, "{reads:?}");
    assert!(reads.iter().all(|(_, bytes)| *bytes <= 3_200), "{reads:?}");
}

#[test]
fn what_can_not_be_read_or_written_ends_a_cleaning() {
    let log = segment("0..0: a=1\n1..1: a=2\n2..2: a=3");
    let source = Noted { bytes: &log, fails_at: 100, reads: Default::default() };
    let mut map = OffsetMap::new(2_400, 1.0).unwrap();
    let mut builder = OffsetMapBuilder::new(&mut map, Offset(0), LIMITS);
    let error = builder.add(&source, &part(&log, 3), &mut CleanerStats::default()).unwrap_err();
    assert_eq!(error, CleanerError::Io("no such sector"));
}

#[test]
fn a_part_of_a_segment_is_read() {
    let log = segment("0..0: a=1\n1..1: b=2\n2..2: c=3");
    let one = log.len() as u64 / 3;
    let mut map = OffsetMap::new(2_400, 1.0).unwrap();
    let mut builder = OffsetMapBuilder::new(&mut map, Offset(0), LIMITS);
    let part = SegmentPart { positions: one..2 * one, first_offset: Offset(1), end_offset: Offset(2) };
    builder.add(&log[..], &part, &mut CleanerStats::default()).unwrap();
    assert_eq!((map.len(), map.get(b"b"), map.latest_offset()), (1, Some(Offset(1)), Some(Offset(1))));
}

#[test]
fn defaults_of_these_tests_clean_an_empty_segment() {
    let cleaned = Given::default().clean().unwrap();
    assert_eq!((cleaned.bytes.len(), cleaned.map.latest_offset()), (0, Some(Offset(999))));
}
