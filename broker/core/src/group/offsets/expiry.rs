//! When offsets that nobody uses any more expire (`offsets.retention.minutes`).

use super::super::record::OffsetAndMetadata;

/// From when on the retention of a group's offsets counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// They don't expire: the group is at work, or nobody knows what it reads.
    Never,
    /// From each one's commit.
    SinceCommit,
    /// From when the last member left, in ms since 1970.
    SinceEmpty(i64),
}

impl Expiry {
    /// Whether an offset has expired by `now_ms`, in ms since 1970. What an old client said of an offset goes
    /// before the broker's retention.
    pub fn has_expired(self, offset: &OffsetAndMetadata, now_ms: i64, retention_ms: u64) -> bool {
        let base_ms = match self {
            Self::Never => return false,
            Self::SinceCommit => offset.commit_timestamp_ms,
            Self::SinceEmpty(since_ms) => since_ms,
        };
        match offset.expire_timestamp_ms {
            Some(expire_ms) => now_ms >= expire_ms,
            None => now_ms.saturating_sub(base_ms) >= i64::try_from(retention_ms).unwrap_or(i64::MAX),
        }
    }
}
