//! What a member has, and how it gets from there to what it is to have.
//!
//! A member moves when it sends a heartbeat. What it has and isn't to have it must give up first, and stays in its
//! epoch until it says that it has. Then it is in the target's epoch, and has what is free of its target; what
//! others have yet to give up it gets with later heartbeats.

use std::collections::BTreeSet;
use std::fmt;

use ottla_types::{PartitionIndex, TopicId};

use super::super::ids::MemberEpoch;
use super::partitions::{Assignment, Owned};

/// How far a member is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// It has all that it is to have in its epoch.
    #[default]
    Stable,
    /// It has yet to give partitions up.
    UnrevokedPartitions,
    /// It waits for partitions that others have yet to give up.
    UnreleasedPartitions,
}

/// What a member has: the contents of Kafka's ConsumerGroupCurrentMemberAssignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Its epoch. 0 before it has any.
    pub epoch: MemberEpoch,
    /// Its epoch before that. Invariant: at most `epoch`.
    pub previous_epoch: MemberEpoch,
    /// How far it is.
    pub state: MemberState,
    /// What it may read.
    pub assigned: Owned,
    /// What it must give up, and has until it says so. Invariant: none of it is in `assigned`.
    pub pending_revocation: Owned,
}

/// FENCED_MEMBER_EPOCH: the member must give up all that it has, and join anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencedEpoch {
    /// What it said.
    pub given: MemberEpoch,
    /// What it is.
    pub current: MemberEpoch,
}

impl fmt::Display for FencedEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given, current } = self;
        write!(f, "the member's epoch is {current}, not {given}; give up all partitions and join again")
    }
}

/// What a member is moved towards, when it sends a heartbeat.
pub struct Reconciliation<'a, IsFree: Fn(TopicId, PartitionIndex) -> bool> {
    /// The epoch of the target assignment.
    pub target_epoch: MemberEpoch,
    /// What the member is to have.
    pub target: &'a Assignment,
    /// What the member is subscribed to.
    pub subscribed: &'a BTreeSet<TopicId>,
    /// Whether that has changed with this heartbeat.
    pub has_subscription_changed: bool,
    /// What the member says that it has; none if it doesn't say, because that hasn't changed.
    pub owned: Option<&'a Assignment>,
    /// Whether no member has a partition.
    pub is_free: IsFree,
}

impl CurrentAssignment {
    /// Whether a member that names this epoch may speak.
    ///
    /// # Errors
    /// When it names another epoch than its own. It may name the one before, as it may not have heard of the
    /// new one, if it says what it has and all of that is still its own.
    pub fn check_epoch(&self, given: MemberEpoch, owned: Option<&Assignment>) -> Result<(), FencedEpoch> {
        let has_only_its_own =
            || owned.is_some_and(|owned| owned.iter().all(|(id, index)| self.assigned.contains(id, index)));
        let is_late = given < self.epoch && given == self.previous_epoch;
        match given == self.epoch || (is_late && has_only_its_own()) {
            true => Ok(()),
            false => Err(FencedEpoch { given, current: self.epoch }),
        }
    }

    /// All partitions that nobody else may get.
    pub fn held(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        let all = self.assigned.iter().chain(self.pending_revocation.iter());
        all.map(|(topic, partition, _)| (topic, partition))
    }
}

impl<IsFree: Fn(TopicId, PartitionIndex) -> bool> Reconciliation<'_, IsFree> {
    /// What the member has after this heartbeat; the same as before if it can't move.
    pub fn next(&self, current: &CurrentAssignment) -> CurrentAssignment {
        let may_move = match current.state {
            MemberState::Stable => current.epoch != self.target_epoch,
            MemberState::UnrevokedPartitions => !self.still_has_any(&current.pending_revocation),
            MemberState::UnreleasedPartitions => true,
        };
        if may_move {
            self.advance(current)
        } else if self.has_subscription_changed {
            self.leave_unsubscribed(current)
        } else {
            current.clone()
        }
    }

    /// Whether the member still has, or may have, some of these.
    fn still_has_any(&self, partitions: &Owned) -> bool {
        self.owned.map_or(!partitions.is_empty(), |owned| {
            owned.iter().any(|(topic, partition)| partitions.contains(topic, partition))
        })
    }

    /// Moves the member towards its target. What it isn't subscribed to any more isn't its target.
    fn advance(&self, current: &CurrentAssignment) -> CurrentAssignment {
        let is_target =
            |topic, partition| self.subscribed.contains(&topic) && self.target.contains(topic, partition);
        let (kept, revoked): (Vec<_>, Vec<_>) =
            current.assigned.iter().partition(|(topic, partition, _)| is_target(*topic, *partition));
        let (mut assigned, revoked): (Owned, Owned) =
            (kept.into_iter().collect(), revoked.into_iter().collect());
        if !revoked.is_empty() && self.still_has_any(&revoked) {
            // Whoever gave up what a change of its subscription took away may be in the target's epoch already.
            let next = MemberEpoch(current.epoch.0.saturating_add(1)).min(self.target_epoch);
            let epoch = match current.state {
                MemberState::UnrevokedPartitions => next,
                MemberState::Stable | MemberState::UnreleasedPartitions => current.epoch,
            };
            return CurrentAssignment {
                epoch,
                previous_epoch: current.epoch,
                state: MemberState::UnrevokedPartitions,
                assigned,
                pending_revocation: revoked,
            };
        }
        let mut state = MemberState::Stable;
        for (topic, partition) in
            self.target.iter().filter(|(topic, partition)| is_target(*topic, *partition))
        {
            if assigned.contains(topic, partition) {
                continue;
            }
            // What it has just given up is free for itself.
            if (self.is_free)(topic, partition) || current.pending_revocation.contains(topic, partition) {
                assigned.insert(topic, partition, self.target_epoch);
            } else {
                state = MemberState::UnreleasedPartitions;
            }
        }
        CurrentAssignment {
            epoch: self.target_epoch,
            previous_epoch: current.epoch,
            state,
            assigned,
            pending_revocation: Owned::default(),
        }
    }

    /// Takes away what the member isn't subscribed to any more, before there is a target that says so.
    fn leave_unsubscribed(&self, current: &CurrentAssignment) -> CurrentAssignment {
        let (kept, left): (Vec<_>, Vec<_>) =
            current.assigned.iter().partition(|(topic, ..)| self.subscribed.contains(topic));
        if left.is_empty() {
            return current.clone();
        }
        let mut next = CurrentAssignment { assigned: kept.into_iter().collect(), ..current.clone() };
        let revoked: Owned = current.pending_revocation.iter().chain(left).collect();
        if self.still_has_any(&revoked) {
            next.state = MemberState::UnrevokedPartitions;
            next.pending_revocation = revoked;
        }
        next
    }
}
