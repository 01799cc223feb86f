//! What a voter knows of the active controller's life, and whose election it waits for.
//!
//! Not here: what it does by that; see `campaign`.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ottla_types::BrokerId;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::raft_types::{LogId, RaftServerMetrics, Vote};

/// For how long after a message of the active controller openraft votes for nobody else, and how long a
/// request for a vote may take.
pub const LEASE: Duration = Duration::from_millis(250);

/// How long an election may take before the next one is thought of.
pub const ELECTION_LIMIT: Duration = Duration::from_millis(500);

/// A leadership: the term and the node.
pub type Leadership = openraft::LeaderId<BrokerId>;

/// "Would you vote for me?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canvass {
    /// The asker.
    pub candidate: BrokerId,
    /// The last entry of the asker's log.
    pub last_log: Option<LogId>,
    /// The leadership whose process the asker found gone.
    pub gone: Option<Leadership>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Canvassed {
    /// No: it hears an active controller, or knows more.
    No,
    /// Yes, after so many milliseconds.
    Yes(u64),
}

/// What this node knows of the active controller's life.
#[derive(Default)]
pub struct Elections {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// When a message of an active controller was last taken; none in this life of the node yet.
    heard: Option<Instant>,
    /// The leadership whose process is gone.
    gone: Option<Leadership>,
    /// Until when another one's election is waited for.
    yields: Option<Instant>,
    /// Whether this node is canvassing or standing.
    campaigning: bool,
}

impl Elections {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of the active controller was taken.
    pub fn hear(&self) {
        let mut state = self.lock();
        (state.heard, state.gone, state.yields) = (Some(Instant::now()), None, None);
    }

    /// The process of an active controller is gone. Whether that is news.
    pub fn is_gone(&self, leadership: Leadership) -> bool {
        let before = self.lock().gone.replace(leadership);
        self.changed.notify_one();
        before != Some(leadership)
    }

    /// This node begins or ends to canvass and to stand.
    pub fn set_campaigning(&self, campaigning: bool) {
        self.lock().campaigning = campaigning;
    }

    /// Waits until a process of an active controller is found gone.
    pub async fn found_gone(&self) {
        self.changed.notified().await;
    }

    /// An election is under way: it gets the time that it may take.
    pub fn wait_for_election(&self) {
        self.lock().yields = Some(Instant::now() + ELECTION_LIMIT);
    }

    /// Waits for another one's election, unless this node's own is under way and it is the better candidate.
    pub fn yield_to(&self, is_better: bool, for_at_most: Duration) -> bool {
        let mut state = self.lock();
        let yields = is_better || !state.campaigning;
        if yields {
            state.yields = Some(Instant::now() + for_at_most);
        }
        yields
    }

    /// How long another one's election is still waited for.
    pub fn yielding(&self) -> Duration {
        self.lock().yields.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Whether a message of an active controller was taken after `since`.
    pub fn heard_since(&self, since: Instant) -> bool {
        self.lock().heard.is_some_and(|heard| heard > since)
    }

    /// Whether a message of an active controller was taken not longer than `limit` ago.
    pub fn heard_within(&self, limit: Duration) -> bool {
        self.lock().heard.is_some_and(|heard| heard.elapsed() <= limit)
    }

    /// How long nothing was heard; none if nothing ever was, or if who was heard is gone.
    pub fn silence(&self, leadership: Option<Leadership>) -> Option<Duration> {
        let state = self.lock();
        let gone = state.gone.is_some() && state.gone == leadership;
        state.heard.filter(|_| !gone).map(|heard| heard.elapsed())
    }

    /// The leadership whose process is gone, if one is known.
    pub fn gone(&self) -> Option<Leadership> {
        self.lock().gone
    }

    /// What is left of the time in which openraft votes for nobody else.
    pub fn lease_left(&self) -> Duration {
        self.lock().heard.map_or(Duration::ZERO, |heard| LEASE.saturating_sub(heard.elapsed()))
    }
}

/// The leadership that a node follows.
pub fn followed(metrics: &RaftServerMetrics) -> Option<Leadership> {
    leadership(&metrics.vote)
}

fn leadership(vote: &Vote) -> Option<Leadership> {
    vote.is_committed().then_some(*vote.leader_id())
}

/// Whether `granted` holds a majority of each set of voters: one set, or two while they change.
pub fn is_quorum(configs: &[BTreeSet<BrokerId>], granted: &BTreeSet<BrokerId>) -> bool {
    configs.iter().all(|config| config.intersection(granted).count() * 2 > config.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> BTreeSet<BrokerId> {
        text.split_whitespace().map(|id| BrokerId(id.parse().unwrap())).collect()
    }

    #[test]
    fn a_quorum_is_a_majority_of_each_set_of_voters() {
        let check = |configs: &[&str], granted: &str, expected: bool| {
            let configs: Vec<_> = configs.iter().copied().map(ids).collect();
            assert_eq!(is_quorum(&configs, &ids(granted)), expected, "{granted:?} of {configs:?}");
        };
        check(&["1"], "1", true);
        check(&["1 2 3"], "1", false);
        check(&["1 2 3"], "1 3", true);
        check(&["1 2"], "2", false);
        check(&["1 2 3", "3 4 5"], "1 2 3", false);
        check(&["1 2 3", "3 4 5"], "1 3 4", true);
    }

    #[test]
    fn only_the_leadership_that_is_gone_counts_as_silent_at_once() {
        let (one, two) = (Leadership::new(4, BrokerId(1)), Leadership::new(5, BrokerId(2)));
        let elections = Elections::default();
        assert_eq!(elections.silence(Some(one)), None, "never heard");
        elections.hear();
        elections.is_gone(one);
        assert_eq!(elections.silence(Some(one)), None);
        assert!(elections.silence(Some(two)).is_some() && elections.silence(None).is_some());
        elections.hear();
        assert!(elections.silence(Some(one)).is_some(), "it is there again");
    }
}
