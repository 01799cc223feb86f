//! A classic group's state: its members, who leads, and what they have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::coordinator::{Answer, CallId, Now, Ticket};

use super::super::after::Out;
use super::super::config::GroupConfig;
use super::super::ids::{Generation, GroupId, InstanceId, MemberId};
use super::super::record::{GroupMetadataKey, GroupMetadataValue, Record};
use super::super::refusal::{JoinRefusal, MemberRefusal};
use super::super::reply::{DescribedGroup, GroupState, Joined, Reply};
use super::member::{Member, NAME_BYTES, PendingJoins, nothing};
use super::subscription::read_topics;

/// The protocol type of consumers, whose subscriptions can be read.
const CONSUMER: &str = "consumer";

/// What a group takes up beside its names and members, in bytes: no less than its struct, and its places in
/// tables.
const GROUP_BYTES: usize = 1_024;

/// What a member takes up beside its texts, in bytes: no less than its struct, held or described.
const MEMBER_BYTES: usize = 512;

/// What an event happens in.
pub struct Turn<'a> {
    /// The limits.
    pub config: &'a GroupConfig,
    /// When.
    pub now: Now,
    /// Where its decisions and answers go.
    pub out: &'a mut Out,
}

/// A classic group.
#[derive(Clone, Debug)]
pub struct ClassicGroup {
    pub(super) id: GroupId,
    pub(super) state: GroupState,
    /// Since when, in ms since 1970; none if an old record didn't say.
    pub(super) state_since_ms: Option<i64>,
    pub(super) generation: Generation,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    /// Invariant: a member, or none if there is none.
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// Invariant: each names a member that has this instance id.
    pub(super) static_members: BTreeMap<InstanceId, MemberId>,
    pub(super) pending_joins: PendingJoins,
    /// Who hasn't asked for its assignment of this generation.
    pub(super) pending_syncs: BTreeSet<MemberId>,
    /// The leader has assigned, by this decision, which isn't committed.
    pub(super) assigning: Option<Ticket>,
    /// How many members support a protocol.
    pub(super) supported: BTreeMap<Arc<str>, usize>,
    /// Invariant: how many members wait in a join.
    pub(super) awaiting_join_count: usize,
    /// Invariant: what the members take up with what clients chose, in bytes.
    pub(super) bytes: usize,
    /// Invariant: what their ids and assignments take up, in bytes.
    assigned_bytes: usize,
    /// The topics of all members; none if that can't be known.
    subscribed: Option<BTreeSet<String>>,
    /// Invariant: what these take up, in bytes.
    subscribed_bytes: usize,
    /// How many assignments were committed, as long as this broker coordinates it.
    pub(super) rebalance_count: u64,
    /// While the group is filled from empty.
    pub(super) initial: Option<InitialDelay>,
    /// When a rebalance ends without those who haven't joined, in ms.
    pub(super) join_deadline_ms: Option<u64>,
    /// When those go who haven't synced, in ms.
    pub(super) sync_deadline_ms: Option<u64>,
    /// Nothing is due before; something may be then, in ms.
    wake_ms: Option<u64>,
}

/// The delay in which an empty group gathers its first members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialDelay {
    pub(super) delay_ms: u64,
    pub(super) remaining_ms: u64,
    /// Somebody has joined since the delay was last extended.
    pub(super) member_added: bool,
}

impl ClassicGroup {
    /// A group without members.
    pub fn new(id: GroupId, now: Now) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            state_since_ms: Some(now.wall_ms),
            generation: Generation(0),
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: PendingJoins::default(),
            pending_syncs: BTreeSet::new(),
            assigning: None,
            supported: BTreeMap::new(),
            awaiting_join_count: 0,
            bytes: 0,
            assigned_bytes: 0,
            subscribed: None,
            subscribed_bytes: 0,
            rebalance_count: 0,
            initial: None,
            join_deadline_ms: None,
            sync_deadline_ms: None,
            wake_ms: None,
        }
    }

    /// A group as its record says. Members without a selected protocol aren't any: the record is damaged.
    pub fn loaded(id: GroupId, value: GroupMetadataValue) -> Self {
        let mut group = Self::new(id, Now::default());
        group.state_since_ms = value.current_state_timestamp_ms;
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty());
        group.protocol = value.protocol;
        if let Some(protocol) = group.protocol.clone() {
            for metadata in value.members {
                let id = metadata.member.clone();
                // A second one of the same name would break what others count on.
                let is_twin =
                    metadata.instance.as_ref().is_some_and(|id| group.static_members.contains_key(id));
                if !is_twin && !group.members.contains_key(&id) {
                    group.insert(id, Member::loaded(metadata, &protocol));
                }
            }
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
            let leader = value.leader.filter(|id| group.members.contains_key(id));
            group.leader = leader.or_else(|| group.members.keys().next().cloned());
        }
        group.read_subscriptions();
        group
    }

    /// Its id.
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// Its state.
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// The kind of its members; none if there never was one.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// Since when it is in its state, in ms since 1970.
    pub fn state_since_ms(&self) -> Option<i64> {
        self.state_since_ms
    }

    /// How many members it has.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// How many assignments were committed, as long as this broker coordinates it.
    pub fn rebalance_count(&self) -> u64 {
        self.rebalance_count
    }

    /// The most bytes that its description takes up, held or in a response.
    pub fn description_bytes(&self) -> usize {
        let names = self.id.as_str().len()
            + self.protocol_type.as_ref().map_or(0, String::len)
            + self.protocol.as_ref().map_or(0, String::len);
        GROUP_BYTES + names + self.members.len() * MEMBER_BYTES + self.bytes + self.assigned_bytes
    }

    /// Bytes of memory that it takes up.
    pub fn state_bytes(&self) -> usize {
        // Its id is a key of several tables.
        self.description_bytes() + self.pending_joins.bytes() + self.subscribed_bytes
    }

    /// Whether its members are consumers.
    pub fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether it is known what its members are subscribed to.
    pub fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }

    /// Whether its members are, or may be, subscribed to a topic.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or_else(|| self.has_consumers(), |topics| topics.contains(topic))
    }

    /// Nobody is in it, nor is about to be.
    pub fn is_deserted(&self) -> bool {
        self.state == GroupState::Empty && self.pending_joins.is_empty()
    }

    /// Nothing is due before, in ms; none if nothing ever is. Later deadlines move this only when it passes.
    pub fn wake_ms(&self) -> Option<u64> {
        self.wake_ms
    }

    pub(super) fn wake_by(&mut self, deadline_ms: u64) {
        self.wake_ms = Some(self.wake_ms.map_or(deadline_ms, |soonest| soonest.min(deadline_ms)));
    }

    /// Looks at all deadlines anew.
    pub(super) fn recompute_wake(&mut self) {
        self.wake_ms = self.soonest_ms();
    }

    /// The first of all deadlines.
    fn soonest_ms(&self) -> Option<u64> {
        let sessions = self.members.values().filter_map(|member| member.session_deadline_ms);
        let deadlines = sessions.chain(self.pending_joins.deadlines_ms());
        deadlines.chain(self.join_deadline_ms).chain(self.sync_deadline_ms).min()
    }

    /// The requests that wait in this group.
    pub fn waiting(&self) -> impl Iterator<Item = Answer<Reply>> {
        self.members.iter().flat_map(|(id, member)| {
            let join = member.awaiting_join.map(|call| (call, unknown_join(id)));
            let sync = member.awaiting_sync.map(|call| (call, unknown_sync(id)));
            join.into_iter().chain(sync).map(|(call, reply)| Answer { call, reply })
        })
    }

    /// The group in full.
    pub fn describe(&self) -> DescribedGroup {
        let is_stable = self.state == GroupState::Stable;
        let protocol = self.protocol.as_deref().filter(|_| is_stable);
        DescribedGroup {
            group: self.id.clone(),
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: self.members.iter().map(|(id, member)| member.describe(id, protocol)).collect(),
        }
    }

    /// The group's record, with these assignments; nothing for whom they don't name.
    pub(super) fn record(&self, assignment_of: impl Fn(&MemberId, &Member) -> Arc<[u8]>) -> Record {
        let protocol = self.protocol.as_deref();
        let members = self.members.iter();
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp_ms: self.state_since_ms,
            members: members.map(|(id, one)| one.recorded(id, protocol, assignment_of(id, one))).collect(),
        };
        Record::GroupMetadata { key: GroupMetadataKey { group: self.id.clone() }, value: Some(value) }
    }

    /// The record of a group that is new.
    pub fn first_record(&self) -> Record {
        let value = GroupMetadataValue {
            protocol_type: String::new(),
            generation: Generation(0),
            protocol: None,
            leader: None,
            current_state_timestamp_ms: self.state_since_ms,
            members: Vec::new(),
        };
        Record::GroupMetadata { key: GroupMetadataKey { group: self.id.clone() }, value: Some(value) }
    }

    pub(super) fn is_leader(&self, id: &MemberId) -> bool {
        self.leader.as_ref() == Some(id)
    }

    /// Comes into another state.
    ///
    /// # Panics
    /// When there is no way from this state to that.
    pub(super) fn enter(&mut self, state: GroupState, now: Now) {
        use GroupState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        let is_way = matches!(
            (self.state, state),
            (Empty | Stable | CompletingRebalance, PreparingRebalance)
                | (PreparingRebalance, CompletingRebalance | Empty)
                | (CompletingRebalance, Stable)
        );
        assert!(is_way, "{}: from {} to {state}", self.id, self.state);
        self.state = state;
        self.state_since_ms = Some(now.wall_ms);
    }

    /// Whether a member with these protocols has one in common with all others.
    pub(super) fn supports<'a>(&self, kind: &str, mut names: impl Iterator<Item = &'a str>) -> bool {
        if self.state == GroupState::Empty {
            return !kind.is_empty() && names.next().is_some();
        }
        self.protocol_type.as_deref() == Some(kind) && names.any(|name| self.is_common(name))
    }

    pub(super) fn is_common(&self, protocol: &str) -> bool {
        self.supported.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// The protocol with the most votes among those that all support. Of several, the one that Kafka takes:
    /// the first in its hash table of votes.
    ///
    /// # Panics
    /// When nothing is common to all members: none such is let in.
    pub(super) fn select_protocol(&self) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.vote(|name| self.is_common(name));
            *votes.entry(vote.expect("each was let in with a protocol in common")).or_default() += 1;
        }
        let most = votes.values().copied().max();
        let voted_count = votes.len();
        let tied = votes.into_iter().filter(|(_, count)| Some(*count) == most);
        let first = tied.min_by_key(|(name, _)| java_bucket(name, voted_count));
        first.expect("a group that selects has members").0.to_owned()
    }

    /// Reads what the members are subscribed to.
    pub(super) fn read_subscriptions(&mut self) {
        self.subscribed = None;
        self.subscribed_bytes = 0;
        if !self.has_consumers() {
            return;
        }
        let mut topics = BTreeSet::new();
        let mut all = self.members.values().map(|member| member.metadata(self.protocol.as_deref()));
        if all.all(|metadata| read_topics(&metadata, &mut topics).is_some()) {
            self.subscribed_bytes = topics.iter().map(|topic| NAME_BYTES + topic.len()).sum();
            self.subscribed = Some(topics);
        }
    }

    /// Adds a member; the first one leads.
    pub(super) fn insert(&mut self, id: MemberId, member: Member) {
        if let Some(instance) = &member.instance {
            let other = self.static_members.insert(instance.clone(), id.clone());
            assert!(other.is_none(), "{}: {instance} is a member already", self.id);
        }
        self.count(&id, &member, true);
        self.pending_joins.remove(&id);
        self.leader.get_or_insert_with(|| id.clone());
        let other = self.members.insert(id, member);
        assert!(other.is_none(), "{}: a member is added once", self.id);
    }

    /// Takes a member out. Who waits for an answer is told that it is no member any more.
    pub(super) fn remove(&mut self, id: &MemberId, out: &mut Out) -> Option<Member> {
        self.pending_joins.remove(id);
        self.pending_syncs.remove(id);
        let mut member = self.members.remove(id)?;
        self.count(id, &member, false);
        if let Some(call) = member.awaiting_join.take() {
            out.answer(call, unknown_join(id));
        }
        if let Some(call) = member.awaiting_sync.take() {
            out.answer(call, unknown_sync(id));
        }
        if let Some(instance) = &member.instance {
            self.static_members.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Changes a member, and keeps account of it.
    pub(super) fn update<T>(&mut self, id: &MemberId, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let mut member = self.members.remove(id)?;
        self.count(id, &member, false);
        let told = change(&mut member);
        self.count(id, &member, true);
        self.members.insert(id.clone(), member);
        Some(told)
    }

    fn count(&mut self, id: &MemberId, member: &Member, is_added: bool) {
        for protocol in &member.protocols {
            let count = self.supported.entry(Arc::clone(&protocol.name)).or_default();
            *count = if is_added { *count + 1 } else { *count - 1 };
            if *count == 0 {
                self.supported.remove(&protocol.name);
            }
        }
        let waits = usize::from(member.awaiting_join.is_some());
        let assigned_bytes = id.as_str().len() + member.assignment.len();
        if is_added {
            self.assigned_bytes += assigned_bytes;
            self.bytes += member.bytes();
            self.awaiting_join_count += waits;
        } else {
            self.assigned_bytes -= assigned_bytes;
            self.bytes -= member.bytes();
            self.awaiting_join_count -= waits;
        }
    }

    /// Gives each member its assignment; nothing to whom there isn't any for.
    pub(super) fn set_assignments(&mut self, mut assignment_of: impl FnMut(&MemberId) -> Option<Arc<[u8]>>) {
        self.assigned_bytes = 0;
        for (id, member) in &mut self.members {
            member.assignment = assignment_of(id).unwrap_or_else(nothing);
            self.assigned_bytes += id.as_str().len() + member.assignment.len();
        }
    }

    /// A member is alive: its session begins anew.
    pub(super) fn renew_session(&mut self, id: &MemberId, now: Now) {
        if let Some(member) = self.members.get_mut(id) {
            let deadline_ms = now.ms + member.session_timeout_ms;
            member.session_deadline_ms = Some(deadline_ms);
            self.wake_by(deadline_ms);
        }
    }

    /// Whoever waits in a join is answered.
    pub(super) fn answer_join(&mut self, id: &MemberId, reply: Result<Joined, JoinRefusal>, turn: &mut Turn) {
        let call = self.update(id, |member| member.awaiting_join.take()).flatten();
        if let Some(call) = call {
            turn.out.answer(call, Reply::JoinGroup(reply));
        }
    }

    /// What a member of the present generation is told.
    pub(super) fn joined(&self, id: &MemberId) -> Joined {
        let protocol = self.protocol.as_deref();
        let all = if self.is_leader(id) { Some(&self.members) } else { None };
        let all = all.into_iter().flatten();
        Joined {
            member: id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: all.map(|(id, member)| member.joined(id, protocol)).collect(),
            skip_assignment: false,
        }
    }

    /// Whether a member may speak, for itself or for an instance.
    ///
    /// # Errors
    /// When it isn't a member, or no longer the one with that instance id.
    pub(super) fn check_member(
        &self,
        id: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), MemberRefusal> {
        let unknown = || MemberRefusal::UnknownMemberId(id.clone());
        if let Some(instance) = instance {
            let owner = self.static_members.get(instance).ok_or_else(unknown)?;
            if owner != id {
                return Err(MemberRefusal::FencedInstanceId(instance.clone()));
            }
        }
        self.members.get(id).map(|_| ()).ok_or_else(unknown)
    }

    /// Whether a member speaks of the present generation.
    pub(super) fn check_generation(&self, given: Generation) -> Result<(), MemberRefusal> {
        let current = self.generation;
        if given == current { Ok(()) } else { Err(MemberRefusal::IllegalGeneration { given, current }) }
    }

    /// Asserts what must hold between events.
    pub fn assert_consistent(&self) {
        let waiting = self.members.values().filter(|member| member.awaiting_join.is_some()).count();
        assert_eq!(waiting, self.awaiting_join_count, "{}: who waits in a join", self.id);
        assert_eq!(self.leader.is_none(), self.members.is_empty(), "{}: members have a leader", self.id);
        assert!(
            self.leader.iter().all(|id| self.members.contains_key(id)),
            "{}: who leads is in it",
            self.id
        );
        assert!(
            self.pending_syncs.iter().all(|id| self.members.contains_key(id)),
            "{}: who is to sync is in it",
            self.id
        );
        for (id, member) in &self.members {
            let waits = member.awaiting_join.is_some() || member.awaiting_sync.is_some();
            let is_timed = member.session_deadline_ms.is_some();
            assert!(is_timed || waits, "{}: {id} has a session, or is waiting", self.id);
        }
        let assigned = self.members.iter().map(|(id, one)| id.as_str().len() + one.assignment.len());
        assert_eq!(self.assigned_bytes, assigned.sum::<usize>(), "{}: assignments are counted", self.id);
        let chosen = self.members.values().map(Member::bytes);
        assert_eq!(self.bytes, chosen.sum::<usize>(), "{}: members are counted", self.id);
        let wakes_by = |due_ms| self.wake_ms.is_some_and(|wake_ms| wake_ms <= due_ms);
        assert!(self.soonest_ms().is_none_or(wakes_by), "{}: it wakes when something is due", self.id);
        match self.state {
            GroupState::Empty => assert!(self.members.is_empty(), "{}: it is empty", self.id),
            GroupState::PreparingRebalance => {
                assert!(self.join_deadline_ms.is_some(), "{}: a rebalance ends", self.id);
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                assert_eq!(self.awaiting_join_count, self.replacing_count(), "{}: all have joined", self.id);
                assert!(!self.members.is_empty(), "{}: somebody is in it", self.id);
            }
            GroupState::Dead => unreachable!("a group that is there isn't dead"),
        }
    }

    /// How many members wait for the record of their new member id.
    fn replacing_count(&self) -> usize {
        if self.state == GroupState::Stable { self.awaiting_join_count } else { 0 }
    }
}

/// In which bucket a Java `HashMap` of so many strings has this one. Those of one bucket are in the order in
/// which they were put in, which isn't known here.
fn java_bucket(text: &str, count: usize) -> u32 {
    let hash = text.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    // It begins with 16 buckets, and has twice as many once three quarters as many strings are in it.
    let mut buckets = 16;
    while count > buckets / 4 * 3 {
        buckets *= 2;
    }
    let mask = u32::try_from(buckets - 1).unwrap_or(u32::MAX);
    (hash ^ (hash >> 16)) & mask
}

fn unknown_join(id: &MemberId) -> Reply {
    Reply::JoinGroup(Err(JoinRefusal::UnknownMemberId(id.clone())))
}

fn unknown_sync(id: &MemberId) -> Reply {
    Reply::SyncGroup(Err(MemberRefusal::UnknownMemberId(id.clone())))
}

/// Somebody asked again before the first request was answered: that one is let go.
pub(super) fn supersede_join(call: Option<CallId>, out: &mut Out) {
    if let Some(call) = call {
        out.answer(call, Reply::JoinGroup(Err(JoinRefusal::Superseded)));
    }
}
