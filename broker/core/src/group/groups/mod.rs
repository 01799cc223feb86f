//! All groups of a shard, with their offsets.

mod admin;
mod cleanup;
mod commits;
mod deadlines;
mod deletions;
mod machine;
mod members;
mod replies;
mod sums;
mod tally;
mod tombstones;

use std::collections::BTreeMap;

use ottla_types::TopicPartition;

use crate::coordinator::{Now, Ticket};

use super::after::Out;
use super::classic::{ClassicGroup, Turn};
use super::config::GroupConfig;
use super::ids::GroupId;
use super::offsets::Offsets;
use deadlines::Deadlines;
use deletions::Deletions;
use tally::Tally;

/// The state of a group coordinator's shard.
#[derive(Debug)]
pub struct Groups {
    config: GroupConfig,
    groups: BTreeMap<GroupId, Held>,
    offsets: Offsets,
    /// Groups whose removal isn't committed, by the decision.
    removed: BTreeMap<Ticket, Vec<Held>>,
    /// What those take up, in bytes.
    removed_bytes: usize,
    /// Invariant: the sums of `groups`.
    tally: Tally,
    counts: Counts,
    deadlines: Deadlines,
    deletions: Deletions,
    /// When to look for what has expired, in ms. None while loading.
    next_cleanup_ms: Option<u64>,
    /// How far the clean-up that goes on has come. None between clean-ups.
    cleaned_up_to: Option<Cursor>,
}

/// Where a walk through the groups goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cursor {
    /// Behind this group.
    Behind(GroupId),
    /// In this group, from this partition on.
    In(GroupId, Option<TopicPartition>),
}

/// What has happened, as long as this broker coordinates.
#[derive(Debug, Default)]
struct Counts {
    rebalances: u64,
    commits: u64,
    expired_offsets: u64,
}

/// A group that there is.
#[derive(Debug)]
struct Held {
    group: Group,
    /// The decision that created it, as long as that isn't committed.
    created: Option<Ticket>,
    /// It is being deleted, in several decisions: nobody joins it or commits to it meanwhile.
    is_being_deleted: bool,
}

/// A group, by its type.
#[derive(Debug)]
enum Group {
    Classic(ClassicGroup),
}

impl Groups {
    /// No groups.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            removed: BTreeMap::new(),
            removed_bytes: 0,
            tally: Tally::default(),
            counts: Counts::default(),
            deadlines: Deadlines::default(),
            deletions: Deletions::default(),
            next_cleanup_ms: None,
            cleaned_up_to: None,
        }
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Asserts what must hold between events.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn assert_consistent(&self) {
        for held in self.groups.values() {
            let Group::Classic(group) = &held.group;
            group.assert_consistent();
        }
        let mut tally = Tally::default();
        self.groups.values().for_each(|Held { group: Group::Classic(group), .. }| tally.add(group));
        assert_eq!(self.tally, tally, "all groups are counted");
        let removed = self.removed.values().flatten();
        let removed_bytes = removed.map(|Held { group: Group::Classic(group), .. }| group.state_bytes());
        assert_eq!(self.removed_bytes, removed_bytes.sum::<usize>(), "those that are removed are counted");
        self.offsets.assert_consistent();
        let mut of_offsets = self.offsets.groups();
        assert!(
            of_offsets.all(|id| self.groups.contains_key(id) || self.offsets.newest(id).next().is_none()),
            "whoever has offsets is a group"
        );
    }

    fn classic(&self, id: &GroupId) -> Option<&ClassicGroup> {
        let Group::Classic(group) = &self.groups.get(id)?.group;
        Some(group)
    }

    /// Lets something happen in a classic group, and notes when it wants to be woken.
    fn with_classic<T>(
        &mut self,
        id: &GroupId,
        now: Now,
        out: &mut Out,
        event: impl FnOnce(&mut ClassicGroup, &mut Turn) -> T,
    ) -> Option<T> {
        let Group::Classic(group) = &mut self.groups.get_mut(id)?.group;
        self.tally.remove(group);
        let rebalances = group.rebalance_count();
        let told = event(group, &mut Turn { config: &self.config, now, out });
        self.counts.rebalances += group.rebalance_count() - rebalances;
        self.tally.add(group);
        self.deadlines.set(id, group.wake_ms());
        Some(told)
    }

    /// Adds a group that was decided to be.
    fn insert_created(&mut self, group: ClassicGroup, ticket: Ticket) {
        let held = Held { group: Group::Classic(group), created: Some(ticket), is_being_deleted: false };
        let other = self.put_in(held);
        assert!(other.is_none(), "a group is created once");
    }

    /// Adds a group that is committed.
    fn insert_loaded(&mut self, group: ClassicGroup) {
        self.put_in(Held { group: Group::Classic(group), created: None, is_being_deleted: false });
    }

    /// Adds a group, in the place of another one of its id.
    fn put_in(&mut self, held: Held) -> Option<Held> {
        let Group::Classic(group) = &held.group;
        let id = group.id().clone();
        let other = self.take_out(&id);
        self.deadlines.set(&id, group.wake_ms());
        self.tally.add(group);
        self.groups.insert(id, held);
        other
    }

    /// Takes a group out.
    fn take_out(&mut self, id: &GroupId) -> Option<Held> {
        let held = self.groups.remove(id)?;
        let Group::Classic(group) = &held.group;
        self.tally.remove(group);
        self.deadlines.set(id, None);
        Some(held)
    }

    /// Keeps a group that a decision has removed, in case that it is refused.
    fn keep_removed(&mut self, held: Held, ticket: Ticket) {
        let Group::Classic(group) = &held.group;
        self.removed_bytes += group.state_bytes();
        self.removed.entry(ticket).or_default().push(held);
    }

    /// What a decision has removed.
    fn take_removed(&mut self, ticket: Ticket) -> Vec<Held> {
        let all = self.removed.remove(&ticket).unwrap_or_default();
        for Held { group: Group::Classic(group), .. } in &all {
            self.removed_bytes -= group.state_bytes();
        }
        all
    }
}
