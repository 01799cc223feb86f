//! The settings of one partition's log, parsed: Kafka's topic configurations, units in the names.

use crate::header::TimestampType;

/// When an `acks=all` append may be acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckDurability {
    /// Once it is synced to disk.
    #[default]
    Synced,
    /// Once it is in the page cache, as Apache Kafka does; a power loss may lose it.
    Written,
}

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

/// The settings of one partition's log; the defaults are Kafka's.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that would grow past it is closed first.
    pub segment_bytes: u32,
    /// `segment.ms`: the age at which a segment is closed.
    pub segment_ms: i64,
    /// `segment.index.bytes`: the greatest size of an index file.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: log bytes between two index entries.
    pub index_interval_bytes: u32,
    /// `retention.bytes`; `None` is Kafka's −1, without a limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` is Kafka's −1, without a limit.
    pub retention_ms: Option<i64>,
    /// `max.message.bytes`: the greatest batch, header included.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far before now a record's timestamp may lie.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far after now a record's timestamp may lie.
    pub timestamp_after_max_ms: i64,
    /// `cleanup.policy` holds `compact`: records need keys.
    pub compact: bool,
    /// `cleanup.policy` holds `delete`: retention applies.
    pub delete: bool,
    /// How a log with `compact` is cleaned.
    pub compaction: CompactionConfig,
    /// `ack.durability`, our own.
    pub ack_durability: AckDurability,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4_096,
            retention_bytes: None,
            retention_ms: Some(7 * 24 * 3_600_000),
            max_message_bytes: (1 << 20) + 12,
            timestamp_type: TimestampType::Create,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compact: false,
            delete: true,
            compaction: CompactionConfig::default(),
            ack_durability: AckDurability::Synced,
        }
    }
}
