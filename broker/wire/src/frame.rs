//! Frames and headers: what stands before a request's or a response's body.

use std::fmt;

use bytes::BytesMut;

use crate::api::{Api, flexible_from};
use crate::codec::{Context, DecodeError, Decoder, EncodeError, EncodedFrame, Encoder, Field, Message};
use crate::{ApiKey, ErrorCode};

/// Bytes of the length that each frame starts with.
pub const LENGTH_BYTES: usize = 4;

/// A frame's length that can't be accepted; the connection can only be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLengthError {
    /// The length that the frame says it has.
    pub length: i32,
    /// The greatest length allowed, in bytes.
    pub length_max: usize,
}

impl fmt::Display for FrameLengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a frame of {} bytes isn't between 1 and the {} allowed", self.length, self.length_max)
    }
}

impl std::error::Error for FrameLengthError {}

/// The length of the frame that follows `prefix`, checked before anything is allocated for it.
///
/// # Errors
/// When it isn't positive or above `length_max`.
pub fn frame_length(prefix: [u8; LENGTH_BYTES], length_max: usize) -> Result<usize, FrameLengthError> {
    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(checked) if checked > 0 && checked <= length_max => Ok(checked),
        _ => Err(FrameLengthError { length, length_max }),
    }
}

/// What stands before each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The API key as sent; [`ApiKey::from_code`] knows whether Kafka has it.
    pub api_key: i16,
    /// The version of the request.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// The client's name of itself.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Reads the header. Of an API that we don't speak only the first three fields can be read, as nobody
    /// knows its header's version; the decoder then stands behind those.
    ///
    /// # Errors
    /// When the bytes aren't a header.
    pub fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let context = Context { version: 0, flexible: false, nullable: true, tagged: false };
        decoder.at("RequestHeader.request_api_key");
        let api_key = i16::decode(decoder, context)?;
        decoder.at("RequestHeader.request_api_version");
        let api_version = i16::decode(decoder, context)?;
        decoder.at("RequestHeader.correlation_id");
        let correlation_id = i32::decode(decoder, context)?;
        let mut header = Self { api_key, api_version, correlation_id, client_id: None };
        let Some(flexible_from) = ApiKey::from_code(api_key).and_then(flexible_from) else {
            return Ok(header);
        };
        decoder.at("RequestHeader.client_id");
        // Not compact even where the rest is, so that any header can be read this far.
        header.client_id = Option::decode(decoder, context)?;
        if api_version >= flexible_from {
            decoder.at("RequestHeader.tagged_fields");
            decoder.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(header)
    }

    /// Writes the header in `header_version`, 0 to 2 (0 has no client id, 2 has tagged fields).
    pub fn encode(&self, encoder: &mut Encoder, header_version: i16) {
        assert!((0..=2).contains(&header_version), "there are three request headers");
        let context = Context { version: header_version, flexible: false, nullable: true, tagged: false };
        self.api_key.encode(encoder, context);
        self.api_version.encode(encoder, context);
        self.correlation_id.encode(encoder, context);
        if header_version >= 1 {
            self.client_id.encode(encoder, context);
        }
        if header_version >= 2 {
            encoder.unsigned_varint(0);
        }
    }
}

/// What stands before each response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    /// As in the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header in `header_version` (see [`Api::response_header_version`]).
    ///
    /// # Errors
    /// When the bytes aren't one.
    pub fn decode(decoder: &mut Decoder<'_>, header_version: i16) -> Result<Self, DecodeError> {
        decoder.at("ResponseHeader.correlation_id");
        let correlation_id = i32::from_be_bytes(decoder.array()?);
        if header_version >= 1 {
            decoder.at("ResponseHeader.tagged_fields");
            decoder.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(Self { correlation_id })
    }

    /// Writes the header in `header_version`, 0 or 1.
    pub fn encode(&self, encoder: &mut Encoder, header_version: i16) {
        assert!((0..=1).contains(&header_version), "there are two response headers");
        encoder.put(&self.correlation_id.to_be_bytes());
        if header_version >= 1 {
            encoder.unsigned_varint(0);
        }
    }
}

/// A whole request, its length and header before it. `buffer` is empty; its memory is used.
///
/// # Errors
/// When the version isn't ours or a value doesn't fit.
pub fn encode_request<A: Api>(
    buffer: BytesMut,
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &A::Request<'_>,
) -> Result<EncodedFrame, EncodeError> {
    let mut encoder = Encoder::for_frame(buffer);
    let header = RequestHeader { api_key: A::KEY.code(), api_version: version, correlation_id, client_id };
    header.encode(&mut encoder, A::request_header_version(version));
    request.encode_body(&mut encoder, version)?;
    encoder.finish_frame()
}

/// A whole response, its length and header before it. `buffer` is empty; its memory is used.
///
/// # Errors
/// When the version isn't ours or a value doesn't fit.
pub fn encode_response<A: Api>(
    buffer: BytesMut,
    correlation_id: i32,
    version: i16,
    response: &A::Response<'_>,
) -> Result<EncodedFrame, EncodeError> {
    let mut encoder = Encoder::for_frame(buffer);
    ResponseHeader { correlation_id }.encode(&mut encoder, A::response_header_version(version));
    response.encode_body(&mut encoder, version)?;
    encoder.finish_frame()
}

/// The answer to an ApiVersions request in a version that the server doesn't have: version 0 of the response,
/// with UNSUPPORTED_VERSION and the versions of ApiVersions (or of all APIs) that it has.
///
/// # Errors
/// Never for fewer APIs than there are keys.
pub fn encode_unsupported_api_versions(
    buffer: BytesMut,
    correlation_id: i32,
    api_keys: Vec<crate::messages::ApiVersion>,
) -> Result<EncodedFrame, EncodeError> {
    let error_code = ErrorCode::UnsupportedVersion.code();
    let response = crate::messages::ApiVersionsResponse { error_code, api_keys, ..Default::default() };
    encode_response::<crate::apis::ApiVersions>(buffer, correlation_id, 0, &response)
}
