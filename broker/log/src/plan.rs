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
    /// When it was created, in ms: counts, with the time now, when the first timestamp is "none".
    pub created_ms: i64,
    /// The entries in its offset index.
    pub index_entries: u64,
    /// The entries in its time index.
    pub time_index_entries: u64,
}

/// What is to go into a segment.
#[derive(Clone, Copy, Debug)]
pub struct Incoming {
    /// Its size in bytes.
    pub bytes: u64,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Its greatest timestamp in ms, or −1.
    pub max_timestamp_ms: i64,
}

/// Whether the segment has to be closed before `incoming` goes in; Kafka's rule.
///
/// Its age is that of the records: from its first batch's to those that come (KAFKA-4099), so that records
/// from long ago fill segments like others.
pub fn must_roll(segment: &ActiveSegment, config: &LogConfig, incoming: &Incoming, now_ms: i64) -> bool {
    let Incoming { bytes, last_offset, max_timestamp_ms } = *incoming;
    assert!(bytes > 0 && last_offset >= segment.base_offset, "{incoming:?} comes after {segment:?}");
    if segment.bytes == 0 {
        // An empty segment stays, unless its base offset is too far behind to be relative to.
        return relative_offset(segment.base_offset, last_offset).is_none();
    }
    let full = segment.bytes + bytes > u64::from(config.segment_bytes);
    let age_ms = match segment.first_timestamp_ms {
        Some(first_ms) if first_ms >= 0 => max_timestamp_ms.saturating_sub(first_ms),
        _ => now_ms.saturating_sub(segment.created_ms),
    };
    let old = age_ms > config.segment_ms;
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
    /// When its file was last written to, in ms: counts when it has no timestamp.
    pub modified_ms: i64,
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
    debug_assert!(segments.is_sorted_by_key(|segment| segment.end_offset), "oldest first: {segments:?}");
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
        let newest_ms = segment.max_timestamp_ms.unwrap_or(segment.modified_ms);
        let age_ms = now_ms.saturating_sub(newest_ms);
        let old = config.delete && config.retention_ms.is_some_and(|retention_ms| age_ms > retention_ms);
        let surplus = excess >= segment.bytes && excess > 0;
        if !(passed || old || surplus) {
            break;
        }
        excess = excess.saturating_sub(segment.bytes);
        count += 1;
    }
    let newest_gone = segments[..count].last();
    assert!(newest_gone.is_none_or(|gone| gone.end_offset <= limit), "what isn't committed stays");
    count
}

/// A time that lies further ahead than this is from the future, in ms: clocks that are off by less don't
/// matter. It is how far ahead Kafka takes records by default.
const FUTURE_MS: i64 = 3_600_000;

/// The first segment that retention by age keeps for longer than it was meant to, and with it all after it,
/// as its records are dated far ahead of now: its place. None where nothing goes by its age.
pub fn first_from_future(segments: &[RetainedSegment], config: &LogConfig, now_ms: i64) -> Option<usize> {
    if !config.delete || config.retention_ms.is_none() {
        return None;
    }
    let ahead_ms = |segment: &RetainedSegment| Some(segment.max_timestamp_ms?.saturating_sub(now_ms));
    segments.iter().position(|segment| ahead_ms(segment).is_some_and(|ahead_ms| ahead_ms > FUTURE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segment_from_the_future_is_found() {
        let segment = |max_timestamp_ms| RetainedSegment {
            bytes: 10,
            end_offset: Offset(1),
            max_timestamp_ms,
            modified_ms: i64::MAX,
        };
        let by_ms = LogConfig { retention_ms: Some(1), ..LogConfig::default() };
        let now_ms = 1_000;
        let hour = now_ms + FUTURE_MS;
        let near = [Some(0), Some(hour), None, Some(i64::MIN)].map(segment);
        assert_eq!(first_from_future(&near, &by_ms, now_ms), None);
        let far = [Some(0), Some(hour + 1), None, Some(i64::MAX)].map(segment);
        assert_eq!(first_from_future(&far, &by_ms, now_ms), Some(1));
        assert_eq!(first_from_future(&far, &by_ms, now_ms + 1), Some(3), "time passes");
        for keeps in [LogConfig { retention_ms: None, ..by_ms.clone() }, LogConfig { delete: false, ..by_ms }]
        {
            assert_eq!(first_from_future(&far, &keeps, now_ms), None, "nothing goes by its age");
        }
    }

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
        let no_time = ActiveSegment { first_timestamp_ms: Some(-1), ..segment };
        let (near, day) = (Offset(10), 86_400_000);
        for (name, segment, bytes, last_offset, times, expected) in [
            ("fits exactly", segment, 100, near, (1_000, 1_000), false),
            ("too large", segment, 101, near, (1_000, 1_000), true),
            ("just not too late", segment, 100, near, (1_100, 1_100), false),
            ("too late", segment, 100, near, (1_101, 1_101), true),
            ("late at another time", segment, 100, near, (1_101, 0), true),
            ("from long ago, as the first were", segment, 100, near, (1_100, 30 * day), false),
            ("from before the first", segment, 100, near, (5, 30 * day), false),
            ("without a time", segment, 100, near, (-1, 30 * day), false),
            ("the first without a time, soon", no_time, 1, near, (5_000, 100), false),
            ("the first without a time, later", no_time, 1, near, (50, 101), true),
            ("index full", ActiveSegment { index_entries: 10, ..segment }, 1, near, (1_000, 1_000), true),
            (
                "time index full",
                ActiveSegment { time_index_entries: 6, ..segment },
                1,
                near,
                (1_000, 1_000),
                true,
            ),
            ("offset too far", segment, 1, far, (1_000, 1_000), true),
            ("empty stays", empty, 5_000, near, (9_999, 9_999), false),
            ("empty but too far", empty, 1, far, (0, 0), true),
        ] {
            let (max_timestamp_ms, now_ms) = times;
            let incoming = Incoming { bytes, last_offset, max_timestamp_ms };
            assert_eq!(must_roll(&segment, &config, &incoming, now_ms), expected, "{name}");
        }
    }

    #[test]
    fn retention_takes_the_oldest_segments_only() {
        let segment = |bytes, end, max_timestamp_ms| RetainedSegment {
            bytes,
            end_offset: Offset(end),
            max_timestamp_ms,
            modified_ms: 50_000,
        };
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
        let timeless = [segment(100, 10, None), segment(100, 20, None)];
        for (now_ms, expected) in [(50_100, 0), (50_101, 2)] {
            let count = retention(&timeless, &by_ms, Offset(0), Offset(30), now_ms);
            assert_eq!(count, expected, "without a time, {now_ms}: the file's counts");
        }
    }
}
