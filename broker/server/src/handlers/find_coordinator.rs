//! FindCoordinator: there are no coordinators yet.
//!
//! For a group the answer is the one that clients wait on quietly, as some ask even if they only read
//! partitions that they were given by hand. A transactional producer can't do anything without: it gets an
//! error that ends it.

use std::borrow::Cow;

use ottla_wire::ErrorCode;
use ottla_wire::apis::FindCoordinator;
use ottla_wire::messages::{COORDINATOR_GROUP, Coordinator, FindCoordinatorResponse};

use crate::request::{Begun, Call};

/// Says that there is none.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<FindCoordinator>()?;
        let (error, message) = match request.key_type {
            COORDINATOR_GROUP => (
                ErrorCode::CoordinatorNotAvailable,
                "consumer groups are not supported yet: assign partitions to the consumer",
            ),
            _ => (ErrorCode::InvalidRequest, "transactions are not supported yet"),
        };
        tracing::debug!(peer = %call.context.peer, key_type = request.key_type, message, "coordinator asked for");
        call.respond::<FindCoordinator>(&FindCoordinatorResponse {
            error_code: error.code(),
            error_message: Some(Cow::Borrowed(message)),
            node_id: -1,
            port: -1,
            coordinators: request
                .coordinator_keys
                .iter()
                .map(|key| Coordinator {
                    key: Cow::Owned((*key).to_owned()),
                    node_id: -1,
                    port: -1,
                    error_code: error.code(),
                    error_message: Some(Cow::Borrowed(message)),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
    })
}
