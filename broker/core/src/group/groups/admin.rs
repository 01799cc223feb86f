//! Requests of administrators: which groups there are, and what they are like.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::ids::GroupId;
use super::super::reply::{DescribedGroup, GroupState, GroupType, ListedGroup};
use super::super::request::{DescribeGroups, ListGroups};
use super::Groups;

impl Groups {
    /// The groups that match, by id.
    pub(super) fn list(&self, request: &ListGroups) -> Vec<ListedGroup> {
        let listed = self.matching(request).map(|group| ListedGroup {
            group: group.id().clone(),
            protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
            state: group.state(),
            group_type: GroupType::Classic,
        });
        listed.collect()
    }

    /// Each of the groups; one that there isn't is dead.
    pub(super) fn describe(&self, request: &DescribeGroups) -> Vec<Arc<DescribedGroup>> {
        let mut by_id: BTreeMap<GroupId, Arc<DescribedGroup>> = BTreeMap::new();
        let groups = request.groups.iter();
        let described = groups.map(|id| {
            let one = by_id.entry(id.clone()).or_insert_with(|| Arc::new(self.describe_one(id.clone())));
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
}
