//! Replies whose size their requests don't bound: they are made only if so much is granted.

use super::super::classic::ClassicGroup;
use super::super::ids::GroupId;
use super::super::reply::{GroupState, GroupType, Reply};
use super::super::request::{ListGroups, Request};
use super::{Group, Groups, Held};

/// What a group takes up in a list beside its texts, in bytes: no less than its struct.
const LISTED_BYTES: usize = 128;

/// What a group that there isn't takes up in a description, in bytes: no less than its struct.
const DEAD_BYTES: usize = 256;

impl Groups {
    /// The most bytes that the reply would take up now, held or in a response, whichever is more; 0 for
    /// requests that bound their replies. What is named often counts as often.
    pub fn reply_bytes(&self, request: &Request) -> usize {
        match request {
            Request::OffsetFetch(request) => self.offsets.fetch_bytes(request),
            Request::ListGroups(request) => self.list_bytes(request),
            Request::DescribeGroups(request) => {
                request.groups.iter().map(|id| self.description_bytes(id)).sum()
            }
            Request::JoinGroup(_)
            | Request::SyncGroup(_)
            | Request::Heartbeat(_)
            | Request::LeaveGroup(_)
            | Request::OffsetCommit(_)
            | Request::OffsetDelete(_)
            | Request::DeleteGroups(_)
            | Request::ForgetPartitions(_) => 0,
        }
    }

    /// What the reply needs, if that is more than is granted.
    pub(super) fn needs(&self, request: &Request) -> Option<Reply> {
        let granted_bytes = match request {
            Request::OffsetFetch(request) => request.granted_bytes,
            Request::ListGroups(request) => request.granted_bytes,
            Request::DescribeGroups(request) => request.granted_bytes,
            _ => return None,
        };
        Some(self.reply_bytes(request)).filter(|needed| *needed > granted_bytes).map(Reply::Needs)
    }

    fn description_bytes(&self, id: &GroupId) -> usize {
        self.classic(id).map_or(DEAD_BYTES + id.as_str().len(), |group| group.description_bytes())
    }

    fn list_bytes(&self, request: &ListGroups) -> usize {
        let bytes = self.matching(request).map(|group| {
            LISTED_BYTES + group.id().as_str().len() + group.protocol_type().map_or(0, str::len)
        });
        bytes.sum()
    }

    /// The groups that a list asks for, by id.
    pub(super) fn matching(&self, request: &ListGroups) -> impl Iterator<Item = &ClassicGroup> {
        let is_asked = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|one| one.trim().eq_ignore_ascii_case(name))
        };
        // What is asked for may be long, so it is looked through once, and not for each group.
        let is_type_asked = is_asked(&request.types, GroupType::Classic.name());
        let states = GroupState::ALL.into_iter().filter(|state| is_asked(&request.states, state.name()));
        let states: Vec<GroupState> = if is_type_asked { states.collect() } else { Vec::new() };
        let all = self.groups.values().map(|Held { group: Group::Classic(group), .. }| group);
        all.filter(move |group| states.contains(&group.state()))
    }
}
