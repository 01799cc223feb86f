//! The active controller hands over before it goes, so that nobody has to miss it first.
//!
//! openraft 0.9 has no transfer of leadership, so it is put together from what there is. The active controller takes no
//! more commands, waits until a successor has all of its log, and stands down: it takes the vote of the successor's
//! next term for higher than its own, as if the successor had answered with it. Then it asks the successor to stand.
//! Its own vote and the successor's are a majority of three; with more voters the others vote once their promise to the
//! old one has run out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use ottla_types::BrokerId;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::elections::{Leadership, is_quorum};
use crate::network::STAND;
use crate::node::{Node, Running};
use crate::probe;
use crate::raft_types::{Member, RaftMetrics, Vote};

/// How long a hand-over may take in all.
const LIMIT: Duration = Duration::from_millis(600);

/// How often to look how far the successor is.
const LOOK: Duration = Duration::from_millis(2);

/// A successor answered not longer ago than this.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// "Stand for election: I have stood down."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// The leadership that ends.
    after: Leadership,
}

impl Node {
    /// Hands over, if this node is the active controller and one of `successors` (any voter, if none is named) can be it.
    /// Returns once there is another active controller, or the time is up.
    pub async fn hand_over(&self, running: &Running, successors: Option<&BTreeSet<BrokerId>>) {
        if !self.is_active() {
            return;
        }
        running.controller.set_open(false);
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
        let eligible = |id: &BrokerId| successors.is_none_or(|successors| successors.contains(id));
        let Some((successor, member)) = self.most_caught_up(&metrics, eligible) else { return Ok(None) };
        while running.raft.metrics().borrow().replication.as_ref().is_some_and(|replication| {
            let matched = replication.get(&successor).copied().flatten();
            matched.map(|log_id| log_id.index) < running.raft.metrics().borrow().last_log_index
        }) {
            sleep(LOOK).await;
        }
        self.stand_down(running, &metrics, successor).await?;
        let address = self.configured_addresses().remove(&successor).unwrap_or(member.addr);
        let stand = Stand { after: *metrics.vote.leader_id() };
        let () = self.peers.ask(&address, self.known_cluster_id(), member.identity, STAND, &stand).await?;
        let mut server = running.raft.server_metrics();
        let elected =
            server.wait_for(|server| server.current_leader.is_some_and(|id| id != self.config.node_id));
        elected.await.map_err(|_| Status::aborted("the consensus has ended"))?;
        Ok(Some(successor))
    }

    /// The voter that has the most of the log, of those that answer.
    fn most_caught_up(
        &self,
        metrics: &RaftMetrics,
        eligible: impl Fn(&BrokerId) -> bool,
    ) -> Option<(BrokerId, Member)> {
        let membership = metrics.membership_config.membership();
        let replication = metrics.replication.as_ref()?;
        let answers = |id: BrokerId, member: &Member| {
            self.contacts.answered_within(id, member.identity, ANSWERED_WITHIN)
        };
        let candidates = membership.voter_ids().filter(|id| *id != self.config.node_id && eligible(id));
        candidates
            .filter_map(|id| Some((id, membership.get_node(&id)?.clone())))
            .filter(|(id, member)| answers(*id, member))
            .max_by_key(|(id, _)| replication.get(id).copied().flatten())
    }

    /// Ends this node's leadership in favour of `successor`.
    async fn stand_down(
        &self,
        running: &Running,
        metrics: &RaftMetrics,
        successor: BrokerId,
    ) -> Result<(), Status> {
        let ended = |_| Status::aborted("the consensus has ended");
        running.stand_down.send_replace(Some(Vote::new(metrics.current_term + 1, successor)));
        // It doesn't stand itself before the successor had its time.
        running.elections.hear();
        running.raft.trigger().heartbeat().await.map_err(|error| Status::aborted(error.to_string()))?;
        let mut server = running.raft.server_metrics();
        let me = self.config.node_id;
        server.wait_for(|server| server.current_leader != Some(me)).await.map_err(ended)?;
        Ok(())
    }

    /// The active controller has stood down and asks this node to be it.
    pub async fn stand_now(&self, running: &Running, stand: &Stand) -> Result<(), Status> {
        if *self.leaving.borrow() {
            return Err(Status::failed_precondition("this node is stopping too"));
        }
        let metrics = running.raft.metrics().borrow().clone();
        if metrics.vote.leader_id() != &stand.after {
            return Err(Status::failed_precondition("this node follows another active controller"));
        }
        running.raft.trigger().elect().await.map_err(|error| Status::aborted(error.to_string()))
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
            let address = self.configured_addresses().remove(&id).unwrap_or_else(|| member.addr.clone());
            let there = id == self.config.node_id || probe::refuses(&address).await != Some(true);
            there.then_some(id)
        });
        let there: BTreeSet<BrokerId> = join_all(there).await.into_iter().flatten().collect();
        !is_quorum(membership.get_joint_config(), &there)
    }
}
