//! What went wrong lately: topics whose leaders are to be looked up, leaders that are left alone for a while,
//! and an error that the caller hasn't heard of yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::ClientError;
use crate::client::Pause;

/// The troubles of one consumer. Those that may pass are tried again, others and lasting ones told.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Topics whose leaders have to be looked up anew.
    stale: BTreeSet<Arc<str>>,
    /// When they are looked up.
    look_up_at: Option<Instant>,
    /// Leaders that get no Fetch until then.
    held_back: BTreeMap<i32, Instant>,
    pause: Pause,
    /// Since when nothing but failures came.
    since: Option<Instant>,
    untold: Option<ClientError>,
}

impl Trouble {
    /// Notes a failure with a topic. One that can't pass, or has lasted for `retry_timeout`, is kept to be
    /// told.
    pub(super) fn note(&mut self, topic: &Arc<str>, error: ClientError, retry_timeout: Duration) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !error.is_retriable() || since.elapsed() > retry_timeout {
            self.since = None;
            self.untold.get_or_insert(error);
            return;
        }
        tracing::debug!(topic = &**topic, %error, "fetching again");
        self.stale.insert(topic.clone());
        if self.look_up_at.is_none() {
            self.look_up_at = Some(Instant::now() + self.pause.take());
        }
    }

    /// Leaves a leader alone until the leaders have been looked up.
    pub(super) fn hold_back(&mut self, leader_id: i32) {
        let until = self.look_up_at.unwrap_or_else(Instant::now);
        self.held_back.insert(leader_id, until);
    }

    /// Whether a leader is left alone now.
    pub(super) fn is_held_back(&self, leader_id: i32) -> bool {
        self.held_back.get(&leader_id).is_some_and(|until| *until > Instant::now())
    }

    /// Records came: the next failure is a new one.
    pub(super) fn over(&mut self) {
        self.since = None;
        if self.stale.is_empty() {
            self.pause = Pause::default();
        }
    }

    /// The topics to be looked up now, if it is time.
    pub(super) fn due(&mut self) -> BTreeSet<Arc<str>> {
        if self.look_up_at.is_none_or(|at| at > Instant::now()) {
            return BTreeSet::new();
        }
        self.look_up_at = None;
        std::mem::take(&mut self.stale)
    }

    /// When to look again, at the latest at `deadline`.
    pub(super) fn next_look(&self, deadline: Instant) -> Instant {
        self.look_up_at.map_or(deadline, |at| at.min(deadline))
    }

    /// An error that the caller hasn't heard of.
    ///
    /// # Errors
    /// That one, once.
    pub(super) fn tell(&mut self) -> Result<(), ClientError> {
        self.untold.take().map_or(Ok(()), Err)
    }
}
