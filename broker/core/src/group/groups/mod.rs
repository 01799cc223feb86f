//! All groups of a shard, with their offsets.

mod admin;
mod cleanup;
mod commits;
mod deadlines;
mod machine;
mod members;
mod tombstones;

use std::collections::BTreeMap;

use crate::coordinator::{Now, Ticket};

use super::after::Out;
use super::classic::{ClassicGroup, Turn};
use super::config::GroupConfig;
use super::ids::GroupId;
use super::offsets::Offsets;
use deadlines::Deadlines;

/// The state of a group coordinator's shard.
#[derive(Debug)]
pub struct Groups {
    config: GroupConfig,
    groups: BTreeMap<GroupId, Held>,
    offsets: Offsets,
    /// Groups whose removal isn't committed, by the decision.
    removed: BTreeMap<Ticket, Vec<Held>>,
    deadlines: Deadlines,
    /// When to look for what has expired, in ms. None while loading.
    next_cleanup_ms: Option<u64>,
    /// How far the clean-up that goes on has come: it goes on behind this group. None between clean-ups.
    cleaned_up_to: Option<GroupId>,
}

/// A group that there is.
#[derive(Debug)]
struct Held {
    group: Group,
    /// The decision that created it, as long as that isn't committed.
    created: Option<Ticket>,
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
            deadlines: Deadlines::default(),
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
        let told = event(group, &mut Turn { config: &self.config, now, out });
        self.deadlines.set(id, group.wake_ms());
        Some(told)
    }

    /// Adds a group that was decided to be.
    fn insert_created(&mut self, group: ClassicGroup, ticket: Ticket) {
        let id = group.id().clone();
        self.deadlines.set(&id, group.wake_ms());
        let held = Held { group: Group::Classic(group), created: Some(ticket) };
        let other = self.groups.insert(id, held);
        assert!(other.is_none(), "a group is created once");
    }
}
