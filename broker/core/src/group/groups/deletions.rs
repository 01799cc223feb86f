//! Deletions that are asked for: of groups, of offsets, of all that is known of partitions that are no more.
//!
//! Each is made in slices of one decision, so that much is deleted without much being uncommitted at once, and
//! others are served in between. One deletion goes on after the other, in the order in which they were asked
//! for. It is answered once its last decision is committed, or refused.
//!
//! A group's offsets go first and its own tombstone last, as in Kafka, so a deletion that fails halfway leaves
//! the group with fewer offsets, and whoever asks again ends it. The other way round, whoever loads a tombstone
//! would have to drop the offsets: but a group that changes its type has a tombstone as well, and keeps them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use ottla_types::TopicPartition;

use crate::coordinator::{Answer, CallId, Now, Ticket, Unavailable};

use super::super::after::{DeletionId, Out};
use super::super::ids::GroupId;
use super::super::refusal::{AdminRefusal, PartitionRefusal};
use super::super::reply::{GroupState, Reply};
use super::super::request::{DeleteGroups, ForgetPartitions, OffsetDelete};
use super::tombstones::{Buried, Tombstones};
use super::{Cursor, Groups};

/// How much of a request is looked through at once: groups, or partitions.
const SLICE_MAX: usize = 1_000;

/// How long a deletion may take, in ms: who has waited for so long is told to ask again.
const DELETION_TIMEOUT_MS: u64 = 30_000;

/// How long a deletion waits if too much is uncommitted, in ms.
const FULL_WAIT_MS: u64 = 100;

/// The deletions of a shard.
#[derive(Debug, Default)]
pub struct Deletions {
    next: DeletionId,
    by_id: BTreeMap<DeletionId, Deletion>,
    /// Those of which something is still to be decided, in order.
    undecided: VecDeque<DeletionId>,
    /// When the first of those goes on, in ms. Invariant: none if there is none.
    next_ms: Option<u64>,
}

/// One deletion.
#[derive(Debug)]
struct Deletion {
    call: CallId,
    deadline_ms: u64,
    what: What,
    /// What of it each decision is about that isn't settled yet.
    in_flight: BTreeMap<Ticket, Range<usize>>,
    is_decided: bool,
}

/// What is to be deleted, and what has come of it.
#[derive(Debug)]
enum What {
    Groups {
        groups: Vec<GroupId>,
        /// Of each group; none as long as it isn't known.
        outcomes: Vec<Option<Result<(), AdminRefusal>>>,
        /// How many of them are decided about.
        decided: usize,
        /// In the next one, its offsets before this one are decided about.
        from: Option<TopicPartition>,
    },
    Offsets {
        group: GroupId,
        partitions: Vec<TopicPartition>,
        /// Of those that are decided about.
        outcomes: Vec<Result<(), PartitionRefusal>>,
        refusal: Option<AdminRefusal>,
    },
    Forgotten {
        /// Sorted.
        partitions: Vec<TopicPartition>,
        cursor: Option<Cursor>,
        count: usize,
        refusal: Option<Unavailable>,
    },
}

impl Deletions {
    /// When a deletion goes on, in ms.
    pub fn next_ms(&self) -> Option<u64> {
        self.next_ms
    }

    /// The requests that wait. What isn't known yet is as if it had happened: all of it comes to nothing.
    pub fn waiting(&self) -> impl Iterator<Item = Answer<Reply>> {
        self.by_id.values().map(|one| Answer { call: one.call, reply: one.what.reply(&Ok(())) })
    }
}

impl Groups {
    /// Deletes groups without members, with their offsets.
    pub(super) fn delete(&mut self, call: CallId, request: DeleteGroups, now: Now, out: &mut Out) {
        let outcomes = vec![None; request.groups.len()];
        let what = What::Groups { groups: request.groups, outcomes, decided: 0, from: None };
        self.begin_deletion(call, what, now, out);
    }

    /// Deletes offsets of a group.
    pub(super) fn delete_offsets(&mut self, call: CallId, request: OffsetDelete, now: Now, out: &mut Out) {
        let OffsetDelete { group, partitions } = request;
        let what = What::Offsets { group, partitions, outcomes: Vec::new(), refusal: None };
        self.begin_deletion(call, what, now, out);
    }

    /// Partitions are no more: all groups' offsets of them are removed.
    pub(super) fn forget(&mut self, call: CallId, request: ForgetPartitions, now: Now, out: &mut Out) {
        let mut partitions = request.partitions;
        partitions.sort();
        partitions.dedup();
        let what = What::Forgotten { partitions, cursor: None, count: 0, refusal: None };
        self.begin_deletion(call, what, now, out);
    }

    fn begin_deletion(&mut self, call: CallId, what: What, now: Now, out: &mut Out) {
        let id = self.deletions.next;
        self.deletions.next = DeletionId(id.0 + 1);
        let deadline_ms = now.ms + DELETION_TIMEOUT_MS;
        let deletion = Deletion { call, deadline_ms, what, in_flight: BTreeMap::new(), is_decided: false };
        self.deletions.by_id.insert(id, deletion);
        self.deletions.undecided.push_back(id);
        if self.deletions.undecided.len() == 1 {
            self.go_on_deleting(now, out);
        }
    }

    /// Decides one slice of the deletion whose turn it is.
    pub(super) fn go_on_deleting(&mut self, now: Now, out: &mut Out) {
        self.deletions.next_ms = None;
        let Some(id) = self.deletions.undecided.front().copied() else { return };
        let Some(mut deletion) = self.deletions.by_id.remove(&id) else { return };
        let mut wait_ms = 1;
        let is_late = deletion.deadline_ms <= now.ms;
        if is_late {
            self.give_up(&mut deletion, Unavailable::NotAvailable);
        } else if out.is_full() {
            wait_ms = FULL_WAIT_MS;
        } else {
            self.decide_slice(id, &mut deletion, out);
        }
        if deletion.is_decided {
            self.deletions.undecided.pop_front();
        }
        if is_late && deletion.in_flight.is_empty() {
            out.answer(deletion.call, deletion.what.told());
        } else if deletion.is_decided && deletion.in_flight.is_empty() {
            // What it found may rest on what others have decided.
            out.answer_when_committed(deletion.call, deletion.what.told());
        } else {
            self.deletions.by_id.insert(id, deletion);
        }
        let is_over = self.deletions.undecided.is_empty();
        self.deletions.next_ms = if is_over { None } else { Some(now.ms + wait_ms) };
    }

    fn decide_slice(&mut self, id: DeletionId, deletion: &mut Deletion, out: &mut Out) {
        let mut tombstones = Tombstones::default();
        let before = deletion.what.decided();
        deletion.is_decided = match &mut deletion.what {
            What::Groups { groups, outcomes, decided, from } => {
                let slice = GroupsSlice { groups, outcomes, decided, from };
                self.decide_groups(slice, &mut tombstones, out)
            }
            What::Offsets { group, partitions, outcomes, refusal } => {
                match self.decide_offsets(group, partitions, outcomes, &mut tombstones, out) {
                    Ok(is_decided) => is_decided,
                    Err(why) => {
                        *refusal = Some(why);
                        true
                    }
                }
            }
            What::Forgotten { partitions, cursor, count, .. } => {
                let is_decided = self.decide_forgotten(partitions, cursor, &mut tombstones, out);
                *count += tombstones.offset_count();
                is_decided
            }
        };
        let about = before..deletion.what.decided();
        if let Some(ticket) = tombstones.decide(Some(id), out) {
            deletion.in_flight.insert(ticket, about);
        } else {
            deletion.what.settle(about, Ok(()));
        }
    }

    /// Tells whether these are all groups.
    fn decide_groups(&mut self, slice: GroupsSlice, tombstones: &mut Tombstones, out: &Out) -> bool {
        let GroupsSlice { groups, outcomes, decided, from } = slice;
        for _ in 0..SLICE_MAX {
            let Some(id) = groups.get(*decided) else { return true };
            let is_begun = from.is_some() || self.groups.get(id).is_some_and(|held| held.is_being_deleted);
            if let Err(refusal) = self.check_delete(id)
                && !is_begun
            {
                outcomes[*decided] = Some(Err(refusal));
                *decided += 1;
                continue;
            }
            let selected = self.select(id, from.as_ref(), |_, _| true, tombstones, out);
            let come_to = match self.bury_selected(selected, tombstones, out) {
                Buried::All => self.bury_group(id, tombstones, out),
                come_to => come_to,
            };
            match come_to {
                Buried::All => *from = None,
                Buried::UpTo(rest) => {
                    *from = rest;
                    self.mark_deletion(id, true);
                    return false;
                }
                Buried::Never => {
                    *from = None;
                    self.mark_deletion(id, false);
                    outcomes[*decided] = Some(Err(AdminRefusal::Unavailable(Unavailable::TooLarge)));
                }
            }
            *decided += 1;
        }
        *decided == groups.len()
    }

    fn check_delete(&self, id: &GroupId) -> Result<(), AdminRefusal> {
        match self.classic(id) {
            None => Err(AdminRefusal::GroupIdNotFound(id.clone())),
            Some(group) if group.state() == GroupState::Empty => Ok(()),
            Some(_) => Err(AdminRefusal::NonEmptyGroup(id.clone())),
        }
    }

    fn mark_deletion(&mut self, id: &GroupId, is_being_deleted: bool) {
        if let Some(held) = self.groups.get_mut(id) {
            held.is_being_deleted = is_being_deleted;
        }
    }

    /// Tells whether these are all partitions.
    fn decide_offsets(
        &mut self,
        id: &GroupId,
        partitions: &[TopicPartition],
        outcomes: &mut Vec<Result<(), PartitionRefusal>>,
        tombstones: &mut Tombstones,
        out: &Out,
    ) -> Result<bool, AdminRefusal> {
        if id.as_str().is_empty() {
            return Err(AdminRefusal::InvalidGroupId);
        }
        for partition in partitions.iter().skip(outcomes.len()).take(SLICE_MAX) {
            let group = self.classic(id).ok_or_else(|| AdminRefusal::GroupIdNotFound(id.clone()))?;
            if group.state() != GroupState::Empty && !group.has_consumers() {
                return Err(AdminRefusal::NonEmptyGroup(id.clone()));
            }
            if group.is_subscribed_to(partition.topic.as_str()) {
                outcomes.push(Err(PartitionRefusal::GroupSubscribedToTopic));
                continue;
            }
            let selected = self.select_listed(id, std::slice::from_ref(partition), None, tombstones, out);
            match self.bury_selected(selected, tombstones, out) {
                Buried::All => outcomes.push(Ok(())),
                Buried::UpTo(_) => return Ok(false),
                Buried::Never => return Err(AdminRefusal::Unavailable(Unavailable::TooLarge)),
            }
        }
        Ok(outcomes.len() == partitions.len())
    }

    /// Tells whether these are all groups.
    fn decide_forgotten(
        &mut self,
        partitions: &[TopicPartition],
        cursor: &mut Option<Cursor>,
        tombstones: &mut Tombstones,
        out: &Out,
    ) -> bool {
        for _ in 0..SLICE_MAX {
            let next = match cursor.take() {
                Some(Cursor::In(id, from)) => Some((id, from)),
                Some(Cursor::Behind(last)) => {
                    self.offsets.group_behind(Some(&last)).map(|id| (id.clone(), None))
                }
                None => self.offsets.group_behind(None).map(|id| (id.clone(), None)),
            };
            let Some((id, from)) = next else { return true };
            let selected = self.select_listed(&id, partitions, from.as_ref(), tombstones, out);
            match self.bury_selected(selected, tombstones, out) {
                Buried::UpTo(from) => {
                    *cursor = Some(Cursor::In(id, from));
                    return false;
                }
                Buried::All | Buried::Never => *cursor = Some(Cursor::Behind(id)),
            }
        }
        false
    }

    /// A decision of a deletion is committed, refused, or takes too long.
    pub(super) fn on_deletion_settled(
        &mut self,
        id: DeletionId,
        ticket: Ticket,
        outcome: Result<(), Unavailable>,
        out: &mut Out,
    ) {
        let Some(mut deletion) = self.deletions.by_id.remove(&id) else { return };
        // What took too long is settled, whatever comes of it.
        if let Some(about) = deletion.in_flight.remove(&ticket) {
            deletion.what.settle(about, outcome);
            if let Err(why) = outcome {
                self.stop_deletion(&mut deletion, why);
            }
        }
        if deletion.is_decided && self.deletions.undecided.front() == Some(&id) {
            self.deletions.undecided.pop_front();
            if self.deletions.undecided.is_empty() {
                self.deletions.next_ms = None;
            }
        }
        if deletion.is_decided && deletion.in_flight.is_empty() {
            out.answer(deletion.call, deletion.what.told());
        } else {
            self.deletions.by_id.insert(id, deletion);
        }
    }

    /// A decision has come to nothing: what is half done isn't gone on with.
    fn stop_deletion(&mut self, deletion: &mut Deletion, why: Unavailable) {
        match &mut deletion.what {
            What::Groups { groups, outcomes, decided, from } => {
                let half_done = groups.get(*decided).filter(|id| {
                    from.is_some() || self.groups.get(*id).is_some_and(|held| held.is_being_deleted)
                });
                if let Some(id) = half_done {
                    self.mark_deletion(id, false);
                    outcomes[*decided] = Some(Err(AdminRefusal::Unavailable(why)));
                    *from = None;
                    *decided += 1;
                }
                deletion.is_decided |= *decided == groups.len();
            }
            What::Offsets { .. } | What::Forgotten { .. } => self.give_up(deletion, why),
        }
    }

    /// Nothing more of it is decided.
    fn give_up(&mut self, deletion: &mut Deletion, why: Unavailable) {
        deletion.is_decided = true;
        match &mut deletion.what {
            What::Groups { groups, outcomes, decided, .. } => {
                if let Some(id) = groups.get(*decided) {
                    self.mark_deletion(id, false);
                }
                outcomes[*decided..].fill(Some(Err(AdminRefusal::Unavailable(why))));
                *decided = groups.len();
            }
            What::Offsets { refusal, .. } => *refusal = Some(AdminRefusal::Unavailable(why)),
            What::Forgotten { refusal, .. } => *refusal = Some(why),
        }
    }
}

/// Where a deletion of groups stands.
struct GroupsSlice<'a> {
    groups: &'a [GroupId],
    outcomes: &'a mut [Option<Result<(), AdminRefusal>>],
    decided: &'a mut usize,
    from: &'a mut Option<TopicPartition>,
}

impl What {
    /// How many groups are decided about. Of others, all is one.
    fn decided(&self) -> usize {
        match self {
            Self::Groups { decided, .. } => *decided,
            Self::Offsets { .. } | Self::Forgotten { .. } => 0,
        }
    }

    /// What was decided `about` some of the groups is committed, or isn't.
    fn settle(&mut self, about: Range<usize>, outcome: Result<(), Unavailable>) {
        if let Self::Groups { outcomes, .. } = self {
            let unknown = outcomes[about].iter_mut().filter(|known| known.is_none());
            unknown.for_each(|known| *known = Some(outcome.map_err(AdminRefusal::Unavailable)));
        }
    }

    /// What is answered at the end, when all is known.
    fn told(&self) -> Reply {
        self.reply(&Err(AdminRefusal::Unavailable(Unavailable::NotAvailable)))
    }

    /// What is answered, with this for what isn't known yet.
    fn reply(&self, unknown: &Result<(), AdminRefusal>) -> Reply {
        match self {
            Self::Groups { groups, outcomes, .. } => {
                let all = groups.iter().cloned().zip(outcomes);
                let told = all.map(|(id, known)| (id, known.clone().unwrap_or_else(|| unknown.clone())));
                Reply::DeleteGroups(told.collect())
            }
            Self::Offsets { refusal: Some(refusal), .. } => Reply::OffsetDelete(Err(refusal.clone())),
            Self::Offsets { outcomes, .. } => Reply::OffsetDelete(Ok(outcomes.clone())),
            Self::Forgotten { refusal: Some(why), .. } => Reply::ForgetPartitions(Err(*why)),
            Self::Forgotten { count, .. } => Reply::ForgetPartitions(Ok(*count)),
        }
    }
}
