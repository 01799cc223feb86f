//! What groups and offsets come to: for limits and metrics. Running sums, no walks, but for those of each group.

use ottla_types::{Offset, TopicPartition};

use super::super::ids::GroupId;
use super::super::stats::{GroupStats, Stats};
use super::{Group, Groups, Held};

impl Groups {
    /// Bytes of memory that groups and offsets take up, about. Not counted is what isn't committed, which the
    /// shard counts.
    pub fn state_bytes(&self) -> usize {
        self.tally.bytes + self.removed_bytes + self.offsets.bytes()
    }

    /// What all groups come to.
    pub fn stats(&self) -> Stats {
        Stats {
            states: self.tally.states.clone(),
            members: self.tally.members,
            offsets: self.offsets.count(),
            state_bytes: self.state_bytes(),
            rebalances: self.counts.rebalances,
            commits: self.counts.commits,
            expired_offsets: self.counts.expired_offsets,
        }
    }

    /// What each group comes to, by id.
    pub fn group_stats(&self) -> impl Iterator<Item = GroupStats> {
        self.groups.values().map(|Held { group: Group::Classic(group), .. }| GroupStats {
            group: group.id().clone(),
            state: group.state(),
            members: group.member_count(),
            rebalances: group.rebalance_count(),
        })
    }

    /// The committed offsets of a group, by partition.
    pub fn committed_offsets(&self, group: &GroupId) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.offsets.committed(group).map(|(partition, committed)| (partition, committed.offset))
    }
}
