//! How Kafka's types are written: numbers, strings, bytes, arrays, structs, and the tagged section at the end
//! of a flexible struct.
//!
//! Not here: any message; those are in [`crate::messages`].

mod decoder;
mod encoder;
mod field;
#[cfg(feature = "generate")]
mod generate;
mod message;
mod prefixed;
mod records;

pub use decoder::{DecodeError, DecodeErrorKind, Decoder};
pub use encoder::{EncodeError, EncodedFrame, Encoder, Part, Splice};
pub use field::{Context, Field, NullableField, Uuid};
#[cfg(feature = "generate")]
pub use generate::{Generate, Generator};
pub use message::Message;
pub(crate) use prefixed::{decode_prefix, encode_prefixed};
pub use records::Records;
