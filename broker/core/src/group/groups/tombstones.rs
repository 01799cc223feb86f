//! Offsets and groups that are removed together: as many a decision as fit into a batch.

use super::super::after::{After, Out};
use super::super::ids::GroupId;
use super::super::record::{GroupMetadataKey, LOG_BYTES, OffsetCommitKey, Record};
use super::Groups;

/// What is removed by the decision that is still being filled.
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

impl Tombstones {
    /// Decides what there is, if there is anything.
    pub fn decide(&mut self, out: &mut Out) {
        let Self { offsets, groups, bytes } = std::mem::take(self);
        assert_eq!(bytes == 0, offsets.is_empty() && groups.is_empty(), "each tombstone takes up bytes");
        let of_offsets = offsets.iter().map(|key| Record::OffsetCommit { key: key.clone(), value: None });
        let of_groups = groups.into_iter().map(|group| {
            let key = GroupMetadataKey { group };
            Record::GroupMetadata { key, value: None }
        });
        let records: Vec<Record> = of_offsets.chain(of_groups).collect();
        if !records.is_empty() {
            out.decide(records, After { offsets, group: None });
        }
    }

    /// Makes room for so many bytes: what doesn't fit any more is another decision's.
    fn make_room(&mut self, bytes: usize, out: &mut Out) {
        if self.bytes + bytes > out.decision_bytes_max() {
            self.decide(out);
        }
    }
}

impl Groups {
    /// Removes offsets of a group, and the group too if `removes_group`: by one decision if one is enough.
    /// Tells how many bytes of a batch that takes.
    pub(super) fn bury(
        &mut self,
        id: &GroupId,
        offsets: Vec<OffsetCommitKey>,
        removes_group: bool,
        tombstones: &mut Tombstones,
        out: &mut Out,
    ) -> usize {
        let of_group = if removes_group { LOG_BYTES + id.as_str().len() } else { 0 };
        let bytes = of_group + offsets.iter().map(|key| LOG_BYTES + key.text_bytes()).sum::<usize>();
        tombstones.make_room(bytes, out);
        for key in offsets {
            let of_offset = LOG_BYTES + key.text_bytes();
            tombstones.make_room(of_offset, out);
            tombstones.bytes += of_offset;
            self.offsets.set(out.next_ticket(), &key, None);
            tombstones.offsets.push(key);
        }
        if removes_group {
            tombstones.make_room(of_group, out);
            tombstones.bytes += of_group;
            self.deadlines.set(id, None);
            if let Some(held) = self.groups.remove(id) {
                self.removed.entry(out.next_ticket()).or_default().push(held);
            }
            tombstones.groups.push(id.clone());
        }
        bytes
    }
}
