//! `kafka-protocol` as the oracle: every message in every version that we answer is written by us, read and
//! written again by it, and read again by us; bytes, values and field names must agree.

mod support;

use bytes::BytesMut;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use ottla_wire::codec::{Decoder, Encoder, Generate, Generator, Message};
use ottla_wire::{Api, ErrorCode, RequestHeader, ResponseHeader, apis, messages as ours};
use proptest::prelude::*;
use support::normal;

/// Random values per version of a message.
const CASES: u32 = 48;

fn encode<'a>(message: &impl Message<'a>, version: i16) -> bytes::Bytes {
    let mut encoder = Encoder::new();
    message.encode_body(&mut encoder, version).expect("a version that we have");
    encoder.finish().expect("a value that fits").bytes
}

/// Checks one random value in one version.
fn agree<'a, O, T>(bytes: &'a bytes::Bytes, value: &O, version: i16)
where
    O: Message<'a> + PartialEq + std::fmt::Debug,
    T: Decodable + Encodable + std::fmt::Debug,
{
    let mut left = bytes.clone();
    let read = T::decode(&mut left, version).expect("they read what we wrote");
    assert!(left.is_empty(), "they left {} bytes of version {version} of {value:?}", left.len());
    assert_eq!(normal(&format!("{value:?}")), normal(&format!("{read:?}")), "version {version}");

    let mut written = BytesMut::new();
    read.encode(&mut written, version).expect("they write what they read");
    assert_eq!(&written[..], &bytes[..], "version {version} of {value:?}");

    let mut decoder = Decoder::new(bytes);
    let again = O::decode_body(&mut decoder, version).expect("we read what they wrote");
    decoder.finish().expect("nothing is left");
    assert_eq!(&again, value, "version {version}");
}

/// Checks random values of one message, and its default, in each version that both know.
macro_rules! messages_agree {
    ($message:ident) => {{
        let run = |seed: u64| {
            let first = <ours::$message as Message>::VERSION_FIRST;
            let known = <theirs::$message as kafka_protocol::protocol::Message>::VERSIONS.max;
            for version in first..=<ours::$message as Message>::VERSION_LAST.min(known) {
                let context = <ours::$message as Message>::context(version).expect("it is in the range");
                let value = ours::$message::generate(&mut Generator::new(seed), context);
                let bytes = encode(&value, version);
                agree::<ours::$message, theirs::$message>(&bytes, &value, version);
                let bytes = encode(&ours::$message::default(), version);
                agree::<ours::$message, theirs::$message>(
                    &bytes,
                    &normalised_default(&bytes, version),
                    version,
                );
            }
        };
        let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(seed: u64)| run(seed));
    }};
}

/// The default as it reads back: a null that the version doesn't allow has become the empty value.
fn normalised_default<'a, O: Message<'a>>(bytes: &'a bytes::Bytes, version: i16) -> O {
    O::decode_body(&mut Decoder::new(bytes), version).expect("we read what we wrote")
}

/// The tests of every API: both of its messages are as the oracle has them, and so are their versions and
/// headers.
macro_rules! oracle {
    ($($module:ident: $api:ident($request:ident $(<$of_request:lifetime>)?, $response:ident $(<$of_response:lifetime>)?);)*) => {
        $(mod $module {
            use super::*;

            #[test]
            fn requests_agree() {
                messages_agree!($request);
            }

            #[test]
            fn responses_agree() {
                messages_agree!($response);
            }

            #[test]
            fn versions_and_headers_agree() {
                let known = <theirs::$request as kafka_protocol::protocol::Message>::VERSIONS;
                for version in apis::$api::VERSIONS.take_while(|version| *version <= known.max) {
                    let request = apis::$api::request_header_version(version);
                    assert_eq!(request, theirs::$request::header_version(version), "{version}");
                    let response = apis::$api::response_header_version(version);
                    assert_eq!(response, theirs::$response::header_version(version), "{version}");
                    let header = RequestHeader {
                        api_key: apis::$api::KEY.code(), api_version: version, correlation_id: 77, client_id: Some("ü"),
                    };
                    headers_agree(header, request, response);
                }
                let newer = NEWER.iter().find(|(api, _)| *api == stringify!($api)).map(|(_, last)| *last);
                assert_eq!(apis::$api::VERSIONS, known.min..=newer.unwrap_or(known.max));
                assert_eq!(apis::$api::KEY.code(), theirs::ApiKey::$api as i16);
            }
        })*
    };
}

ottla_wire::with_apis! { oracle }

/// The APIs of which we have a version that the oracle doesn't know yet (of OffsetCommit and OffsetFetch in
/// requests alone), and the newest. What Apache Kafka
/// 4.3.1 writes in it stands in `kafka.rs`.
const NEWER: &[(&str, i16)] = &[
    ("ListOffsets", 11),
    ("OffsetCommit", 10),
    ("OffsetFetch", 10),
    ("DescribeLogDirs", 5),
    ("AddRaftVoter", 1),
];

fn headers_agree(header: RequestHeader<'_>, request_version: i16, response_version: i16) {
    let mut encoder = Encoder::new();
    header.encode(&mut encoder, request_version);
    let bytes = encoder.finish().expect("a header fits").bytes;
    assert_eq!(RequestHeader::decode(&mut Decoder::new(&bytes)), Ok(header));
    let read =
        theirs::RequestHeader::decode(&mut bytes.clone(), request_version).expect("they read our header");
    assert_eq!((read.request_api_key, read.correlation_id), (header.api_key, 77));
    let mut written = BytesMut::new();
    read.encode(&mut written, request_version).expect("they write what they read");
    assert_eq!(written, bytes);

    let mut encoder = Encoder::new();
    ResponseHeader { correlation_id: 77 }.encode(&mut encoder, response_version);
    let bytes = encoder.finish().expect("a header fits").bytes;
    let read =
        theirs::ResponseHeader::decode(&mut bytes.clone(), response_version).expect("they read our header");
    assert_eq!(read.correlation_id, 77);
    let again = ResponseHeader::decode(&mut Decoder::new(&bytes), response_version);
    assert_eq!(again, Ok(ResponseHeader { correlation_id: 77 }));
}

#[test]
fn error_codes_agree() {
    use kafka_protocol::error::ResponseError;
    for code in -1..=ErrorCode::ALL.len() as i16 {
        let theirs = match ResponseError::try_from_code(code) {
            Some(ResponseError::Unknown(_)) => None,
            other => Some(other.map_or((0, false), |error| (error.code(), error.is_retriable()))),
        };
        assert_eq!(ErrorCode::from_code(code).map(|error| (error.code(), error.is_retriable())), theirs);
    }
}

#[test]
fn api_keys_agree() {
    for code in 0..200 {
        let theirs = theirs::ApiKey::try_from(code).ok().map(|key| format!("{key:?}"));
        assert_eq!(ottla_wire::ApiKey::from_code(code).map(|key| key.name().to_owned()), theirs);
    }
}
