//! Who waits for a partition's durable end to pass an offset: producers with acks=all, and consumers' long polls.
//!
//! Nothing here polls: an append's sync wakes just those who wait for it. The thread that syncs looks at nobody else, and
//! wakes only the first of them: each that leaves wakes the next, so that many who wait don't hold up the next sync.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use ottla_types::Offset;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// So many are woken by whoever moves the durable end.
const WOKEN_AT_ONCE: usize = 32;
/// So many are woken by each that leaves.
const WOKEN_BY_EACH: usize = 2;

/// Those who wait for one offset, by number, with the name that each gave its place.
type Group = HashMap<u64, (Arc<Woken>, usize)>;

/// Who waits, in one place or in many, and which of them were woken.
#[derive(Debug, Default)]
pub struct Woken {
    notify: Notify,
    places: Mutex<Vec<usize>>,
}

impl Woken {
    /// Waits until a place was woken since the last wait.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    /// Takes the names of the places that were woken.
    pub fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *self.places.lock())
    }

    fn wake(&self, place: usize) {
        self.places.lock().push(place);
        self.notify.notify_one();
    }
}

/// The waiters of one partition.
#[derive(Debug, Default)]
pub struct Waiters {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    /// By the offset that must be passed.
    groups: BTreeMap<Offset, Group>,
    /// Those whose offset is passed and who aren't woken yet. Each of them still has its place, whose end wakes others.
    passed: VecDeque<Group>,
    next_number: u64,
}

/// A place in the list; dropping it leaves the list.
#[derive(Debug)]
pub struct Place {
    waiters: Arc<Waiters>,
    offset: Offset,
    number: u64,
}

impl Waiters {
    /// Has `woken` told of `name` once the durable end is greater than `offset`: once at most.
    ///
    /// Enter first and look at the durable end then, or a wake-up in between is missed.
    pub fn enter(self: &Arc<Self>, offset: Offset, woken: &Arc<Woken>, name: usize) -> Place {
        let mut list = self.list.lock();
        let number = list.next_number;
        list.next_number += 1;
        list.groups.entry(offset).or_default().insert(number, (Arc::clone(woken), name));
        Place { waiters: Arc::clone(self), offset, number }
    }

    /// Wakes those who wait for an offset below `durable_end`: some now, the others as these leave.
    pub fn advance(&self, durable_end: Offset) {
        let mut list = self.list.lock();
        while let Some(entry) = list.groups.first_entry()
            && *entry.key() < durable_end
        {
            let group = entry.remove();
            list.passed.push_back(group);
        }
        drop(list);
        self.wake(WOKEN_AT_ONCE);
    }

    /// Wakes everyone, as when the partition goes elsewhere.
    pub fn wake_all(&self) {
        let mut list = self.list.lock();
        let groups = std::mem::take(&mut list.groups);
        list.passed.extend(groups.into_values());
        drop(list);
        self.wake(WOKEN_AT_ONCE);
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        let list = self.list.lock();
        list.groups.values().chain(&list.passed).map(HashMap::len).sum()
    }

    /// Wakes up to `count` of those whose offset is passed.
    fn wake(&self, count: usize) {
        let mut list = self.list.lock();
        for _ in 0..count {
            let Some((woken, name)) = list.next_passed() else { return };
            woken.wake(name);
        }
    }
}

impl List {
    fn next_passed(&mut self) -> Option<(Arc<Woken>, usize)> {
        loop {
            let group = self.passed.front_mut()?;
            if let Some(number) = group.keys().next().copied() {
                return group.remove(&number);
            }
            self.passed.pop_front();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut list = self.waiters.list.lock();
        if let Some(group) = list.groups.get_mut(&self.offset) {
            group.remove(&self.number);
            if group.is_empty() {
                list.groups.remove(&self.offset);
            }
        }
        let is_over = list.passed.is_empty();
        drop(list);
        if !is_over {
            self.waiters.wake(WOKEN_BY_EACH);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;

    fn is_woken(woken: &Arc<Woken>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        std::pin::pin!(woken.changed()).poll(&mut context).is_ready()
    }

    #[test]
    fn those_below_the_durable_end_are_woken_and_no_others() {
        let waiters = Arc::new(Waiters::default());
        let (low, high) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let _low = waiters.enter(Offset(4), &low, 0);
        let _high = waiters.enter(Offset(5), &high, 0);
        waiters.advance(Offset(5));
        assert!(is_woken(&low) && !is_woken(&high));
        assert_eq!(waiters.count(), 1);
    }

    #[test]
    fn leaving_and_waking_all_empty_the_list() {
        let waiters = Arc::new(Waiters::default());
        let notify = Arc::new(Woken::default());
        drop(waiters.enter(Offset(1), &notify, 0));
        assert_eq!(waiters.count(), 0);
        let _place = waiters.enter(Offset(1), &notify, 0);
        waiters.wake_all();
        assert!(is_woken(&notify) && waiters.count() == 0);
    }

    #[test]
    fn who_syncs_wakes_few_and_these_wake_all_the_others() {
        let waiters = Arc::new(Waiters::default());
        let enter = |_| {
            let notify = Arc::new(Woken::default());
            (waiters.enter(Offset(1), &notify, 0), notify)
        };
        let mut waiting: Vec<_> = (0..10_000).map(enter).collect();
        waiters.advance(Offset(2));
        let mut woken = 0;
        loop {
            let (now, later): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, notify)| is_woken(notify));
            assert!(woken > 0 || now.len() == WOKEN_AT_ONCE, "{} are woken by who syncs", now.len());
            woken += now.len();
            waiting = later;
            if now.is_empty() {
                break;
            }
        }
        assert_eq!((woken, waiting.len(), waiters.count()), (10_000, 0, 0));
    }

    #[test]
    fn who_leaves_unwoken_still_wakes_others() {
        let waiters = Arc::new(Waiters::default());
        let notifies: Vec<_> = (0..1_000).map(|_| Arc::new(Woken::default())).collect();
        let mut places: Vec<_> = notifies.iter().map(|notify| waiters.enter(Offset(1), notify, 0)).collect();
        waiters.advance(Offset(2));
        places.truncate(500);
        places.clear();
        assert!(notifies.iter().all(is_woken) && waiters.count() == 0);
    }

    #[test]
    fn who_waits_in_many_places_is_told_which_were_passed() {
        let woken = Arc::new(Woken::default());
        let all: Vec<_> = (0..100).map(|_| Arc::new(Waiters::default())).collect();
        let _places: Vec<_> =
            all.iter().enumerate().map(|(name, waiters)| waiters.enter(Offset(5), &woken, name)).collect();
        all[7].advance(Offset(6));
        all[9].advance(Offset(5));
        all[3].wake_all();
        assert_eq!((is_woken(&woken), woken.take()), (true, vec![7, 3]));
        all[7].advance(Offset(8));
        assert_eq!((is_woken(&woken), woken.take()), (false, vec![]), "each place is told of once");
    }
}
