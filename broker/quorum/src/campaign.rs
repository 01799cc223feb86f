//! When a voter stands for election.
//!
//! openraft elects; when to, is decided here. A voter stands when it hears nothing from the active controller
//! for too long, or knows that its process is gone. Before that it canvasses: it asks all voters whether they
//! would vote for it, which changes nothing anywhere. So a voter that comes back, was frozen or cut off never
//! unseats an active controller that the others hear, and terms count elections only. A voter would vote for
//! a log that is no shorter than its own, once it has itself heard nothing for a while, or has found for
//! itself that the process is gone.
//!
//! Of several who have a reason at the same time one stands: whoever says yes to another waits for that one's
//! election, and a voter that is canvassing itself says yes only to a longer log or a higher id. Nothing here
//! is about safety; openraft keeps every promise that it makes on disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_types::BrokerId;
use tokio::time::{sleep, timeout};

use crate::backoff::{Backoff, fraction};
use crate::elections::{Canvass, Canvassed, ELECTION_LIMIT, LEASE, followed, is_quorum};
use crate::network::CANVASS;
use crate::node::{Departure, Node, Running};
use crate::probe;
use crate::raft_types::{Member, RaftServerMetrics};

/// How long a voter may take to answer a canvass. It may have to ask whether the active controller is gone.
const CANVASS_LIMIT: Duration = Duration::from_millis(500);

/// How long a voter that is canvassed asks whether the active controller is gone.
const ASKED_GONE_LIMIT: Duration = Duration::from_millis(200);

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

    /// Asks for itself, for at most so long, whether the process of the active controller is gone, and
    /// remembers it.
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

/// Stands for election whenever there is a reason, as long as this node votes, until it stops.
pub async fn stand(node: Arc<Node>) {
    let Some(running) = node.running.get() else { return };
    let mut departure = node.departure.subscribe();
    let campaigns = async {
        let mut backoff = Backoff::new(Duration::from_millis(20), LEASE);
        while let Some(metrics) = reason(&node, running, &mut backoff).await {
            running.elections.set_campaigning(true);
            if let Some(wait) = node.canvass(running, &metrics).await {
                sleep(wait).await;
                elect(running, &metrics).await;
            }
            running.elections.set_campaigning(false);
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
            () = running.elections.found_gone() => {}
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
