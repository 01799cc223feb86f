//! What others act upon is confirmed first: a node may have been the active controller, or up to date, only
//! until a moment ago. The active controller asks a majority of the voters whether it still is one, and says
//! up to where the metadata is committed; whoever answers waits until its own image is as far.

use std::time::Duration;

use ottla_control::proto;
use ottla_types::MetadataVersion;
use tokio::time::timeout;
use tonic::Status;

use crate::controller::Unavailable;
use crate::error::SubmitError;
use crate::node::{Node, unavailable};

/// How long the active controller waits to hear that it still is one.
const CONFIRM_LIMIT: Duration = Duration::from_secs(2);

impl Node {
    /// Up to where the metadata is committed, at least, if this node is the active controller still.
    ///
    /// # Errors
    /// `Unavailable` when it isn't, or doesn't hear so in time.
    pub async fn confirmed_here(&self) -> Result<MetadataVersion, Status> {
        let running = self.running()?;
        let not_active = || unavailable(&Unavailable::NotActive(None));
        if !self.is_active() {
            return Err(unavailable(&Unavailable::NotActive(self.active_controller())));
        }
        self.check_room(running)?;
        let confirmed = timeout(CONFIRM_LIMIT, running.raft.ensure_linearizable()).await;
        confirmed.map_err(|_| not_active())?.map_err(|_| not_active())?;
        Ok(self.image.borrow().version)
    }

    /// Waits until this node's image has all that was committed when it was called.
    ///
    /// # Errors
    /// When no active controller confirms that within `limit`.
    pub async fn confirm(&self, limit: Duration) -> Result<(), SubmitError> {
        let deadline = tokio::time::Instant::now() + limit;
        let version = self
            .at_the_active_controller(limit, |address| async move {
                let Some(address) = address else { return self.confirmed_here().await };
                let (cluster_id, quorum) = (self.known_cluster_id(), self.quorum());
                let request = proto::BarrierRequest { cluster_id, quorum };
                let answer = self.peers.client(&address)?.barrier(request).await?.into_inner();
                Ok(MetadataVersion(answer.metadata_version))
            })
            .await?;
        let reached = tokio::time::timeout_at(deadline, self.wait_for(version)).await;
        reached.map_err(|_| SubmitError::TimedOut(limit))
    }
}
