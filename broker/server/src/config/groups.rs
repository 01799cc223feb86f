//! What consumer groups are configured with, and the topic that keeps them.

use std::time::Duration;

use ottla_core::coordinator::ShardLimits;
use ottla_core::group::GroupConfig;

use super::source::{ConfigError, Values};

/// What consumer groups are configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// What the coordinators go by.
    pub coordinator: CoordinatorConfig,
    /// The memory that all groups and offsets of this broker may take up, in bytes.
    pub state_bytes_max: usize,
    /// The topic that keeps them.
    pub offsets_topic: OffsetsTopic,
}

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
    /// The limits of a shard whose decisions may take up so many bytes of a batch.
    pub fn shard_limits(&self, decision_bytes_max: usize) -> ShardLimits {
        ShardLimits {
            commit_timeout_ms: u64::try_from(self.commit_timeout.as_millis()).unwrap_or(u64::MAX),
            uncommitted_bytes_max: self.uncommitted_bytes_max,
            decision_bytes_max,
        }
    }
}

/// How the topic of groups and offsets is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetsTopic {
    /// Its partitions.
    pub partitions: i32,
    /// Its replicas, if that is configured.
    pub replication_factor: Option<i16>,
    /// Its largest segment file, in bytes.
    pub segment_bytes: i32,
}

impl GroupSettings {
    /// From the settings' values.
    ///
    /// # Errors
    /// When no session time-out would be allowed.
    pub fn from_values(values: &Values) -> Result<Self, ConfigError> {
        const MIN: &str = "group.min.session.timeout.ms";
        const MAX: &str = "group.max.session.timeout.ms";
        // Kafka takes numbers below 0 for some, where they mean as much as 0.
        let at_least_0 = |key| u64::try_from(values.number_set(key)).unwrap_or(0);
        let size = |key| usize::try_from(at_least_0(key)).unwrap_or(usize::MAX);
        let (session_timeout_min_ms, session_timeout_max_ms) = (at_least_0(MIN), at_least_0(MAX));
        if session_timeout_min_ms > session_timeout_max_ms {
            return Err(values.wrong(MIN, format!("at most {MAX}, which is {session_timeout_max_ms}")));
        }
        let defaults = GroupConfig::default();
        Ok(Self {
            coordinator: CoordinatorConfig {
                groups: GroupConfig {
                    session_timeout_min_ms,
                    session_timeout_max_ms,
                    initial_rebalance_delay_ms: at_least_0("group.initial.rebalance.delay.ms"),
                    members_max: size("group.max.size").min(defaults.members_max),
                    offset_metadata_max_bytes: size("offset.metadata.max.bytes"),
                    offsets_retention_ms: at_least_0("offsets.retention.minutes") * 60_000,
                    offsets_retention_check_interval_ms: at_least_0("offsets.retention.check.interval.ms"),
                    ..defaults
                },
                commit_timeout: Duration::from_millis(at_least_0("offsets.commit.timeout.ms")),
                load_buffer_bytes: size("offsets.load.buffer.size"),
                ..CoordinatorConfig::default()
            },
            state_bytes_max: size("ottla.group.state.max.bytes"),
            offsets_topic: OffsetsTopic {
                partitions: values.number_of("offsets.topic.num.partitions"),
                replication_factor: values
                    .number("offsets.topic.replication.factor")
                    .map(|_| values.number_of("offsets.topic.replication.factor")),
                segment_bytes: values.number_of("offsets.topic.segment.bytes"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::Sources;
    use super::*;

    fn settings(file: &str) -> Result<GroupSettings, ConfigError> {
        let file = Some(("s.properties".into(), file.to_owned()));
        GroupSettings::from_values(&Values::collect(&Sources { file, ..Sources::default() })?)
    }

    #[test]
    fn defaults_are_kafkas() {
        let settings = settings("").unwrap();
        assert_eq!(settings.coordinator.groups, GroupConfig::default());
        let topic = OffsetsTopic { partitions: 50, replication_factor: None, segment_bytes: 100 << 20 };
        assert_eq!(settings.offsets_topic, topic);
        assert_eq!(settings.coordinator.commit_timeout, Duration::from_secs(5));
        assert_eq!((settings.coordinator.load_buffer_bytes, settings.state_bytes_max), (5 << 20, 256 << 20));
    }

    #[test]
    fn each_is_taken_over() {
        let settings = settings(
            "group.min.session.timeout.ms=1\ngroup.max.session.timeout.ms=2\n\
             group.initial.rebalance.delay.ms=3\ngroup.max.size=4\noffset.metadata.max.bytes=5\n\
             offsets.commit.timeout.ms=6\noffsets.load.buffer.size=7\noffsets.retention.minutes=8\n\
             offsets.retention.check.interval.ms=9\noffsets.topic.num.partitions=10\n\
             offsets.topic.segment.bytes=110\noffsets.topic.replication.factor=2\n\
             ottla.group.state.max.bytes=13",
        )
        .unwrap();
        let config = &settings.coordinator.groups;
        assert_eq!((config.session_timeout_min_ms, config.session_timeout_max_ms), (1, 2));
        assert_eq!((config.initial_rebalance_delay_ms, config.members_max), (3, 4));
        assert_eq!(config.offset_metadata_max_bytes, 5);
        assert_eq!(settings.coordinator.commit_timeout, Duration::from_millis(6));
        assert_eq!((settings.coordinator.load_buffer_bytes, settings.state_bytes_max), (7, 13));
        assert_eq!(config.offsets_retention_ms, 8 * 60_000);
        assert_eq!(config.offsets_retention_check_interval_ms, 9);
        let topic = OffsetsTopic { partitions: 10, replication_factor: Some(2), segment_bytes: 110 };
        assert_eq!(settings.offsets_topic, topic);
    }

    #[test]
    fn what_kafka_takes_is_taken_and_what_contradicts_itself_refused() {
        let low = settings(
            "group.min.session.timeout.ms=-1\ngroup.initial.rebalance.delay.ms=-5\n\
             group.max.size=2147483647\noffsets.retention.minutes=2147483647",
        )
        .unwrap();
        assert_eq!(
            (
                low.coordinator.groups.session_timeout_min_ms,
                low.coordinator.groups.initial_rebalance_delay_ms
            ),
            (0, 0)
        );
        assert_eq!(low.coordinator.groups.members_max, 10_000);
        for (file, part) in [
            (
                "group.min.session.timeout.ms=9\ngroup.max.session.timeout.ms=8",
                "max.session.timeout.ms, which is 8",
            ),
            ("offsets.topic.num.partitions=0", "from 1 to 10000"),
            ("offsets.topic.replication.factor=8", "from 1 to 7"),
            ("offsets.topic.segment.bytes=13", "at least 14"),
            ("offsets.retention.minutes=0", "at least 1"),
        ] {
            let message = settings(file).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
