//! When the other nodes last answered the active controller. For people and for promoting learners, never for
//! safety.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ottla_types::BrokerId;

use crate::raft_types::Identity;

/// A moment on both clocks: the one to measure by and the one to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    at: Instant,
    unix_ms: i64,
}

impl Moment {
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { at: Instant::now(), unix_ms: i64::try_from(unix.as_millis()).unwrap_or(i64::MAX) }
    }

    /// In ms since 1970.
    pub fn unix_ms(&self) -> i64 {
        self.unix_ms
    }
}

/// What a node answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    identity: Identity,
    /// The last message that it took was sent then.
    pub answered: Moment,
    /// The last message after which it had everything that was committed was sent then.
    pub caught_up: Option<Moment>,
}

/// The last answers of the other nodes.
#[derive(Default)]
pub struct Contacts(Mutex<HashMap<BrokerId, Contact>>);

impl Contacts {
    /// The node took a message that was sent at `sent`.
    pub fn answered(&self, id: BrokerId, identity: Identity, sent: Moment, caught_up: bool) {
        let mut contacts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = contacts.get(&id).filter(|contact| contact.identity == identity);
        let caught_up = if caught_up { Some(sent) } else { before.and_then(|contact| contact.caught_up) };
        contacts.insert(id, Contact { identity, answered: sent, caught_up });
    }

    /// What this log of the node answered.
    pub fn of(&self, id: BrokerId, identity: Identity) -> Option<Contact> {
        let contacts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.get(&id).copied().filter(|contact| contact.identity == identity)
    }

    /// Whether this log of the node answered a message that was sent not longer than `limit` ago.
    pub fn answered_within(&self, id: BrokerId, identity: Identity, limit: Duration) -> bool {
        self.of(id, identity).is_some_and(|contact| contact.answered.at.elapsed() <= limit)
    }

    /// Whether this log of the node had everything that was committed not longer than `limit` ago.
    pub fn caught_up_within(&self, id: BrokerId, identity: Identity, limit: Duration) -> bool {
        let caught_up = self.of(id, identity).and_then(|contact| contact.caught_up);
        caught_up.is_some_and(|moment| moment.at.elapsed() <= limit)
    }
}
