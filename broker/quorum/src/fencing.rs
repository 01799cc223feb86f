//! The active controller's side of liveness: who is gone or silent is fenced.
//!
//! A broker whose stream ended and whose port refuses connections has crashed: it is fenced at once.
//! Everybody else, frozen or cut off, is fenced after the session's time without a heartbeat. A new active
//! controller has no streams yet, so it asks all brokers in service whether they are gone: mostly its
//! predecessor is.
//!
//! Fencing somebody who lives costs a moment and no record: it is taken into service by its next heartbeat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_control::proto;
use ottla_core::metadata::{Command, FenceBroker};
use ottla_types::{BrokerEpoch, BrokerId};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tonic::{Status, Streaming};

use crate::backoff::Backoff;
use crate::node::{Node, Running};
use crate::probe;
use crate::raft_types::Vote;

/// How often the active controller looks for silent brokers.
const INTERVAL: Duration = Duration::from_millis(100);

type Answers = mpsc::Sender<Result<proto::HeartbeatResponse, Status>>;

/// Answers the heartbeats of one stream until it ends; then the broker is suspected.
pub async fn serve(node: Arc<Node>, mut requests: Streaming<proto::HeartbeatRequest>, answers: Answers) {
    let mut stopping = node.stopping.subscribe();
    let mut last = None;
    loop {
        let request = tokio::select! {
            request = requests.message() => request,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Ok(Some(request)) = request else { break };
        let (id, epoch) = (BrokerId(request.broker_id), BrokerEpoch(request.broker_epoch));
        let is_ours =
            node.check_cluster(&request.cluster_id).and_then(|_| node.check_quorum(request.quorum.as_ref()));
        let answer = match is_ours {
            Ok(()) => node.heartbeat(id, epoch).await,
            Err(status) => Err(status),
        };
        let refused = answer.is_err();
        if answers.send(answer).await.is_err() {
            last = Some((id, epoch));
            break;
        }
        if refused {
            return;
        }
        last = Some((id, epoch));
    }
    if let Some((id, epoch)) = last {
        suspect(&node, id, epoch).await;
    }
}

/// Fences a broker in service if its process is gone, and this node is the active controller.
async fn suspect(node: &Node, id: BrokerId, epoch: BrokerEpoch) {
    let Some(running) = node.running.get() else { return };
    let since = Instant::now();
    let address = {
        let image = node.image.borrow();
        let Some(broker) = image.broker(id).filter(|broker| broker.epoch == epoch && !broker.fenced) else {
            return;
        };
        broker.control_address.clone()
    };
    // After the session's time it is fenced for its silence.
    let is_gone = probe::is_gone(&address, node.config.tuning.broker_session, || {
        !node.is_active() || running.sessions.heard_since(id, epoch, since)
    });
    if !is_gone.await {
        return;
    }
    tracing::warn!(broker = id.0, epoch = epoch.0, address, "fencing a broker that is gone");
    let mut backoff = Backoff::for_peers();
    while node.is_active() && !*node.stopping.borrow() && !fence(running, id, epoch).await {
        backoff.pause().await;
    }
}

/// Whether it is decided: fenced, or of another registration by now.
async fn fence(running: &Running, id: BrokerId, epoch: BrokerEpoch) -> bool {
    let command = Command::FenceBroker(FenceBroker { id, epoch });
    let decided = running.controller.decide(command).await;
    if let Err(reason) = &decided {
        tracing::info!(%reason, broker = id.0, "a broker is not fenced yet");
    }
    decided.is_ok()
}

/// While this node is the active controller, fences the brokers of which nothing is heard.
pub async fn fence_the_silent(node: Arc<Node>) {
    let Some(running) = node.running.get() else { return };
    let mut stopping = node.stopping.subscribe();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        if !node.is_active() || running.room.is_short() {
            continue;
        }
        let image = node.image.borrow().clone();
        for (id, epoch) in running.sessions.silent(&image, Instant::now()) {
            tracing::warn!(broker = id.0, epoch = epoch.0, "fencing a broker that is silent");
            // Waiting here would make the next look late, which forgives everybody.
            let node = node.clone();
            let tasks = node.tasks.clone();
            tasks.spawn("fence a broker", async move {
                if let Some(running) = node.running.get() {
                    fence(running, id, epoch).await;
                }
            });
        }
    }
}

/// Each time this node becomes the active controller, fences the brokers that are gone.
pub async fn fence_the_gone(node: Arc<Node>) {
    let Some(running) = node.running.get() else { return };
    let mut stopping = node.stopping.subscribe();
    let mut server = running.raft.server_metrics();
    let each_time = async {
        let mut last: Option<Vote> = None;
        loop {
            let Ok(vote) = server
                .wait_for(|server| server.current_leader == Some(server.id) && last != Some(server.vote))
                .await
                .map(|server| server.vote)
            else {
                return;
            };
            last = Some(vote);
            suspect_all(&node);
            // Its image is complete once what was committed before it is: there may be others in it then.
            let mut backoff = Backoff::for_peers();
            while node.is_active() && running.raft.ensure_linearizable().await.is_err() {
                backoff.pause().await;
            }
            suspect_all(&node);
        }
    };
    tokio::select! {
        () = each_time => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

fn suspect_all(node: &Arc<Node>) {
    let image = node.image.borrow().clone();
    for broker in image.live_brokers().filter(|broker| broker.id != node.config.node_id) {
        let (node, id, epoch) = (node.clone(), broker.id, broker.epoch);
        let tasks = node.tasks.clone();
        tasks.spawn("suspect a broker", async move { suspect(&node, id, epoch).await });
    }
}
