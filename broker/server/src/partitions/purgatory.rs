//! A partition's purgatory: delayed produces (`acks=all`) and delayed fetches (long polls), each of which
//! waits for the high watermark to pass an offset.
//!
//! Nothing here polls: whoever advances the high watermark wakes just those who wait for that. Mostly it is
//! the thread that syncs. It looks at nobody else and wakes only the first of them; a task wakes the others,
//! so that many who wait don't hold up the next sync. Who waits is never needed to wake others: it may be an
//! answer that its connection has no turn for yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use ottla_types::Offset;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::yield_now;

/// So many are woken by whoever advances the high watermark, and at each turn of the task that wakes the
/// others.
const WOKEN_AT_ONCE: usize = 32;

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

/// All who wait for one partition.
#[derive(Debug)]
pub struct Purgatory {
    list: Mutex<List>,
    crowds: Arc<Crowds>,
}

/// Partitions with many who are still to be woken, each once.
#[derive(Debug, Default)]
pub struct Crowds {
    queue: Mutex<VecDeque<Arc<Purgatory>>>,
    notify: Notify,
}

impl Crowds {
    fn push(&self, purgatory: Arc<Purgatory>) {
        self.queue.lock().push_back(purgatory);
        self.notify.notify_one();
    }

    /// Wakes those whom others left to be woken, of all partitions in turns. Never ends.
    pub async fn wake(&self) {
        loop {
            let next = self.queue.lock().pop_front();
            let Some(purgatory) = next else {
                self.notify.notified().await;
                continue;
            };
            if purgatory.list.lock().wake_some() {
                self.queue.lock().push_back(purgatory);
            }
            yield_now().await;
        }
    }
}

#[derive(Debug, Default)]
struct List {
    /// By the offset that must be passed.
    groups: BTreeMap<Offset, Group>,
    /// Those whose offset is passed and who aren't woken yet.
    passed: VecDeque<Group>,
    /// Whether they are left to the task that wakes crowds.
    is_crowd: bool,
    next_number: u64,
}

/// A place in the purgatory; dropping it leaves that.
#[derive(Debug)]
pub struct PurgatoryPlace {
    purgatory: Arc<Purgatory>,
    offset: Offset,
    number: u64,
}

impl Purgatory {
    /// Nobody waits. `crowds` is for those who can't be woken at once.
    pub fn new(crowds: Arc<Crowds>) -> Self {
        Self { list: Mutex::default(), crowds }
    }

    /// Has `woken` told of `name` once the high watermark is greater than `offset`: once at most.
    ///
    /// Enter first and look at the high watermark then, or a wake-up in between is missed.
    pub fn enter(self: &Arc<Self>, offset: Offset, woken: &Arc<Woken>, name: usize) -> PurgatoryPlace {
        let mut list = self.list.lock();
        let number = list.next_number;
        list.next_number += 1;
        list.groups.entry(offset).or_default().insert(number, (Arc::clone(woken), name));
        PurgatoryPlace { purgatory: Arc::clone(self), offset, number }
    }

    /// Wakes those who wait for an offset below the high watermark.
    pub fn advance(self: &Arc<Self>, high_watermark: Offset) {
        let mut list = self.list.lock();
        while let Some(entry) = list.groups.first_entry()
            && *entry.key() < high_watermark
        {
            let group = entry.remove();
            list.passed.push_back(group);
        }
        self.wake(&mut list);
    }

    /// Wakes everyone, as when the partition goes elsewhere.
    pub fn wake_all(self: &Arc<Self>) {
        let mut list = self.list.lock();
        let groups = std::mem::take(&mut list.groups);
        list.passed.extend(groups.into_values());
        self.wake(&mut list);
    }

    /// Wakes some, and leaves the others to the task for crowds.
    fn wake(self: &Arc<Self>, list: &mut List) {
        if !list.is_crowd && list.wake_some() {
            self.crowds.push(Arc::clone(self));
        }
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        let list = self.list.lock();
        list.groups.values().chain(&list.passed).map(HashMap::len).sum()
    }
}

impl List {
    /// Wakes some of those whose offset is passed. Whether others of them are left.
    fn wake_some(&mut self) -> bool {
        let mut left = WOKEN_AT_ONCE;
        self.is_crowd = loop {
            let Some((woken, name)) = self.next_passed() else { break false };
            woken.wake(name);
            left -= 1;
            if left == 0 {
                break !self.passed.is_empty();
            }
        };
        self.is_crowd
    }

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

impl Drop for PurgatoryPlace {
    fn drop(&mut self) {
        let mut list = self.purgatory.list.lock();
        if let Some(group) = list.groups.get_mut(&self.offset) {
            group.remove(&self.number);
            if group.is_empty() {
                list.groups.remove(&self.offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;

    fn new() -> (Arc<Purgatory>, Arc<Crowds>) {
        let crowds = Arc::default();
        (Arc::new(Purgatory::new(Arc::clone(&crowds))), crowds)
    }

    fn is_woken(woken: &Arc<Woken>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        std::pin::pin!(woken.changed()).poll(&mut context).is_ready()
    }

    #[test]
    fn those_below_the_high_watermark_are_woken_and_no_others() {
        let (purgatory, _) = new();
        let (low, high) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let _low = purgatory.enter(Offset(4), &low, 0);
        let _high = purgatory.enter(Offset(5), &high, 0);
        purgatory.advance(Offset(5));
        assert!(is_woken(&low) && !is_woken(&high));
        assert_eq!(purgatory.count(), 1);
    }

    #[test]
    fn leaving_and_waking_all_empty_the_list() {
        let (purgatory, _) = new();
        let notify = Arc::new(Woken::default());
        drop(purgatory.enter(Offset(1), &notify, 0));
        assert_eq!(purgatory.count(), 0);
        let _place = purgatory.enter(Offset(1), &notify, 0);
        purgatory.wake_all();
        assert!(is_woken(&notify) && purgatory.count() == 0);
    }

    #[tokio::test]
    async fn who_syncs_wakes_few_and_all_others_are_woken_whatever_these_do() {
        let (purgatory, crowds) = new();
        let notifies: Vec<_> = (0..10_000).map(|_| Arc::new(Woken::default())).collect();
        let _places: Vec<_> = notifies.iter().map(|notify| purgatory.enter(Offset(1), notify, 0)).collect();
        purgatory.advance(Offset(2));
        purgatory.advance(Offset(3));
        let (now, later): (Vec<_>, Vec<_>) = notifies.iter().partition(|notify| is_woken(notify));
        assert_eq!(
            (now.len(), crowds.queue.lock().len()),
            (WOKEN_AT_ONCE, 1),
            "woken by who syncs, and left"
        );
        let all_others = async {
            for notify in later {
                notify.changed().await;
            }
        };
        tokio::select! {
            () = all_others => {}
            () = crowds.wake() => {}
        }
        assert_eq!((purgatory.count(), purgatory.list.lock().is_crowd), (0, false));
        purgatory.advance(Offset(9));
        assert_eq!(crowds.queue.lock().len(), 0);
    }

    #[tokio::test]
    async fn who_leaves_unwoken_is_passed_over() {
        let (purgatory, crowds) = new();
        let notifies: Vec<_> = (0..1_000).map(|_| Arc::new(Woken::default())).collect();
        let mut places: Vec<_> =
            notifies.iter().map(|notify| purgatory.enter(Offset(1), notify, 0)).collect();
        purgatory.advance(Offset(2));
        let last = places.pop();
        places.clear();
        let nobody_is_left = async {
            while purgatory.count() > 0 {
                yield_now().await;
            }
        };
        tokio::select! {
            () = nobody_is_left => {}
            () = crowds.wake() => {}
        }
        assert!(is_woken(&notifies[999]));
        drop(last);
    }

    #[test]
    fn who_waits_in_many_places_is_told_which_were_passed() {
        let woken = Arc::new(Woken::default());
        let all: Vec<_> = (0..100).map(|_| new().0).collect();
        let _places: Vec<_> = all
            .iter()
            .enumerate()
            .map(|(name, purgatory)| purgatory.enter(Offset(5), &woken, name))
            .collect();
        all[7].advance(Offset(6));
        all[9].advance(Offset(5));
        all[3].wake_all();
        assert_eq!((is_woken(&woken), woken.take()), (true, vec![7, 3]));
        all[7].advance(Offset(8));
        assert_eq!((is_woken(&woken), woken.take()), (false, vec![]), "each place is told of once");
    }
}
