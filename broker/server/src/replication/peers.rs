//! By what brokers know each other's requests on a Kafka listener, as long as there are no identities: by
//! place and name.
//!
//! It decides only whose memory a request is charged to, and who has a connection beyond the limits. A client
//! that gives itself out for a broker can take what is set aside for that one, and no more; the broker is
//! then served as clients are.

use ottla_types::BrokerId;
use ottla_wire::{ApiKey, Decoder, RequestHeader};

use crate::broker::Broker;
use crate::net::ConnectionContext;

/// What the client ids of streams from a leader begin with, before the follower's id.
const REPLICA: &str = "replica-";
/// The same of those who look for a peer's copy of what is damaged. Brokers of older versions know them by
/// it.
const REPAIR: &str = "mend-";

/// The client id of broker `id`'s streams from leaders.
pub fn replica_client_id(id: BrokerId) -> String {
    format!("{REPLICA}{id}")
}

/// The client id with which broker `id` looks for what its peers have.
pub fn repair_client_id(id: BrokerId) -> String {
    format!("{REPAIR}{id}")
}

/// The other broker of the cluster that sends a request which begins with `head`, if it says so and comes by
/// the brokers' listener.
pub fn broker_of(broker: &Broker, context: &ConnectionContext, head: &[u8]) -> Option<BrokerId> {
    let header = RequestHeader::decode(&mut Decoder::new(head)).ok()?;
    if header.api_key != ApiKey::Fetch.code() {
        return None;
    }
    known(broker, context, head)
}

/// Whether another broker of the cluster sends a connection's first request, which begins with `head`: mostly
/// for what its peer can do.
pub fn is_broker(broker: &Broker, context: &ConnectionContext, head: &[u8]) -> bool {
    known(broker, context, head).is_some()
}

fn known(broker: &Broker, context: &ConnectionContext, head: &[u8]) -> Option<BrokerId> {
    let id = named(head).filter(|id| *id != broker.config.node_id)?;
    let is_here = *context.listener == *broker.config.listeners.inter_broker;
    (is_here && broker.image().broker(id).is_some()).then_some(id)
}

/// The broker that a request's header names.
fn named(head: &[u8]) -> Option<BrokerId> {
    let header = RequestHeader::decode(&mut Decoder::new(head)).ok()?;
    let client_id = header.client_id?;
    let id = client_id.strip_prefix(REPLICA).or_else(|| client_id.strip_prefix(REPAIR))?;
    id.parse().ok().map(BrokerId)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a request of version 12.
    fn head(api_key: ApiKey, client_id: &str) -> Vec<u8> {
        let mut bytes = [api_key.code(), 12].map(i16::to_be_bytes).concat();
        bytes.extend([0; 4]);
        bytes.extend(i16::try_from(client_id.len()).unwrap().to_be_bytes());
        bytes.extend(client_id.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_broker_is_known_by_its_requests_name() {
        assert_eq!(named(&head(ApiKey::Fetch, &replica_client_id(BrokerId(7)))), Some(BrokerId(7)));
        assert_eq!(named(&head(ApiKey::Fetch, &repair_client_id(BrokerId(8)))), Some(BrokerId(8)));
        assert_eq!(named(&head(ApiKey::ApiVersions, "replica-7")), Some(BrokerId(7)));
        assert_eq!(named(&head(ApiKey::Fetch, "replica-x")), None);
        assert_eq!(named(&head(ApiKey::Fetch, "consumer-7")), None);
        assert_eq!(named(&head(ApiKey::Fetch, "replica-7")[..9]), None, "the head isn't all here");
    }
}
