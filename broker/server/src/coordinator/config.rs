//! What coordinators of groups are configured with.

use std::time::Duration;

use ottla_core::coordinator::ShardLimits;
use ottla_core::group::GroupConfig;

use crate::config::GroupSettings;

/// The settings of a broker's group coordinators; the defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// Of groups and offsets.
    pub groups: GroupConfig,
    /// `offsets.commit.timeout.ms`: how long an answer waits for records to be committed.
    pub commit_timeout: Duration,
    /// `offsets.load.buffer.size`: how many bytes of a partition are read at once while a shard loads.
    pub load_buffer_bytes: usize,
    /// The most bytes of memory that a shard's records may take up until they are committed. Beyond, requests
    /// that may need records are refused. Kafka has no limit.
    pub uncommitted_bytes_max: usize,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            groups: GroupConfig::default(),
            commit_timeout: Duration::from_secs(5),
            load_buffer_bytes: 5 << 20,
            uncommitted_bytes_max: 32 << 20,
        }
    }
}

impl CoordinatorConfig {
    /// What the broker's settings say; the rest has no setting.
    pub fn of(settings: &GroupSettings) -> Self {
        Self {
            groups: settings.config.clone(),
            commit_timeout: settings.commit_timeout,
            load_buffer_bytes: settings.load_buffer_bytes,
            ..Self::default()
        }
    }

    /// The limits of a shard whose decisions may take up so many bytes of a batch.
    pub fn shard_limits(&self, decision_bytes_max: usize) -> ShardLimits {
        ShardLimits {
            commit_timeout_ms: u64::try_from(self.commit_timeout.as_millis()).unwrap_or(u64::MAX),
            uncommitted_bytes_max: self.uncommitted_bytes_max,
            decision_bytes_max,
        }
    }
}
