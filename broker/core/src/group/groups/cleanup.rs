//! What nobody uses any more goes: offsets that have expired, and groups that have neither members nor
//! offsets.

use std::ops::Bound;

use crate::coordinator::Now;

use super::super::after::Out;
use super::super::classic::ClassicGroup;
use super::super::ids::GroupId;
use super::super::offsets::Expiry;
use super::super::record::OffsetCommitKey;
use super::super::reply::GroupState;
use super::Groups;
use super::commits::key_of;
use super::tombstones::Tombstones;

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
        let mut last = self.cleaned_up_to.take();
        let mut tombstones = Tombstones::default();
        let (mut count, mut bytes) = (0, 0);
        while count < SLICE_GROUPS_MAX && bytes < out.decision_bytes_max() {
            let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.groups.range::<GroupId, _>((from, Bound::Unbounded)).next();
            last = next.map(|(id, _)| id.clone());
            let Some(id) = &last else { break };
            bytes += self.clean_up_one(id, &mut tombstones, now, out);
            count += 1;
        }
        tombstones.decide(out);
        let wait_ms = if last.is_some() { 1 } else { self.config.offsets_retention_check_interval_ms };
        self.cleaned_up_to = last;
        self.next_cleanup_ms = Some(now.ms + wait_ms);
    }

    /// Tells how many bytes of a batch that takes.
    fn clean_up_one(&mut self, id: &GroupId, tombstones: &mut Tombstones, now: Now, out: &mut Out) -> usize {
        let Some(group) = self.classic(id) else { return 0 };
        let (expired, is_all) = self.expired(id, group, now);
        let removes_group = is_all && group.is_deserted();
        self.bury(id, expired, removes_group, tombstones, out)
    }

    /// Which of a group's offsets have expired, and whether these are all that it has.
    fn expired(&self, id: &GroupId, group: &ClassicGroup, now: Now) -> (Vec<OffsetCommitKey>, bool) {
        let (expiry, retention_ms) = (expiry_of(group), self.config.offsets_retention_ms);
        let mut expired = Vec::new();
        let mut is_all = true;
        for (partition, offset) in self.offsets.newest(id) {
            let is_in_use = group.is_subscribed_to(partition.topic.as_str());
            if !is_in_use && expiry.has_expired(offset, now.wall_ms, retention_ms) {
                expired.push(key_of(id, partition));
            } else {
                is_all = false;
            }
        }
        (expired, is_all)
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
