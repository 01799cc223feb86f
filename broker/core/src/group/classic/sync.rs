//! Members ask for their assignment, and the leader brings it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::coordinator::{CallId, Ticket, Unavailable};

use super::super::after::{After, Assigned, Then};
use super::super::ids::MemberId;
use super::super::refusal::MemberRefusal;
use super::super::reply::{GroupState, Reply, Synced};
use super::super::request::SyncGroup;
use super::group::{ClassicGroup, Turn};
use super::member::{Member, nothing};

impl ClassicGroup {
    /// A member asks for its assignment. It is answered once the leader's is committed.
    pub fn sync(&mut self, call: CallId, request: SyncGroup, turn: &mut Turn) {
        if let Err(refusal) = self.try_sync(call, request, turn) {
            turn.out.answer(call, Reply::SyncGroup(Err(refusal)));
        }
    }

    fn try_sync(&mut self, call: CallId, request: SyncGroup, turn: &mut Turn) -> Result<(), MemberRefusal> {
        let id = &request.member;
        self.check_member(id, request.instance.as_ref())?;
        self.check_generation(request.generation)?;
        let is_other =
            |given: &Option<String>, own: &Option<String>| given.is_some() && own.is_some() && given != own;
        if is_other(&request.protocol_type, &self.protocol_type)
            || is_other(&request.protocol, &self.protocol)
        {
            return Err(MemberRefusal::InconsistentGroupProtocol);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(MemberRefusal::UnknownMemberId(id.clone())),
            GroupState::PreparingRebalance => Err(MemberRefusal::RebalanceInProgress),
            GroupState::CompletingRebalance => {
                self.note_sync(id);
                let old = self.members.get_mut(id).and_then(|member| member.awaiting_sync.replace(call));
                if let Some(old) = old {
                    turn.out.answer(old, Reply::SyncGroup(Err(MemberRefusal::RebalanceInProgress)));
                }
                if self.is_leader(id) {
                    self.assign(request.assignments.into_iter().collect(), turn);
                }
                Ok(())
            }
            GroupState::Stable => {
                self.note_sync(id);
                let synced = self.members.get(id).map(|member| self.synced(member));
                let synced = synced.ok_or_else(|| MemberRefusal::UnknownMemberId(id.clone()));
                turn.out.answer(call, Reply::SyncGroup(synced));
                Ok(())
            }
        }
    }

    fn note_sync(&mut self, id: &MemberId) {
        self.pending_syncs.remove(id);
        if self.pending_syncs.is_empty() {
            self.sync_deadline_ms = None;
        }
    }

    /// The leader has assigned: whom it doesn't name is assigned nothing, and whom it names that isn't a
    /// member isn't noted.
    fn assign(&mut self, mut given: BTreeMap<MemberId, Arc<[u8]>>, turn: &mut Turn) {
        if self.assigning.is_some() {
            // The leader asks again. What is on its way is this generation's one assignment.
            return;
        }
        let members = self.members.keys();
        let assignments: BTreeMap<MemberId, Arc<[u8]>> =
            members.map(|id| (id.clone(), given.remove(id).unwrap_or_else(nothing))).collect();
        let record = self.record(|id, _| assignments.get(id).cloned().unwrap_or_else(nothing));
        if record.log_bytes() > turn.out.decision_bytes_max() {
            return self.come_to_nothing(Unavailable::TooLarge, turn);
        }
        let after = After::of_group(&self.id, Then::Assigned(Assigned { assignments }));
        self.assigning = Some(turn.out.decide(vec![record], after));
    }

    /// An assignment is committed: the generation is stable.
    pub(super) fn on_assigned(&mut self, ticket: Ticket, mut assigned: Assigned, turn: &mut Turn) {
        if self.assigning != Some(ticket) {
            return;
        }
        assert_eq!(self.state, GroupState::CompletingRebalance, "{}: an assignment is waited for", self.id);
        self.assigning = None;
        self.set_assignments(|id| assigned.assignments.remove(id));
        self.rebalance_count += 1;
        self.enter(GroupState::Stable, turn.now);
        let (protocol_type, protocol) = (self.protocol_type.clone(), self.protocol.clone());
        self.answer_syncs(turn.now, |member, call| {
            let assignment = Arc::clone(&member.assignment);
            let synced =
                Synced { protocol_type: protocol_type.clone(), protocol: protocol.clone(), assignment };
            turn.out.answer(call, Reply::SyncGroup(Ok(synced)));
        });
    }

    /// An assignment can't be committed, or not in time: its generation comes to nothing. It may still be
    /// committed later, when another group of this name, of the same generation, waits for its own; so it is
    /// known by its ticket.
    pub(super) fn on_assignment_failed(&mut self, ticket: Ticket, why: Unavailable, turn: &mut Turn) {
        if self.assigning == Some(ticket) {
            self.come_to_nothing(why, turn);
        }
    }

    fn come_to_nothing(&mut self, why: Unavailable, turn: &mut Turn) {
        self.abandon_assignment(&MemberRefusal::Unavailable(why), turn);
        self.prepare_rebalance(turn);
    }

    fn synced(&self, member: &Member) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: Arc::clone(&member.assignment),
        }
    }
}
