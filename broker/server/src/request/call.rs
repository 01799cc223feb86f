//! One request on its way through its handler: decoding it, and encoding its answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_store::ReadSlice;
use ottla_wire::codec::Message;
use ottla_wire::{Api, DecodeError, Decoder, EncodeError, RequestHeader, encode_response};

use crate::broker::Broker;
use crate::contained::contained;
use crate::net::{ConnectionContext, Outcome, RequestMemory, Response};

/// A request whose header was read and whose API and version we have.
pub struct Call {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The connection that it came by.
    pub context: ConnectionContext,
    /// The whole frame without its length.
    pub frame: Bytes,
    /// What the request's arrays take once it is decoded, in bytes.
    pub arrays_bytes: usize,
    /// What it takes to serve it, besides its frame, in bytes.
    pub cost_bytes: usize,
    /// What is charged for it, to be given back once it is no longer needed.
    pub memory: CallMemory,
    /// What the answer needs to know.
    pub replier: Replier,
}

/// What is charged for a request; nothing for what its connection has for itself.
#[derive(Debug, Default)]
pub struct CallMemory {
    /// For its frame.
    pub frame: Option<RequestMemory>,
    /// For what is made of it, the answer included.
    pub unfolded: Option<RequestMemory>,
}

/// What an answer needs to know of its request.
#[derive(Debug, Clone, Copy)]
pub struct Replier {
    /// The request's version.
    pub version: i16,
    /// Comes back in the answer.
    pub correlation_id: i32,
}

/// Why a request can only be answered by closing the connection.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It can't be decoded.
    #[error("a request cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// A bug ended the reading of it.
    #[error("a request cannot be read, by a bug")]
    Bug,
    /// It names so much that serving it would take more memory than one request may.
    #[error(
        "it would take more than {limit_bytes} bytes to serve it, half of queued.max.request.bytes: ask for less at a time"
    )]
    TooLarge {
        /// What one may.
        limit_bytes: usize,
    },
    /// The broker is stopping.
    #[error("the broker stops")]
    Stops,
    /// Its answer can't be encoded.
    #[error("an answer cannot be written: {0}")]
    Encode(#[from] EncodeError),
}

/// What a handler returns.
pub type Begun = Pin<Box<dyn Future<Output = Result<Outcome, CallError>> + Send>>;

impl Call {
    /// The request's body, borrowed from the frame. Bytes behind it are passed over as Kafka does:
    /// librdkafka's Metadata request has some.
    ///
    /// # Errors
    /// When it isn't one.
    pub fn decode<A: Api>(&self) -> Result<A::Request<'_>, CallError> {
        // What a client sends mustn't end the broker, whatever is wrong with the reading of it.
        contained(|| self.decode_unguarded::<A>()).unwrap_or(Err(CallError::Bug))
    }

    fn decode_unguarded<A: Api>(&self) -> Result<A::Request<'_>, CallError> {
        let mut decoder = Decoder::with_memory_limit(&self.frame, self.arrays_bytes);
        RequestHeader::decode(&mut decoder)?;
        Ok(A::Request::decode_body(&mut decoder, self.replier.version)?)
    }

    /// Answers at once.
    ///
    /// # Errors
    /// When a value doesn't fit.
    pub fn respond<A: Api>(&self, response: &A::Response<'_>) -> Result<Outcome, CallError> {
        Ok(Outcome::Respond(self.replier.encode::<A>(response, Vec::new())?))
    }
}

impl Replier {
    /// Encodes the answer; `slices` are what its splices' tokens count.
    ///
    /// # Errors
    /// When a value doesn't fit.
    pub fn encode<A: Api>(
        &self,
        response: &A::Response<'_>,
        slices: Vec<ReadSlice>,
    ) -> Result<Response, EncodeError> {
        let frame = encode_response::<A>(BytesMut::new(), self.correlation_id, self.version, response)?;
        Ok(Response { frame, slices, kept: None })
    }
}
