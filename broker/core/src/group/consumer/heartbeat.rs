//! ConsumerGroupHeartbeat: a member joins, moves on, or leaves. Decided as records, which are replayed at once.
//!
//! Not here yet: regular expressions, members of the classic protocol, and what is due when time passes: sessions,
//! rebalance time-outs, and the delay between two target assignments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ottla_types::TopicName;

use super::super::ids::{InstanceId, MemberEpoch, MemberId};
use super::super::request::Client;
use super::assign::{Assignor, GroupSpec, MemberSpec};
use super::current::{CurrentAssignment, FencedEpoch, Reconciliation};
use super::group::ConsumerGroup;
use super::partitions::{Assignment, Owned};
use super::record::{ConsumerGroupRecord, Fact, GroupEpoch, MemberMetadata, TargetEpoch};
use super::topics::Topics;

/// The epoch of a static member that has left and will come back: its partitions are kept for it.
const LEFT_FOR_A_WHILE: MemberEpoch = MemberEpoch(-2);

/// A member says that it is alive, and what has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerGroupHeartbeat {
    /// Its id, which it gave itself.
    pub member: MemberId,
    /// Its epoch; 0 if it joins.
    pub epoch: MemberEpoch,
    /// Its instance id, if it is a static member.
    pub instance: Option<InstanceId>,
    /// Its rack; none if it has none, or as before.
    pub rack: Option<Arc<str>>,
    /// Where it is.
    pub client: Client,
    /// How long it may take to give partitions up, in ms; none if as before.
    pub rebalance_timeout_ms: Option<i32>,
    /// The topics that it reads; none if as before.
    pub topics: Option<BTreeSet<TopicName>>,
    /// The assignor that it wants; none if it doesn't care, or as before.
    pub assignor: Option<Assignor>,
    /// The partitions that it has; none if as before.
    pub owned: Option<Assignment>,
}

/// What came of a heartbeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// What was decided, in order; all of it is replayed. Nothing, most of the time.
    pub records: Vec<ConsumerGroupRecord>,
    /// What takes it back, if it can't be appended: to be replayed in this order.
    pub undo: Vec<ConsumerGroupRecord>,
    /// The member's epoch from now on.
    pub epoch: MemberEpoch,
    /// What the member is to read; none if that is as before.
    pub assignment: Option<Assignment>,
}

/// Why a heartbeat is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatRefusal {
    /// GROUP_MAX_SIZE_REACHED: there are too many members.
    GroupMaxSizeReached {
        /// The most members of a group.
        members_max: usize,
    },
    /// UNKNOWN_MEMBER_ID: join with epoch 0.
    UnknownMemberId(MemberId),
    /// FENCED_MEMBER_EPOCH: give up all partitions, and join anew.
    FencedMemberEpoch(FencedEpoch),
    /// UNRELEASED_INSTANCE_ID: the member with this instance id hasn't left.
    UnreleasedInstanceId(InstanceId),
    /// FENCED_INSTANCE_ID: another member has this instance id.
    FencedInstanceId(InstanceId),
}

impl fmt::Display for HeartbeatRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GroupMaxSizeReached { members_max } => {
                write!(f, "the group has {members_max} members already")
            }
            Self::UnknownMemberId(id) => write!(f, "the group has no member {id:?}; join it first"),
            Self::FencedMemberEpoch(fenced) => fenced.fmt(f),
            Self::UnreleasedInstanceId(id) => {
                write!(f, "the member with the instance id {id} hasn't left; wait until it has, or is gone")
            }
            Self::FencedInstanceId(id) => write!(f, "another member has taken over the instance id {id}"),
        }
    }
}

impl From<FencedEpoch> for HeartbeatRefusal {
    fn from(fenced: FencedEpoch) -> Self {
        Self::FencedMemberEpoch(fenced)
    }
}

impl ConsumerGroup {
    /// A member says that it is alive: it is let in, or goes on. `now_ms` is in ms since 1970.
    ///
    /// # Errors
    /// When it isn't a member of this epoch, or can't be one; then nothing has changed.
    pub fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeat,
        topics: &Topics,
        members_max: usize,
        now_ms: i64,
    ) -> Result<Heard, HeartbeatRefusal> {
        let is_joining = request.epoch == MemberEpoch(0);
        if !self.members.contains_key(&request.member) && self.members.len() >= members_max {
            return Err(HeartbeatRefusal::GroupMaxSizeReached { members_max });
        }
        let predecessor = self.check_member(request)?;
        let mut heard = Heard::default();
        if let Some(predecessor) = predecessor {
            self.replace(&predecessor, &request.member, &mut heard);
        }
        let id = &request.member;
        let before = self.currents.get(id).cloned().unwrap_or_default();
        let has_subscription_changed = self.update_member(request, &mut heard);
        self.update_epoch(has_subscription_changed, topics, &mut heard);
        if self.epoch.epoch > self.target_epoch.epoch {
            self.assign(topics, now_ms, &mut heard);
        }
        let after = self.reconcile(request, has_subscription_changed, topics);
        if Some(&after) != self.currents.get(id) {
            self.decide(Fact::CurrentMemberAssignment(id.clone(), Some(after.clone())), &mut heard);
        }
        heard.undo.reverse();
        heard.epoch = after.epoch;
        let says_all =
            request.rebalance_timeout_ms.is_some() && request.topics.is_some() && request.owned.is_some();
        let assigned = after.assigned.assignment();
        if is_joining || says_all || assigned != before.assigned.assignment() {
            heard.assignment = Some(assigned);
        }
        Ok(heard)
    }

    /// A member leaves; a static one, if it `comes_back`, for a while.
    ///
    /// # Errors
    /// When it isn't a member, or another one has its instance id.
    pub fn leave(
        &mut self,
        id: &MemberId,
        instance: Option<&InstanceId>,
        comes_back: bool,
        topics: &Topics,
    ) -> Result<Heard, HeartbeatRefusal> {
        if let Some(instance) = instance {
            self.check_instance(id, instance)?;
        } else if !self.members.contains_key(id) {
            return Err(HeartbeatRefusal::UnknownMemberId(id.clone()));
        }
        let mut heard = Heard { epoch: MemberEpoch(-1), ..Heard::default() };
        if instance.is_some() && comes_back {
            let current = self.currents.get(id).cloned().unwrap_or_default();
            let left = CurrentAssignment {
                epoch: LEFT_FOR_A_WHILE,
                pending_revocation: Owned::default(),
                ..current
            };
            heard.epoch = LEFT_FOR_A_WHILE;
            self.decide(Fact::CurrentMemberAssignment(id.clone(), Some(left)), &mut heard);
        } else {
            self.bury_member(id, &mut heard);
            self.update_epoch(true, topics, &mut heard);
        }
        heard.undo.reverse();
        Ok(heard)
    }

    /// Whether somebody may send a heartbeat, and whose place it takes, if any.
    fn check_member(&self, request: &ConsumerGroupHeartbeat) -> Result<Option<MemberId>, HeartbeatRefusal> {
        let ConsumerGroupHeartbeat { member: id, epoch, instance, owned, .. } = request;
        let is_joining = *epoch == MemberEpoch(0);
        if let Some(instance) = instance
            && is_joining
        {
            let Some(predecessor) = self.static_members.get(instance) else { return Ok(None) };
            let has_left = self.currents.get(predecessor).is_none_or(|one| one.epoch == LEFT_FOR_A_WHILE);
            return match has_left {
                true => Ok(Some(predecessor.clone())),
                false => Err(HeartbeatRefusal::UnreleasedInstanceId(instance.clone())),
            };
        }
        if let Some(instance) = instance {
            self.check_instance(id, instance)?;
        } else if !is_joining && !self.members.contains_key(id) {
            return Err(HeartbeatRefusal::UnknownMemberId(id.clone()));
        }
        let nothing = CurrentAssignment::default();
        self.currents.get(id).unwrap_or(&nothing).check_epoch(*epoch, owned.as_ref())?;
        Ok(None)
    }

    fn check_instance(&self, id: &MemberId, instance: &InstanceId) -> Result<(), HeartbeatRefusal> {
        match self.static_members.get(instance) {
            None => Err(HeartbeatRefusal::UnknownMemberId(id.clone())),
            Some(owner) if owner != id => Err(HeartbeatRefusal::FencedInstanceId(instance.clone())),
            Some(_) => Ok(()),
        }
    }

    /// A static member comes back, perhaps with another member id: it takes over all that was kept for it.
    fn replace(&mut self, old: &MemberId, new: &MemberId, heard: &mut Heard) {
        let metadata = self.members.get(old).cloned();
        let target = self.targets.get(old).cloned();
        let current = self.currents.get(old).cloned().map(|current| CurrentAssignment {
            epoch: MemberEpoch(0),
            previous_epoch: MemberEpoch(0),
            ..current
        });
        self.bury_member(old, heard);
        self.decide(Fact::MemberMetadata(new.clone(), metadata), heard);
        if target.is_some() {
            self.decide(Fact::TargetAssignmentMember(new.clone(), target), heard);
        }
        if current.is_some() {
            self.decide(Fact::CurrentMemberAssignment(new.clone(), current), heard);
        }
    }

    fn bury_member(&mut self, id: &MemberId, heard: &mut Heard) {
        if self.currents.contains_key(id) {
            self.decide(Fact::CurrentMemberAssignment(id.clone(), None), heard);
        }
        if self.targets.contains_key(id) {
            self.decide(Fact::TargetAssignmentMember(id.clone(), None), heard);
        }
        self.decide(Fact::MemberMetadata(id.clone(), None), heard);
    }

    /// Notes what a member says of itself, and tells whether that asks for another epoch: it is new, or reads
    /// other topics.
    fn update_member(&mut self, request: &ConsumerGroupHeartbeat, heard: &mut Heard) -> bool {
        let old = self.members.get(&request.member);
        let or_old = |given: Option<i32>| given.or(old.map(|old| old.rebalance_timeout_ms)).unwrap_or(-1);
        let new = MemberMetadata {
            instance: request.instance.clone().or_else(|| old?.instance.clone()),
            rack: request.rack.clone().or_else(|| old?.rack.clone()),
            client: request.client.clone(),
            topics: request.topics.clone().or_else(|| Some(old?.topics.clone())).unwrap_or_default(),
            rebalance_timeout_ms: or_old(request.rebalance_timeout_ms),
            assignor: request.assignor.or_else(|| old?.assignor),
        };
        let has_changed = old.is_none_or(|old| old.topics != new.topics);
        if old != Some(&new) {
            self.decide(Fact::MemberMetadata(request.member.clone(), Some(new)), heard);
        }
        has_changed
    }

    /// Begins another epoch, if members or topics have changed.
    fn update_epoch(&mut self, have_members_changed: bool, topics: &Topics, heard: &mut Heard) {
        if !have_members_changed && self.topics_version == Some(topics.version) {
            return;
        }
        self.topics_version = Some(topics.version);
        let metadata_hash = topics.hash_of(self.members.values().flat_map(|member| &member.topics));
        if have_members_changed || metadata_hash != self.epoch.metadata_hash {
            let epoch = MemberEpoch(self.epoch.epoch.0.saturating_add(1));
            self.decide(Fact::Metadata(Some(GroupEpoch { epoch, metadata_hash })), heard);
        }
    }

    /// Makes the target assignment of the group's epoch.
    fn assign(&mut self, topics: &Topics, timestamp_ms: i64, heard: &mut Heard) {
        let members = self.members.iter().map(|(id, member)| {
            let spec = MemberSpec {
                instance: member.instance.clone(),
                rack: member.rack.clone(),
                topics: topics.ids_of(&member.topics),
                target: self.targets.get(id).cloned().unwrap_or_default(),
            };
            (id.clone(), spec)
        });
        let members: BTreeMap<MemberId, MemberSpec> = members.collect();
        let subscribed: BTreeSet<_> =
            members.values().flat_map(|member| member.topics.iter().copied()).collect();
        let specs = topics.specs.iter().filter(|(id, _)| subscribed.contains(*id));
        let group = GroupSpec { members, topics: specs.map(|(id, spec)| (*id, spec.clone())).collect() };
        for (id, target) in self.assignor().assign(&group) {
            if self.targets.get(&id) != Some(&target) {
                self.decide(Fact::TargetAssignmentMember(id, Some(target)), heard);
            }
        }
        let target_epoch = TargetEpoch { epoch: self.epoch.epoch, timestamp_ms };
        self.decide(Fact::TargetAssignmentMetadata(Some(target_epoch)), heard);
    }

    /// The assignor that most members want, the first one of all if none wants any.
    fn assignor(&self) -> Assignor {
        let count_of = |assignor: &Assignor| {
            self.members.values().filter(|member| member.assignor == Some(*assignor)).count()
        };
        // Of several, the last one is taken.
        let most = Assignor::ALL.into_iter().rev().max_by_key(count_of);
        most.unwrap_or(Assignor::Uniform)
    }

    /// What the member has after this heartbeat.
    fn reconcile(
        &self,
        request: &ConsumerGroupHeartbeat,
        has_subscription_changed: bool,
        topics: &Topics,
    ) -> CurrentAssignment {
        let id = &request.member;
        let nothing = (CurrentAssignment::default(), Assignment::default());
        let current = self.currents.get(id).unwrap_or(&nothing.0);
        let subscribed = self.members.get(id).map(|member| topics.ids_of(&member.topics));
        let reconciliation = Reconciliation {
            target_epoch: self.target_epoch.epoch,
            target: self.targets.get(id).unwrap_or(&nothing.1),
            subscribed: &subscribed.unwrap_or_default(),
            has_subscription_changed,
            owned: request.owned.as_ref(),
            is_free: |topic, partition| self.ownership.is_free(topic, partition),
        };
        reconciliation.next(current)
    }

    /// Decides, and replays at once.
    fn decide(&mut self, fact: Fact, heard: &mut Heard) {
        let record = ConsumerGroupRecord { group: self.id.clone(), fact };
        heard.undo.push(self.replay(record.clone()));
        heard.records.push(record);
    }
}
