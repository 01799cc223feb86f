//! Which segments become one by a cleaning, so that segments don't get ever smaller.

use std::ops::Range;

use ottla_types::Offset;

use super::cleanable::CleanableSegment;
use crate::index::relative_offset;

/// What a segment may have.
#[derive(Clone, Copy, Debug)]
pub struct SegmentLimits {
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.index.bytes`, for each of its indexes.
    pub index_bytes: u64,
}

/// Groups of neighbours among the `segments` that are cleaned, oldest first; each becomes one segment, that
/// begins where the first of them does.
///
/// A group's sizes before the cleaning stay within the limits, unless a single segment is beyond them, and
/// its offsets can be told relative to its base. The last one's are taken to go up to
/// `first_uncleanable_offset`.
pub fn group_segments(
    segments: &[CleanableSegment],
    limits: SegmentLimits,
    first_uncleanable_offset: Offset,
) -> Vec<Range<usize>> {
    assert!(segments.is_sorted_by(|a, b| a.base_offset < b.base_offset), "oldest first: {segments:?}");
    let (mut groups, mut from) = (Vec::new(), 0);
    let mut sizes = Sizes::default();
    for (at, segment) in segments.iter().enumerate() {
        let end = segments.get(at + 1).map_or(first_uncleanable_offset, |next| next.base_offset);
        // One without bytes has no offset to tell.
        let is_near =
            segment.bytes == 0 || relative_offset(segments[from].base_offset, Offset(end.0 - 1)).is_some();
        let together = sizes.with(segment);
        if at > from && !(is_near && together.fit(limits)) {
            groups.push(from..at);
            (from, sizes) = (at, Sizes::default().with(segment));
        } else {
            sizes = together;
        }
    }
    if from < segments.len() {
        groups.push(from..segments.len());
    }
    groups
}

#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    bytes: u64,
    index_bytes: u64,
    time_index_bytes: u64,
}

impl Sizes {
    fn with(self, segment: &CleanableSegment) -> Self {
        Self {
            bytes: self.bytes + segment.bytes,
            index_bytes: self.index_bytes + segment.index_bytes,
            time_index_bytes: self.time_index_bytes + segment.time_index_bytes,
        }
    }

    fn fit(self, limits: SegmentLimits) -> bool {
        self.bytes <= limits.segment_bytes
            && self.index_bytes <= limits.index_bytes
            && self.time_index_bytes <= limits.index_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SegmentLimits = SegmentLimits { segment_bytes: 100, index_bytes: 50 };

    /// Segments as base offset, bytes, and the bytes of both indexes.
    #[track_caller]
    fn check(segments: &[(i64, u64, u64, u64)], end: i64, expected: &str) {
        let segment = |&(base, bytes, index_bytes, time_index_bytes)| CleanableSegment {
            base_offset: Offset(base),
            bytes,
            index_bytes,
            time_index_bytes,
            first_timestamp_ms: None,
            max_timestamp_ms: None,
            modified_ms: 0,
        };
        let segments: Vec<_> = segments.iter().map(segment).collect();
        let groups = group_segments(&segments, LIMITS, Offset(end));
        let groups: Vec<_> = groups.iter().map(|group| format!("{group:?}")).collect();
        assert_eq!(groups.join(" "), expected);
    }

    #[test]
    fn neighbours_become_one_within_the_limits_of_a_segment() {
        check(&[], 0, "");
        check(&[(0, 10, 1, 1)], 5, "0..1");
        check(&[(0, 60, 1, 1), (5, 40, 1, 1), (9, 1, 1, 1)], 12, "0..2 2..3");
        check(&[(0, 60, 1, 1), (5, 41, 1, 1), (9, 59, 1, 1)], 12, "0..1 1..3");
        check(&[(0, 500, 1, 1), (5, 500, 1, 1), (9, 1, 1, 1)], 12, "0..1 1..2 2..3");
        check(&[(0, 0, 0, 0), (5, 0, 0, 0), (9, 100, 50, 50)], 12, "0..3");
    }

    #[test]
    fn each_index_has_its_limit() {
        check(&[(0, 1, 30, 1), (5, 1, 20, 1), (9, 1, 1, 1)], 12, "0..2 2..3");
        check(&[(0, 1, 1, 30), (5, 1, 1, 20), (9, 1, 1, 1)], 12, "0..2 2..3");
        check(&[(0, 1, 60, 1), (5, 1, 60, 1)], 12, "0..1 1..2");
    }

    #[test]
    fn offsets_stay_near_their_base() {
        let far = i64::from(i32::MAX);
        let last = |end| move |groups: &str| check(&[(7, 1, 1, 1), (9, 1, 1, 1)], end, groups);
        last(7 + far + 1)("0..2");
        last(7 + far + 2)("0..1 1..2");
        // What follows says how far a segment's offsets go at most.
        let three = |next| [(7, 1, 1, 1), (9, 1, 1, 1), (next, 1, 1, 1)];
        check(&three(7 + far + 1), 7 + far + 9, "0..2 2..3");
        check(&three(7 + far + 2), 7 + far + 3, "0..1 1..3");
        // One without bytes has no offset at all; its end may be far.
        check(&[(7, 1, 1, 1), (9, 0, 0, 0)], 7 + far + 2, "0..2");
    }
}
