//! A value as it is committed, and as it is newest.

use std::collections::VecDeque;

use super::outbox::Ticket;

/// A replicated value: what is committed of it, and what was decided since. A value may be absent at any of
/// these moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending<T> {
    committed: Option<T>,
    /// Invariant: the tickets grow.
    newer: VecDeque<(Ticket, Option<T>)>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { committed: None, newer: VecDeque::new() }
    }
}

impl<T> Pending<T> {
    /// A value that is committed.
    pub fn committed_as(value: T) -> Self {
        Self { committed: Some(value), newer: VecDeque::new() }
    }

    /// The committed value: what may be told to those who wait for nothing.
    pub fn committed(&self) -> Option<&T> {
        self.committed.as_ref()
    }

    /// The newest value: what decisions are made on.
    pub fn newest(&self) -> Option<&T> {
        self.newer.back().map_or(self.committed.as_ref(), |(_, value)| value.as_ref())
    }

    /// All values that are held: the committed one, then those that were decided since.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.committed.iter().chain(self.newer.iter().filter_map(|(_, value)| value.as_ref()))
    }

    /// Sets the value, or removes it. `dropped` gets the one that was decided by the same ticket before.
    ///
    /// # Panics
    /// When something was decided later already.
    pub fn set(&mut self, ticket: Ticket, value: Option<T>, dropped: impl FnMut(T)) {
        if let Some((last, newest)) = self.newer.back_mut() {
            assert!(*last <= ticket, "{last:?} was decided before {ticket:?}");
            if *last == ticket {
                std::mem::replace(newest, value).into_iter().for_each(dropped);
                return;
            }
        }
        self.newer.push_back((ticket, value));
    }

    /// All up to `ticket` is committed. `dropped` gets each value that another has taken the place of.
    pub fn commit(&mut self, ticket: Ticket, mut dropped: impl FnMut(T)) {
        while self.newer.front().is_some_and(|(at, _)| *at <= ticket)
            && let Some((_, value)) = self.newer.pop_front()
        {
            std::mem::replace(&mut self.committed, value).into_iter().for_each(&mut dropped);
        }
    }

    /// All from `ticket` on is refused. `dropped` gets each value that was decided.
    pub fn refuse(&mut self, ticket: Ticket, mut dropped: impl FnMut(T)) {
        while self.newer.back().is_some_and(|(at, _)| *at >= ticket)
            && let Some((_, value)) = self.newer.pop_back()
        {
            value.into_iter().for_each(&mut dropped);
        }
    }

    /// There is no value, and none was decided: it can be forgotten.
    pub fn is_nothing(&self) -> bool {
        self.committed.is_none() && self.newer.is_empty()
    }
}
