//! The active controller hands over before it goes, so that nobody has to miss it first.
//!
//! openraft 0.9 has no transfer of leadership, so it is put together from what there is. The active
//! controller takes no more commands, waits until a successor has all of its log, and stands down: it takes
//! the vote of the successor's next term for higher than its own, as if the successor had answered with it.
//! Then it asks the successor to stand. Its own vote and the successor's are a majority of three; with more
//! voters the others vote once their promise to the old one has run out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use ottla_types::BrokerId;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::elections::{Leadership, is_quorum};
use crate::network::STAND;
use crate::node::{Departure, Node, Running};
use crate::probe;
use crate::raft_types::{Member, RaftMetrics, Vote};

/// How long a hand-over may take in all; it mostly takes some milliseconds.
const LIMIT: Duration = Duration::from_millis(1_500);

/// How long a possible successor may take to say whether it would.
const ASK_LIMIT: Duration = Duration::from_millis(200);

/// How often to look how far the successor is.
const LOOK: Duration = Duration::from_millis(2);

/// What the active controller says to a possible successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stand {
    /// "Would you stand for election, after this leadership?"
    Would(Leadership),
    /// "Stand: I have stood down."
    Now(Leadership),
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It would, or does.
    Yes,
    /// It stops too, and still has to say so to the active controller.
    SayingGoodbye,
    /// It can't.
    No,
}

impl Node {
    /// Hands over, if this node is the active controller and one of `successors` (any voter, if none is
    /// named) can be it. Returns once there is another active controller, or the time is up.
    pub async fn hand_over(&self, running: &Running, successors: Option<&BTreeSet<BrokerId>>) {
        if !self.is_active() {
            return;
        }
        let began = Instant::now();
        match timeout(LIMIT, self.try_to_hand_over(running, successors)).await {
            Ok(Ok(Some(successor))) => {
                tracing::info!(successor = successor.0, ms = began.elapsed().as_millis(), "handed over");
            }
            Ok(Ok(None)) => tracing::debug!("there is nobody to hand over to"),
            Ok(Err(status)) => tracing::info!(%status, "nobody took over yet"),
            Err(_) => tracing::info!("nobody took over in time"),
        }
        running.stand_down.send_replace(None);
        running.controller.set_open(true);
    }

    async fn try_to_hand_over(
        &self,
        running: &Running,
        successors: Option<&BTreeSet<BrokerId>>,
    ) -> Result<Option<BrokerId>, Status> {
        let metrics = running.raft.metrics().borrow().clone();
        let Some((successor, member)) = self
            .willing_successor(&metrics, |id| successors.is_none_or(|successors| successors.contains(id)))
            .await
        else {
            return Ok(None);
        };
        running.controller.set_open(false);
        let is_behind = |metrics: &RaftMetrics| {
            let matched = metrics.replication.as_ref().and_then(|all| *all.get(&successor)?);
            metrics.replication.is_some() && matched.map(|log_id| log_id.index) < metrics.last_log_index
        };
        while is_behind(&running.raft.metrics().borrow()) {
            sleep(LOOK).await;
        }
        self.stand_down(running, &metrics, successor).await?;
        match self.ask_to_stand(successor, &member, Stand::Now(*metrics.vote.leader_id())).await {
            Standing::Yes => {}
            Standing::SayingGoodbye | Standing::No => {
                return Err(Status::unavailable(format!("node {successor} can't take over any more")));
            }
        }
        let mut server = running.raft.server_metrics();
        let elected =
            server.wait_for(|server| server.current_leader.is_some_and(|id| id != self.config.node_id));
        elected.await.map_err(|_| Status::aborted("the consensus has ended"))?;
        Ok(Some(successor))
    }

    /// The voter that has the most of the log, of those that would take over. Waits for those that stop and
    /// are not done with it: they need this node.
    async fn willing_successor(
        &self,
        metrics: &RaftMetrics,
        eligible: impl Fn(&BrokerId) -> bool,
    ) -> Option<(BrokerId, Member)> {
        let membership = metrics.membership_config.membership();
        let matched = |id: &BrokerId| metrics.replication.as_ref().and_then(|all| *all.get(id)?);
        let mut candidates: Vec<(BrokerId, Member)> = membership
            .voter_ids()
            .filter(|id| *id != self.config.node_id && eligible(id))
            .filter_map(|id| Some((id, membership.get_node(&id)?.clone())))
            .collect();
        candidates.sort_by_key(|(id, _)| std::cmp::Reverse(matched(id)));
        loop {
            let asked = candidates
                .iter()
                .map(|(id, member)| self.ask_to_stand(*id, member, Stand::Would(*metrics.vote.leader_id())));
            let answers = join_all(asked).await;
            if let Some(willing) = answers.iter().position(|answer| *answer == Standing::Yes) {
                return Some(candidates.swap_remove(willing));
            }
            if !answers.contains(&Standing::SayingGoodbye) {
                return None;
            }
            sleep(LOOK).await;
        }
    }

    async fn ask_to_stand(&self, id: BrokerId, member: &Member, stand: Stand) -> Standing {
        let address = self.addresses.of(id, &member.addr);
        let asked = self.peers.ask(&address, self.sender(), member.identity, STAND, &stand);
        match timeout(ASK_LIMIT, asked).await {
            Ok(Ok(standing)) => standing,
            Ok(Err(_)) | Err(_) => Standing::No,
        }
    }

    /// Ends this node's leadership in favour of `successor`.
    async fn stand_down(
        &self,
        running: &Running,
        metrics: &RaftMetrics,
        successor: BrokerId,
    ) -> Result<(), Status> {
        running.stand_down.send_replace(Some(Vote::new(metrics.current_term + 1, successor)));
        // It doesn't stand itself before the successor had its time.
        running.elections.hear();
        running.raft.trigger().heartbeat().await.map_err(|error| Status::aborted(error.to_string()))?;
        let mut server = running.raft.server_metrics();
        let me = self.config.node_id;
        server
            .wait_for(|server| server.current_leader != Some(me))
            .await
            .map_err(|_| Status::aborted("the consensus has ended"))?;
        Ok(())
    }

    /// The active controller asks whether this node would take over, or says that it is to.
    pub async fn stand_as_asked(&self, running: &Running, stand: Stand) -> Result<Standing, Status> {
        let (Stand::Would(after) | Stand::Now(after)) = stand;
        let follows = *running.raft.server_metrics().borrow().vote.leader_id() == after;
        let departure = *self.departure.borrow();
        match stand {
            _ if !follows || departure == Departure::Leaves => Ok(Standing::No),
            Stand::Would(_) if departure == Departure::SayingGoodbye => Ok(Standing::SayingGoodbye),
            Stand::Would(_) => Ok(Standing::Yes),
            Stand::Now(_) => {
                running.elections.wait_for_election();
                let stood = running.raft.trigger().elect().await;
                stood.map(|()| Standing::Yes).map_err(|error| Status::aborted(error.to_string()))
            }
        }
    }

    /// Waits until too few voters are left for a quorum: then nobody is to be waited for.
    pub async fn quorum_lost(&self) {
        while !self.is_without_quorum().await {
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_without_quorum(&self) -> bool {
        let Some(metrics) = self.metrics() else { return false };
        let membership = metrics.membership_config.membership();
        let there = membership.voter_ids().map(|id| async move {
            let member = membership.get_node(&id)?;
            let address = self.addresses.of(id, &member.addr);
            let there = id == self.config.node_id || probe::refuses(&address).await != Some(true);
            there.then_some(id)
        });
        let there: BTreeSet<BrokerId> = join_all(there).await.into_iter().flatten().collect();
        !is_quorum(membership.get_joint_config(), &there)
    }
}
