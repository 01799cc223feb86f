//! Decisions about segments: when to close one, which ones retention deletes.

use ottla_types::Offset;

use crate::config::LogConfig;
use crate::index::{IndexEntry, TimeIndexEntry, relative_offset};

/// The active segment, as far as closing it is decided on.
#[derive(Clone, Copy, Debug)]
pub struct ActiveSegment {
    /// Its base offset.
    pub base_offset: Offset,
    /// Its size in bytes.
    pub bytes: u64,
    /// The first batch's greatest timestamp, in ms; `None` when it is empty.
    pub first_timestamp_ms: Option<i64>,
    /// When it was created, in ms: counts when the first timestamp is "none".
    pub created_ms: i64,
    /// The entries in its offset index.
    pub index_entries: u64,
    /// The entries in its time index.
    pub time_index_entries: u64,
}

/// Whether the segment has to be closed before `append_bytes` up to `last_offset` go in; Kafka's rule.
pub fn must_roll(
    segment: &ActiveSegment,
    config: &LogConfig,
    append_bytes: u64,
    last_offset: Offset,
    now_ms: i64,
) -> bool {
    if segment.bytes == 0 {
        // An empty segment stays, unless its base offset is too far behind to be relative to.
        return relative_offset(segment.base_offset, last_offset).is_none();
    }
    let full = segment.bytes + append_bytes > u64::from(config.segment_bytes);
    let since_ms = match segment.first_timestamp_ms {
        Some(timestamp_ms) if timestamp_ms >= 0 => timestamp_ms,
        _ => segment.created_ms,
    };
    let old = now_ms.saturating_sub(since_ms) > config.segment_ms;
    let index_bytes = u64::from(config.segment_index_bytes);
    let index_full = segment.index_entries >= index_bytes / IndexEntry::BYTES as u64
        || segment.time_index_entries >= index_bytes / TimeIndexEntry::BYTES as u64;
    full || old || index_full || relative_offset(segment.base_offset, last_offset).is_none()
}

/// A segment, as far as retention decides on it.
#[derive(Clone, Copy, Debug)]
pub struct RetainedSegment {
    /// Its size in bytes.
    pub bytes: u64,
    /// The offset after its last record.
    pub end_offset: Offset,
    /// Its greatest timestamp in ms; `None` when it has none.
    pub max_timestamp_ms: Option<i64>,
}

/// How many of the oldest segments go: those below `log_start`, too old, or beyond `retention.bytes`.
///
/// The last of `segments` is the active one; when it is counted too, a new one has to be opened first.
/// Nothing at or above `limit` goes, as it isn't committed yet.
pub fn retention(
    segments: &[RetainedSegment],
    config: &LogConfig,
    log_start: Offset,
    limit: Offset,
    now_ms: i64,
) -> usize {
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut excess = match config.retention_bytes {
        Some(bytes_max) if config.delete => total.saturating_sub(bytes_max),
        _ => 0,
    };
    let mut count = 0;
    for segment in segments {
        let empty_active = segment.bytes == 0 && count + 1 == segments.len();
        if empty_active || segment.end_offset > limit {
            break;
        }
        let passed = segment.end_offset <= log_start;
        let old = match (config.retention_ms, segment.max_timestamp_ms) {
            (Some(retention_ms), Some(max_ms)) if config.delete => {
                now_ms.saturating_sub(max_ms) > retention_ms
            }
            _ => false,
        };
        let surplus = excess >= segment.bytes && excess > 0;
        if !(passed || old || surplus) {
            break;
        }
        excess = excess.saturating_sub(segment.bytes);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_closed_by_kafkas_rule() {
        let config = LogConfig {
            segment_bytes: 1_000,
            segment_ms: 100,
            segment_index_bytes: 80,
            ..LogConfig::default()
        };
        let segment = ActiveSegment {
            base_offset: Offset(5),
            bytes: 900,
            first_timestamp_ms: Some(1_000),
            created_ms: 0,
            index_entries: 9,
            time_index_entries: 5,
        };
        let empty = ActiveSegment { bytes: 0, first_timestamp_ms: None, ..segment };
        let far = Offset(6 + i64::from(i32::MAX));
        for (name, segment, bytes, last, now, expected) in [
            ("fits exactly", segment, 100, Offset(10), 1_100, false),
            ("too large", segment, 101, Offset(10), 1_100, true),
            ("too old", segment, 100, Offset(10), 1_101, true),
            (
                "no timestamp",
                ActiveSegment { first_timestamp_ms: Some(-1), ..segment },
                1,
                Offset(10),
                101,
                true,
            ),
            ("index full", ActiveSegment { index_entries: 10, ..segment }, 1, Offset(10), 1_000, true),
            (
                "time index full",
                ActiveSegment { time_index_entries: 6, ..segment },
                1,
                Offset(10),
                1_000,
                true,
            ),
            ("offset too far", segment, 1, far, 1_000, true),
            ("empty stays", empty, 5_000, Offset(10), 9_999, false),
            ("empty but too far", empty, 1, far, 0, true),
        ] {
            assert_eq!(must_roll(&segment, &config, bytes, last, now), expected, "{name}");
        }
    }

    #[test]
    fn retention_takes_the_oldest_segments_only() {
        let segment =
            |bytes, end, time| RetainedSegment { bytes, end_offset: Offset(end), max_timestamp_ms: time };
        let segments = [
            segment(100, 10, Some(1_000)),
            segment(100, 20, Some(5_000)),
            segment(100, 30, Some(2_000)),
            segment(0, 30, None),
        ];
        let keep = LogConfig { retention_ms: None, retention_bytes: None, ..LogConfig::default() };
        let check = |name, config: &LogConfig, start, limit, now, expected| {
            assert_eq!(retention(&segments, config, Offset(start), Offset(limit), now), expected, "{name}");
        };
        check("no limit", &keep, 0, 30, i64::MAX, 0);
        check("log start", &keep, 20, 30, 0, 2);
        check("log start within", &keep, 19, 30, 0, 1);
        let by_ms = LogConfig { retention_ms: Some(100), ..keep.clone() };
        check("by time, a newer one holds back the rest", &by_ms, 0, 30, 3_000, 1);
        check("by time, all but the empty active one", &by_ms, 0, 30, 10_000, 3);
        check("nothing that is not committed", &by_ms, 0, 15, 10_000, 1);
        let by_bytes = |bytes| LogConfig { retention_bytes: Some(bytes), ..keep.clone() };
        check("by bytes, exactly", &by_bytes(300), 0, 30, 0, 0);
        check("by bytes, less than a segment too much", &by_bytes(250), 0, 30, 0, 0);
        check("by bytes", &by_bytes(150), 0, 30, 0, 1);
        check("by bytes, to zero", &by_bytes(0), 0, 30, 0, 3);
        let compacted = LogConfig { delete: false, ..by_ms.clone() };
        check("a compacted log is not cut by age", &compacted, 0, 30, 10_000, 0);
    }
}
