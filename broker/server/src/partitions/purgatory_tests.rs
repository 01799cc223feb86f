//! The purgatory and the streams against the plainest answer, over many courses of events: who waited and was
//! passed is told once, and nobody else.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use ottla_types::{BrokerId, Offset, PartitionIndex, TopicId};
use tokio::task::yield_now;

use super::purgatory::Purgatory;
use super::{Crowds, PurgatoryPlace, ReadyList, Streams, Woken};

/// So many are told at once by whoever advances a high watermark.
const AT_ONCE: usize = 32;

/// Numbers that look random and are the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Someone who waits, or did.
struct Waiter {
    place: Option<PurgatoryPlace>,
    purgatory: usize,
    offset: i64,
    is_passed: bool,
    told: usize,
}

/// Some partitions, who waits for them, and what each of these was told.
struct Course {
    crowds: Arc<Crowds>,
    purgatories: Vec<Arc<Purgatory>>,
    high_watermarks: Vec<i64>,
    wokens: Vec<Arc<Woken>>,
    waiters: Vec<Waiter>,
}

impl Course {
    fn new() -> Self {
        let crowds: Arc<Crowds> = Arc::default();
        Self {
            purgatories: (0..3).map(|_| Arc::new(Purgatory::new(Arc::clone(&crowds)))).collect(),
            crowds,
            high_watermarks: vec![0; 3],
            wokens: (0..5).map(|_| Arc::default()).collect(),
            waiters: Vec::new(),
        }
    }

    fn enter(&mut self, draw: &mut Draw) {
        let purgatory = draw.below(self.purgatories.len());
        let offset = self.high_watermarks[purgatory] + draw.below(6) as i64;
        let name = self.waiters.len();
        let woken = &self.wokens[name % self.wokens.len()];
        let place = self.purgatories[purgatory].enter(Offset(offset), woken, name);
        let waiter = Waiter { place: Some(place), purgatory, offset, is_passed: false, told: 0 };
        self.waiters.push(waiter);
    }

    fn pass(&mut self, purgatory: usize, below: i64) {
        for waiter in &mut self.waiters {
            let waits = waiter.place.is_some() && waiter.purgatory == purgatory && waiter.offset < below;
            waiter.is_passed |= waits;
        }
    }

    fn advance(&mut self, purgatory: usize, to: i64) {
        self.high_watermarks[purgatory] = to;
        self.pass(purgatory, to);
        self.purgatories[purgatory].advance(Offset(to));
    }

    /// Whoever still waits leaves; who was passed may have left without having been told.
    fn leave(&mut self, draw: &mut Draw) {
        if !self.waiters.is_empty() {
            let at = draw.below(self.waiters.len());
            self.waiters[at].place = None;
        }
    }

    /// Hears what was told since. Returns how often that was.
    fn hear(&mut self) -> usize {
        let names: Vec<usize> = self.wokens.iter().flat_map(|woken| woken.take()).collect();
        for name in &names {
            self.waiters[*name].told += 1;
        }
        names.len()
    }

    /// Lets the task for crowds have its turns until nobody is left to be told.
    async fn settle(&mut self) {
        let waiting =
            self.waiters.iter().filter(|waiter| waiter.place.is_some() && !waiter.is_passed).count();
        let nobody_is_left = async {
            while self.purgatories.iter().map(|purgatory| purgatory.count()).sum::<usize>() > waiting {
                yield_now().await;
            }
        };
        tokio::select! {
            () = nobody_is_left => {}
            () = self.crowds.wake() => {}
        }
    }

    fn check(&self, seed: u64) {
        for (name, waiter) in self.waiters.iter().enumerate() {
            let expected = usize::from(waiter.is_passed);
            assert_eq!(waiter.told, expected, "seed {seed}: {name} waits for {}", waiter.offset);
        }
    }
}

#[tokio::test]
async fn each_who_is_passed_is_told_once_and_nobody_else() {
    for seed in 0..30 {
        let (mut draw, mut course) = (Draw(seed), Course::new());
        for _ in 0..400 {
            match draw.below(20) {
                0..14 => course.enter(&mut draw),
                14..16 => course.leave(&mut draw),
                16..19 => {
                    let purgatory = draw.below(3);
                    let to = course.high_watermarks[purgatory] + draw.below(4) as i64;
                    course.hear();
                    course.advance(purgatory, to);
                    assert!(course.hear() <= AT_ONCE, "seed {seed}: who advances tells too many");
                }
                _ => {
                    course.settle().await;
                    course.hear();
                    course.check(seed);
                }
            }
        }
        for purgatory in 0..3 {
            // One more time for all, as when a partition goes elsewhere.
            course.pass(purgatory, i64::MAX);
            course.purgatories[purgatory].wake_all();
        }
        course.settle().await;
        course.hear();
        course.check(seed);
        assert!(course.purgatories.iter().all(|purgatory| purgatory.count() == 0), "seed {seed}");
    }
}

/// A crowd of one partition doesn't keep those of another from being told.
#[tokio::test]
async fn crowds_of_several_partitions_take_turns() {
    let mut course = Course::new();
    for name in 0..3_000 {
        let place = course.purgatories[name % 3].enter(Offset(0), &course.wokens[name % 3], name);
        let (place, purgatory) = (Some(place), name % 3);
        course.waiters.push(Waiter { place, purgatory, offset: 0, is_passed: false, told: 0 });
    }
    for purgatory in 0..3 {
        course.advance(purgatory, 1);
    }
    assert_eq!(course.hear(), 3 * AT_ONCE);
    let counts = || course.purgatories.iter().map(|purgatory| purgatory.count()).collect::<Vec<_>>();
    let some_turns = async {
        for _ in 0..30 {
            yield_now().await;
            let counts = counts();
            let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            assert!(most - least <= AT_ONCE, "{counts:?}");
        }
        assert!(counts()[0] < 1_000 - 2 * AT_ONCE, "it went on");
    };
    tokio::select! {
        () = some_turns => {}
        () = course.crowds.wake() => {}
    }
    course.settle().await;
    course.hear();
    course.check(0);
}

/// Each leader's stream is opened once, whoever asks first, and all have the same list.
#[test]
fn a_stream_is_opened_once_for_each_leader() {
    let (streams, mut opened) = Streams::new();
    let lists: Vec<Vec<Arc<ReadyList>>> = std::thread::scope(|scope| {
        let all = || (0..50).map(|leader| streams.from(BrokerId(leader))).collect();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(all)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut seen = HashSet::new();
    while let Ok((leader, list)) = opened.try_recv() {
        assert!(seen.insert(leader), "{leader:?} has two streams");
        let is_same = |lists: &Vec<Arc<ReadyList>>| Arc::ptr_eq(&lists[leader.0 as usize], &list);
        assert!(lists.iter().all(is_same), "the stream of {leader:?} isn't what was asked for");
    }
    assert_eq!(seen.len(), 50);
    // While the broker ends nobody carries them, and whoever asks still gets a list.
    drop(opened);
    streams.from(BrokerId(99)).push((TopicId([1; 16]), PartitionIndex(0)));
    assert_eq!(streams.from(BrokerId(99)).len(), 1);
}

/// Against a plain queue without duplicates, with whoever waits told of each push.
#[tokio::test]
async fn partitions_that_are_ready_are_in_line_once_and_in_order() {
    for seed in 0..20 {
        let (mut draw, list) = (Draw(seed), ReadyList::default());
        let (mut line, mut in_line) = (std::collections::VecDeque::new(), BTreeSet::new());
        for _ in 0..500 {
            let key = (TopicId([draw.below(3) as u8; 16]), PartitionIndex(draw.below(4) as i32));
            if draw.below(2) == 0 {
                list.push(key);
                if in_line.insert((key.0.0, key.1.0)) {
                    line.push_back(key);
                }
                // It is told at once, be it in line already.
                list.changed().await;
            } else {
                let expected = line.pop_front();
                if let Some(key) = &expected {
                    in_line.remove(&(key.0.0, key.1.0));
                }
                assert_eq!(list.pop(), expected, "seed {seed}");
            }
            assert_eq!((list.len(), list.is_empty()), (line.len(), line.is_empty()), "seed {seed}");
        }
        list.wake();
        list.changed().await;
    }
}
