//! Requests of administrators: which groups there are, what they are like, and that they be deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::coordinator::CallId;

use super::super::after::Out;
use super::super::ids::GroupId;
use super::super::refusal::AdminRefusal;
use super::super::reply::{DescribedGroup, GroupState, GroupType, ListedGroup, Reply};
use super::super::request::{DeleteGroups, DescribeGroups, ListGroups};
use super::commits::key_of;
use super::tombstones::Tombstones;
use super::{Group, Groups};

impl Groups {
    /// The groups that match, by id.
    pub(super) fn list(&self, request: &ListGroups) -> Vec<ListedGroup> {
        let matches = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|one| one.trim().eq_ignore_ascii_case(name))
        };
        let all = self.groups.values().map(|held| match &held.group {
            Group::Classic(group) => ListedGroup {
                group: group.id().clone(),
                protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
                state: group.state(),
                group_type: GroupType::Classic,
            },
        });
        let of_state = all.filter(|group| matches(&request.states, group.state.name()));
        of_state.filter(|group| matches(&request.types, group.group_type.name())).collect()
    }

    /// Each of the groups; one that there isn't is dead.
    pub(super) fn describe(&self, request: DescribeGroups) -> Vec<Arc<DescribedGroup>> {
        let mut by_id: BTreeMap<GroupId, Arc<DescribedGroup>> = BTreeMap::new();
        let groups = request.groups.into_iter();
        let described = groups.map(|id| {
            let one = by_id.entry(id.clone()).or_insert_with(|| Arc::new(self.describe_one(id)));
            Arc::clone(one)
        });
        described.collect()
    }

    fn describe_one(&self, id: GroupId) -> DescribedGroup {
        match self.classic(&id) {
            Some(group) => group.describe(),
            None => DescribedGroup {
                group: id,
                state: GroupState::Dead,
                protocol_type: String::new(),
                protocol: String::new(),
                members: Vec::new(),
            },
        }
    }

    /// Deletes groups without members, with their offsets: all by one decision if they fit into a batch, so
    /// that all are deleted or none is. Else those that earlier decisions name may be gone although a later
    /// one is refused, and all are told that it failed: whoever asks again is told GROUP_ID_NOT_FOUND of
    /// those, and deletes the others.
    pub(super) fn delete(&mut self, call: CallId, request: DeleteGroups, out: &mut Out) {
        let mut outcomes = Vec::with_capacity(request.groups.len());
        let mut tombstones = Tombstones::default();
        for id in request.groups {
            let checked = self.check_delete(&id);
            if checked.is_ok() {
                let keys = self.offsets.newest(&id).map(|(partition, _)| key_of(&id, partition)).collect();
                self.bury(&id, keys, true, &mut tombstones, out);
            }
            outcomes.push((id, checked));
        }
        tombstones.decide(out);
        out.answer_when_committed(call, Reply::DeleteGroups(outcomes));
    }

    fn check_delete(&self, id: &GroupId) -> Result<(), AdminRefusal> {
        match self.classic(id) {
            None => Err(AdminRefusal::GroupIdNotFound(id.clone())),
            Some(group) if group.state() == GroupState::Empty => Ok(()),
            Some(_) => Err(AdminRefusal::NonEmptyGroup(id.clone())),
        }
    }
}
