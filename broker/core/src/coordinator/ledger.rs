//! What a coordinator has appended and doesn't know to be committed yet.

use std::collections::VecDeque;

use ottla_types::Offset;

use super::outbox::Ticket;
use crate::partition::Committed;

/// The batches that are appended and not known to be committed: of each, the offset of its last record, and
/// the last decision in it.
///
/// They are all of one leader epoch, in which a leader's log is never cut: so they are committed in order.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Invariant: offsets and tickets grow.
    appended: VecDeque<(Offset, Ticket)>,
}

/// What is known of a ledger's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Settled {
    /// All decisions up to this one are committed.
    UpTo(Ticket),
    /// Nothing new.
    Nothing,
    /// The leader's epoch is over: nobody knows here what became of them.
    Lost,
}

impl Ledger {
    /// A batch was appended.
    ///
    /// # Panics
    /// When it isn't behind those before it.
    pub fn note(&mut self, last_offset: Offset, last: Ticket) {
        if let Some((offset, ticket)) = self.appended.back() {
            assert!(*offset < last_offset, "{last_offset} is appended after {offset}");
            assert!(*ticket < last, "{last:?} is appended after {ticket:?}");
        }
        self.appended.push_back((last_offset, last));
    }

    /// The offset that has to be committed next; none if all are.
    pub fn next(&self) -> Option<Offset> {
        self.appended.front().map(|(offset, _)| *offset)
    }

    /// Asks of each batch, in order, whether it is committed, up to the first one that isn't. It is
    /// forgotten then.
    pub fn settle(&mut self, committed: impl Fn(Offset) -> Committed) -> Settled {
        let mut settled = Settled::Nothing;
        while let Some((offset, ticket)) = self.appended.front().copied() {
            match committed(offset) {
                Committed::Yes => {
                    self.appended.pop_front();
                    settled = Settled::UpTo(ticket);
                }
                // The time-out of those who wait for it is the shard's.
                Committed::Waiting | Committed::UnderMinimum => break,
                // What was committed before is found out by whoever leads next.
                Committed::Unknown => return Settled::Lost,
            }
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for (offset, ticket) in [(3, 1), (4, 4), (9, 5)] {
            ledger.note(Offset(offset), Ticket(ticket));
        }
        ledger
    }

    fn below(high_watermark: i64, otherwise: Committed) -> impl Fn(Offset) -> Committed {
        move |offset| if offset.0 < high_watermark { Committed::Yes } else { otherwise }
    }

    #[test]
    fn batches_are_committed_in_order_and_each_is_told_once() {
        let mut ledger = ledger();
        assert_eq!(ledger.settle(below(3, Committed::Waiting)), Settled::Nothing);
        assert_eq!((ledger.settle(below(5, Committed::Waiting)), ledger.next()), told(4, Some(9)));
        assert_eq!(
            ledger.settle(below(9, Committed::UnderMinimum)),
            Settled::Nothing,
            "the minimum isn't met"
        );
        assert_eq!((ledger.settle(below(10, Committed::UnderMinimum)), ledger.next()), told(5, None));
        assert_eq!(ledger.settle(|_| Committed::Unknown), Settled::Nothing, "nothing is on its way");
    }

    fn told(ticket: u64, next: Option<i64>) -> (Settled, Option<Offset>) {
        (Settled::UpTo(Ticket(ticket)), next.map(Offset))
    }

    /// A later batch isn't committed because another one is.
    #[test]
    fn what_waits_holds_up_what_is_behind_it() {
        let first_waits = |offset| if offset == Offset(3) { Committed::Waiting } else { Committed::Yes };
        assert_eq!(ledger().settle(first_waits), Settled::Nothing);
    }

    #[test]
    fn an_epoch_that_is_over_is_lost_whatever_was_committed_before() {
        assert_eq!(ledger().settle(|_| Committed::Unknown), Settled::Lost);
        assert_eq!(ledger().settle(below(4, Committed::Unknown)), Settled::Lost);
    }

    #[test]
    #[should_panic(expected = "is appended after")]
    fn batches_are_noted_as_they_are_appended() {
        ledger().note(Offset(9), Ticket(6));
    }
}
