//! What groups come to, for metrics.

use std::collections::BTreeMap;

use super::ids::GroupId;
use super::reply::GroupState;

/// All groups of a shard. Numbers of events count from when this broker loaded the shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many groups there are in each state; none is left out of those that there are.
    pub states: BTreeMap<GroupState, usize>,
    /// How many members they have.
    pub members: usize,
    /// How many offsets they have, those counted in whose removal isn't committed.
    pub offsets: usize,
    /// Bytes of memory that groups and offsets take up.
    pub state_bytes: usize,
    /// How many generations got their assignment.
    pub rebalances: u64,
    /// How many offsets were to be committed.
    pub commits: u64,
    /// How many offsets were removed as they had expired.
    pub expired_offsets: u64,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStats {
    /// Its id.
    pub group: GroupId,
    /// Its state.
    pub state: GroupState,
    /// How many members it has.
    pub members: usize,
    /// How many of its generations got their assignment, since this broker loaded the shard.
    pub rebalances: u64,
}
