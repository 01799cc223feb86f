//! What the group coordinator wants to hear of again, once its records are committed or refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::coordinator::{CallId, Outbox};

use super::ids::{Generation, GroupId, MemberId};
use super::record::{OffsetCommitKey, Record};
use super::reply::Reply;
use super::request::{Protocol, Request};

/// Where decisions and answers go.
pub(super) type Out = Outbox<Record, After, Reply, Request>;

/// What a decision is about.
#[derive(Debug)]
pub struct After {
    /// The offsets that it sets or removes. Groups that it removes are kept by its ticket.
    pub(super) offsets: Vec<OffsetCommitKey>,
    /// The group that it is about.
    pub(super) group: Option<(GroupId, Then)>,
    /// The deletion that it is a slice of.
    pub(super) deletion: Option<DeletionId>,
}

/// A deletion's number, in the order in which they were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeletionId(pub(super) u64);

impl After {
    pub(super) fn of_group(group: &GroupId, then: Then) -> Self {
        Self { offsets: Vec::new(), group: Some((group.clone(), then)), deletion: None }
    }
}

/// What a decision does with a group.
#[derive(Debug)]
pub(super) enum Then {
    /// The group is new.
    Created,
    /// Its last member has gone.
    Emptied,
    /// The leader has assigned.
    Assigned(Assigned),
    /// A static member has begun anew and took over its assignment.
    Replaced(Replaced),
}

/// A generation's assignment.
#[derive(Debug)]
pub(super) struct Assigned {
    /// Of each member.
    pub(super) assignments: BTreeMap<MemberId, Arc<[u8]>>,
}

/// A static member has another member id, in the same generation.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) call: CallId,
    pub(super) generation: Generation,
    pub(super) old: MemberId,
    pub(super) new: MemberId,
    /// What the member was before, in case that it is refused.
    pub(super) old_protocols: Vec<Protocol>,
    pub(super) old_rebalance_timeout_ms: u64,
    pub(super) old_session_timeout_ms: u64,
    /// Who led before; old clients are told so, and don't assign.
    pub(super) old_leader: Option<MemberId>,
    pub(super) knows_skip_assignment: bool,
}
