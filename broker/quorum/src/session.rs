//! This node's stream to the active controller: says that the node lives, and ends when either side does.
//!
//! Every node holds one, brokers and mere voters. Its end is what makes a crash known at once, on both sides:
//! the active controller sees that a broker is gone (`fencing`), the voters that the active controller is.

use std::sync::Arc;
use std::time::Duration;

use ottla_control::proto;
use ottla_types::{BrokerEpoch, BrokerId};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::backoff::Backoff;
use crate::node::Node;

/// How soon a broker that isn't in service yet says again that it lives.
const FENCED_PAUSE: Duration = Duration::from_millis(100);

/// How the active controller's side of a heartbeat is reached.
enum Way {
    /// This node is it.
    Here,
    /// Over a stream.
    There {
        requests: mpsc::Sender<proto::HeartbeatRequest>,
        answers: Box<tonic::Streaming<proto::HeartbeatResponse>>,
    },
}

/// Holds a stream to whoever is the active controller, until the node stops.
pub async fn hold(node: Arc<Node>) {
    let Some(running) = node.running.get() else { return };
    let mut stopping = node.stopping.subscribe();
    let streams = async {
        let mut backoff = Backoff::for_peers();
        loop {
            let mut server = running.raft.server_metrics();
            let metrics = server.borrow_and_update().clone();
            let Some((leader, address)) = node.leader_of(&metrics) else {
                // An error means that the consensus has ended.
                if server.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let replaced =
                async { server.wait_for(|server| server.current_leader != Some(leader)).await.is_ok() };
            let broken = async {
                let status = stream(&node, leader, &address, &mut backoff).await;
                tracing::debug!(%status, controller = leader.0, "the stream to the active controller ended");
                if leader != node.config.node_id {
                    // Any longer, and its silence is reason enough to stand.
                    let limit = node.config.tuning.election_timeout_min;
                    node.finds_gone(running, &metrics, limit).await;
                }
                backoff.pause().await;
            };
            tokio::select! {
                () = broken => {}
                goes_on = replaced => if !goes_on { return },
            }
        }
    };
    tokio::select! {
        () = streams => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

/// One stream, until it breaks.
async fn stream(node: &Node, leader: BrokerId, address: &str, backoff: &mut Backoff) -> Status {
    let mut way = match open(node, leader, address).await {
        Ok(way) => way,
        Err(status) => return status,
    };
    let mut epochs = node.broker_epoch.subscribe();
    loop {
        let epoch = *epochs.borrow_and_update();
        let limit = node.config.tuning.broker_session;
        let answer = match timeout(limit, beat(node, &mut way, epoch)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => return status,
            Err(_) => return Status::deadline_exceeded("the active controller is silent"),
        };
        backoff.reset();
        if answer.register {
            tracing::warn!(?epoch, "the active controller wants this broker to register again");
            node.broker_epoch.send_if_modified(|current| {
                let same = *current == epoch;
                if same {
                    *current = None;
                }
                same
            });
        }
        let pause = match epoch {
            Some(_) if answer.fenced => FENCED_PAUSE,
            _ => node.config.tuning.broker_heartbeat,
        };
        tokio::select! {
            () = sleep(pause) => {}
            status = broken(&mut way) => return status,
            _ = epochs.changed() => {}
        }
    }
}

async fn open(node: &Node, leader: BrokerId, address: &str) -> Result<Way, Status> {
    if leader == node.config.node_id {
        return Ok(Way::Here);
    }
    let (requests, waiting) = mpsc::channel(1);
    let call = async { node.peers.client(address)?.session(ReceiverStream::new(waiting)).await };
    let limit = node.config.tuning.broker_session;
    let answers =
        timeout(limit, call).await.map_err(|_| Status::deadline_exceeded("no stream came about"))??;
    Ok(Way::There { requests, answers: Box::new(answers.into_inner()) })
}

/// One heartbeat and its answer.
async fn beat(
    node: &Node,
    way: &mut Way,
    epoch: Option<BrokerEpoch>,
) -> Result<proto::HeartbeatResponse, Status> {
    let epoch = epoch.unwrap_or(BrokerEpoch(0));
    let Way::There { requests, answers } = way else {
        return node.heartbeat(node.config.node_id, epoch).await;
    };
    let request = proto::HeartbeatRequest {
        cluster_id: node.known_cluster_id(),
        broker_id: node.config.node_id.0,
        broker_epoch: epoch.0,
        metadata_version: node.image.borrow().version.0,
        quorum: node.quorum(),
    };
    let ended = || Status::unavailable("the other side ended the stream");
    requests.send(request).await.map_err(|_| ended())?;
    answers.message().await?.ok_or_else(ended)
}

/// Waits until the stream breaks, between two heartbeats.
async fn broken(way: &mut Way) -> Status {
    match way {
        Way::Here => std::future::pending().await,
        Way::There { answers, .. } => match answers.message().await {
            Err(status) => status,
            Ok(None) => Status::unavailable("the other side ended the stream"),
            Ok(Some(_)) => Status::internal("an answer without a heartbeat"),
        },
    }
}
