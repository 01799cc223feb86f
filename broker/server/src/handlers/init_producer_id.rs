//! InitProducerId: an id for an idempotent producer.

use ottla_wire::ErrorCode;
use ottla_wire::apis::InitProducerId;
use ottla_wire::messages::InitProducerIdResponse;

use crate::request::{Begun, Call, submit_error};

/// Gives out an id. A transactional producer is refused with an error that it doesn't retry.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<InitProducerId>()?;
        if request.transactional_id.is_some() {
            let error_code = ErrorCode::InvalidRequest.code();
            return call
                .respond::<InitProducerId>(&InitProducerIdResponse { error_code, ..Default::default() });
        }
        let next = call.broker.producer_ids.next(call.broker.config.node_id, &call.broker.quorum).await;
        let response = match next {
            Ok(id) => InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..Default::default() },
            Err(error) => {
                tracing::warn!(%error, "no producer id can be given out");
                // Whatever it is, the producer does right to ask again.
                let code = match submit_error(&error) {
                    code if code.is_retriable() => code,
                    _ => ErrorCode::CoordinatorNotAvailable,
                };
                InitProducerIdResponse { error_code: code.code(), ..Default::default() }
            }
        };
        call.respond::<InitProducerId>(&response)
    })
}
