//! What the active controller does unasked: see `MetadataImage::chores`. A round a change of the metadata,
//! with a pause between rounds; the commands are decided as everybody's are.

use std::sync::Arc;
use std::time::Duration;

use crate::node::Node;

/// The pause between two rounds, as each looks at every partition.
const PAUSE: Duration = Duration::from_millis(500);

/// After this time there is a round even if nothing changed, as this node may only just be the active
/// controller.
const ROUND_INTERVAL: Duration = Duration::from_secs(5);

/// Does the chores while this node is the active controller, until it stops.
pub async fn tend(node: Arc<Node>) {
    let mut stopping = node.stopping.subscribe();
    tokio::select! {
        () = rounds(&node) => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

async fn rounds(node: &Node) {
    let Some(running) = node.running.get() else { return };
    let mut images = node.image.subscribe();
    loop {
        let _ = tokio::time::timeout(ROUND_INTERVAL, images.changed()).await;
        tokio::time::sleep(PAUSE).await;
        let image = images.borrow_and_update().clone();
        if !node.is_active() {
            continue;
        }
        for command in image.chores() {
            tracing::debug!(?command, "a chore of the active controller");
            if let Err(reason) = running.controller.decide(command).await {
                tracing::debug!(%reason, "a chore was not done: there will be another round");
            }
        }
    }
}
