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
/// A group's sizes before the cleaning stay within the limits, unless a single segment is beyond them, and its
/// offsets can be told relative to its base. The last one's are taken to go up to
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
