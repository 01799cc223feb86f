//! Classic groups: Kafka's join protocol, as events in and answers out.
//!
//! A member joins, and waits until all have; one of them, the leader, is told of all and assigns; each asks
//! for its assignment, and waits until the leader has brought it. What a generation's leader assigned is a
//! record, and answers to syncs wait until that is committed. Everything else about a group is soft: a
//! coordinator that takes over knows the last generation's members, and gives each its session anew.
//!
//! The rules:
//! 1. A generation has one assignment. Once a generation has ended, nothing that names it is accepted.
//! 2. Whoever waits has a deadline: a join that of the rebalance, a sync that of the pending syncs, and the
//!    decision's.
//! 3. A member that joins with an instance id takes the place of the one that had it, which is fenced.

mod group;
mod join;
mod live;
mod member;
mod rebalance;
mod subscription;
mod sync;

pub use group::{ClassicGroup, Turn};
pub use join::check_join;
