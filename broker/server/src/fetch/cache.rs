//! The fetch sessions that are kept: a bounded number in bounded memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::session::Session;

/// The epoch of a request that wants no session, or ends the one that it names.
pub const FINAL_EPOCH: i32 = -1;
/// The epoch of a request that begins a session.
pub const INITIAL_EPOCH: i32 = 0;

/// Why a request can't go on with its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// There is no such session, or no longer.
    #[error("the fetch session is not known")]
    UnknownId,
    /// The epoch isn't the one that follows the last.
    #[error("the fetch session's epoch is not the next one")]
    WrongEpoch,
    /// The session was begun with topic names and goes on with ids, or the reverse.
    #[error("the fetch session names topics in another way")]
    TopicIds,
}

/// A session that several parts hold.
pub type SharedSession = Arc<Mutex<Session>>;

/// A session that is this old makes room for one with more partitions, and one that wasn't used for so long
/// for any: Apache Kafka's own time.
const EVICTION_TIME: Duration = Duration::from_secs(120);

/// All sessions.
///
/// Whoever holds a session's lock may call this; nothing here waits for a session's lock.
///
/// Who may have one is decided as KIP-227 says: one that is in use makes room only once it is two minutes
/// old, and only for one with more partitions. Otherwise the newcomer gets none, and says with each fetch all
/// that it wants.
#[derive(Debug)]
pub struct SessionCache {
    sessions_max: usize,
    bytes_max: usize,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<i32, CachedSession>,
    bytes: usize,
}

#[derive(Debug)]
struct CachedSession {
    session: SharedSession,
    uses_topic_ids: bool,
    next_epoch: i32,
    began: Instant,
    last_used: Instant,
    partitions: usize,
    bytes: usize,
}

impl SessionCache {
    /// A cache of at most `sessions_max` sessions, which take `bytes_max` at most.
    pub fn new(sessions_max: usize, bytes_max: usize) -> Self {
        Self { sessions_max, bytes_max, sessions: Mutex::default() }
    }

    /// How many sessions are kept.
    pub fn count(&self) -> usize {
        self.sessions.lock().by_id.len()
    }

    /// The memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.sessions.lock().bytes
    }

    /// Keeps `session` under a new id, which `random` draws; none if there is no room for it.
    pub fn begin(
        &self,
        session: Session,
        now: Instant,
        mut random: impl FnMut() -> i32,
    ) -> Option<(i32, SharedSession)> {
        let (partitions, bytes, uses_topic_ids) = (session.len(), session.bytes(), session.uses_topic_ids());
        let mut sessions = self.sessions.lock();
        for id in self.room_for(&sessions, partitions, bytes, now)? {
            sessions.remove(id);
        }
        let id = loop {
            let id = random() & i32::MAX;
            if id != 0 && !sessions.by_id.contains_key(&id) {
                break id;
            }
        };
        let session = Arc::new(Mutex::new(session));
        let kept = CachedSession {
            session: Arc::clone(&session),
            uses_topic_ids,
            next_epoch: 1,
            began: now,
            last_used: now,
            partitions,
            bytes,
        };
        sessions.bytes += bytes;
        sessions.by_id.insert(id, kept);
        Some((id, session))
    }

    /// The sessions that make room for one with so many partitions and bytes; none if there is no room for
    /// it.
    fn room_for(
        &self,
        sessions: &Sessions,
        partitions: usize,
        bytes: usize,
        now: Instant,
    ) -> Option<Vec<i32>> {
        let has_room =
            |count: usize, taken: usize| count < self.sessions_max && taken + bytes <= self.bytes_max;
        let (mut count, mut taken) = (sessions.by_id.len(), sessions.bytes);
        if has_room(count, taken) {
            return Some(Vec::new());
        }
        let mut leaving: Vec<_> = sessions
            .by_id
            .iter()
            .filter_map(|(id, kept)| {
                let is_unused = now.duration_since(kept.last_used) > EVICTION_TIME;
                let is_smaller =
                    now.duration_since(kept.began) > EVICTION_TIME && kept.partitions < partitions;
                let order =
                    if is_unused { (0, 0, kept.last_used) } else { (1, kept.partitions, kept.last_used) };
                (is_unused || is_smaller).then_some((order, *id, kept.bytes))
            })
            .collect();
        leaving.sort_unstable();
        let mut left = Vec::new();
        for (_, id, bytes) in leaving {
            left.push(id);
            count -= 1;
            taken -= bytes;
            if has_room(count, taken) {
                return Some(left);
            }
        }
        None
    }

    /// The session of an incremental request, its epoch moved on.
    ///
    /// # Errors
    /// When the session is unknown, or the request doesn't follow the last one.
    pub fn resume(
        &self,
        id: i32,
        epoch: i32,
        uses_topic_ids: bool,
        now: Instant,
    ) -> Result<SharedSession, SessionError> {
        let mut sessions = self.sessions.lock();
        let kept = sessions.by_id.get_mut(&id).ok_or(SessionError::UnknownId)?;
        if kept.next_epoch != epoch {
            return Err(SessionError::WrongEpoch);
        }
        if kept.uses_topic_ids != uses_topic_ids {
            return Err(SessionError::TopicIds);
        }
        kept.next_epoch = epoch.checked_add(1).unwrap_or(1);
        kept.last_used = now;
        Ok(Arc::clone(&kept.session))
    }

    /// A session has other partitions now. False, and it is forgotten, if there is no room for them.
    pub fn resized(&self, id: i32, partitions: usize, bytes: usize) -> bool {
        let mut sessions = self.sessions.lock();
        let Some(kept) = sessions.by_id.get_mut(&id) else { return false };
        let before = std::mem::replace(&mut kept.bytes, bytes);
        kept.partitions = partitions;
        sessions.bytes = sessions.bytes - before + bytes;
        let has_room = bytes <= before || sessions.bytes <= self.bytes_max;
        if !has_room {
            sessions.remove(id);
        }
        has_room
    }

    /// Forgets a session.
    pub fn end(&self, id: i32) {
        self.sessions.lock().remove(id);
    }
}

impl Sessions {
    fn remove(&mut self, id: i32) {
        if let Some(kept) = self.by_id.remove(&id) {
            self.bytes -= kept.bytes;
        }
    }
}

/// A positive number for a new session, of a consumer or a follower.
pub fn random_session_id() -> i32 {
    let mut bytes = [0; 4];
    // Ids need to be hard to hit by accident, no more: without randomness the clock will do.
    if getrandom::fill(&mut bytes).is_err() {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        bytes = nanos.map_or(0, |now| now.subsec_nanos()).to_be_bytes();
    }
    (i32::from_be_bytes(bytes) & i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use ottla_types::{LeaderEpoch, Offset, PartitionIndex};

    use super::*;
    use crate::fetch::{PartitionRequest, TopicKey};

    const PLENTY: usize = 1 << 20;

    fn session(partitions: i32) -> Session {
        let mut session = Session::new(false);
        let request = |partition| PartitionRequest {
            topic: TopicKey::Name("t".into()),
            partition: PartitionIndex(partition),
            current_leader_epoch: LeaderEpoch(-1),
            fetch_offset: Offset(0),
            max_bytes: 1,
        };
        assert!(session.update((0..partitions).map(request)));
        session
    }

    fn begin(cache: &SessionCache, partitions: i32, now: Instant) -> Option<i32> {
        cache.begin(session(partitions), now, random_session_id).map(|(id, _)| id)
    }

    #[test]
    fn epochs_must_follow_one_another() {
        let (cache, now) = (SessionCache::new(2, PLENTY), Instant::now());
        let id = begin(&cache, 1, now).unwrap();
        assert!(cache.resume(id, 1, false, now).is_ok());
        assert_eq!(cache.resume(id, 1, false, now).unwrap_err(), SessionError::WrongEpoch);
        assert_eq!(cache.resume(id, 2, true, now).unwrap_err(), SessionError::TopicIds);
        assert!(cache.resume(id, 2, false, now).is_ok());
        cache.end(id);
        assert_eq!(cache.resume(id, 3, false, now).unwrap_err(), SessionError::UnknownId);
    }

    #[test]
    fn sessions_in_use_are_safe_from_newcomers_until_they_are_old_and_smaller() {
        let (cache, start) = (SessionCache::new(2, PLENTY), Instant::now());
        let (large, small) = (begin(&cache, 3, start).unwrap(), begin(&cache, 2, start).unwrap());
        let soon = start + EVICTION_TIME;
        for id in [large, small] {
            cache.resume(id, 1, false, soon).unwrap();
        }
        assert_eq!(begin(&cache, 100, soon), None, "none is older than the time");
        let late = soon + Duration::from_secs(1);
        assert_eq!(begin(&cache, 2, late), None, "the newcomer has no more partitions than the smallest");
        let newcomer = begin(&cache, 3, late).unwrap();
        assert_eq!(cache.resume(small, 2, false, late).unwrap_err(), SessionError::UnknownId);
        assert!(
            cache.resume(large, 2, false, late).is_ok() && cache.resume(newcomer, 1, false, late).is_ok()
        );
    }

    #[test]
    fn what_is_not_used_makes_room_for_any() {
        let (cache, start) = (SessionCache::new(2, PLENTY), Instant::now());
        let (used, unused) = (begin(&cache, 1, start).unwrap(), begin(&cache, 9, start).unwrap());
        let late = start + EVICTION_TIME + Duration::from_secs(1);
        cache.resume(used, 1, false, late).unwrap();
        assert!(begin(&cache, 1, late).is_some());
        assert_eq!(cache.resume(unused, 1, false, late).unwrap_err(), SessionError::UnknownId);
        assert!(cache.resume(used, 2, false, late).is_ok());
    }

    #[test]
    fn sessions_take_no_more_memory_than_they_may() {
        let each = session(100).bytes();
        let (cache, start) = (SessionCache::new(1_000, 2 * each), Instant::now());
        let first = begin(&cache, 100, start).unwrap();
        let second = begin(&cache, 100, start).unwrap();
        assert_eq!((begin(&cache, 1, start), cache.bytes()), (None, 2 * each));
        assert!(!cache.resized(second, 101, session(101).bytes()), "there is no room to grow");
        assert_eq!(cache.bytes(), each);
        assert!(
            cache.resized(first, 101, session(101).bytes()) && cache.resized(first, 1, session(1).bytes())
        );
        assert_eq!(cache.bytes(), session(1).bytes());
        cache.end(first);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn a_session_in_use_holds_up_no_other_request() {
        let (cache, now) = (Arc::new(SessionCache::new(2, PLENTY)), Instant::now());
        let id = begin(&cache, 1, now).unwrap();
        let session = cache.resume(id, 1, false, now).unwrap();
        let in_use = session.lock();
        let (sender, answered) = std::sync::mpsc::channel();
        let next = Arc::clone(&cache);
        let thread = std::thread::spawn(move || sender.send(next.resume(id, 2, false, now).is_ok()));
        assert_eq!(
            answered.recv_timeout(Duration::from_secs(30)),
            Ok(true),
            "the cache waits for the session"
        );
        assert!(cache.resized(id, in_use.len(), in_use.bytes()));
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn ids_are_positive_and_unique() {
        let (cache, now) = (SessionCache::new(3, PLENTY), Instant::now());
        let mut drawn = [0, -5, -5, 9].into_iter();
        let mut draw = || drawn.next().unwrap();
        let first = cache.begin(Session::new(true), now, &mut draw).unwrap().0;
        let second = cache.begin(Session::new(true), now, &mut draw).unwrap().0;
        assert!(first > 0 && second == 9);
        assert!(SessionCache::new(0, PLENTY).begin(Session::new(true), now, || 4).is_none());
    }
}
