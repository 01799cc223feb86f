//! Which group has something to do next.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ids::GroupId;

/// Each group's next moment, in ms.
#[derive(Debug, Default)]
pub struct Deadlines {
    by_time: BTreeSet<(u64, GroupId)>,
    /// Invariant: the same as in `by_time`.
    by_group: BTreeMap<GroupId, u64>,
}

impl Deadlines {
    /// A group is to be woken at `deadline_ms`, or not at all.
    pub fn set(&mut self, group: &GroupId, deadline_ms: Option<u64>) {
        let old_ms = self.by_group.get(group).copied();
        if old_ms == deadline_ms {
            return;
        }
        if let Some(old_ms) = old_ms {
            self.by_time.remove(&(old_ms, group.clone()));
        }
        match deadline_ms {
            Some(deadline_ms) => {
                self.by_time.insert((deadline_ms, group.clone()));
                self.by_group.insert(group.clone(), deadline_ms);
            }
            None => {
                self.by_group.remove(group);
            }
        }
    }

    /// A group that is due by now.
    pub fn due(&self, now_ms: u64) -> Option<GroupId> {
        self.by_time.first().filter(|(at_ms, _)| *at_ms <= now_ms).map(|(_, group)| group.clone())
    }

    /// The first deadline of all.
    pub fn next_ms(&self) -> Option<u64> {
        self.by_time.first().map(|(at_ms, _)| *at_ms)
    }
}
