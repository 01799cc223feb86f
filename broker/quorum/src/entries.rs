//! The metadata log as openraft sees it, and how far it is durable.
//!
//! openraft waits for each append, and meanwhile sends no heartbeat and answers nobody; a sync on a disk that records
//! keep busy may take longer than the others' patience. So an entry counts as appended once it is handed over, and
//! what needs it on the disk waits for that by itself, beside openraft (see [`Durability`]): a follower's answer, what
//! is applied and thereby told to whoever asked for it, and what the active controller calls committed. Nothing that
//! leaves this process says more than the disk would after a crash; within it, the entries in memory are the log.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::raft_types::{LogId, Vote};
use crate::segments::Located;

/// An entry on its way to the disk.
#[derive(Debug)]
pub struct Encoded {
    /// Where it is in the log.
    pub log_id: LogId,
    /// Its value as it is stored.
    pub value: Vec<u8>,
}

/// Where an entry can be read.
#[derive(Clone)]
pub enum Place {
    /// In memory, as it isn't durable yet.
    Memory(Arc<Encoded>),
    /// On the disk.
    Disk(Located),
}

struct Slot {
    place: Place,
    /// The job that makes it durable.
    job: u64,
}

/// What all handles of a log share.
pub struct Shared {
    view: Mutex<View>,
    done: watch::Sender<Done>,
    /// There is more to tell than was told.
    more: Notify,
}

/// What there is, each job counted that was handed over.
#[derive(Default)]
pub struct View {
    /// The last vote that is durable.
    pub vote: Option<Vote>,
    /// Up to where entries were purged.
    pub purged: Option<LogId>,
    /// The index of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// How many jobs were handed to the thread.
    jobs: u64,
    /// The last entry that is durable, with all before it.
    durable: Option<LogId>,
    /// Since when nothing became durable though something waits for it.
    waiting_since: Option<Instant>,
    /// Whether less was called committed than openraft thinks.
    told_less: bool,
}

#[derive(Clone, Debug, Default)]
struct Done {
    jobs: u64,
    ended: Option<Ended>,
}

/// Why there will be no more.
#[derive(Clone, Debug)]
enum Ended {
    Closed,
    Failed(String),
}

impl View {
    /// What a log holds whose entries from `first` on are durable.
    pub fn new(vote: Option<Vote>, purged: Option<LogId>, first: u64, entries: Vec<Located>) -> Self {
        let slots = entries.into_iter().map(|located| Slot { place: Place::Disk(located), job: 0 }).collect();
        Self { vote, purged, first, slots, ..Self::default() }
    }

    /// The indexes of the entries.
    pub fn indexes(&self) -> Range<u64> {
        self.first..self.first + self.slots.len() as u64
    }

    /// What was last in the log when it was opened is durable.
    pub fn opened_up_to(&mut self, last: Option<LogId>) {
        self.durable = last;
    }

    fn next_job(&mut self, now: Instant) -> u64 {
        self.waiting_since.get_or_insert(now);
        self.jobs += 1;
        self.jobs
    }

    /// Takes entries that follow the last one, or are the first ones. The job that is to make them durable.
    ///
    /// # Panics
    /// When an entry doesn't follow the one before.
    pub fn append(&mut self, entries: &[Arc<Encoded>], now: Instant) -> u64 {
        let job = self.next_job(now);
        for entry in entries {
            if self.slots.is_empty() && self.purged.is_none() {
                self.first = entry.log_id.index;
            }
            assert_eq!(entry.log_id.index, self.indexes().end, "entries follow one another");
            self.slots.push_back(Slot { place: Place::Memory(entry.clone()), job });
        }
        job
    }

    /// Removes the entries from `index` on. The job that is to do so on the disk.
    pub fn truncate(&mut self, index: u64, now: Instant) -> u64 {
        self.slots.truncate(usize::try_from(index.saturating_sub(self.first)).expect("in memory"));
        // Which entry is the last durable one is known again with the next.
        self.durable = self.durable.filter(|durable| durable.index < index);
        self.next_job(now)
    }

    /// Removes the entries up to `upto`, or all, to begin anew after it. The job that is to do so on the disk.
    pub fn purge(&mut self, upto: LogId, now: Instant) -> u64 {
        let gone = (upto.index + 1).saturating_sub(self.first);
        let gone = usize::try_from(gone).expect("in memory").min(self.slots.len());
        self.slots.drain(..gone);
        self.first = self.first.max(upto.index + 1);
        self.purged = Some(upto);
        self.next_job(now)
    }

    /// A job that changes no entries.
    pub fn other(&mut self, now: Instant) -> u64 {
        self.next_job(now)
    }

    /// Where the entries of `range` that exist are, at most `bytes_max` of them in all but at least one.
    pub fn locate(&self, range: Range<u64>, bytes_max: usize) -> Vec<(u64, Place)> {
        let indexes = self.indexes();
        let mut total = 0;
        let mut located = Vec::new();
        for index in range.start.max(indexes.start)..range.end.min(indexes.end) {
            let place = self.slots[usize::try_from(index - self.first).expect("in memory")].place.clone();
            total += match &place {
                Place::Memory(entry) => entry.value.len(),
                Place::Disk(located) => located.bytes(),
            };
            if total > bytes_max && !located.is_empty() {
                break;
            }
            located.push((index, place));
        }
        located
    }

    fn slot(&mut self, index: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// The entry of `job` is durable, and where.
    fn settle(&mut self, job: u64, log_id: LogId, located: Located) {
        // It may have been removed again meanwhile, and another one be in its place.
        if let Some(slot) = self.slot(log_id.index).filter(|slot| slot.job == job) {
            slot.place = Place::Disk(located);
            self.durable = Some(log_id);
        }
    }
}

impl Shared {
    /// What all handles of a log share that holds `view`.
    pub fn new(view: View) -> Self {
        Self { view: Mutex::new(view), done: watch::Sender::default(), more: Notify::new() }
    }

    /// What there is. Held for moments only, never over the disk.
    pub fn view(&self) -> MutexGuard<'_, View> {
        // Whoever panics with the lock has changed nothing halfway that others see.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All jobs up to `job` are done, with which these entries became durable.
    pub fn settle(&self, job: u64, entries: impl IntoIterator<Item = (u64, LogId, Located)>) {
        {
            let mut view = self.view();
            for (job, log_id, located) in entries {
                view.settle(job, log_id, located);
            }
            view.waiting_since = (view.jobs > job).then(Instant::now);
            if std::mem::take(&mut view.told_less) {
                self.more.notify_one();
            }
        }
        self.done.send_modify(|done| done.jobs = job);
    }

    /// Nothing more becomes durable: the log was closed, or failed.
    pub fn end(&self, outcome: io::Result<()>) {
        let ended = outcome.map_or_else(|error| Ended::Failed(error.to_string()), |()| Ended::Closed);
        self.done.send_modify(|done| done.ended = Some(ended));
    }
}

/// How far the metadata log is durable. Doesn't keep the log open.
#[derive(Clone)]
pub struct Durability(Arc<Shared>);

impl Durability {
    /// That of the log with these handles.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Waits until the entry at `index`, which was appended, is durable.
    ///
    /// # Errors
    /// When it will never be.
    pub async fn reached(&self, index: u64) -> io::Result<()> {
        let job = {
            let mut view = self.0.view();
            if view.purged.is_some_and(|purged| index <= purged.index) {
                return Ok(());
            }
            let gone = || io::Error::other(format!("entry {index} is not in the metadata log any more"));
            view.slot(index).ok_or_else(gone)?.job
        };
        self.job_done(job).await
    }

    /// Waits until a job is done.
    ///
    /// # Errors
    /// When it will never be.
    pub async fn job_done(&self, job: u64) -> io::Result<()> {
        let mut done = self.0.done.subscribe();
        let decided = done.wait_for(|done| done.jobs >= job || done.ended.is_some()).await;
        // The sender is held here.
        let done = decided.map_err(io::Error::other)?;
        match &done.ended {
            _ if done.jobs >= job => Ok(()),
            Some(Ended::Failed(reason)) => Err(io::Error::other(reason.clone())),
            Some(Ended::Closed) | None => Err(io::Error::other("the metadata log is closed")),
        }
    }

    /// How much of what openraft calls committed may be called so to others. openraft counts this node's own entries as
    /// stored from the start, and they count once they are.
    pub fn committed(&self, committed: Option<LogId>) -> Option<LogId> {
        let mut view = self.0.view();
        let index = |log_id: Option<LogId>| log_id.map(|log_id| log_id.index);
        if index(committed) <= index(view.durable) {
            return committed;
        }
        view.told_less = true;
        view.durable
    }

    /// Waits until more may be called committed than was.
    pub async fn more(&self) {
        self.0.more.notified().await;
    }

    /// For how long nothing became durable though something waits for it.
    pub fn stalled_for(&self) -> Duration {
        self.0.view().waiting_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits until the log fails, and says why. It mostly never does.
    pub async fn failed(&self) -> String {
        let mut done = self.0.done.subscribe();
        let failed = |done: &Done| matches!(done.ended, Some(Ended::Failed(_)));
        match done.wait_for(failed).await.map(|done| done.ended.clone()) {
            Ok(Some(Ended::Failed(reason))) => reason,
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;
    use ottla_store::RealDisk;
    use ottla_types::BrokerId;

    use super::*;
    use crate::segments::Segments;

    fn log_id(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term, BrokerId(1)), index)
    }

    fn entries(ids: &[(u64, u64)]) -> Vec<Arc<Encoded>> {
        let entry = |(term, index)| Arc::new(Encoded { log_id: log_id(term, index), value: vec![7] });
        ids.iter().copied().map(entry).collect()
    }

    /// Some places on a disk; which ones doesn't matter here.
    fn located(count: u64) -> (tempfile::TempDir, Vec<Located>) {
        let dir = tempfile::tempdir().unwrap();
        let mut segments = Segments::open(Arc::new(RealDisk), dir.path(), 1 << 20).unwrap();
        for index in 0..count {
            segments.append(index, 1, 0, b"value").unwrap();
        }
        let located = (0..count).map(|index| segments.located(index).unwrap()).collect();
        (dir, located)
    }

    fn in_memory(shared: &Shared) -> Vec<u64> {
        let places = shared.view().locate(0..u64::MAX, usize::MAX);
        places
            .iter()
            .filter(|(_, place)| matches!(place, Place::Memory(_)))
            .map(|(index, _)| *index)
            .collect()
    }

    #[tokio::test]
    async fn no_more_is_committed_than_is_durable() {
        let (_dir, located) = located(3);
        let shared = Arc::new(Shared::new(View::default()));
        let durability = Durability::new(shared.clone());
        let job = shared.view().append(&entries(&[(1, 0), (1, 1), (1, 2)]), Instant::now());
        assert_eq!(durability.committed(Some(log_id(1, 1))), None);
        shared
            .settle(job, [(job, log_id(1, 0), located[0].clone()), (job, log_id(1, 1), located[1].clone())]);
        durability.more().await;
        assert_eq!(durability.committed(Some(log_id(1, 0))), Some(log_id(1, 0)));
        assert_eq!(durability.committed(Some(log_id(1, 2))), Some(log_id(1, 1)));
        assert_eq!(durability.committed(None), None);
        assert_eq!(in_memory(&shared), [2]);
    }

    #[tokio::test]
    async fn an_entry_in_the_place_of_another_is_durable_by_its_own_job() {
        let (_dir, located) = located(2);
        let shared = Arc::new(Shared::new(View::default()));
        let durability = Durability::new(shared.clone());
        let now = Instant::now();
        let first = shared.view().append(&entries(&[(1, 0), (1, 1)]), now);
        let cut = shared.view().truncate(1, now);
        let second = shared.view().append(&entries(&[(2, 1)]), now);
        let place = |job, term, index: u64| {
            (job, log_id(term, index), located[usize::try_from(index).unwrap()].clone())
        };
        shared.settle(first, [place(first, 1, 0), place(first, 1, 1)]);
        shared.settle(cut, []);
        assert_eq!(in_memory(&shared), [1]);
        assert_eq!(durability.committed(Some(log_id(2, 1))), Some(log_id(1, 0)));
        assert!(!durability.stalled_for().is_zero(), "the second one still waits");
        shared.settle(second, [place(second, 2, 1)]);
        durability.reached(1).await.unwrap();
        assert_eq!(durability.committed(Some(log_id(2, 1))), Some(log_id(2, 1)));
        assert!(durability.stalled_for().is_zero());
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_the_end() {
        let shared = Arc::new(Shared::new(View::default()));
        let durability = Durability::new(shared.clone());
        shared.view().append(&entries(&[(1, 0)]), Instant::now());
        assert!(durability.reached(1).await.is_err(), "there is no such entry");
        shared.end(Err(io::Error::other("broken")));
        assert_eq!(durability.reached(0).await.unwrap_err().to_string(), "broken");
        assert_eq!(durability.failed().await, "broken");
    }

    #[test]
    fn a_log_goes_on_after_what_was_purged() {
        let mut view = View::default();
        let now = Instant::now();
        view.append(&entries(&[(1, 0), (1, 1), (1, 2)]), now);
        view.purge(log_id(1, 1), now);
        assert_eq!(view.indexes(), 2..3);
        // A snapshot that is ahead of the log.
        view.purge(log_id(2, 9), now);
        assert_eq!(view.indexes(), 10..10);
        view.append(&entries(&[(2, 10)]), now);
        view.truncate(10, now);
        assert_eq!(view.indexes(), 10..10);
        view.append(&entries(&[(3, 10)]), now);
        assert_eq!(view.locate(0..u64::MAX, 0).len(), 1);
    }
}
