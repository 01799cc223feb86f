//! Requests: one file an API, and the registry that lists them.
//!
//! A handler decodes its request, asks the broker's parts, and encodes the answer; it holds no state of its own.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use ottla_wire::{ApiKey, Decoder, RequestHeader, encode_unsupported_api_versions};

use crate::broker::Broker;
use crate::net::{ConnectionContext, Frame, LaterResponse, Outcome, Response};

mod add_raft_voter;
mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod call;
mod commands;
mod config_changes;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod duplicates;
mod elect_leaders;
mod errors;
mod fetch;
mod find_coordinator;
mod incremental_alter_configs;
mod init_producer_id;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_for_leader_epoch;
mod partitions;
mod produce;
mod registry;
mod remove_raft_voter;
mod rights;
mod unregister_broker;

pub use call::{Begun, Call, CallError, Replier};
pub use errors::read_error;
pub use registry::{Operation, SERVED, Served};

/// Begins whatever request `frame` holds.
pub async fn begin(broker: &Arc<Broker>, context: &ConnectionContext, frame: Frame) -> Outcome {
    let started = Instant::now();
    let header = match RequestHeader::decode(&mut Decoder::new(&frame.bytes)) {
        Ok(header) => header,
        Err(error) => return Outcome::Close(format!("a request's header cannot be read: {error}")),
    };
    let (key, version, correlation_id) = (header.api_key, header.api_version, header.correlation_id);
    let Some(position) = registry::position(key) else {
        let name = ApiKey::from_code(key).map_or("unknown", ApiKey::name);
        return Outcome::Close(format!("the api key {key} ({name}) is not supported"));
    };
    let served = &SERVED[position];
    if !(served.version_first..=served.version_last).contains(&version) {
        return unsupported_version(served, version, correlation_id);
    }
    let call = Call::new(Arc::clone(broker), context, frame, version, correlation_id);
    let timed = |later: LaterResponse| -> LaterResponse {
        let broker = Arc::clone(broker);
        Box::pin(async move {
            let response = later.await;
            broker.metrics.api(position).observe(started.elapsed());
            response
        })
    };
    match (served.begin)(call).await {
        Err(error) => Outcome::Close(format!("{} version {version}: {error}", served.key)),
        Ok(Outcome::Later(later)) => Outcome::Later(timed(later)),
        Ok(Outcome::LaterBrief(later)) => Outcome::LaterBrief(timed(later)),
        Ok(outcome) => {
            broker.metrics.api(position).observe(started.elapsed());
            outcome
        }
    }
}

/// A client that asks for ApiVersions in a version that isn't served learns which are, as it can't know before.
/// Any other request in such a version comes from a client that didn't ask.
fn unsupported_version(served: &Served, version: i16, correlation_id: i32) -> Outcome {
    let close = || Outcome::Close(format!("version {version} of {} is not supported", served.key));
    if served.key != ApiKey::ApiVersions {
        return close();
    }
    match encode_unsupported_api_versions(BytesMut::new(), correlation_id, registry::versions()) {
        Ok(frame) => Outcome::Respond(Response { frame, ..Response::default() }),
        Err(_) => close(),
    }
}
