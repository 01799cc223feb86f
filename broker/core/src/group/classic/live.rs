//! Who lives: heartbeats, members that leave, and what is due when time passes.

use crate::coordinator::{Ticket, Unavailable};

use super::super::after::Then;
use super::super::ids::{Generation, InstanceId, MemberId};
use super::super::refusal::{JoinRefusal, MemberRefusal};
use super::super::reply::{GroupState, LeftMember};
use super::super::request::{Heartbeat, Leaving, OffsetCommit};
use super::group::{ClassicGroup, Turn};

impl ClassicGroup {
    /// A member is alive.
    ///
    /// # Errors
    /// When it isn't, as far as the group knows, or has to join again.
    pub fn heartbeat(&mut self, request: &Heartbeat, turn: &mut Turn) -> Result<(), MemberRefusal> {
        self.check_member(&request.member, request.instance.as_ref())?;
        self.check_generation(request.generation)?;
        self.renew_session(&request.member, turn.now);
        match self.state {
            GroupState::PreparingRebalance => Err(MemberRefusal::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Members leave: each for itself, then the rest rebalances.
    pub fn leave(&mut self, members: Vec<Leaving>, turn: &mut Turn) -> Vec<LeftMember> {
        let mut left = Vec::with_capacity(members.len());
        for Leaving { member, instance } in members {
            let outcome = self.leave_one(member.as_ref(), instance.as_ref(), turn);
            left.push(LeftMember { member, instance, outcome });
        }
        if left.iter().any(|one| one.outcome.is_ok()) {
            self.go_on_without(turn);
        }
        left
    }

    fn leave_one(
        &mut self,
        member: Option<&MemberId>,
        instance: Option<&InstanceId>,
        turn: &mut Turn,
    ) -> Result<(), MemberRefusal> {
        let id = match (member, instance) {
            (Some(id), _) if self.pending_joins.contains(id) => id.clone(),
            (Some(id), instance) => {
                self.check_member(id, instance)?;
                id.clone()
            }
            (None, instance) => {
                let owner = instance.and_then(|instance| self.static_members.get(instance));
                owner.cloned().ok_or_else(|| MemberRefusal::UnknownMemberId("".into()))?
            }
        };
        self.remove(&id, turn.out);
        Ok(())
    }

    /// Members have gone: those who are left share what there is, or the rebalance needs not wait for them.
    fn go_on_without(&mut self, turn: &mut Turn) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(turn),
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(turn),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Does what is due.
    pub fn on_time(&mut self, turn: &mut Turn) {
        let now_ms = turn.now.ms;
        self.expire_members(turn);
        if self.join_deadline_ms.is_some_and(|deadline| deadline <= now_ms) {
            self.on_join_deadline(turn);
        }
        if self.sync_deadline_ms.is_some_and(|deadline| deadline <= now_ms) {
            self.on_sync_deadline(turn);
        }
        self.recompute_wake();
    }

    /// Removes who has been silent for too long.
    fn expire_members(&mut self, turn: &mut Turn) {
        let now_ms = turn.now.ms;
        if self.pending_joins.expire(now_ms) {
            self.complete_join_if_all_joined(turn);
        }
        let members = self.members.iter_mut();
        let due = members.filter(|(_, member)| member.session_deadline_ms.is_some_and(|at| at <= now_ms));
        let mut silent = Vec::new();
        for (id, member) in due {
            if member.has_satisfied_heartbeat() {
                // Its answer sets the next one.
                member.session_deadline_ms = None;
            } else {
                silent.push(id.clone());
            }
        }
        for id in &silent {
            self.remove(id, turn.out);
        }
        if !silent.is_empty() {
            self.go_on_without(turn);
        }
    }

    /// Who was told of a generation and hasn't asked for its assignment is gone.
    fn on_sync_deadline(&mut self, turn: &mut Turn) {
        self.sync_deadline_ms = None;
        let late = std::mem::take(&mut self.pending_syncs);
        for id in &late {
            self.remove(id, turn.out);
        }
        if !late.is_empty() {
            self.go_on_without(turn);
        }
    }

    /// The log has been read: each member gets its session anew, as nobody knows how long it was silent. A
    /// group that is larger than allowed rebalances, and takes in as many as it may.
    pub fn on_loaded(&mut self, turn: &mut Turn) {
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.renew_session(&id, turn.now);
        }
        if self.members.len() > turn.config.members_max {
            self.prepare_rebalance(turn);
        }
    }

    /// Whether somebody may commit offsets. For a member that may, its session begins anew.
    ///
    /// # Errors
    /// By Kafka's rules: members of the present generation may, unless it waits for its assignment. Who is in
    /// no generation may, if nobody else is.
    pub fn check_commit(&mut self, request: &OffsetCommit, turn: &mut Turn) -> Result<(), MemberRefusal> {
        let is_outside = request.generation < Generation(0);
        if is_outside && self.state == GroupState::Empty {
            return Ok(());
        }
        let nobody = MemberId::from("");
        let id = request.member.as_ref().unwrap_or(&nobody);
        if is_outside && request.member.is_none() && request.instance.is_none() {
            return Err(MemberRefusal::UnknownMemberId(nobody));
        }
        self.check_member(id, request.instance.as_ref())?;
        self.check_generation(request.generation)?;
        if self.state == GroupState::CompletingRebalance {
            return Err(MemberRefusal::RebalanceInProgress);
        }
        self.renew_session(id, turn.now);
        Ok(())
    }

    /// A decision about this group is committed.
    pub fn on_committed(&mut self, ticket: Ticket, then: Then, turn: &mut Turn) {
        match then {
            Then::Assigned(assigned) => self.on_assigned(ticket, assigned, turn),
            Then::Replaced(replaced) => self.on_replaced(&replaced, turn),
            Then::Created | Then::Emptied => {}
        }
    }

    /// A decision about this group is refused. An empty generation that isn't noted does no harm: whoever
    /// takes over sees the members of the one before, and their sessions end.
    pub fn on_refused(&mut self, ticket: Ticket, then: Then, why: Unavailable, turn: &mut Turn) {
        match then {
            Then::Assigned(_) => self.on_assignment_failed(ticket, why, turn),
            Then::Replaced(replaced) => {
                self.on_replacement_refused(replaced, JoinRefusal::Unavailable(why), turn);
            }
            Then::Created | Then::Emptied => {}
        }
    }

    /// A decision about this group takes too long.
    pub fn on_overdue(&mut self, ticket: Ticket, then: &Then, turn: &mut Turn) {
        let why = Unavailable::NotAvailable;
        match then {
            Then::Assigned(_) => self.on_assignment_failed(ticket, why, turn),
            Then::Replaced(replaced) => {
                self.on_replacement_overdue(replaced, JoinRefusal::Unavailable(why), turn);
            }
            Then::Created | Then::Emptied => {}
        }
    }
}
