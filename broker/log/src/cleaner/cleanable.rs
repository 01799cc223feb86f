//! Which part of a log is cleaned next, and which log first.

use ottla_types::Offset;

use crate::config::CompactionConfig;

/// A segment, as far as compaction decides on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanableSegment {
    /// Where it begins.
    pub base_offset: Offset,
    /// Its size in bytes.
    pub bytes: u64,
    /// The size of its offset index in bytes.
    pub index_bytes: u64,
    /// The size of its time index in bytes.
    pub time_index_bytes: u64,
    /// The first batch's greatest timestamp in ms; `None` when it has none.
    pub first_timestamp_ms: Option<i64>,
    /// Its greatest timestamp in ms; `None` when it has none.
    pub max_timestamp_ms: Option<i64>,
    /// When its file was last written to, in ms: counts when it has no timestamp.
    pub modified_ms: i64,
}

/// A log, as far as compaction decides on it.
#[derive(Clone, Copy, Debug)]
pub struct CleanableLog<'a> {
    /// Its segments, oldest first; the last one is the active one.
    pub segments: &'a [CleanableSegment],
    /// The first offset that it has.
    pub log_start: Offset,
    /// The offset after its last record.
    pub log_end: Offset,
    /// From here on transactions may be open, or records not committed. Without transactions it is the high
    /// watermark.
    pub last_stable_offset: Offset,
    /// Up to here all of it is on disk in its segments: what follows may be told by the journal, which speaks
    /// of positions in them.
    pub synced_offset: Offset,
    /// Up to where the last cleaning went, as the checkpoint says.
    pub cleaned_offset: Option<Offset>,
}

/// What cleaning a log now would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogToClean {
    /// From here on keys are looked for that came again.
    pub first_dirty_offset: Offset,
    /// Nothing from here on is cleaned: a segment begins there.
    pub first_uncleanable_offset: Offset,
    /// The bytes before the dirty ones.
    pub clean_bytes: u64,
    /// The dirty bytes that can be cleaned.
    pub cleanable_bytes: u64,
    /// For how long `max.compaction.lag.ms` has been exceeded, in ms; 0 if it isn't.
    pub delay_ms: i64,
    /// The checkpoint says an offset that the log doesn't have; it is to be written anew, with the first
    /// dirty offset.
    pub is_checkpoint_wrong: bool,
}

impl LogToClean {
    /// The share of the bytes that is dirty, from 0 to 1.
    pub fn cleanable_ratio(&self) -> f64 {
        let total = self.clean_bytes + self.cleanable_bytes;
        if total == 0 { 0.0 } else { self.cleanable_bytes as f64 / total as f64 }
    }

    /// Whether it is worth it: by its dirty share, or as records have waited for too long.
    pub fn is_due(&self, config: &CompactionConfig) -> bool {
        let is_overdue = self.delay_ms > 0 && self.cleanable_bytes > 0;
        is_overdue || self.cleanable_ratio() > config.min_cleanable_dirty_ratio
    }
}

/// What cleaning `log` would do at `now_ms`.
///
/// # Panics
/// When it has no segment.
pub fn log_to_clean(log: &CleanableLog<'_>, config: &CompactionConfig, now_ms: i64) -> LogToClean {
    let CleanableLog { segments, log_start, log_end, .. } = *log;
    assert!(segments.is_sorted_by(|a, b| a.base_offset < b.base_offset), "oldest first: {segments:?}");
    let (active, closed) = segments.split_last().expect("a log has a segment");
    let is_checkpoint_wrong = log.cleaned_offset.is_some_and(|at| at < log_start || at > log_end);
    let first_dirty = log.cleaned_offset.filter(|_| !is_checkpoint_wrong).unwrap_or(log_start);
    let dirty = match first_dirty < active.base_offset {
        true => &closed[at_or_before(closed, first_dirty)..],
        false => &[],
    };
    let committed = log.last_stable_offset.min(log.synced_offset);
    let limit = first_too_new(dirty, config.min_compaction_lag_ms, now_ms).unwrap_or(committed);
    let limit = limit.min(committed).max(first_dirty);
    // Segments are cleaned whole: none that the limit lies in, be it the active one.
    let uncleanable = segments.get(at_or_before(segments, limit)).unwrap_or(active);
    let first_uncleanable = uncleanable.base_offset;
    assert!(first_uncleanable <= active.base_offset, "the active segment isn't cleaned");
    // As in Kafka, the segment that the first dirty offset lies in counts on both sides.
    let bytes = |part: &[CleanableSegment]| part.iter().map(|segment| segment.bytes).sum::<u64>();
    let clean_bytes = bytes(&segments[..segments.partition_point(|s| s.base_offset < first_dirty)]);
    let cleanable = &dirty[..dirty.partition_point(|s| s.base_offset < first_uncleanable)];
    LogToClean {
        first_dirty_offset: first_dirty,
        first_uncleanable_offset: first_uncleanable,
        clean_bytes,
        cleanable_bytes: bytes(cleanable),
        delay_ms: delay_ms(dirty, config.max_compaction_lag_ms, now_ms),
        is_checkpoint_wrong,
    }
}

/// Which of the logs that are due has the greatest dirty share.
pub fn filthiest<'a>(due: impl IntoIterator<Item = &'a LogToClean>) -> Option<usize> {
    let ratios = due.into_iter().map(LogToClean::cleanable_ratio).enumerate();
    ratios.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
}

/// The segment that `offset` lies in, or the first one.
fn at_or_before(segments: &[CleanableSegment], offset: Offset) -> usize {
    segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1)
}

/// Where the first segment begins that has a record of the last `min_lag_ms`.
fn first_too_new(dirty: &[CleanableSegment], min_lag_ms: i64, now_ms: i64) -> Option<Offset> {
    if min_lag_ms <= 0 {
        return None;
    }
    let old_to_ms = now_ms.saturating_sub(min_lag_ms);
    let too_new = dirty.iter().find(|s| s.max_timestamp_ms.unwrap_or(s.modified_ms) > old_to_ms);
    too_new.map(|segment| segment.base_offset)
}

/// For how long the oldest of the dirty segments has been dirty for too long.
fn delay_ms(dirty: &[CleanableSegment], max_lag_ms: i64, now_ms: i64) -> i64 {
    let firsts = dirty.iter().filter_map(|segment| segment.first_timestamp_ms);
    let until_ms = now_ms.saturating_sub(max_lag_ms.max(0));
    let oldest_ms = firsts.filter(|first_ms| *first_ms > 0).min();
    oldest_ms.map_or(0, |oldest_ms| until_ms.saturating_sub(oldest_ms).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    /// Segments of 100 bytes and 10 offsets, by the ages of their first and last batches in ms.
    fn segments(ages_ms: &[(i64, i64)]) -> Vec<CleanableSegment> {
        let segment = |(at, (first, last)): (usize, &(i64, i64))| CleanableSegment {
            base_offset: Offset(at as i64 * 10),
            bytes: 100,
            index_bytes: 0,
            time_index_bytes: 0,
            first_timestamp_ms: Some(NOW - first),
            max_timestamp_ms: Some(NOW - last),
            modified_ms: NOW,
        };
        ages_ms.iter().enumerate().map(segment).collect()
    }

    /// A log of four closed segments and an active one, all of it committed and on disk.
    fn log(segments: &[CleanableSegment]) -> CleanableLog<'_> {
        let end = Offset(segments.len() as i64 * 10);
        CleanableLog {
            segments,
            log_start: Offset(0),
            log_end: end,
            last_stable_offset: end,
            synced_offset: end,
            cleaned_offset: None,
        }
    }

    fn five() -> Vec<CleanableSegment> {
        segments(&[(500, 400), (400, 300), (300, 200), (200, 100), (100, 0)])
    }

    /// The dirty part and the bytes, as `from..to clean/cleanable`.
    #[track_caller]
    fn check(name: &str, log: &CleanableLog<'_>, config: &CompactionConfig, expected: &str) -> LogToClean {
        let found = log_to_clean(log, config, NOW);
        let (from, to) = (found.first_dirty_offset, found.first_uncleanable_offset);
        let text = format!("{from}..{to} {}/{}", found.clean_bytes, found.cleanable_bytes);
        assert_eq!(text, expected, "{name}");
        found
    }

    #[test]
    fn what_is_committed_closed_and_on_disk_is_cleaned_by_whole_segments() {
        let (segments, config) = (five(), CompactionConfig::default());
        let log = log(&segments);
        let at = |offset| Some(Offset(offset));
        for (name, log, expected) in [
            ("never cleaned", log, "0..40 0/400"),
            ("cleaned before", CleanableLog { cleaned_offset: at(20), ..log }, "20..40 200/200"),
            ("all is clean", CleanableLog { cleaned_offset: at(40), ..log }, "40..40 400/0"),
            ("into the active one", CleanableLog { cleaned_offset: at(44), ..log }, "44..40 500/0"),
            // The segment that both lie in counts on both sides.
            ("up to within a segment", CleanableLog { cleaned_offset: at(25), ..log }, "25..40 300/200"),
            ("an open transaction", CleanableLog { last_stable_offset: Offset(29), ..log }, "0..20 0/200"),
            ("up to a segment's end", CleanableLog { last_stable_offset: Offset(30), ..log }, "0..30 0/300"),
            ("nothing committed", CleanableLog { last_stable_offset: Offset(0), ..log }, "0..0 0/0"),
            ("in the journal", CleanableLog { synced_offset: Offset(19), ..log }, "0..10 0/100"),
            (
                "committed less than cleaned",
                CleanableLog { last_stable_offset: Offset(5), cleaned_offset: at(20), ..log },
                "20..20 200/0",
            ),
        ] {
            check(name, &log, &config, expected);
        }
        let one = self::segments(&[(100, 0)]);
        check("no closed segment", &self::log(&one), &config, "0..0 0/0");
    }

    #[test]
    fn a_checkpoint_that_the_log_does_not_have_is_wrong() {
        let (segments, config) = (five(), CompactionConfig::default());
        let log = CleanableLog { log_start: Offset(13), ..log(&segments) };
        for (cleaned, is_wrong, expected) in [
            (None, false, "13..40 200/300"),
            (Some(13), false, "13..40 200/300"),
            (Some(12), true, "13..40 200/300"),
            (Some(50), false, "50..40 500/0"),
            (Some(51), true, "13..40 200/300"),
        ] {
            let log = CleanableLog { cleaned_offset: cleaned.map(Offset), ..log };
            let found = check(&format!("{cleaned:?}"), &log, &config, expected);
            assert_eq!(found.is_checkpoint_wrong, is_wrong, "{cleaned:?}");
        }
    }

    #[test]
    fn records_stay_for_the_least_lag() {
        let mut segments = five();
        let lag = |min_compaction_lag_ms| CompactionConfig { min_compaction_lag_ms, ..Default::default() };
        for (lag_ms, expected) in [
            (0, "0..40 0/400"),
            (100, "0..40 0/400"),
            (101, "0..30 0/300"),
            (300, "0..20 0/200"),
            (500, "0..0 0/0"),
            (i64::MAX, "0..0 0/0"),
        ] {
            check(&format!("{lag_ms} ms"), &log(&segments), &lag(lag_ms), expected);
        }
        let half = CleanableLog { last_stable_offset: Offset(12), ..log(&segments) };
        check("committed is less", &half, &lag(101), "0..10 0/100");
        // The first that is too new ends it, whatever follows; what is clean already isn't asked.
        segments[1].max_timestamp_ms = Some(NOW + 7);
        check("one from the future", &log(&segments), &lag(100), "0..10 0/100");
        let clean = CleanableLog { cleaned_offset: Some(Offset(20)), ..log(&segments) };
        check("it is clean", &clean, &lag(100), "20..40 200/200");
        segments[1].max_timestamp_ms = None;
        check("the file's time counts", &log(&segments), &lag(100), "0..10 0/100");
        segments[1].modified_ms = NOW - 100;
        check("and is old enough", &log(&segments), &lag(100), "0..40 0/400");
    }

    #[test]
    fn records_that_waited_for_too_long_make_a_log_due() {
        let mut segments = five();
        let lag = |max_compaction_lag_ms| CompactionConfig {
            max_compaction_lag_ms,
            min_cleanable_dirty_ratio: 1.0,
            ..Default::default()
        };
        let delay = |segments: &[CleanableSegment], cleaned, lag_ms| {
            let log = CleanableLog { cleaned_offset: Some(Offset(cleaned)), ..log(segments) };
            let found = log_to_clean(&log, &lag(lag_ms), NOW);
            (found.delay_ms, found.is_due(&lag(lag_ms)))
        };
        assert_eq!(delay(&segments, 0, 500), (0, false));
        assert_eq!(delay(&segments, 0, 499), (1, true));
        assert_eq!(delay(&segments, 0, i64::MAX), (0, false));
        assert_eq!(delay(&segments, 0, -5), (500, true), "less than none is none");
        assert_eq!(delay(&segments, 20, 250), (50, true), "what is clean doesn't wait");
        assert_eq!(delay(&segments, 40, 10), (0, false), "nor does the active segment");
        let blocked = CleanableLog { last_stable_offset: Offset(5), ..log(&segments) };
        let blocked = log_to_clean(&blocked, &lag(100), NOW);
        assert!(blocked.delay_ms == 400 && !blocked.is_due(&lag(100)), "nothing can be cleaned yet");
        for first_timestamp_ms in [None, Some(-1), Some(0)] {
            segments[0].first_timestamp_ms = first_timestamp_ms;
            assert_eq!(delay(&segments, 0, 250), (150, true), "without a time, {first_timestamp_ms:?}");
        }
    }

    #[test]
    fn a_log_is_due_above_its_dirty_ratio_and_the_dirtiest_comes_first() {
        let segments = five();
        let at = |cleaned| {
            let log = CleanableLog { cleaned_offset: Some(Offset(cleaned)), ..log(&segments) };
            log_to_clean(&log, &CompactionConfig::default(), NOW)
        };
        let (all, most, half, none) = (at(0), at(10), at(20), at(40));
        assert_eq!([all, most, half, none].map(|log| log.cleanable_ratio()), [1.0, 0.75, 0.5, 0.0]);
        let config = CompactionConfig::default();
        assert_eq!([all, most, half, none].map(|log| log.is_due(&config)), [true, true, false, false]);
        assert_eq!(filthiest(&[half, most, none]), Some(1));
        assert_eq!(filthiest(&[]), None);
        let empty = LogToClean { clean_bytes: 0, cleanable_bytes: 0, ..none };
        assert!(empty.cleanable_ratio() == 0.0 && !empty.is_due(&config));
    }
}
