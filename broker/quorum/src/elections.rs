//! When a voter stands for election.
//!
//! openraft elects; when to, is decided here. A voter stands when it hears nothing from the active controller for too
//! long, or knows that its process is gone. Before that it canvasses: it asks all voters whether they would vote for it,
//! which changes nothing anywhere. So a voter that comes back, was frozen or cut off never unseats an active controller
//! that the others hear, and terms count elections only. A voter would vote for a log that is no shorter than its own,
//! once it has itself heard nothing for a while, or has found for itself that the process is gone.
//!
//! Of several who have a reason at the same time one stands: whoever says yes to another waits for that one's election,
//! and a voter that is canvassing itself says yes only to a longer log or a higher id. Nothing here is about safety;
//! openraft keeps every promise that it makes on disk.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ottla_types::BrokerId;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::backoff::{Backoff, fraction};
use crate::handover::Departure;
use crate::network::CANVASS;
use crate::node::{Node, Running};
use crate::probe;
use crate::raft_types::{LogId, Member, RaftServerMetrics, Vote};

/// For how long after a message of the active controller openraft votes for nobody else, and how long a request for a
/// vote may take.
pub const LEASE: Duration = Duration::from_millis(250);

/// How long a voter may take to answer a canvass. It may have to ask whether the active controller is gone.
const CANVASS_LIMIT: Duration = Duration::from_millis(500);

/// How long a voter that is canvassed asks whether the active controller is gone.
const ASKED_GONE_LIMIT: Duration = Duration::from_millis(200);

/// How long an election may take before the next one is thought of.
const ELECTION_LIMIT: Duration = Duration::from_millis(500);

/// A leadership: the term and the node.
pub type Leadership = openraft::LeaderId<BrokerId>;

/// "Would you vote for me?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canvass {
    /// The asker.
    candidate: BrokerId,
    /// The last entry of the asker's log.
    last_log: Option<LogId>,
    /// The leadership whose process the asker found gone.
    gone: Option<Leadership>,
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
    fn is_gone(&self, leadership: Leadership) -> bool {
        let before = self.lock().gone.replace(leadership);
        self.changed.notify_one();
        before != Some(leadership)
    }

    /// An election is under way: it gets the time that it may take.
    pub fn wait_for_election(&self) {
        self.lock().yields = Some(Instant::now() + ELECTION_LIMIT);
    }

    /// Waits for another one's election, unless this node's own is under way and it is the better candidate.
    fn yield_to(&self, is_better: bool, for_at_most: Duration) -> bool {
        let mut state = self.lock();
        let yields = is_better || !state.campaigning;
        if yields {
            state.yields = Some(Instant::now() + for_at_most);
        }
        yields
    }

    /// How long another one's election is still waited for.
    fn yielding(&self) -> Duration {
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
    fn silence(&self, leadership: Option<Leadership>) -> Option<Duration> {
        let state = self.lock();
        let gone = state.gone.is_some() && state.gone == leadership;
        state.heard.filter(|_| !gone).map(|heard| heard.elapsed())
    }

    fn gone(&self) -> Option<Leadership> {
        self.lock().gone
    }

    /// What is left of the time in which openraft votes for nobody else.
    fn lease_left(&self) -> Duration {
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

impl Node {
    /// Whether this node would vote for the one that asks.
    pub async fn canvassed(&self, running: &Running, canvass: &Canvass) -> Canvassed {
        let metrics = running.raft.server_metrics().borrow().clone();
        let last_log = running.raft.data_metrics().borrow().last_log;
        if canvass.last_log < last_log || metrics.current_leader == Some(self.config.node_id) {
            return Canvassed::No;
        }
        let followed = followed(&metrics);
        let enough = self.config.tuning.election_timeout_min * 2 / 3;
        if running.elections.silence(followed).is_some_and(|silence| silence < enough) {
            // It is heard here. Is it gone all the same?
            let may_be = followed.is_some() && canvass.gone == followed;
            if !may_be || !self.finds_gone(running, &metrics, ASKED_GONE_LIMIT).await {
                return Canvassed::No;
            }
        }
        let left = running.elections.lease_left();
        let is_better = (&canvass.last_log, canvass.candidate) > (&last_log, self.config.node_id);
        if !running.elections.yield_to(is_better, left + ELECTION_LIMIT) {
            return Canvassed::No;
        }
        Canvassed::Yes(u64::try_from(left.as_millis()).unwrap_or(u64::MAX) + u64::from(!left.is_zero()))
    }

    /// Asks for itself, for at most so long, whether the process of the active controller is gone, and remembers it.
    pub async fn finds_gone(
        &self,
        running: &Running,
        metrics: &RaftServerMetrics,
        for_at_most: Duration,
    ) -> bool {
        let (Some(leadership), Some((_, address))) = (followed(metrics), self.leader_of(metrics)) else {
            return false;
        };
        let since = Instant::now();
        let gone = probe::is_gone(&address, for_at_most, || running.elections.heard_since(since)).await;
        if !gone || running.elections.heard_since(since) {
            return false;
        }
        if running.elections.is_gone(leadership) {
            tracing::info!(controller = leadership.node_id.0, address, "the active controller is gone");
        }
        true
    }

    /// Asks all voters whether they would vote for this node. If enough would, after which time.
    async fn canvass(&self, running: &Running, metrics: &RaftServerMetrics) -> Option<Duration> {
        let membership = metrics.membership_config.membership();
        let canvass = Canvass {
            candidate: self.config.node_id,
            last_log: running.raft.data_metrics().borrow().last_log,
            gone: running.elections.gone(),
        };
        let mut open: futures::stream::FuturesUnordered<_> = membership
            .voter_ids()
            .filter_map(|id| Some((id, membership.get_node(&id)?.clone())))
            .map(|(id, member)| self.ask_for_vote(id, member, &canvass))
            .collect();
        let (mut granted, mut wait) = (BTreeSet::new(), Duration::ZERO);
        while let Some((id, answer)) = futures::StreamExt::next(&mut open).await {
            if let Canvassed::Yes(after_ms) = answer {
                granted.insert(id);
                wait = wait.max(Duration::from_millis(after_ms).min(LEASE));
            }
            if is_quorum(membership.get_joint_config(), &granted) {
                return Some(wait);
            }
        }
        None
    }

    async fn ask_for_vote(&self, id: BrokerId, member: Member, canvass: &Canvass) -> (BrokerId, Canvassed) {
        if id == self.config.node_id {
            return (id, Canvassed::Yes(0));
        }
        let address = self.addresses.of(id, &member.addr);
        let asked = self.peers.ask(&address, self.sender(), member.identity, CANVASS, canvass);
        match timeout(CANVASS_LIMIT, asked).await {
            Ok(Ok(answer)) => (id, answer),
            Ok(Err(_)) | Err(_) => (id, Canvassed::No),
        }
    }
}

/// Whether `granted` holds a majority of each set of voters: one set, or two while they change.
pub fn is_quorum(configs: &[BTreeSet<BrokerId>], granted: &BTreeSet<BrokerId>) -> bool {
    configs.iter().all(|config| config.intersection(granted).count() * 2 > config.len())
}

/// Stands for election whenever there is a reason, as long as this node votes, until it stops.
pub async fn stand(node: Arc<Node>) {
    let Some(running) = node.running.get() else { return };
    let mut departure = node.departure.subscribe();
    let campaigns = async {
        let mut backoff = Backoff::new(Duration::from_millis(20), LEASE);
        while let Some(metrics) = reason(&node, running, &mut backoff).await {
            running.elections.lock().campaigning = true;
            if let Some(wait) = node.canvass(running, &metrics).await {
                sleep(wait).await;
                elect(running, &metrics).await;
            }
            running.elections.lock().campaigning = false;
            backoff.pause().await;
        }
    };
    tokio::select! {
        () = campaigns => {}
        _ = departure.wait_for(|departure| *departure == Departure::Leaves) => {}
    }
}

/// Waits until this voter has a reason to stand; none when the consensus has ended.
async fn reason(node: &Node, running: &Running, backoff: &mut Backoff) -> Option<RaftServerMetrics> {
    let tuning = &node.config.tuning;
    let spread = tuning.election_timeout_max.saturating_sub(tuning.election_timeout_min);
    let patience = tuning.election_timeout_min + spread.mul_f64(fraction());
    let mut server = running.raft.server_metrics();
    loop {
        let metrics = server.borrow_and_update().clone();
        let voter = metrics.membership_config.membership().voter_ids().any(|id| id == metrics.id);
        let left = if !voter || metrics.current_leader == Some(metrics.id) {
            Duration::MAX
        } else {
            let silence = running.elections.silence(followed(&metrics));
            let silent = silence.map_or(Duration::ZERO, |silence| patience.saturating_sub(silence));
            silent.max(running.elections.yielding())
        };
        if left.is_zero() {
            return Some(metrics);
        }
        backoff.reset();
        tokio::select! {
            changed = server.changed() => changed.ok()?,
            () = running.elections.changed.notified() => {}
            () = sleep(left.min(tuning.election_timeout_max)) => {}
        }
    }
}

/// Has openraft elect this node, unless somebody was elected meanwhile, and waits for the outcome.
async fn elect(running: &Running, before: &RaftServerMetrics) {
    let mut server = running.raft.server_metrics();
    let has_changed = server.borrow_and_update().vote != before.vote;
    if has_changed || !running.elections.yielding().is_zero() || running.room.is_short() {
        return;
    }
    tracing::info!(after = %before.vote, "standing for election");
    if let Err(error) = running.raft.trigger().elect().await {
        tracing::error!(%error, "the metadata quorum has stopped");
        return;
    }
    let decided = server.wait_for(|server| server.vote != before.vote && server.current_leader.is_some());
    let _ = timeout(ELECTION_LIMIT, decided).await;
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
