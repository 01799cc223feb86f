//! The Kafka wire protocol: messages, codecs, versions, error codes.
//!
//! Each message is a plain struct in [`messages`], one file for each API; the derive macro of
//! `ottla-wire-derive` writes its codec from the attributes on its fields. Requests borrow their text from
//! the frame (`&str`), responses hold `Cow<str>`, so that a broker can put in words of its own. A struct's
//! `Default` has Kafka's defaults, so write `..Default::default()` for what you don't set.
//!
//! Not here: sockets, and what is inside a record batch: records are opaque bytes ([`Records`]). What is
//! inside some of them is messages, too, without a header: the keys and values of `__consumer_offsets`
//! ([`group_records`]), and what consumers tell each other through their group ([`consumer_protocol`]).
//!
//! Two promises: decoding allocates nothing before the counts are known to fit in the bytes that are left,
//! and its arrays stay below [`codec::Decoder::MEMORY_LIMIT_BYTES`]; no message nests itself, so its depth is
//! bounded by its type. Encoding never panics for a value that doesn't fit; it returns [`EncodeError`].
//!
//! What a server does with a frame:
//!
//! ```
//! use bytes::BytesMut;
//! use ottla_wire::{Api, Decoder, RequestHeader, apis, encode_response, messages::*};
//!
//! # let frame = ottla_wire::encode_request::<apis::Metadata>(
//! #     BytesMut::new(), 7, Some("test"), 12, &MetadataRequest::default()).unwrap();
//! # let frame = &frame.bytes[4..];
//! let mut decoder = Decoder::new(frame);
//! let header = RequestHeader::decode(&mut decoder)?;
//! assert_eq!(header.api_key, apis::Metadata::KEY.code());
//! assert!(apis::Metadata::VERSIONS.contains(&header.api_version));
//!
//! let request: MetadataRequest = apis::Metadata::decode_request(decoder, header.api_version)?;
//! let response = MetadataResponse { controller_id: 1, ..Default::default() };
//! let frame = encode_response::<apis::Metadata>(
//!     BytesMut::new(), header.correlation_id, header.api_version, &response)?;
//! assert_eq!(frame.length(), frame.bytes.len(), "no splices in this one");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A Fetch response names its records as [`Records::Splice`]; the encoded frame then says which bytes come
//! before and after them ([`EncodedFrame::parts`]), and the connection sends them from the file itself.

mod api;
mod api_key;
pub mod codec;
pub mod consumer_protocol;
mod error_code;
mod frame;
pub mod group_records;
pub mod messages;

pub use api::{Api, apis};
pub use api_key::ApiKey;
pub use codec::{
    DecodeError, DecodeErrorKind, Decoder, EncodeError, EncodedFrame, Encoder, Part, Records, Splice, Uuid,
};
pub use error_code::ErrorCode;
pub use frame::{
    FrameLengthError, LENGTH_BYTES, RequestHeader, ResponseHeader, encode_request, encode_response,
    encode_unsupported_api_versions, frame_length,
};
