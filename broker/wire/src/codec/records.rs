//! The bytes of record batches in a Produce request and a Fetch response: never looked into here.

use std::borrow::Cow;

use super::{Context, DecodeError, Decoder, Encoder, Field, NullableField};

/// Record batches as opaque bytes, or a promise that the connection sends them itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Records<'a> {
    /// No records at all, not even empty ones.
    #[default]
    Null,
    /// The bytes, borrowed from the frame that was decoded, or owned.
    Bytes(Cow<'a, [u8]>),
    /// So many bytes that aren't in memory: they become a [`super::Splice`]. Never decoded.
    Splice {
        /// How many bytes.
        length: usize,
        /// What the connection knows them by.
        token: usize,
    },
}

impl<'a> Records<'a> {
    /// The bytes; none when there are no records or they are spliced.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Null | Self::Splice { .. } => None,
        }
    }

    /// How many bytes the records have, in memory or not.
    pub fn length(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::Splice { length, .. } => *length,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.length() == 0
    }
}

impl<'a> From<&'a [u8]> for Records<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a> Field<'a> for Records<'a> {
    fn size_min(context: Context) -> usize {
        <&[u8]>::size_min(context)
    }

    fn decode(decoder: &mut Decoder<'a>, context: Context) -> Result<Self, DecodeError> {
        assert!(context.nullable, "records may be null in every version");
        Ok(<&[u8]>::decode_nullable(decoder, context)?.map_or(Self::Null, Self::from))
    }

    fn encode(&self, encoder: &mut Encoder, context: Context) {
        match self {
            Self::Null => encoder.long_length(None, context.flexible),
            Self::Bytes(bytes) => (&**bytes).encode(encoder, context),
            Self::Splice { length, token } => {
                encoder.long_length(Some(*length), context.flexible);
                encoder.splice(*length, *token);
            }
        }
    }
}
