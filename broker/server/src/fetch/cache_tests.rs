//! The cache of fetch sessions over many courses of events: it holds what it may and no more, and takes from
//! nobody what is his.

use std::time::{Duration, Instant};

use ottla_types::{LeaderEpoch, Offset, PartitionIndex};

use super::{PartitionRequest, Session, SessionCache, SessionError, TopicKey};

/// A session that is older makes room, as KIP-227 says.
const OLD: Duration = Duration::from_secs(120);
const SESSIONS_MAX: usize = 8;
/// What a request that is wrong in any case says, to see whether a session is there.
const NO_EPOCH: i32 = -7;

/// Numbers that look random and are the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn session(partitions: usize, uses_topic_ids: bool) -> Session {
    let mut session = Session::new(uses_topic_ids);
    let request = |partition| PartitionRequest {
        topic: TopicKey::Name("topic".into()),
        partition: PartitionIndex(partition),
        current_leader_epoch: LeaderEpoch(-1),
        fetch_offset: Offset(0),
        max_bytes: 1,
    };
    assert!(session.update((0..partitions as i32).map(request)));
    session
}

/// A session that should be kept.
#[derive(Debug, Clone)]
struct Known {
    id: i32,
    began: Instant,
    used: Instant,
    partitions: usize,
    bytes: usize,
    next_epoch: i32,
    uses_topic_ids: bool,
}

impl Known {
    /// Whether it has to make room for one with so many partitions.
    fn makes_room(&self, partitions: usize, now: Instant) -> bool {
        let is_unused = now - self.used > OLD;
        is_unused || (now - self.began > OLD && self.partitions < partitions)
    }
}

struct Course {
    cache: SessionCache,
    bytes_max: usize,
    known: Vec<Known>,
    now: Instant,
    next_id: i32,
}

impl Course {
    fn has_room(&self, others: &[&Known], bytes: usize) -> bool {
        let taken: usize = others.iter().map(|known| known.bytes).sum();
        others.len() < SESSIONS_MAX && taken + bytes <= self.bytes_max
    }

    fn is_there(&self, known: &Known) -> bool {
        let error = self.cache.resume(known.id, NO_EPOCH, known.uses_topic_ids, self.now).unwrap_err();
        assert_ne!(error, SessionError::TopicIds);
        error == SessionError::WrongEpoch
    }

    fn begin(&mut self, partitions: usize, uses_topic_ids: bool) {
        let session = session(partitions, uses_topic_ids);
        let (bytes, now) = (session.bytes(), self.now);
        let next_id = &mut self.next_id;
        let began = self.cache.begin(session, now, || {
            *next_id += 1;
            *next_id
        });
        let (there, gone): (Vec<_>, Vec<_>) = self.known.iter().partition(|known| self.is_there(known));
        for known in &gone {
            assert!(known.makes_room(partitions, now), "{known:?} was in use");
        }
        let all: Vec<&Known> = self.known.iter().collect();
        if self.has_room(&all, bytes) {
            assert!(began.is_some() && gone.is_empty(), "there was room for all");
        }
        let Some((id, _)) = began else {
            assert!(gone.is_empty(), "whoever gets none takes none");
            let stay: Vec<&Known> =
                all.into_iter().filter(|known| !known.makes_room(partitions, now)).collect();
            assert!(!self.has_room(&stay, bytes), "there was room, had others gone");
            return;
        };
        assert!(self.has_room(&there, bytes), "it was given what there isn't");
        // Unused ones go first, and one that goes is as large as any in use that stays, or smaller.
        for left in gone.iter().filter(|known| now - known.used <= OLD) {
            let spared = |known: &&&Known| known.makes_room(partitions, now);
            let smallest = there.iter().filter(spared).map(|known| known.partitions).min();
            assert!(smallest.is_none_or(|smallest| left.partitions <= smallest), "{left:?}");
            assert!(!there.iter().any(|known| now - known.used > OLD), "one that nobody uses stays");
        }
        let known = Known { id, began: now, used: now, partitions, bytes, next_epoch: 1, uses_topic_ids };
        self.known = there.into_iter().cloned().chain([known]).collect();
    }

    fn resume(&mut self, at: usize, draw: &mut Draw) {
        let known = &mut self.known[at];
        let (epoch, ids) = (known.next_epoch, known.uses_topic_ids);
        match draw.below(4) {
            0 => {
                let wrong = self.cache.resume(known.id, epoch + 1, ids, self.now);
                assert_eq!(wrong.unwrap_err(), SessionError::WrongEpoch);
            }
            1 => {
                let wrong = self.cache.resume(known.id, epoch, !ids, self.now);
                assert_eq!(wrong.unwrap_err(), SessionError::TopicIds);
            }
            _ => {
                let session = self.cache.resume(known.id, epoch, ids, self.now).unwrap();
                assert_eq!(session.lock().uses_topic_ids(), ids);
                (known.next_epoch, known.used) = (epoch + 1, self.now);
            }
        }
    }

    fn resize(&mut self, at: usize, partitions: usize) {
        let bytes = session(partitions, false).bytes();
        let known = &self.known[at];
        let others: usize = self.known.iter().map(|known| known.bytes).sum::<usize>() - known.bytes;
        let fits = bytes <= known.bytes || others + bytes <= self.bytes_max;
        assert_eq!(self.cache.resized(known.id, partitions, bytes), fits);
        if fits {
            (self.known[at].partitions, self.known[at].bytes) = (partitions, bytes);
        } else {
            let known = self.known.remove(at);
            assert!(!self.is_there(&known), "what has no room is forgotten");
        }
    }

    fn check(&self) {
        let bytes: usize = self.known.iter().map(|known| known.bytes).sum();
        assert_eq!((self.cache.count(), self.cache.bytes()), (self.known.len(), bytes));
        assert!(bytes <= self.bytes_max && self.known.len() <= SESSIONS_MAX);
    }
}

#[test]
fn sessions_come_and_go_as_the_rule_says() {
    for seed in 0..60 {
        let mut draw = Draw(seed);
        // In some courses the number is what is short, in others the memory.
        let bytes_max = session(if seed % 2 == 0 { 1_000 } else { 60 }, false).bytes();
        let cache = SessionCache::new(SESSIONS_MAX, bytes_max);
        let mut course = Course { cache, bytes_max, known: Vec::new(), now: Instant::now(), next_id: 0 };
        for _ in 0..400 {
            course.now += Duration::from_secs(draw.below(20) as u64);
            let at = draw.below(course.known.len().max(1));
            match draw.below(10) {
                0..3 => course.begin(1 + draw.below(40), draw.below(2) == 0),
                3..8 if !course.known.is_empty() => course.resume(at, &mut draw),
                8 if !course.known.is_empty() => course.resize(at, 1 + draw.below(60)),
                9 if !course.known.is_empty() => {
                    let known = course.known.remove(at);
                    course.cache.end(known.id);
                    assert!(!course.is_there(&known));
                    course.cache.end(known.id);
                    assert!(!course.cache.resized(known.id, 1, 1), "nobody makes room for what is gone");
                }
                _ => {}
            }
            course.check();
        }
    }
}

#[test]
fn only_the_next_epoch_is_taken() {
    let (cache, now) = (SessionCache::new(1, 1 << 20), Instant::now());
    let (id, _) = cache.begin(session(1, false), now, || 5).unwrap();
    let mut epoch = 1;
    for _ in 0..100 {
        cache.resume(id, epoch, false, now).unwrap();
        epoch += 1;
    }
    for wrong in [i32::MIN, super::FINAL_EPOCH, super::INITIAL_EPOCH, 1, epoch - 1, epoch + 1, i32::MAX] {
        assert_eq!(cache.resume(id, wrong, false, now).unwrap_err(), SessionError::WrongEpoch, "{wrong}");
    }
    assert!(cache.resume(id, epoch, false, now).is_ok());
}
