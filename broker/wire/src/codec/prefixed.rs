//! Bodies that stand for themselves, behind a number that says what they are: a record's key and value, and
//! what the consumer protocol says of a member.

use bytes::Bytes;

use super::{DecodeError, Decoder, EncodeError, Encoder, Message};

/// Reads the number that stands before a body; `field` names it, for errors.
///
/// # Errors
/// When it is cut off.
pub fn decode_prefix(decoder: &mut Decoder<'_>, field: &'static str) -> Result<i16, DecodeError> {
    decoder.at(field);
    Ok(i16::from_be_bytes(decoder.array()?))
}

/// `body` in `version`, behind `prefix`.
///
/// # Errors
/// When there is no such version or a value doesn't fit.
pub fn encode_prefixed<'a>(prefix: i16, body: &impl Message<'a>, version: i16) -> Result<Bytes, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.put(&prefix.to_be_bytes());
    body.encode_body(&mut encoder, version)?;
    let encoded = encoder.finish()?;
    assert!(encoded.splices.is_empty(), "only a response has bytes that aren't in memory");
    Ok(encoded.bytes)
}
