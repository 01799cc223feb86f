//! Which part of a log is cleaned next, and which log first.

use ottla_types::Offset;

/// The settings of a topic's compaction, units in the names; the defaults are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionConfig {
    /// `min.cleanable.dirty.ratio`: from which share of dirty bytes on a log is cleaned.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: how old records are at least when they are cleaned.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: from which age of a record on the log is cleaned in any case.
    pub max_compaction_lag_ms: i64,
    /// `delete.retention.ms`: how long tombstones and markers are kept once they were cleaned.
    pub delete_retention_ms: i64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 24 * 3_600_000,
        }
    }
}

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
    /// The checkpoint says an offset that the log doesn't have; it is to be written anew, with the first dirty
    /// offset.
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
    let committed = active.base_offset.min(log.last_stable_offset).min(log.synced_offset);
    let limit = first_too_new(dirty, config.min_compaction_lag_ms, now_ms).unwrap_or(committed);
    let limit = limit.min(committed).max(first_dirty);
    // Segments are cleaned whole: none that the limit lies in.
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
    let newest_ms = |segment: &CleanableSegment| segment.max_timestamp_ms.unwrap_or(segment.modified_ms);
    let too_new = dirty.iter().find(|segment| newest_ms(segment) > now_ms.saturating_sub(min_lag_ms));
    too_new.map(|segment| segment.base_offset)
}

/// For how long the oldest of the dirty segments has been dirty for too long.
fn delay_ms(dirty: &[CleanableSegment], max_lag_ms: i64, now_ms: i64) -> i64 {
    let firsts = dirty.iter().filter_map(|segment| segment.first_timestamp_ms);
    let until_ms = now_ms.saturating_sub(max_lag_ms.max(0));
    let oldest_ms = firsts.filter(|first_ms| *first_ms > 0).min();
    oldest_ms.map_or(0, |oldest_ms| until_ms.saturating_sub(oldest_ms).max(0))
}
