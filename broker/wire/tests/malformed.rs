//! Frames that are cut off, absurd or against the rules: each is an error that names the field, and none
//! costs more memory than it may.

use std::borrow::Cow;

use bytes::BytesMut;
use ottla_wire::codec::{Encoder, Generate, Generator, Message};
use ottla_wire::messages::{
    ApiVersionsRequest, FetchRequest, FetchResponse, FetchableTopicResponse, MetadataRequest,
    MetadataRequestTopic, PartitionData, PartitionProduceData, ProduceRequest, SyncGroupRequest,
    SyncGroupRequestAssignment, TopicProduceData,
};
use ottla_wire::{
    Api, DecodeError, DecodeErrorKind, Decoder, EncodeError, Part, Records, RequestHeader, apis,
    encode_request, encode_response, for_each_api, frame_length,
};

fn body<'a>(message: &impl Message<'a>, version: i16) -> Vec<u8> {
    let mut encoder = Encoder::new();
    message.encode_body(&mut encoder, version).expect("a version that we have");
    encoder.finish().expect("a value that fits").bytes.to_vec()
}

/// Cuts a body after each of its bytes; none of the pieces is a body. One more byte is passed over or one too
/// many.
fn check_cuts<'a, M: Message<'a> + Generate<'a>>(
    passes_over: bool,
    decodes: impl Fn(&[u8], i16) -> Result<(), DecodeError>,
) {
    for version in M::VERSION_FIRST..=M::VERSION_LAST {
        let context = M::context(version).expect("it is in the range");
        let mut bytes = body(&M::generate(&mut Generator::new(version as u64), context), version);
        assert_eq!(decodes(&bytes, version), Ok(()), "version {version}");
        for length in 0..bytes.len() {
            assert!(decodes(&bytes[..length], version).is_err(), "{length} bytes of version {version}");
        }
        bytes.push(0);
        let with_more = decodes(&bytes, version).map_err(|error| error.kind);
        let expected = if passes_over { Ok(()) } else { Err(DecodeErrorKind::TrailingBytes(1)) };
        assert_eq!(with_more, expected, "version {version}");
    }
}

#[test]
fn every_message_notices_every_cut() {
    for_each_api!(A => {
        check_cuts::<<A as Api>::Request<'static>>(true, |bytes, version| {
            A::decode_request(Decoder::new(bytes), version).map(drop)
        });
        check_cuts::<<A as Api>::Response<'static>>(false, |bytes, version| {
            A::decode_response(Decoder::new(bytes), version).map(drop)
        });
    });
}

/// What is passed over is what would be read: to the same place, with the same memory, or with the same
/// error.
fn check_skip<'a, M: Message<'a>>(bytes: &'a [u8], version: i16, limit: usize) {
    let (mut read, mut passed) =
        (Decoder::with_memory_limit(bytes, limit), Decoder::with_memory_limit(bytes, limit));
    let value = M::decode_body(&mut read, version).map(drop);
    assert_eq!(M::skip_body(&mut passed, version), value, "version {version}");
    let stands = |decoder: &Decoder<'_>| (decoder.position(), decoder.memory_bytes());
    assert_eq!(stands(&passed), stands(&read), "version {version}");
}

#[test]
fn a_message_is_passed_over_as_it_is_read() {
    let (mut memory, mut texts) = (0, 0);
    for_each_api!(A => {
        for version in A::VERSIONS {
            let context = <<A as Api>::Request<'static> as Message>::context(version).expect("a version of it");
            for seed in 0..20 {
                let value = <A as Api>::Request::generate(&mut Generator::new(seed), context);
                let bytes = body(&value, version);
                for length in [0, bytes.len() / 2, bytes.len().saturating_sub(1), bytes.len()] {
                    check_skip::<<A as Api>::Request<'_>>(&bytes[..length], version, 1 << 20);
                }
                check_skip::<<A as Api>::Request<'_>>(&bytes, version, 100);
                let mut decoder = Decoder::new(&bytes);
                <A as Api>::Request::skip_body(&mut decoder, version).expect("it was written");
                memory += decoder.memory_bytes();
                texts += decoder.text_bytes();
            }
        }
    });
    assert!(memory > 10_000 && texts > 10_000, "there are arrays and texts: {memory} and {texts} bytes");
}

#[test]
fn bytes_count_as_texts_do_but_not_records() {
    let assignments = vec![SyncGroupRequestAssignment { member_id: "m", assignment: &[1; 50] }; 2];
    let request = SyncGroupRequest { group_id: "g", assignments, ..Default::default() };
    for version in apis::SyncGroup::VERSIONS {
        let bytes = body(&request, version);
        let mut decoder = Decoder::new(&bytes);
        SyncGroupRequest::skip_body(&mut decoder, version).expect("it was written");
        assert_eq!(decoder.text_bytes(), 103, "version {version}");
    }
    let partition_data = vec![PartitionProduceData { index: 0, records: Records::from(&[1; 50][..]) }];
    let topic = TopicProduceData { name: "t", partition_data, ..Default::default() };
    let bytes = body(&ProduceRequest { topic_data: vec![topic], ..Default::default() }, 9);
    let mut decoder = Decoder::new(&bytes);
    ProduceRequest::skip_body(&mut decoder, 9).expect("it was written");
    assert_eq!(decoder.text_bytes(), 1);
}

#[test]
fn noise_is_refused_or_read_but_never_a_panic() {
    let mut generator = Generator::new(1);
    for _ in 0..200 {
        let noise: Vec<u8> = (0..generator.below(200)).map(|_| generator.number() as u8).collect();
        for_each_api!(A => {
            for version in A::VERSIONS {
                let _ = A::decode_request(Decoder::new(&noise), version);
                let _ = A::decode_response(Decoder::new(&noise), version);
            }
        });
    }
}

#[test]
fn a_version_that_we_lack_is_an_error() {
    for_each_api!(A => {
        for version in [-1, A::VERSIONS.start() - 1, A::VERSIONS.end() + 1, i16::MAX] {
            let error = A::decode_request(Decoder::new(&[]), version).map(drop).expect_err("no such version");
            assert_eq!(error.kind, DecodeErrorKind::Version(version));
        }
    });
}

#[test]
fn a_count_beyond_the_frame_allocates_nothing() {
    // Metadata version 1 is a plain array: 2^31 - 1 topics in no bytes at all.
    let error =
        apis::Metadata::decode_request(Decoder::new(&i32::MAX.to_be_bytes()), 1).expect_err("too many");
    assert_eq!(error.kind, DecodeErrorKind::CountTooLarge { count: i32::MAX as usize, remaining: 0 });
    assert_eq!((error.field, error.position), ("MetadataRequest.topics", 4));
    // Version 12 is compact: the greatest count a variable-length number can have.
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let error = apis::Metadata::decode_request(Decoder::new(&compact), 12).expect_err("too many");
    assert_eq!(error.kind, DecodeErrorKind::CountTooLarge { count: u32::MAX as usize - 1, remaining: 2 });
    // A count that would fit if each topic took a byte; but it takes two at least.
    let tight = [0, 0, 0, 3, 0, 0, 0, 0, 0];
    let error = apis::Metadata::decode_request(Decoder::new(&tight), 1).expect_err("too many");
    assert_eq!(error.kind, DecodeErrorKind::CountTooLarge { count: 3, remaining: 5 });
}

#[test]
fn all_arrays_together_stay_below_the_memory_limit() {
    let topic = MetadataRequestTopic { name: Some(""), ..Default::default() };
    let bytes = body(&MetadataRequest { topics: Some(vec![topic; 100]), ..Default::default() }, 1);
    let needed = 100 * size_of::<MetadataRequestTopic>();
    let decode =
        |limit| apis::Metadata::decode_request(Decoder::with_memory_limit(&bytes, limit), 1).map(drop);
    assert_eq!(decode(needed), Ok(()));
    let error = decode(needed - 1).expect_err("a byte too few");
    assert_eq!(error.kind, DecodeErrorKind::MemoryLimit { limit_bytes: needed - 1 });
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    let null = (-1i32).to_be_bytes();
    let error = apis::Metadata::decode_request(Decoder::new(&null), 0).expect_err("no null in version 0");
    assert_eq!((error.kind, error.field), (DecodeErrorKind::Null, "MetadataRequest.topics"));
    let request = apis::Metadata::decode_request(Decoder::new(&null), 1).expect("null is all topics");
    assert_eq!(request.topics, None);
    let below = (-2i32).to_be_bytes();
    let error = apis::Metadata::decode_request(Decoder::new(&below), 1).expect_err("-2 is no length");
    assert_eq!(error.kind, DecodeErrorKind::NegativeLength(-2));
}

#[test]
fn null_is_refused_in_the_versions_of_a_group_that_have_none() {
    let group_and_null = [&[0, 1, b'g'], &(-1i32).to_be_bytes()[..]].concat();
    let decode = |version| apis::OffsetFetch::decode_request(Decoder::new(&group_and_null), version);
    let error = decode(1).expect_err("no null in version 1");
    assert_eq!((error.kind, error.field), (DecodeErrorKind::Null, "OffsetFetchRequest.topics"));
    assert_eq!(decode(2).map(|request| request.topics), Ok(None), "null is all topics");

    // No delay (from version 2 on), no error, no generation, and a null protocol.
    let joined = [&[0; 6], &(-1i32).to_be_bytes()[..], &[0xff, 0xff]].concat();
    let error = apis::JoinGroup::decode_response(Decoder::new(&joined), 5).expect_err("no null before 7");
    assert_eq!((error.kind, error.field), (DecodeErrorKind::Null, "JoinGroupResponse.protocol_name"));
}

#[test]
fn null_is_written_as_empty_where_the_version_has_none() {
    assert_eq!(body(&MetadataRequest::default(), 0), [0, 0, 0, 0]);
    assert_eq!(body(&MetadataRequest::default(), 1), [0xff; 4]);
}

/// ApiVersions version 3 with a tagged section of these bytes.
fn tagged(section: &[u8]) -> Result<(), DecodeErrorKind> {
    let bytes = [&[2, b'a', 2, b'1'], section].concat();
    let request = apis::ApiVersions::decode_request(Decoder::new(&bytes), 3).map_err(|error| error.kind)?;
    let expected = ApiVersionsRequest { client_software_name: "a", client_software_version: "1" };
    assert_eq!(request, expected);
    Ok(())
}

#[test]
fn unknown_tags_are_skipped_and_bad_ones_refused() {
    assert_eq!(tagged(&[0]), Ok(()));
    assert_eq!(tagged(&[2, 5, 3, 9, 9, 9, 200, 1, 0]), Ok(()));
    assert_eq!(tagged(&[2, 5, 0, 5, 0]), Err(DecodeErrorKind::TagOrder { tag: 5 }));
    assert_eq!(tagged(&[1, 5, 4, 9]), Err(DecodeErrorKind::Truncated { needed: 4, remaining: 1 }));
    // As many tags as a number can say, in no bytes.
    let endless = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(tagged(&endless), Err(DecodeErrorKind::Truncated { needed: 1, remaining: 0 }));
    assert_eq!(tagged(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(DecodeErrorKind::VarintTooLong));
}

#[test]
fn a_known_tag_is_as_long_as_its_size_says() {
    // Fetch version 18 ends with the tagged section: no cluster id, replica state (tag 1) of 13 bytes.
    let mut bytes = body(&FetchRequest::default(), 18);
    assert_eq!(bytes.pop(), Some(0), "the default writes no tag");
    let state = [vec![0; 12], vec![0]].concat();
    let with = |size: u8, value: &[u8]| [bytes.as_slice(), &[1, 1, size], value].concat();
    let decode = |bytes: &[u8]| apis::Fetch::decode_request(Decoder::new(bytes), 18).map(|r| r.replica_state);
    let read = decode(&with(13, &state)).expect("thirteen bytes");
    assert_eq!((read.replica_id, read.replica_epoch), (0, 0));
    let longer = [state.clone(), vec![0]].concat();
    assert_eq!(decode(&with(14, &longer)).map_err(|e| e.kind), Err(DecodeErrorKind::TagSize { tag: 1 }));
    let error = decode(&with(12, &state)).expect_err("a byte too few within the field");
    assert_eq!(error.kind, DecodeErrorKind::Truncated { needed: 1, remaining: 0 });
}

#[test]
fn text_is_utf_8() {
    let bytes = [2, 0xff, 2, b'1', 0];
    let error = apis::ApiVersions::decode_request(Decoder::new(&bytes), 3).expect_err("no UTF-8");
    assert_eq!(error.kind, DecodeErrorKind::NotUtf8);
    assert!(error.to_string().starts_with("ApiVersionsRequest.client_software_name at byte 2"), "{error}");
}

#[test]
fn a_frame_has_a_length_within_the_limit() {
    assert_eq!(frame_length([0, 0, 1, 0], 256), Ok(256));
    for length in [0, -1, 257, i32::MAX, i32::MIN] {
        let error = frame_length(length.to_be_bytes(), 256).expect_err("out of bounds");
        assert_eq!((error.length, error.length_max), (length, 256));
    }
}

#[test]
fn a_header_of_an_unknown_api_is_read_as_far_as_it_can_be() {
    let bytes = [0x7f, 0xff, 0, 3, 0, 0, 0, 9, 1, 2, 3];
    let mut decoder = Decoder::new(&bytes);
    let header = RequestHeader::decode(&mut decoder).expect("three numbers");
    assert_eq!(header, RequestHeader { api_key: 0x7fff, api_version: 3, correlation_id: 9, client_id: None });
    assert_eq!(decoder.remaining(), 3);
}

#[test]
fn a_text_that_does_not_fit_is_reported_when_the_frame_ends() {
    let long = "x".repeat(40_000);
    let topics = Some(vec![MetadataRequestTopic { name: Some(&long), ..Default::default() }]);
    let request = MetadataRequest { topics, ..Default::default() };
    let encode = |version| encode_request::<apis::Metadata>(BytesMut::new(), 1, None, version, &request);
    assert_eq!(encode(8), Err(EncodeError::StringTooLong { length: 40_000 }));
    assert_eq!(encode(12).map(|frame| frame.length() > 40_000), Ok(true));
    assert_eq!(encode(14), Err(EncodeError::Version(14)));
}

#[test]
fn spliced_records_are_counted_but_not_copied() {
    let partition = |index, records| PartitionData { partition_index: index, records, ..Default::default() };
    let response = |second| FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: Cow::Borrowed("t"),
            partitions: vec![partition(0, Records::from(&b"abc"[..])), second, partition(2, Records::Null)],
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in apis::Fetch::VERSIONS {
        let whole = response(partition(1, Records::from(&b"spliced"[..])));
        let whole = encode_response::<apis::Fetch>(BytesMut::new(), 5, version, &whole).expect("it fits");
        let spliced = response(partition(1, Records::Splice { length: 7, token: 42 }));
        let spliced = encode_response::<apis::Fetch>(BytesMut::new(), 5, version, &spliced).expect("it fits");
        assert_eq!(spliced.length(), whole.length());
        let mut sent = Vec::new();
        for part in spliced.parts() {
            match part {
                Part::Bytes(bytes) => sent.extend_from_slice(&bytes),
                Part::Splice(splice) => {
                    assert_eq!((splice.length, splice.token), (7, 42));
                    sent.extend_from_slice(b"spliced");
                }
            }
        }
        assert_eq!(sent, whole.bytes, "version {version}");
    }
}
