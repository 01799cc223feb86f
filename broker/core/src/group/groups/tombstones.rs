//! Offsets and groups that are removed together, by one decision.

use ottla_types::TopicPartition;

use super::super::after::{After, DeletionId, Out};
use super::super::ids::GroupId;
use super::super::record::{GroupMetadataKey, LOG_BYTES, OffsetAndMetadata, OffsetCommitKey, Record};
use super::Groups;
use super::commits::key_of;
use crate::coordinator::Ticket;

/// What is removed by the decision that is being filled.
///
/// It is applied already, by the ticket that this decision will get. So nothing else may be decided before
/// [`Tombstones::decide`].
#[derive(Debug, Default)]
pub struct Tombstones {
    offsets: Vec<OffsetCommitKey>,
    groups: Vec<GroupId>,
    /// What they take up in a batch.
    bytes: usize,
}

/// Offsets for which there is room in a decision.
#[derive(Debug)]
#[must_use]
pub struct Selected {
    keys: Vec<OffsetCommitKey>,
    come_to: Buried,
}

/// How far a removal has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Buried {
    /// All of it.
    All,
    /// The decision has no more room: the rest, from this partition on, is another one's.
    UpTo(Option<TopicPartition>),
    /// One tombstone is larger than a batch may be. It can't be removed.
    Never,
}

impl Tombstones {
    /// Decides what there is, and tells the ticket; none if there is nothing.
    pub fn decide(self, deletion: Option<DeletionId>, out: &mut Out) -> Option<Ticket> {
        let Self { offsets, groups, bytes } = self;
        assert_eq!(bytes == 0, offsets.is_empty() && groups.is_empty(), "each tombstone takes up bytes");
        assert!(bytes <= out.decision_bytes_max(), "{bytes} bytes of tombstones fit into a batch");
        let of_offsets = offsets.iter().map(|key| Record::OffsetCommit { key: key.clone(), value: None });
        let of_groups = groups.into_iter().map(|group| {
            let key = GroupMetadataKey { group };
            Record::GroupMetadata { key, value: None }
        });
        let records: Vec<Record> = of_offsets.chain(of_groups).collect();
        if records.is_empty() {
            return None;
        }
        Some(out.decide(records, After { offsets, group: None, deletion }))
    }

    /// How many offsets are in it.
    pub fn offset_count(&self) -> usize {
        self.offsets.len()
    }

    /// Takes up so many bytes, unless there is no room.
    fn take_room(&mut self, bytes: usize, out: &Out) -> bool {
        let has_room = self.bytes + bytes <= out.decision_bytes_max();
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }
}

impl Groups {
    /// Finds those of a group's offsets, from a partition on, that are `gone`: as many as there is room for.
    pub(super) fn select(
        &self,
        id: &GroupId,
        from: Option<&TopicPartition>,
        gone: impl Fn(&TopicPartition, &OffsetAndMetadata) -> bool,
        tombstones: &mut Tombstones,
        out: &Out,
    ) -> Selected {
        let all = self.offsets.newest_from(id, from).filter(|(partition, offset)| gone(partition, offset));
        select_keys(id, all.map(|(partition, _)| partition), tombstones, out)
    }

    /// Finds those of the partitions, which are sorted, from one on, that the group has an offset of. Walks the
    /// smaller of the two sets.
    pub(super) fn select_listed(
        &self,
        id: &GroupId,
        partitions: &[TopicPartition],
        from: Option<&TopicPartition>,
        tombstones: &mut Tombstones,
        out: &Out,
    ) -> Selected {
        if self.offsets.count_of(id) < partitions.len() {
            let is_listed = |partition: &TopicPartition| partitions.binary_search(partition).is_ok();
            return self.select(id, from, |partition, _| is_listed(partition), tombstones, out);
        }
        let first = from.map_or(0, |from| partitions.partition_point(|one| one < from));
        let present = partitions[first..].iter().filter(|partition| self.offsets.has(id, partition));
        select_keys(id, present, tombstones, out)
    }

    /// Removes what was selected, and tells whether that is all.
    pub(super) fn bury_selected(
        &mut self,
        selected: Selected,
        tombstones: &mut Tombstones,
        out: &Out,
    ) -> Buried {
        for key in selected.keys {
            self.offsets.set(out.next_ticket(), &key, None);
            tombstones.offsets.push(key);
        }
        selected.come_to
    }

    /// Removes a group, if there is room.
    pub(super) fn bury_group(&mut self, id: &GroupId, tombstones: &mut Tombstones, out: &Out) -> Buried {
        let bytes = LOG_BYTES + id.as_str().len();
        if !tombstones.take_room(bytes, out) {
            let is_never = bytes > out.decision_bytes_max();
            return if is_never { Buried::Never } else { Buried::UpTo(None) };
        }
        self.deadlines.set(id, None);
        if let Some(held) = self.take_out(id) {
            self.keep_removed(held, out.next_ticket());
        }
        tombstones.groups.push(id.clone());
        Buried::All
    }
}

fn select_keys<'a>(
    id: &GroupId,
    partitions: impl Iterator<Item = &'a TopicPartition>,
    tombstones: &mut Tombstones,
    out: &Out,
) -> Selected {
    let mut keys = Vec::new();
    for partition in partitions {
        let key = key_of(id, partition);
        let bytes = LOG_BYTES + key.text_bytes();
        if !tombstones.take_room(bytes, out) {
            let is_never = bytes > out.decision_bytes_max();
            let come_to = if is_never { Buried::Never } else { Buried::UpTo(Some(partition.clone())) };
            return Selected { keys, come_to };
        }
        keys.push(key);
    }
    Selected { keys, come_to: Buried::All }
}
