//! A rebalance: from the moment when members must join again until all are told of the next generation.

use crate::coordinator::{CallId, Now};

use super::super::after::{After, Then};
use super::super::ids::MemberId;
use super::super::refusal::MemberRefusal;
use super::super::reply::{GroupState, Reply};
use super::group::{ClassicGroup, InitialDelay, Turn};
use super::member::{Member, nothing};

impl ClassicGroup {
    /// Begins a rebalance, or ends the one that there is if nobody is missing.
    pub(super) fn rebalance(&mut self, turn: &mut Turn) {
        match self.state {
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(turn),
            _ => self.prepare_rebalance(turn),
        }
    }

    /// Begins a rebalance.
    pub(super) fn prepare_rebalance(&mut self, turn: &mut Turn) {
        if self.state == GroupState::CompletingRebalance {
            self.abandon_assignment(&MemberRefusal::RebalanceInProgress, turn);
        }
        self.pending_syncs.clear();
        self.sync_deadline_ms = None;
        let (is_initial, now) = (self.state == GroupState::Empty, turn.now);
        self.enter(GroupState::PreparingRebalance, now);
        if is_initial {
            let delay_ms = turn.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.initial = Some(InitialDelay { delay_ms, remaining_ms, member_added: false });
            self.expect_joins_by(now.ms + delay_ms);
        } else if self.has_all_joined() {
            self.complete_join(turn);
        } else {
            self.expect_joins_by(now.ms + self.rebalance_timeout_ms());
        }
    }

    /// Ends the rebalance if nobody is missing; not the first one, which waits for its delay. In Kafka the
    /// first one ends too if somebody goes and all others have joined, so that who comes next causes another.
    pub(super) fn complete_join_if_all_joined(&mut self, turn: &mut Turn) {
        let is_ready = self.state == GroupState::PreparingRebalance && self.initial.is_none();
        if is_ready && self.has_all_joined() {
            self.complete_join(turn);
        }
    }

    /// The time to join is over: the first time, for as long as members go on joining, it is extended.
    pub(super) fn on_join_deadline(&mut self, turn: &mut Turn) {
        self.join_deadline_ms = None;
        match self.initial {
            Some(initial) if initial.member_added && initial.remaining_ms > 0 => {
                let delay_ms = turn.config.initial_rebalance_delay_ms.min(initial.remaining_ms);
                let remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms);
                self.initial = Some(InitialDelay { delay_ms, remaining_ms, member_added: false });
                self.expect_joins_by(turn.now.ms + delay_ms);
            }
            _ => self.complete_join(turn),
        }
    }

    /// Ends the rebalance, without those who haven't joined. Static members stay for as long as their
    /// session.
    pub(super) fn complete_join(&mut self, turn: &mut Turn) {
        self.initial = None;
        self.join_deadline_ms = None;
        let members = self.members.iter();
        let missing = members.filter(|(_, one)| one.awaiting_join.is_none() && one.instance.is_none());
        for id in missing.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.remove(&id, turn.out);
        }
        if self.members.is_empty() {
            return self.become_empty(turn);
        }
        if !self.elect_leader_among_joined() {
            // Only static members are left, and they are silent. They come back, or their sessions end.
            return self.expect_joins_by(turn.now.ms + self.rebalance_timeout_ms());
        }
        self.begin_generation(turn);
    }

    fn become_empty(&mut self, turn: &mut Turn) {
        assert!(self.members.is_empty(), "{}: an empty group has no members", self.id);
        self.generation = self.generation.next();
        self.protocol = None;
        self.read_subscriptions();
        self.enter(GroupState::Empty, turn.now);
        let record = self.record(|_, _| nothing());
        // If there is no room for it, it isn't noted: that does no harm.
        if record.log_bytes() <= turn.out.decision_bytes_max() {
            turn.out.decide(vec![record], After::of_group(&self.id, Then::Emptied));
        }
    }

    fn begin_generation(&mut self, turn: &mut Turn) {
        assert!(!self.members.is_empty(), "{}: a generation has members", self.id);
        assert!(self.assigning.is_none(), "{}: what was assigned before has come to nothing", self.id);
        self.generation = self.generation.next();
        self.protocol = Some(self.select_protocol());
        self.read_subscriptions();
        self.enter(GroupState::CompletingRebalance, turn.now);
        self.pending_syncs = self.members.keys().cloned().collect();
        let deadline_ms = turn.now.ms + self.rebalance_timeout_ms();
        self.sync_deadline_ms = Some(deadline_ms);
        self.wake_by(deadline_ms);
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let joined = self.joined(&id);
            self.answer_join(&id, Ok(joined), turn);
            self.renew_session(&id, turn.now);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
        }
    }

    /// The leader assigns, so it must have joined; else somebody who has becomes leader.
    fn elect_leader_among_joined(&mut self) -> bool {
        let has_joined = |id: &MemberId| self.members.get(id).is_some_and(|one| one.awaiting_join.is_some());
        if !self.leader.as_ref().is_some_and(has_joined) {
            let Some(joined) = self.members.keys().find(|id| has_joined(id)).cloned() else { return false };
            self.leader = Some(joined);
        }
        true
    }

    /// Everybody who waits for this generation's assignment is told that there won't be one.
    pub(super) fn abandon_assignment(&mut self, why: &MemberRefusal, turn: &mut Turn) {
        self.assigning = None;
        self.set_assignments(|_| None);
        self.answer_syncs(turn.now, |_, call| turn.out.answer(call, Reply::SyncGroup(Err(why.clone()))));
    }

    /// Hands each request that waits for an assignment to `answer`; the sessions begin anew.
    pub(super) fn answer_syncs(&mut self, now: Now, mut answer: impl FnMut(&Member, CallId)) {
        let mut soonest = None;
        for member in self.members.values_mut() {
            if let Some(call) = member.awaiting_sync.take() {
                answer(member, call);
                let deadline_ms = now.ms + member.session_timeout_ms;
                member.session_deadline_ms = Some(deadline_ms);
                soonest = Some(soonest.map_or(deadline_ms, |other: u64| other.min(deadline_ms)));
            }
        }
        soonest.into_iter().for_each(|deadline_ms| self.wake_by(deadline_ms));
    }

    fn has_all_joined(&self) -> bool {
        self.awaiting_join_count == self.members.len() && self.pending_joins.is_empty()
    }

    /// The longest that a member may take, in ms. Never 0, so that what is put off is due later.
    fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0).max(1)
    }

    fn expect_joins_by(&mut self, deadline_ms: u64) {
        self.join_deadline_ms = Some(deadline_ms);
        self.wake_by(deadline_ms);
    }
}
