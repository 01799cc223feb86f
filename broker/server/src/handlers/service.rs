//! What the network side asks of the broker.

use std::sync::Arc;

use ottla_types::BrokerId;
use tracing::warn;

use super::dispatch;
use crate::broker::Broker;
use crate::net::{ConnectionContext, Frame, Outcome, Refusal, Service};
use crate::replication;

impl Service for Arc<Broker> {
    async fn begin(&self, context: &ConnectionContext, frame: Frame) -> Outcome {
        dispatch::begin(self, context, frame).await
    }

    fn broker(&self, context: &ConnectionContext, head: &[u8]) -> Option<BrokerId> {
        replication::broker_of(self, context, head)
    }

    fn expects_brokers(&self, listener: &str) -> bool {
        let image = self.image();
        *listener == *self.config.listeners.inter_broker && image.brokers.len() > 1
    }

    fn is_broker(&self, context: &ConnectionContext, head: &[u8]) -> bool {
        replication::is_broker(self, context, head)
    }

    fn count_bytes(&self, received: usize, sent: usize) {
        self.metrics.count_bytes(received, sent);
    }

    fn refuse(&self, context: &ConnectionContext, reason: &str) {
        self.metrics.count_refused("bad-input");
        if let Some(before) = self.refusals.allow() {
            warn!(peer = %context.peer, listener = %context.listener, reason, not_logged = before, "closing a connection");
        }
    }

    fn count_refusal(&self, refusal: Refusal) {
        self.metrics.count_refused(match refusal {
            Refusal::Connections(_) => "max.connections",
            Refusal::ConnectionsOfAddress(_) | Refusal::KeptForOthers(_) => "max.connections.per.ip",
        });
    }
}
