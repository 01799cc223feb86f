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

    /// Sets the value, or removes it.
    ///
    /// # Panics
    /// When something was decided later already.
    pub fn set(&mut self, ticket: Ticket, value: Option<T>) {
        if let Some((last, newest)) = self.newer.back_mut() {
            assert!(*last <= ticket, "{last:?} was decided before {ticket:?}");
            if *last == ticket {
                *newest = value;
                return;
            }
        }
        self.newer.push_back((ticket, value));
    }

    /// All up to `ticket` is committed.
    pub fn commit(&mut self, ticket: Ticket) {
        while self.newer.front().is_some_and(|(at, _)| *at <= ticket)
            && let Some((_, value)) = self.newer.pop_front()
        {
            self.committed = value;
        }
    }

    /// All from `ticket` on is refused.
    pub fn refuse(&mut self, ticket: Ticket) {
        while self.newer.back().is_some_and(|(at, _)| *at >= ticket) {
            self.newer.pop_back();
        }
    }

    /// There is no value, and none was decided: it can be forgotten.
    pub fn is_nothing(&self) -> bool {
        self.committed.is_none() && self.newer.is_empty()
    }
}
