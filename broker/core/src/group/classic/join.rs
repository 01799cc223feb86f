//! A member joins: for the first time, again, or in the place of an earlier one of its instance id.

use std::collections::BTreeSet;

use crate::coordinator::{CallId, Unavailable};

use super::super::after::{After, Replaced, Then};
use super::super::config::GroupConfig;
use super::super::ids::{InstanceId, MemberId};
use super::super::refusal::{JoinRefusal, MemberRefusal};
use super::super::reply::{GroupState, Reply};
use super::super::request::{JoinGroup, Protocol};
use super::group::{ClassicGroup, Turn, supersede_join};
use super::member::{Member, protocol_bytes};

/// How long a new member waits in its first join, in ms, before it counts as gone: it can't send heartbeats
/// meanwhile, and nobody sees that its connection has ended.
const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60_000;

/// Checks a join by itself, and tells its session time-out in ms.
///
/// # Errors
/// When the group has no name, or the session time-out isn't within limits.
pub fn check_join(request: &JoinGroup, config: &GroupConfig) -> Result<u64, JoinRefusal> {
    if request.group.as_str().is_empty() {
        return Err(JoinRefusal::InvalidGroupId);
    }
    let (min_ms, max_ms) = (config.session_timeout_min_ms, config.session_timeout_max_ms);
    let given_ms = request.session_timeout_ms;
    let within = u64::try_from(given_ms).ok().filter(|given| (min_ms..=max_ms).contains(given));
    within.ok_or(JoinRefusal::InvalidSessionTimeout { given_ms, min_ms, max_ms })
}

impl ClassicGroup {
    /// A member joins, with a session time-out in ms that is within limits. It is answered when the rebalance
    /// ends, or at once.
    pub fn join(&mut self, call: CallId, mut request: JoinGroup, session_timeout_ms: u64, turn: &mut Turn) {
        // A name that is given twice would be counted twice.
        let mut names = BTreeSet::new();
        request.protocols.retain(|protocol| names.insert(protocol.name.clone()));
        let joining = Joining { call, request, session_timeout_ms };
        if let Err(refusal) = self.try_join(joining, turn) {
            turn.out.answer(call, Reply::JoinGroup(Err(refusal)));
        }
    }

    fn try_join(&mut self, joining: Joining, turn: &mut Turn) -> Result<(), JoinRefusal> {
        let request = &joining.request;
        if let Err(refusal) = self.check_room(request, turn.config) {
            // A rebalance leaves out who comes last, if the limit has become less.
            if let (JoinRefusal::GroupMaxSizeReached { .. }, Some(id)) = (&refusal, &request.member) {
                self.remove(id, turn.out);
                self.complete_join_if_all_joined(turn);
            }
            return Err(refusal);
        }
        if !self.supports(&request.protocol_type, request.protocols.iter().map(|one| &*one.name)) {
            return Err(JoinRefusal::InconsistentGroupProtocol);
        }
        match (request.member.clone(), request.instance.clone()) {
            (None, instance) => self.join_as_new(joining, instance, turn),
            (Some(id), instance) => self.join_as(id, instance, joining, turn),
        }
    }

    /// Whether the group takes this member.
    fn check_room(&self, request: &JoinGroup, config: &GroupConfig) -> Result<(), JoinRefusal> {
        let members_max = config.members_max;
        let member = request.member.as_ref().and_then(|id| self.members.get(id));
        let is_pending = request.member.as_ref().is_some_and(|id| self.pending_joins.contains(id));
        let has_room = match self.state {
            GroupState::Empty | GroupState::Dead => true,
            // Those count who have joined again.
            GroupState::PreparingRebalance => {
                let has_joined = member.is_some_and(|member| member.awaiting_join.is_some());
                has_joined || self.awaiting_join_count < members_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members.len() < members_max
            }
        };
        if !has_room {
            return Err(JoinRefusal::GroupMaxSizeReached { members_max });
        }
        if request.member.is_some() && member.is_none() && !is_pending {
            // It is told that nobody knows it.
            return Ok(());
        }
        let owner = request.instance.as_ref().and_then(|instance| self.static_members.get(instance));
        let known = member.or_else(|| owner.and_then(|id| self.members.get(id)));
        let before = known.map_or(0, |member| protocol_bytes(&member.protocols));
        let after = protocol_bytes(&request.protocols);
        let bytes_max = config.group_bytes_max;
        // Who takes up no more than it does is let in, whatever others take up.
        match after <= before || self.bytes - before + after <= bytes_max {
            true => Ok(()),
            false => Err(JoinRefusal::GroupBytesReached { bytes_max }),
        }
    }

    /// Whether one more may be given a member id.
    fn check_pending_room(&self, id: &MemberId, config: &GroupConfig) -> Result<(), JoinRefusal> {
        let (pending_joins_max, bytes_max) = (config.pending_joins_max, config.pending_bytes_max);
        if self.pending_joins.len() >= pending_joins_max {
            return Err(JoinRefusal::PendingJoinsReached { pending_joins_max });
        }
        match self.pending_joins.bytes_with(id) <= bytes_max {
            true => Ok(()),
            false => Err(JoinRefusal::GroupBytesReached { bytes_max }),
        }
    }

    fn join_as_new(
        &mut self,
        joining: Joining,
        instance: Option<InstanceId>,
        turn: &mut Turn,
    ) -> Result<(), JoinRefusal> {
        let request = &joining.request;
        let prefix = instance.as_ref().map_or(&*request.client.id, InstanceId::as_str);
        let id = MemberId::from(format!("{prefix}-{}", request.fresh_id));
        if self.members.contains_key(&id) || self.pending_joins.contains(&id) {
            return Err(JoinRefusal::UnknownMemberId(id));
        }
        let old = instance.as_ref().and_then(|instance| self.static_members.get(instance)).cloned();
        if old.is_none() && !turn.out.may_grow() {
            return Err(JoinRefusal::StateBytesReached);
        }
        match old {
            Some(old) => self.replace(old, id, joining, turn),
            None if instance.is_none() && request.knows_member_id_required => {
                self.check_pending_room(&id, turn.config)?;
                let deadline_ms = turn.now.ms + joining.session_timeout_ms;
                self.pending_joins.insert(id.clone(), deadline_ms);
                self.wake_by(deadline_ms);
                return Err(JoinRefusal::MemberIdRequired(id));
            }
            None => self.add(id, joining, turn),
        }
        Ok(())
    }

    fn join_as(
        &mut self,
        id: MemberId,
        instance: Option<InstanceId>,
        joining: Joining,
        turn: &mut Turn,
    ) -> Result<(), JoinRefusal> {
        if self.pending_joins.contains(&id) {
            if instance.is_some() {
                // No static member is asked to come again with a member id. Kafka fails with
                // UNKNOWN_SERVER_ERROR, which tells the client nothing; by this it joins anew.
                return Err(JoinRefusal::UnknownMemberId(id));
            }
            if !turn.out.may_grow() {
                return Err(JoinRefusal::StateBytesReached);
            }
            self.add(id, joining, turn);
            return Ok(());
        }
        self.check_member(&id, instance.as_ref()).map_err(|refusal| match refusal {
            MemberRefusal::FencedInstanceId(instance) => JoinRefusal::FencedInstanceId(instance),
            _ => JoinRefusal::UnknownMemberId(id.clone()),
        })?;
        let member = self.members.get(&id).ok_or_else(|| JoinRefusal::UnknownMemberId(id.clone()))?;
        let is_same = member.protocols == joining.request.protocols;
        let may_stay = match self.state {
            // It may not have heard of the generation.
            GroupState::CompletingRebalance => is_same,
            // A leader that joins wants a rebalance, as when partitions were added.
            GroupState::Stable => is_same && !self.is_leader(&id),
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => false,
        };
        if may_stay {
            turn.out.answer(joining.call, Reply::JoinGroup(Ok(self.joined(&id))));
        } else {
            self.update_member(&id, &joining, turn);
            self.rebalance(turn);
        }
        Ok(())
    }

    /// A new member waits for the rebalance that it causes, or for the one that goes on.
    fn add(&mut self, id: MemberId, joining: Joining, turn: &mut Turn) {
        let mut member = Member::joining(&joining.request, joining.session_timeout_ms);
        member.awaiting_join = Some(joining.call);
        let deadline_ms = turn.now.ms + NEW_MEMBER_JOIN_TIMEOUT_MS;
        member.session_deadline_ms = Some(deadline_ms);
        self.wake_by(deadline_ms);
        if self.members.is_empty() {
            self.protocol_type = Some(joining.request.protocol_type);
        }
        if let Some(initial) = &mut self.initial {
            initial.member_added = true;
        }
        self.insert(id, member);
        self.rebalance(turn);
    }

    /// A member joins again, perhaps with other protocols, and waits.
    fn update_member(&mut self, id: &MemberId, joining: &Joining, turn: &mut Turn) {
        let Joining { call, request, session_timeout_ms } = joining;
        let old_call = self.update(id, |member| {
            member.protocols.clone_from(&request.protocols);
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
            member.session_timeout_ms = *session_timeout_ms;
            member.awaiting_join.replace(*call)
        });
        supersede_join(old_call.flatten(), turn.out);
    }

    /// A static member has begun anew: it takes the place of `old`, which is fenced. In a stable group that
    /// keeps its protocol, it gets the assignment that it had, without a rebalance.
    fn replace(&mut self, old: MemberId, new: MemberId, joining: Joining, turn: &mut Turn) {
        let old_leader = self.leader.clone();
        let Some(before) = self.rename(&old, &new, turn) else { return };
        self.renew_session(&new, turn.now);
        self.update_member(&new, &joining, turn);
        if self.state != GroupState::Stable {
            // While it completes, the leader may be assigning to the old member id already.
            return self.rebalance(turn);
        }
        if self.protocol.as_deref() != Some(&*self.select_protocol()) {
            return self.rebalance(turn);
        }
        let replaced = Replaced {
            call: joining.call,
            generation: self.generation,
            old,
            new,
            old_protocols: before.protocols,
            old_rebalance_timeout_ms: before.rebalance_timeout_ms,
            old_session_timeout_ms: before.session_timeout_ms,
            old_leader,
            knows_skip_assignment: joining.request.knows_skip_assignment,
        };
        let record = self.record(|_, member| member.assignment.clone());
        if record.log_bytes() > turn.out.decision_bytes_max() {
            return self.on_replacement_refused(replaced, Unavailable::TooLarge.into(), turn);
        }
        turn.out.decide(vec![record], After::of_group(&self.id, Then::Replaced(replaced)));
    }

    /// Gives a static member another member id; whoever waits under the old one is fenced. Tells what the
    /// member was.
    fn rename(&mut self, old: &MemberId, new: &MemberId, turn: &mut Turn) -> Option<Before> {
        let was_leader = self.is_leader(old);
        let was_pending_sync = self.pending_syncs.contains(old);
        let instance = self.members.get(old)?.instance.clone()?;
        self.answer_join(old, Err(JoinRefusal::FencedInstanceId(instance.clone())), turn);
        let sync = self.members.get_mut(old)?.awaiting_sync.take();
        if let Some(call) = sync {
            let fenced = MemberRefusal::FencedInstanceId(instance);
            turn.out.answer(call, Reply::SyncGroup(Err(fenced)));
        }
        let mut member = self.remove(old, turn.out)?;
        let before = Before {
            protocols: member.protocols.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
        };
        member.is_new = false;
        self.insert(new.clone(), member);
        if was_leader {
            self.leader = Some(new.clone());
        }
        if was_pending_sync {
            self.pending_syncs.insert(new.clone());
        }
        Some(before)
    }

    /// The record of a static member's new member id is committed: it has its assignment again.
    pub(super) fn on_replaced(&mut self, replaced: &Replaced, turn: &mut Turn) {
        if !self.still_waits(replaced) {
            return;
        }
        let mut joined = self.joined(&replaced.new);
        if replaced.knows_skip_assignment {
            joined.skip_assignment = self.is_leader(&replaced.new);
        } else {
            // So that it doesn't assign.
            joined.leader.clone_from(&replaced.old_leader);
            joined.members.clear();
        }
        self.answer_join(&replaced.new, Ok(joined), turn);
        self.renew_session(&replaced.new, turn.now);
    }

    /// The record was refused: the old member id counts again.
    pub(super) fn on_replacement_refused(&mut self, replaced: Replaced, why: JoinRefusal, turn: &mut Turn) {
        if !self.still_waits(&replaced) {
            return;
        }
        self.answer_join(&replaced.new, Err(why), turn);
        self.rename(&replaced.new, &replaced.old, turn);
        self.update(&replaced.old, |member| {
            member.protocols = replaced.old_protocols;
            member.rebalance_timeout_ms = replaced.old_rebalance_timeout_ms;
            member.session_timeout_ms = replaced.old_session_timeout_ms;
        });
        self.renew_session(&replaced.old, turn.now);
    }

    /// The record takes too long: the member is told to try again. It may yet be committed.
    pub(super) fn on_replacement_overdue(&mut self, replaced: &Replaced, why: JoinRefusal, turn: &mut Turn) {
        if self.still_waits(replaced) {
            self.answer_join(&replaced.new, Err(why), turn);
            self.renew_session(&replaced.new, turn.now);
        }
    }

    /// Whether a static member still waits for just this. If the group rebalances, it waits for that.
    fn still_waits(&self, replaced: &Replaced) -> bool {
        let member = self.members.get(&replaced.new);
        let is_waiting = member.is_some_and(|member| member.awaiting_join == Some(replaced.call));
        is_waiting && self.state == GroupState::Stable && self.generation == replaced.generation
    }
}

/// A request to join, as it is passed on.
struct Joining {
    call: CallId,
    request: JoinGroup,
    session_timeout_ms: u64,
}

/// What a static member was.
struct Before {
    protocols: Vec<Protocol>,
    rebalance_timeout_ms: u64,
    session_timeout_ms: u64,
}
