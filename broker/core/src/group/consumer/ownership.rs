//! Which member has each partition: assigned, or not given up yet.

use std::collections::BTreeMap;

use ottla_types::{PartitionIndex, TopicId};

use super::super::ids::MemberId;
use super::current::CurrentAssignment;

/// The owners of a group's partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    owners: BTreeMap<(TopicId, PartitionIndex), MemberId>,
}

impl Ownership {
    /// A member has something else now; nothing if it has gone. Of several that a damaged log gives one
    /// partition to, the last one has it.
    pub fn change(
        &mut self,
        member: &MemberId,
        old: Option<&CurrentAssignment>,
        new: Option<&CurrentAssignment>,
    ) {
        for partition in old.into_iter().flat_map(CurrentAssignment::held) {
            if self.owners.get(&partition) == Some(member) {
                self.owners.remove(&partition);
            }
        }
        for partition in new.into_iter().flat_map(CurrentAssignment::held) {
            self.owners.insert(partition, member.clone());
        }
    }

    /// Whether nobody has a partition.
    pub fn is_free(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        !self.owners.contains_key(&(topic, partition))
    }

    /// Who has a partition.
    pub fn owner(&self, topic: TopicId, partition: PartitionIndex) -> Option<&MemberId> {
        self.owners.get(&(topic, partition))
    }
}
