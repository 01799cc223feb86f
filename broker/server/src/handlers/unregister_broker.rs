//! UnregisterBroker: makes the cluster forget a broker that is gone for good.

use ottla_core::metadata::{Command, UnregisterBroker as ForgetCommand};
use ottla_types::BrokerId;
use ottla_wire::apis::UnregisterBroker;
use ottla_wire::messages::UnregisterBrokerResponse;

use super::commands::submit;
use crate::request::{Begun, Call};

/// For how long it may take, as the request doesn't say: in milliseconds.
const TIMEOUT_MS: i32 = 30_000;

/// Forgets the broker.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<UnregisterBroker>()?;
        let command = Command::UnregisterBroker(ForgetCommand { id: BrokerId(request.broker_id) });
        let response = match submit(&call, command, TIMEOUT_MS).await {
            Ok(_) => UnregisterBrokerResponse::default(),
            Err(failure) => UnregisterBrokerResponse {
                error_code: failure.code.code(),
                error_message: Some(failure.message),
                ..Default::default()
            },
        };
        call.respond::<UnregisterBroker>(&response)
    })
}
