//! The consumer protocol's payloads: as `kafka-protocol` writes and reads them in every version, cut off, and
//! in versions that aren't there yet.

mod support;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use ottla_wire::codec::{Generate, Generator, Message};
use ottla_wire::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartitions,
};
use ottla_wire::{DecodeError, DecodeErrorKind, EncodeError};
use support::normal;

/// Checks `bytes`, which are `value` in `version`, with the oracle.
fn agree<T: Decodable + Encodable + Debug>(bytes: &Bytes, version: i16, value: &impl Debug) {
    assert_eq!(bytes[..2], version.to_be_bytes());
    let mut left = bytes.slice(2..);
    let read = T::decode(&mut left, version).expect("they read what we wrote");
    assert!(left.is_empty(), "they left {} bytes of version {version} of {value:?}", left.len());
    assert_eq!(normal(&format!("{value:?}")), normal(&format!("{read:?}")), "version {version}");
    let mut written = BytesMut::new();
    read.encode(&mut written, version).expect("they write what they read");
    assert_eq!(written, bytes[2..], "version {version} of {value:?}");
}

fn generated<M: Message<'static> + Generate<'static>>(seed: u64, version: i16) -> M {
    M::generate(&mut Generator::new(seed), M::context(version).expect("a version of it"))
}

#[test]
fn subscriptions_and_assignments_agree() {
    for version in 0..=3 {
        for seed in 0..50 {
            let value: ConsumerProtocolSubscription<'_> = generated(seed, version);
            let bytes = value.to_bytes(version).expect("it fits");
            agree::<theirs::ConsumerProtocolSubscription>(&bytes, version, &value);
            assert_eq!(ConsumerProtocolSubscription::from_bytes(&bytes), Ok(value));
            let value: ConsumerProtocolAssignment<'_> = generated(seed, version);
            let bytes = value.to_bytes(version).expect("it fits");
            agree::<theirs::ConsumerProtocolAssignment>(&bytes, version, &value);
            assert_eq!(ConsumerProtocolAssignment::from_bytes(&bytes), Ok(value));
        }
    }
}

/// Bytes in `version`, and that they are refused however they are cut.
#[track_caller]
fn check_cuts(bytes: &[u8], decodes: impl Fn(&[u8]) -> Result<(), DecodeError>) {
    assert_eq!(decodes(bytes), Ok(()));
    for length in 0..bytes.len() {
        let error = decodes(&bytes[..length]).expect_err("it is cut off");
        assert!(error.field.starts_with("ConsumerProtocol"), "{error}");
    }
}

#[test]
fn every_cut_is_noticed() {
    for version in 0..=3 {
        for seed in 0..10 {
            let value: ConsumerProtocolSubscription<'_> = generated(seed, version);
            check_cuts(&value.to_bytes(version).expect("it fits"), |bytes| {
                ConsumerProtocolSubscription::from_bytes(bytes).map(drop)
            });
            let value: ConsumerProtocolAssignment<'_> = generated(seed, version);
            check_cuts(&value.to_bytes(version).expect("it fits"), |bytes| {
                ConsumerProtocolAssignment::from_bytes(bytes).map(drop)
            });
        }
    }
}

#[test]
fn a_newer_version_is_read_as_far_as_it_is_known() {
    let partitions = ConsumerProtocolTopicPartitions { topic: "t", partitions: vec![0, 2] };
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["t"],
        user_data: None,
        owned_partitions: vec![partitions.clone()],
        generation_id: 4,
        rack_id: Some("a"),
    };
    let mut bytes = subscription.to_bytes(3).expect("it fits").to_vec();
    bytes[1] = 9;
    bytes.extend([1, 2, 3]);
    assert_eq!(ConsumerProtocolSubscription::from_bytes(&bytes), Ok(subscription));

    let assignment =
        ConsumerProtocolAssignment { assigned_partitions: vec![partitions], user_data: Some(b"u") };
    let mut bytes = assignment.to_bytes(3).expect("it fits").to_vec();
    bytes[..2].copy_from_slice(&i16::MAX.to_be_bytes());
    bytes.push(0);
    assert_eq!(ConsumerProtocolAssignment::from_bytes(&bytes), Ok(assignment));
}

#[test]
fn a_negative_version_is_refused_and_an_unknown_one_never_written() {
    let error = ConsumerProtocolSubscription::from_bytes(&[0xff, 0xff, 0, 0]).expect_err("-1 is no version");
    let at_version = (DecodeErrorKind::Version(-1), "ConsumerProtocolSubscription.version");
    assert_eq!((error.kind, error.field), at_version);
    let error = ConsumerProtocolAssignment::from_bytes(&[0x80, 0, 0, 0]).expect_err("it is no version");
    assert_eq!(error.kind, DecodeErrorKind::Version(i16::MIN));
    assert_eq!(ConsumerProtocolSubscription::default().to_bytes(4), Err(EncodeError::Version(4)));
    assert_eq!(ConsumerProtocolAssignment::default().to_bytes(-1), Err(EncodeError::Version(-1)));
}

#[test]
fn a_count_beyond_the_bytes_allocates_nothing() {
    let endless = [&[0, 0], &i32::MAX.to_be_bytes()[..], &[0; 8]].concat();
    let too_many = DecodeErrorKind::CountTooLarge { count: i32::MAX as usize, remaining: 8 };
    let error = ConsumerProtocolSubscription::from_bytes(&endless).expect_err("too many topics");
    assert_eq!((error.kind, error.field), (too_many, "ConsumerProtocolSubscription.topics"));
    let error = ConsumerProtocolAssignment::from_bytes(&endless).expect_err("too many topics");
    assert_eq!((error.kind, error.field), (too_many, "ConsumerProtocolAssignment.assigned_partitions"));
}
