//! What all groups of a shard come to, counted as they change.

use std::collections::BTreeMap;

use super::super::classic::ClassicGroup;
use super::super::reply::GroupState;

/// The sums of the groups that are counted in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many groups are in each state; no state without one.
    pub states: BTreeMap<GroupState, usize>,
    /// How many members they have.
    pub members: usize,
    /// Bytes of memory that they take up.
    pub bytes: usize,
}

impl Tally {
    /// Counts a group in.
    pub fn add(&mut self, group: &ClassicGroup) {
        *self.states.entry(group.state()).or_default() += 1;
        self.members += group.member_count();
        self.bytes += group.state_bytes();
    }

    /// Counts a group out, which is as it was when it was counted in.
    pub fn remove(&mut self, group: &ClassicGroup) {
        if let Some(count) = self.states.get_mut(&group.state()) {
            *count -= 1;
            if *count == 0 {
                self.states.remove(&group.state());
            }
        }
        self.members -= group.member_count();
        self.bytes -= group.state_bytes();
    }
}
