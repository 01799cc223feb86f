//! Assignors: who of a group's members has which partition. Pure functions of what is known of the group.
//!
//! By Kafka's names: `uniform` gives all members as many partitions, and keeps as much as it can of what was;
//! `range` gives each member as many of each topic, neighbours and of all topics the same ones, so that topics
//! with as many partitions can be joined.
//!
//! Each partition of a topic that somebody is subscribed to is assigned to one member, which is subscribed to it.
//! The same group is assigned in the same way, always.
//!
//! Racks: Kafka's assignors know them and look at none. Here `uniform` does, where several members are equally
//! entitled to a partition: one that has a replica in its rack gets it. Without racks that changes nothing, and
//! neither balance nor what is kept ever depends on them. `range` doesn't: it would tear ranges apart.

mod mixed;
mod range;
mod spec;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::BTreeMap;

use super::super::ids::MemberId;
use super::partitions::Assignment;

pub use spec::{GroupSpec, MemberSpec, TopicSpec};

/// An assignor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// As many partitions for each member, and as few moves as can be.
    Uniform,
    /// Neighbouring partitions, the same of each topic.
    Range,
}

impl Assignor {
    /// All of them; the first one is a group's unless its members ask for another one, as in Kafka.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Its name, by which members ask for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Assigns a group's partitions: to each member what it is to have, to whom there is nothing for nothing.
    pub fn assign(self, group: &GroupSpec) -> BTreeMap<MemberId, Assignment> {
        match self {
            Self::Range => range::assign(group),
            Self::Uniform if group.is_homogeneous() => uniform::assign(group),
            Self::Uniform => mixed::assign(group),
        }
    }
}
