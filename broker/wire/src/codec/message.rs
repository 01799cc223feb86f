//! A request's or response's body, from its first to its last version.

use super::{Context, DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Field};

/// The body of a request or response.
pub trait Message<'a>: Field<'a> {
    /// The oldest version that we know.
    const VERSION_FIRST: i16;
    /// The newest version that we know.
    const VERSION_LAST: i16;
    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE_FROM: i16;

    /// The context of `version`; none if there is no such version.
    fn context(version: i16) -> Option<Context> {
        let is_known = (Self::VERSION_FIRST..=Self::VERSION_LAST).contains(&version);
        let flexible = version >= Self::FLEXIBLE_FROM;
        is_known.then_some(Context { version, flexible, nullable: false, tagged: false })
    }

    /// Reads the body in `version`; bytes may be left behind it (see [`Decoder::finish`]).
    ///
    /// # Errors
    /// When there is no such version or the bytes aren't such a body.
    fn decode_body(decoder: &mut Decoder<'a>, version: i16) -> Result<Self, DecodeError> {
        let context =
            Self::context(version).ok_or_else(|| decoder.error(DecodeErrorKind::Version(version)))?;
        Self::decode(decoder, context)
    }

    /// Passes over a body in `version` and keeps nothing of it; [`Decoder::memory_bytes`] and
    /// [`Decoder::text_bytes`] then tell what the arrays of the decoded body take, and how long its texts and
    /// bytes are.
    ///
    /// # Errors
    /// The same as those of [`Self::decode_body`].
    fn skip_body(decoder: &mut Decoder<'a>, version: i16) -> Result<(), DecodeError> {
        let context =
            Self::context(version).ok_or_else(|| decoder.error(DecodeErrorKind::Version(version)))?;
        Self::skip(decoder, context)
    }

    /// Writes the body in `version`. Fields that the version doesn't have are left out.
    ///
    /// # Errors
    /// When there is no such version. (Values that don't fit are reported when the encoder is finished.)
    fn encode_body(&self, encoder: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        let context = Self::context(version).ok_or(EncodeError::Version(version))?;
        self.encode(encoder, context);
        Ok(())
    }
}
