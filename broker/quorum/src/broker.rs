//! This broker's place in the cluster: it registers, says that it lives, and says when it stops. And the active
//! controller's side of it: fencing those who are silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_control::proto;
use ottla_core::metadata::{Command, ControlledShutdown, FenceBroker, RegisterBroker, Reply};
use ottla_types::{BrokerEpoch, DirectoryId};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tonic::Status;

use crate::backoff::Backoff;
use crate::config::Registration;
use crate::error::SubmitError;
use crate::node::Node;

/// How long one try to register may take.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// How often the active controller looks for silent brokers.
const FENCING_INTERVAL: Duration = Duration::from_millis(100);

/// How long a stopping broker waits for the active controller.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(1_500);

/// Registers and goes on saying that the broker lives, until the node stops.
pub async fn run(node: Arc<Node>, registration: Registration, directory_id: DirectoryId) {
    let mut stopping = node.stopping.subscribe();
    let lives = async {
        loop {
            let epoch = register(&node, &registration, directory_id).await;
            node.broker_epoch.send_replace(Some(epoch));
            heartbeats(&node, epoch).await;
            tracing::warn!(epoch = epoch.0, "the active controller wants this broker to register again");
        }
    };
    tokio::select! {
        () = lives => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

async fn register(node: &Node, registration: &Registration, directory_id: DirectoryId) -> BrokerEpoch {
    let command = Command::RegisterBroker(RegisterBroker {
        id: node.config.node_id,
        incarnation: registration.incarnation,
        directory_id,
        listeners: registration.listeners.clone(),
        control_address: node.config.control_address.clone(),
        rack: registration.rack.clone(),
        clean_shutdown: false,
        min_insync_replicas: registration.min_insync_replicas,
        default_replication_factor: registration.default_replication_factor,
        acks_written: registration.acks_written,
    });
    let mut backoff = Backoff::for_peers();
    loop {
        match node.submit(&command, REGISTER_LIMIT).await {
            Ok(Reply::BrokerRegistered(epoch)) => {
                tracing::info!(epoch = epoch.0, "registered with the active controller");
                return epoch;
            }
            Ok(other) => tracing::error!(?other, "the active controller answered something else"),
            Err(SubmitError::Rejected(reason)) => {
                tracing::warn!(%reason, "registration refused, trying again")
            }
            Err(reason) => tracing::warn!(%reason, "not registered yet, trying again"),
        }
        backoff.pause().await;
    }
}

/// Says that the broker lives until it is told to register again.
async fn heartbeats(node: &Node, epoch: BrokerEpoch) {
    let pause = node.config.tuning.broker_heartbeat;
    let mut backoff = Backoff::for_peers();
    loop {
        match timeout(pause, heartbeat(node, epoch)).await {
            Ok(Ok(answer)) if answer.register => return,
            // In service: all is well.
            Ok(Ok(answer)) if !answer.fenced => {
                backoff.reset();
                sleep(pause).await;
                continue;
            }
            Ok(Err(status)) => tracing::debug!(%status, "no active controller takes the heartbeat"),
            Ok(Ok(_)) | Err(_) => {}
        }
        backoff.pause().await;
    }
}

async fn heartbeat(node: &Node, epoch: BrokerEpoch) -> Result<proto::HeartbeatResponse, Status> {
    let unknown = || Status::unavailable("no active controller is known");
    let (leader, address) = node.leader().ok_or_else(unknown)?;
    if leader == node.config.node_id {
        return node.heartbeat(node.config.node_id, epoch).await;
    }
    let request = proto::HeartbeatRequest {
        cluster_id: node.cluster_id.borrow().unwrap_or_default().to_string(),
        broker_id: node.config.node_id.0,
        broker_epoch: epoch.0,
        metadata_version: node.image.borrow().version.0,
    };
    Ok(node.peers.client(&address)?.heartbeat(request).await?.into_inner())
}

/// Tells the active controller that this broker stops, so that its leaderships end or move at once.
pub async fn say_goodbye(node: &Node) {
    let Some(epoch) = *node.broker_epoch.borrow() else { return };
    let id = node.config.node_id;
    let commands = [
        Command::ControlledShutdown(ControlledShutdown { id, epoch }),
        Command::FenceBroker(FenceBroker { id, epoch }),
    ];
    for command in commands {
        if let Err(reason) = node.submit(&command, SHUTDOWN_LIMIT).await {
            tracing::info!(%reason, "the active controller did not hear that this broker stops; it will notice");
            return;
        }
    }
}

/// While this node is the active controller, fences the brokers of which nothing is heard.
pub async fn fence_silent_brokers(node: Arc<Node>) {
    let mut stopping = node.stopping.subscribe();
    let mut ticks = interval(FENCING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let Some(running) = node.running.get() else { continue };
        if node.active_controller() != Some(node.config.node_id) {
            continue;
        }
        let image = node.image.borrow().clone();
        for (id, epoch) in running.sessions.silent(&image, Instant::now()) {
            tracing::warn!(broker = id.0, epoch = epoch.0, "fencing a broker that is silent");
            let command = Command::FenceBroker(FenceBroker { id, epoch });
            // Waiting here would make the next look late, which forgives everybody.
            let controller = running.controller.clone();
            tokio::spawn(async move {
                if let Err(reason) = controller.decide(command).await {
                    tracing::debug!(%reason, "a silent broker is not fenced yet");
                }
            });
        }
    }
}
