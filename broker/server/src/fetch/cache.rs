//! The fetch sessions that are kept: a bounded number, the least recently used one makes room.

use std::collections::HashMap;
use std::sync::Arc;

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

/// All sessions.
#[derive(Debug)]
pub struct SessionCache {
    sessions_max: usize,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<i32, Kept>,
    clock: u64,
}

#[derive(Debug)]
struct Kept {
    session: SharedSession,
    next_epoch: i32,
    last_used: u64,
}

impl SessionCache {
    /// A cache of at most `sessions_max` sessions.
    pub fn new(sessions_max: usize) -> Self {
        Self { sessions_max, sessions: Mutex::default() }
    }

    /// How many sessions are kept.
    pub fn count(&self) -> usize {
        self.sessions.lock().by_id.len()
    }

    /// Keeps `session` under a new id, which `random` draws; 0 if none are kept here.
    pub fn begin(&self, session: Session, mut random: impl FnMut() -> i32) -> (i32, SharedSession) {
        let session = Arc::new(Mutex::new(session));
        if self.sessions_max == 0 {
            return (0, session);
        }
        let mut sessions = self.sessions.lock();
        while sessions.by_id.len() >= self.sessions_max {
            let oldest = sessions.by_id.iter().min_by_key(|(_, kept)| kept.last_used).map(|(id, _)| *id);
            sessions.by_id.remove(&oldest.expect("the cache is full, so it isn't empty"));
        }
        let id = loop {
            let id = random() & i32::MAX;
            if id != 0 && !sessions.by_id.contains_key(&id) {
                break id;
            }
        };
        let last_used = sessions.tick();
        sessions.by_id.insert(id, Kept { session: Arc::clone(&session), next_epoch: 1, last_used });
        (id, session)
    }

    /// The session of an incremental request, its epoch moved on.
    ///
    /// # Errors
    /// When the session is unknown, or the request doesn't follow the last one.
    pub fn resume(&self, id: i32, epoch: i32, uses_topic_ids: bool) -> Result<SharedSession, SessionError> {
        let mut sessions = self.sessions.lock();
        let now = sessions.tick();
        let kept = sessions.by_id.get_mut(&id).ok_or(SessionError::UnknownId)?;
        if kept.next_epoch != epoch {
            return Err(SessionError::WrongEpoch);
        }
        if kept.session.lock().uses_topic_ids() != uses_topic_ids {
            return Err(SessionError::TopicIds);
        }
        kept.next_epoch = epoch.checked_add(1).unwrap_or(1);
        kept.last_used = now;
        Ok(Arc::clone(&kept.session))
    }

    /// Forgets a session.
    pub fn end(&self, id: i32) {
        self.sessions.lock().by_id.remove(&id);
    }
}

impl Sessions {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
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
    use super::*;

    fn begin(cache: &SessionCache, id: i32) -> i32 {
        cache.begin(Session::new(false), || id).0
    }

    #[test]
    fn epochs_must_follow_one_another() {
        let cache = SessionCache::new(2);
        let id = begin(&cache, 7);
        assert!(cache.resume(id, 1, false).is_ok());
        assert_eq!(cache.resume(id, 1, false).unwrap_err(), SessionError::WrongEpoch);
        assert_eq!(cache.resume(id, 2, true).unwrap_err(), SessionError::TopicIds);
        assert!(cache.resume(id, 2, false).is_ok());
        cache.end(id);
        assert_eq!(cache.resume(id, 3, false).unwrap_err(), SessionError::UnknownId);
    }

    #[test]
    fn the_least_recently_used_session_makes_room() {
        let cache = SessionCache::new(2);
        let (first, second) = (begin(&cache, 1), begin(&cache, 2));
        cache.resume(first, 1, false).unwrap();
        let third = begin(&cache, 3);
        assert_eq!(cache.count(), 2);
        assert!(cache.resume(second, 1, false).is_err());
        assert!(cache.resume(first, 2, false).is_ok() && cache.resume(third, 1, false).is_ok());
    }

    #[test]
    fn ids_are_positive_and_unique() {
        let cache = SessionCache::new(3);
        let mut drawn = [0, -5, -5, 9].into_iter();
        let mut draw = || drawn.next().unwrap();
        let first = cache.begin(Session::new(true), &mut draw).0;
        let second = cache.begin(Session::new(true), &mut draw).0;
        assert!(first > 0 && second == 9);
        assert_eq!(SessionCache::new(0).begin(Session::new(true), || 4).0, 0);
    }
}
