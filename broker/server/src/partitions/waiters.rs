//! Who waits for a partition's durable end to pass an offset: producers with acks=all, and consumers' long polls.
//!
//! Nothing here polls: an append's sync wakes just those who wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_types::Offset;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The waiters of one partition.
#[derive(Debug, Default)]
pub struct Waiters {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    /// By the offset that must be passed, then by number.
    entries: BTreeMap<(Offset, u64), Arc<Notify>>,
    next_number: u64,
}

/// A place in the list; dropping it leaves the list.
#[derive(Debug)]
pub struct Place {
    waiters: Arc<Waiters>,
    key: (Offset, u64),
}

impl Waiters {
    /// Has `notify` woken once the durable end is greater than `offset`.
    ///
    /// Enter first and look at the durable end then, or a wake-up in between is missed.
    pub fn enter(self: &Arc<Self>, offset: Offset, notify: &Arc<Notify>) -> Place {
        let mut list = self.list.lock();
        let key = (offset, list.next_number);
        list.next_number += 1;
        list.entries.insert(key, Arc::clone(notify));
        Place { waiters: Arc::clone(self), key }
    }

    /// Wakes those who wait for an offset below `durable_end`.
    pub fn advance(&self, durable_end: Offset) {
        let mut list = self.list.lock();
        while let Some(entry) = list.entries.first_entry() {
            if entry.key().0 >= durable_end {
                return;
            }
            entry.remove().notify_one();
        }
    }

    /// Wakes everyone, as when the partition goes elsewhere.
    pub fn wake_all(&self) {
        for notify in std::mem::take(&mut self.list.lock().entries).values() {
            notify.notify_one();
        }
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.list.lock().entries.len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiters.list.lock().entries.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;

    fn is_woken(notify: &Arc<Notify>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        std::pin::pin!(notify.notified()).poll(&mut context).is_ready()
    }

    #[test]
    fn those_below_the_durable_end_are_woken_and_no_others() {
        let waiters = Arc::new(Waiters::default());
        let (low, high) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let _low = waiters.enter(Offset(4), &low);
        let _high = waiters.enter(Offset(5), &high);
        waiters.advance(Offset(5));
        assert!(is_woken(&low) && !is_woken(&high));
        assert_eq!(waiters.count(), 1);
    }

    #[test]
    fn leaving_and_waking_all_empty_the_list() {
        let waiters = Arc::new(Waiters::default());
        let notify = Arc::new(Notify::new());
        drop(waiters.enter(Offset(1), &notify));
        assert_eq!(waiters.count(), 0);
        let _place = waiters.enter(Offset(1), &notify);
        waiters.wake_all();
        assert!(is_woken(&notify) && waiters.count() == 0);
    }
}
