//! A consumer group's state: what its records say, and nothing else.
//!
//! [`ConsumerGroup::replay`] is the only place where it changes. It tells the record that undoes the change, so
//! that a decision whose append is refused can be taken back: all of them, the last one first.

use std::collections::BTreeMap;

use super::super::ids::{GroupId, InstanceId, MemberEpoch, MemberId};
use super::current::{CurrentAssignment, MemberState};
use super::ownership::Ownership;
use super::partitions::Assignment;
use super::record::{ConsumerGroupRecord, Fact, GroupEpoch, MemberMetadata, TargetEpoch};

/// A consumer group.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerGroup {
    pub(super) id: GroupId,
    pub(super) epoch: GroupEpoch,
    pub(super) target_epoch: TargetEpoch,
    pub(super) members: BTreeMap<MemberId, MemberMetadata>,
    /// Invariant: each names a member that has this instance id.
    pub(super) static_members: BTreeMap<InstanceId, MemberId>,
    pub(super) targets: BTreeMap<MemberId, Assignment>,
    pub(super) currents: BTreeMap<MemberId, CurrentAssignment>,
    /// Invariant: what `currents` say.
    pub(super) ownership: Ownership,
    /// The version of the topics that were last looked at. Soft: it isn't written.
    pub(super) topics_version: Option<u64>,
}

/// A consumer group's state, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsumerGroupState {
    /// It has no members, but perhaps offsets.
    Empty,
    /// There is a newer epoch than that of the target assignment.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    /// Each member has what it is to have.
    Stable,
}

impl ConsumerGroup {
    /// A group without members.
    pub fn new(id: GroupId) -> Self {
        Self {
            id,
            epoch: GroupEpoch::default(),
            target_epoch: TargetEpoch::default(),
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            targets: BTreeMap::new(),
            currents: BTreeMap::new(),
            ownership: Ownership::default(),
            topics_version: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// Its epoch.
    pub fn epoch(&self) -> MemberEpoch {
        self.epoch.epoch
    }

    /// How many members it has.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// What a member has.
    pub fn current(&self, member: &MemberId) -> Option<&CurrentAssignment> {
        self.currents.get(member)
    }

    /// What a member is to have.
    pub fn target(&self, member: &MemberId) -> Option<&Assignment> {
        self.targets.get(member)
    }

    /// Its state.
    pub fn state(&self) -> ConsumerGroupState {
        let target_epoch = self.target_epoch.epoch;
        let has_arrived = |id: &MemberId| {
            let current = self.currents.get(id);
            current.is_some_and(|one| one.state == MemberState::Stable && one.epoch == target_epoch)
        };
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch.epoch > target_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.keys().all(has_arrived) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// Takes over what a record says, and tells the one that takes it back.
    ///
    /// # Panics
    /// When it is another group's.
    pub fn replay(&mut self, record: ConsumerGroupRecord) -> ConsumerGroupRecord {
        let ConsumerGroupRecord { group, fact } = record;
        assert_eq!(group, self.id, "a record is of the group that it names");
        let undo = match fact {
            Fact::Metadata(value) => {
                let old = std::mem::replace(&mut self.epoch, value.unwrap_or_default());
                Fact::Metadata(Some(old).filter(|old| *old != GroupEpoch::default()))
            }
            Fact::TargetAssignmentMetadata(value) => {
                let old = std::mem::replace(&mut self.target_epoch, value.unwrap_or_default());
                Fact::TargetAssignmentMetadata(Some(old).filter(|old| *old != TargetEpoch::default()))
            }
            Fact::MemberMetadata(id, value) => {
                let old = self.replay_member(&id, value);
                Fact::MemberMetadata(id, old)
            }
            Fact::TargetAssignmentMember(id, value) => {
                let old = set(&mut self.targets, &id, value);
                Fact::TargetAssignmentMember(id, old)
            }
            Fact::CurrentMemberAssignment(id, value) => {
                self.ownership.change(&id, self.currents.get(&id), value.as_ref());
                let old = set(&mut self.currents, &id, value);
                Fact::CurrentMemberAssignment(id, old)
            }
        };
        ConsumerGroupRecord { group, fact: undo }
    }

    fn replay_member(&mut self, id: &MemberId, value: Option<MemberMetadata>) -> Option<MemberMetadata> {
        let instance = value.as_ref().and_then(|member| member.instance.clone());
        let old = set(&mut self.members, id, value);
        let old_instance = old.as_ref().and_then(|member| member.instance.as_ref());
        if let Some(old_instance) = old_instance.filter(|one| self.static_members.get(*one) == Some(id)) {
            self.static_members.remove(old_instance);
        }
        if let Some(instance) = instance {
            self.static_members.insert(instance, id.clone());
        }
        old
    }

    /// Asserts what must hold between events.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn assert_consistent(&self) {
        let mut ownership = Ownership::default();
        self.currents.iter().for_each(|(id, current)| ownership.change(id, None, Some(current)));
        assert_eq!(self.ownership, ownership, "{}: partitions have their owners", self.id);
        for (instance, id) in &self.static_members {
            let member = self.members.get(id).and_then(|member| member.instance.as_ref());
            assert_eq!(member, Some(instance), "{}: who has an instance id is that member", self.id);
        }
        assert!(
            self.currents.keys().chain(self.targets.keys()).all(|id| self.members.contains_key(id)),
            "{}: who has something is a member",
            self.id
        );
        assert!(self.target_epoch.epoch <= self.epoch.epoch, "{}: no target of a later epoch", self.id);
    }
}

fn set<T>(all: &mut BTreeMap<MemberId, T>, id: &MemberId, value: Option<T>) -> Option<T> {
    match value {
        Some(value) => all.insert(id.clone(), value),
        None => all.remove(id),
    }
}
