//! This broker's place in the cluster: it registers, and says when it stops. That it lives, it says over its
//! stream to the active controller (`session`).

use std::sync::Arc;
use std::time::Duration;

use ottla_core::metadata::{Command, ControlledShutdown, FenceBroker, RegisterBroker, Reply};
use ottla_types::{BrokerEpoch, DirectoryId};

use crate::backoff::Backoff;
use crate::config::Registration;
use crate::error::SubmitError;
use crate::node::Node;

/// How long one try to register may take.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);

/// How long a stopping broker waits for the active controller.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(1_500);

/// Registers, again whenever the active controller wants that, until the node stops. See `session` for the
/// rest.
pub async fn run(node: Arc<Node>, registration: Registration, directory_id: DirectoryId) {
    let mut stopping = node.stopping.subscribe();
    let lives = async {
        loop {
            let epoch = register(&node, &registration, directory_id).await;
            node.broker_epoch.send_replace(Some(epoch));
            // The stream to the active controller takes the epoch away when it isn't good any more.
            let _ = node.broker_epoch.subscribe().wait_for(Option::is_none).await;
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
        clean_shutdown: registration.clean_shutdown,
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

/// Tells the active controller that this broker is about to stop: its leaderships move. Says how many stay.
pub async fn step_aside(node: &Node) -> Option<usize> {
    let epoch = (*node.broker_epoch.borrow())?;
    let id = node.config.node_id;
    let command = Command::ControlledShutdown(ControlledShutdown { id, epoch });
    match last_word(node, &command).await? {
        Reply::BrokerStopping { leading } => Some(leading),
        other => {
            tracing::error!(?other, "the active controller answered something else");
            None
        }
    }
}

/// Tells the active controller that this broker stops, so that its leaderships end or move at once.
pub async fn say_goodbye(node: &Node) {
    let Some(epoch) = *node.broker_epoch.borrow() else { return };
    if step_aside(node).await.is_some() {
        last_word(node, &Command::FenceBroker(FenceBroker { id: node.config.node_id, epoch })).await;
    }
}

async fn last_word(node: &Node, command: &Command) -> Option<Reply> {
    let submitted = tokio::select! {
        submitted = node.submit(command, SHUTDOWN_LIMIT) => submitted,
        // The last ones that stop together have nobody to tell.
        () = node.quorum_lost() => return None,
    };
    submitted
        .inspect_err(|reason| {
            tracing::info!(%reason, "the active controller did not hear that this broker stops; it will notice");
        })
        .ok()
}
