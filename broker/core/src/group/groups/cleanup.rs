//! What nobody uses any more goes: offsets that have expired, and groups that have neither members nor
//! offsets.

use std::ops::Bound;

use ottla_types::TopicPartition;

use crate::coordinator::Now;

use super::super::after::Out;
use super::super::classic::ClassicGroup;
use super::super::ids::GroupId;
use super::super::offsets::Expiry;
use super::super::record::OffsetAndMetadata;
use super::super::reply::GroupState;
use super::tombstones::{Buried, Tombstones};
use super::{Cursor, Group, Groups};

/// How many groups are looked through at once.
const SLICE_GROUPS_MAX: usize = 1_000;

/// How long a clean-up waits if too much is uncommitted, in ms.
const FULL_WAIT_MS: u64 = 1_000;

impl Groups {
    /// Looks through the groups, in slices: the rest is looked through a millisecond later, so that others
    /// are served in between. While too much is uncommitted it waits.
    pub(super) fn clean_up(&mut self, now: Now, out: &mut Out) {
        if out.is_full() {
            self.next_cleanup_ms = Some(now.ms + FULL_WAIT_MS);
            return;
        }
        let mut tombstones = Tombstones::default();
        let mut cursor = self.cleaned_up_to.take();
        let mut is_over = false;
        for _ in 0..SLICE_GROUPS_MAX {
            let next = match cursor.take() {
                Some(Cursor::In(id, from)) => Some((id, from)),
                Some(Cursor::Behind(last)) => self.group_behind(Some(&last)).map(|id| (id, None)),
                None => self.group_behind(None).map(|id| (id, None)),
            };
            let Some((id, from)) = next else {
                is_over = true;
                break;
            };
            match self.clean_up_one(&id, from.as_ref(), &mut tombstones, now, out) {
                Buried::UpTo(from) => {
                    cursor = Some(Cursor::In(id, from));
                    break;
                }
                Buried::All | Buried::Never => cursor = Some(Cursor::Behind(id)),
            }
        }
        self.counts.expired_offsets += tombstones.offset_count() as u64;
        tombstones.decide(None, out);
        let wait_ms = if is_over { self.config.offsets_retention_check_interval_ms } else { 1 };
        self.cleaned_up_to = cursor;
        self.next_cleanup_ms = Some(now.ms + wait_ms);
    }

    fn group_behind(&self, last: Option<&GroupId>) -> Option<GroupId> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.groups.range::<GroupId, _>((from, Bound::Unbounded)).next().map(|(id, _)| id.clone())
    }

    /// Removes what has expired of a group, from a partition on, and then the group if nothing is left of it.
    fn clean_up_one(
        &mut self,
        id: &GroupId,
        from: Option<&TopicPartition>,
        tombstones: &mut Tombstones,
        now: Now,
        out: &Out,
    ) -> Buried {
        // It may be gone since.
        let Some(held) = self.groups.get(id).filter(|held| !held.is_being_deleted) else {
            return Buried::All;
        };
        let Group::Classic(group) = &held.group;
        let (expiry, retention_ms) = (expiry_of(group), self.config.offsets_retention_ms);
        let has_expired = |partition: &TopicPartition, offset: &OffsetAndMetadata| {
            let is_in_use = group.is_subscribed_to(partition.topic.as_str());
            !is_in_use && expiry.has_expired(offset, now.wall_ms, retention_ms)
        };
        let selected = self.select(id, from, has_expired, tombstones, out);
        let is_deserted = group.is_deserted();
        match self.bury_selected(selected, tombstones, out) {
            Buried::All if is_deserted && self.offsets.newest(id).next().is_none() => {
                self.bury_group(id, tombstones, out)
            }
            come_to => come_to,
        }
    }
}

/// Kafka's rules: who isn't a group but only commits keeps an offset for so long after its commit. A group
/// keeps all of them for as long as it has members, and so long after, but for those of topics that it isn't
/// subscribed to any more.
fn expiry_of(group: &ClassicGroup) -> Expiry {
    let is_stable = group.state() == GroupState::Stable;
    match group.state() {
        _ if group.protocol_type().is_none() => Expiry::SinceCommit,
        GroupState::Empty => group.state_since_ms().map_or(Expiry::SinceCommit, Expiry::SinceEmpty),
        _ if is_stable && group.has_consumers() && group.knows_subscriptions() => Expiry::SinceCommit,
        _ => Expiry::Never,
    }
}
