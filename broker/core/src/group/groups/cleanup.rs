//! What nobody uses any more goes: offsets that have expired, and groups that have neither members nor offsets.

use crate::coordinator::Now;

use super::super::after::Out;
use super::super::classic::ClassicGroup;
use super::super::ids::GroupId;
use super::super::offsets::Expiry;
use super::super::record::OffsetCommitKey;
use super::super::reply::GroupState;
use super::Groups;
use super::commits::key_of;

impl Groups {
    /// Looks through all groups.
    pub(super) fn clean_up(&mut self, now: Now, out: &mut Out) {
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            let Some(group) = self.classic(&id) else { continue };
            let (expired, is_all) = self.expired(&id, group, now);
            let removes_group = is_all && group.is_deserted();
            self.decide_tombstones(&id, expired, removes_group, out);
        }
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
