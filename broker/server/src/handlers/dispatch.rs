//! What is done with a request of any API: it is looked up, measured, charged for, begun and timed.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use ottla_wire::{ApiKey, Decoder, RequestHeader, encode_unsupported_api_versions};

use super::{Measured, SERVED, Served, large};
use crate::broker::Broker;
use crate::contained::contained;
use crate::net::{ConnectionContext, Frame, LaterResponse, Outcome, Response, Sender};
use crate::replication;
use crate::request::{AnswerCost, Call, CallError, CallMemory, Replier};

/// A request that costs no more is served within what its connection has for itself, in bytes.
const OWN_BYTES: usize = 8 << 10;
/// A request that costs more waits for a turn and another thread: those that serve connections have no time
/// for it.
pub(super) const LARGE_BYTES: usize = 1 << 20;

/// Begins whatever request `frame` holds.
pub(super) async fn begin(broker: &Arc<Broker>, context: &ConnectionContext, frame: Frame) -> Outcome {
    let started = Instant::now();
    let header = match RequestHeader::decode(&mut Decoder::new(&frame.bytes)) {
        Ok(header) => header,
        Err(error) => return Outcome::Close(format!("a request's header cannot be read: {error}")),
    };
    let (key, version, correlation_id) = (header.api_key, header.api_version, header.correlation_id);
    let Some(position) = super::position(key) else {
        let name = ApiKey::from_code(key).map_or("unknown", ApiKey::name);
        return Outcome::Close(format!("the api key {key} ({name}) is not supported"));
    };
    let served = &SERVED[position];
    if !(served.version_first..=served.version_last).contains(&version) {
        return unsupported_version(served, version, correlation_id);
    }
    let replier = Replier { version, correlation_id };
    let call = match charged(broker, context, served, frame, replier).await {
        Ok(charged) => charged,
        Err(error) => return Outcome::Close(format!("{} version {version}: {error}", served.key)),
    };
    let timed = |later: LaterResponse| -> LaterResponse {
        let broker = Arc::clone(broker);
        Box::pin(async move {
            let response = later.await;
            broker.metrics.api(position).observe(started.elapsed());
            response
        })
    };
    let is_large = call.cost_bytes > LARGE_BYTES;
    let begun = (served.begin)(call);
    let begun = match is_large {
        false => begun.await,
        true => in_turns(broker, context, begun).await.and_then(|outcome| outcome),
    };
    match begun {
        Err(error) => Outcome::Close(format!("{} version {version}: {error}", served.key)),
        Ok(Outcome::Later(later)) => Outcome::Later(timed(later)),
        Ok(Outcome::LaterBrief(later)) => Outcome::LaterBrief(timed(later)),
        // One that is alone may wait for minutes on purpose, as a member that joins does: only its beginning is
        // timed.
        Ok(outcome) => {
            broker.metrics.api(position).observe(started.elapsed());
            outcome
        }
    }
}

/// Does work that takes long for a client.
///
/// # Errors
/// When the broker stops before it is done.
async fn in_turns<T: Send + 'static>(
    broker: &Broker,
    context: &ConnectionContext,
    work: Pin<Box<dyn Future<Output = T> + Send>>,
) -> Result<T, CallError> {
    large::work(work, broker.quorum.tasks(), || broker.limits.large_turn(context.peer.ip())).await
}

/// Waits until a request may take what it takes, before anything is taken.
///
/// # Errors
/// When it isn't such a request, or takes more than one may.
async fn charged(
    broker: &Arc<Broker>,
    context: &ConnectionContext,
    served: &Served,
    frame: Frame,
    replier: Replier,
) -> Result<Call, CallError> {
    let limit_bytes = broker.limits.config().request_cost_max();
    let arrays_max = limit_bytes / served.cost_factor;
    // What a client sends mustn't end the broker, whatever is wrong with the reading of it.
    let measured =
        contained(|| (served.measure)(&frame.bytes, replier.version, arrays_max).map_err(CallError::from));
    let Measured { arrays: arrays_bytes, texts } = measured.unwrap_or(Err(CallError::Bug))?;
    let cost_bytes = (arrays_bytes + texts) * served.cost_factor;
    if cost_bytes > limit_bytes {
        return Err(CallError::TooLarge { limit_bytes });
    }
    let memory = CallMemory { frame: frame.memory, unfolded: None };
    let mut call = Call {
        broker: Arc::clone(broker),
        context: context.clone(),
        frame: frame.bytes,
        arrays_bytes,
        cost_bytes,
        memory,
        replier,
    };
    charge(&mut call).await;
    let answer = served.answer;
    let (mut call, answer_bytes) = match answer {
        // To look up all that it names takes long already.
        AnswerCost::Topics { .. } | AnswerCost::Bytes(_) if cost_bytes > LARGE_BYTES => {
            let look = Box::pin(async move { answer.of(&call).map(|bytes| (call, bytes)) });
            in_turns(broker, context, look).await??
        }
        _ => answer.of(&call).map(|bytes| (call, bytes))?,
    };
    if answer_bytes > 0 {
        // The whole cluster may be more than one request may take; it is told all the same.
        call.cost_bytes = (cost_bytes + answer_bytes).min(limit_bytes);
        charge(&mut call).await;
    }
    Ok(call)
}

/// Waits until a request may take what it costs, with nothing in its hands that another one may wait for.
async fn charge(call: &mut Call) {
    call.memory.unfolded = None;
    if call.cost_bytes <= OWN_BYTES {
        return;
    }
    let address = call.context.peer.ip().to_canonical();
    let sender = Sender { address, broker: replication::broker_of(&call.broker, &call.context, &call.frame) };
    let memory = call.broker.limits.memory(sender, call.cost_bytes, call.memory.frame.as_ref()).await;
    call.memory.unfolded = Some(memory);
}

/// A client that asks for ApiVersions in a version that isn't served learns which are, as it can't know
/// before. Any other request in such a version comes from a client that didn't ask.
fn unsupported_version(served: &Served, version: i16, correlation_id: i32) -> Outcome {
    let close = || Outcome::Close(format!("version {version} of {} is not supported", served.key));
    if served.key != ApiKey::ApiVersions {
        return close();
    }
    match encode_unsupported_api_versions(BytesMut::new(), correlation_id, super::versions()) {
        Ok(frame) => Outcome::Respond(Response { frame, ..Response::default() }),
        Err(_) => close(),
    }
}
