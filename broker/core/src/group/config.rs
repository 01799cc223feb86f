//! What groups are configured with, in the broker's configuration.

/// The settings of groups and offsets, each by Kafka's name and default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: no member may ask for less.
    pub session_timeout_min_ms: u64,
    /// `group.max.session.timeout.ms`: no member may ask for more.
    pub session_timeout_max_ms: u64,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members to join, again each
    /// time that one does.
    pub initial_rebalance_delay_ms: u64,
    /// `group.max.size`: the most members of a group.
    pub members_max: usize,
    /// The most bytes of memory that a group's members may take up with their names and protocols. Kafka's
    /// limit is that a group's record must fit into a batch.
    pub group_bytes_max: usize,
    /// How many, in a group, may have been given a member id and not joined with it yet. Kafka has no limit.
    pub pending_joins_max: usize,
    /// The most bytes of memory that their ids may take up. Kafka has no limit.
    pub pending_bytes_max: usize,
    /// `offset.metadata.max.bytes`: the most that may be said beside an offset.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in ms: how long offsets of a group that nobody uses are kept.
    pub offsets_retention_ms: u64,
    /// `offsets.retention.check.interval.ms`: how often that is looked at.
    pub offsets_retention_check_interval_ms: u64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            // Kafka's default is no limit. So many members' record is larger than a batch may be.
            members_max: 10_000,
            group_bytes_max: 16 << 20,
            pending_joins_max: 20_000,
            pending_bytes_max: 16 << 20,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60_000,
            offsets_retention_check_interval_ms: 600_000,
        }
    }
}
