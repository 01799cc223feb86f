//! Decoders of the wire protocol: what is accepted is written again as bytes that mean the same.

use std::sync::LazyLock;

use ottla_wire::codec::{Decoder, Encoder, Message};
use ottla_wire::consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use ottla_wire::group_records::{DecodedGroupRecord, EncodedGroupRecord, GroupRecord};
use ottla_wire::{Api, RequestHeader, apis, for_each_api, frame_length, with_apis};

/// A frame may be this long here.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// The variable of the environment that names an API, as its module in `ottla_wire::messages` is called.
const API: &str = "OTTLA_FUZZ_API";

macro_rules! of_module {
    ($name:ident, $($module:ident: $api:ident $messages:tt;)*) => {
        match $name {
            $(stringify!($module) => both::<apis::$api>,)*
            _ => panic!("{API} is {}, of which there are no messages", $name),
        }
    };
}

static CHOSEN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var(API).unwrap_or_else(|_| panic!("{API} names no API"));
    let name = name.as_str();
    with_apis! { of_module, name, }
});

/// A message of the API that the environment names.
pub fn message(data: &[u8]) {
    CHOSEN(data);
}

/// The first byte chooses request or response and the version; the rest is a body of that API.
fn both<A: Api>(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let versions = A::VERSIONS.end() - A::VERSIONS.start() + 1;
    let version = A::VERSIONS.start() + i16::from(choice >> 1) % versions;
    if choice & 1 == 0 {
        if let Ok(request) = A::decode_request(Decoder::new(body), version) {
            stable(&request, version, |bytes| {
                A::decode_request(Decoder::new(bytes), version).ok().map(|r| write(&r, version))
            });
        }
    } else if let Ok(response) = A::decode_response(Decoder::new(body), version) {
        stable(&response, version, |bytes| {
            A::decode_response(Decoder::new(bytes), version).ok().map(|r| write(&r, version))
        });
    }
}

/// A length and a frame: the header, then the body of the API that it names.
pub fn frame(data: &[u8]) {
    let Some((prefix, rest)) = data.split_first_chunk() else { return };
    let Ok(length) = frame_length(*prefix, FRAME_BYTES_MAX) else { return };
    assert!(length <= FRAME_BYTES_MAX, "a length over the limit was accepted");
    let Some(frame) = rest.get(..length) else { return };
    let mut decoder = Decoder::new(frame);
    let Ok(header) = RequestHeader::decode(&mut decoder) else { return };
    let mut decoder = Some(decoder);
    for_each_api!(A => {
        if header.api_key == A::KEY.code() && let Some(decoder) = decoder.take() {
            let _ = A::decode_request(decoder, header.api_version);
        }
    });
}

/// Writing, reading and writing again gives the same bytes.
fn stable<'a>(message: &impl Message<'a>, version: i16, again: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let written = write(message, version);
    assert_eq!(again(&written), Some(written), "version {version} isn't read as it was written");
}

fn write<'a>(message: &impl Message<'a>, version: i16) -> Vec<u8> {
    let mut encoder = Encoder::new();
    message.encode_body(&mut encoder, version).expect("a version that was read can be written");
    let frame = encoder.finish().expect("what came from a frame fits into one");
    frame.bytes.to_vec()
}

/// A record of `__consumer_offsets`: the first byte is the length of its key, the rest is its value.
pub fn group_record(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let Some((key, value)) = rest.split_at_checked(usize::from(*length)) else { return };
    let _ = GroupRecord::decode(key, None);
    let again = |key: &[u8], value: Option<&[u8]>| match GroupRecord::decode(key, value) {
        Ok(DecodedGroupRecord::Known(record)) => record.encode().ok(),
        _ => None,
    };
    // A text that a newer version has room for may be too long for the one that is written.
    let Some(EncodedGroupRecord { key, value }) = again(key, Some(value)) else { return };
    let read = again(&key, value.as_deref());
    assert_eq!(read, Some(EncodedGroupRecord { key, value }), "a record isn't read as it was written");
}

/// What a consumer says of itself, or what it is assigned: the first byte chooses.
pub fn consumer_protocol(data: &[u8]) {
    let Some((choice, payload)) = data.split_first() else { return };
    let again = |payload: &[u8]| {
        if choice & 1 == 0 {
            ConsumerProtocolSubscription::from_bytes(payload).ok()?.to_bytes(3).ok()
        } else {
            ConsumerProtocolAssignment::from_bytes(payload).ok()?.to_bytes(3).ok()
        }
    };
    if let Some(written) = again(payload) {
        assert_eq!(again(&written), Some(written), "a payload isn't read as it was written");
    }
}
