//! What is told of a replica: its role, and its offsets in it.

use ottla_core::partition::{LogFacts, Replica, RoleKind};
use ottla_types::{LeaderEpoch, Offset};

/// A replica's offsets at one moment: what consumers and followers are told of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOffsetSnapshot {
    /// The first offset that the log still has.
    pub log_start: Offset,
    /// The offset up to which records are acknowledged. On a follower it may lie beyond the log end.
    pub high_watermark: Offset,
    /// How far consumers may read here: the high watermark, never past the log end.
    pub read_limit: Offset,
    /// The offset after the last record, synced or not.
    pub log_end: Offset,
}

impl LogOffsetSnapshot {
    pub(super) fn new(replica: &Replica, log: LogFacts) -> Self {
        Self {
            log_start: log.start,
            high_watermark: replica.high_watermark(),
            read_limit: replica.read_limit(log),
            log_end: log.end,
        }
    }
}

/// The role of a replica, and its offsets in it.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// The role.
    pub role: RoleKind,
    /// The epoch that it is in.
    pub leader_epoch: LeaderEpoch,
    /// Whether the high watermark may be told as the newest offset.
    pub is_current: bool,
    /// Its offsets.
    pub offsets: LogOffsetSnapshot,
}

impl Standing {
    /// Whether a consumer that waits would be told something new. The log's start and end don't matter to it.
    pub fn is_news_since(&self, before: &Self) -> bool {
        let told = |one: &Self| {
            let LogOffsetSnapshot { high_watermark, read_limit, .. } = one.offsets;
            (one.role, one.leader_epoch, one.is_current, high_watermark, read_limit)
        };
        told(self) != told(before)
    }
}
