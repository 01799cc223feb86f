//! What consumers say of themselves in JoinGroup, and what their leader assigns them in SyncGroup: the
//! payloads of the protocol type `consumer`, which are opaque bytes in those messages.
//!
//! Each begins with its version. Versions only ever add fields at the end, so a newer one is read as the
//! newest that is known here, and what follows is passed over.

use bytes::Bytes;
use ottla_wire_derive::Message;

use crate::codec::{DecodeError, Decoder, EncodeError, Message, decode_prefix, encode_prefixed};

/// The protocol type of a group of consumers.
pub const PROTOCOL_TYPE_CONSUMER: &str = "consumer";

/// A consumer's subscription: the metadata that it joins with.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-3", flexible = "none")]
pub struct ConsumerProtocolSubscription<'a> {
    /// The topics that it reads.
    pub topics: Vec<&'a str>,
    /// What its assignor wants to know besides.
    #[kafka(nullable)]
    pub user_data: Option<&'a [u8]>,
    /// The partitions that it has.
    #[kafka(versions = "1+")]
    pub owned_partitions: Vec<ConsumerProtocolTopicPartitions<'a>>,
    /// The generation in which it got them, -1 if unknown.
    #[kafka(versions = "2+", default = -1)]
    pub generation_id: i32,
    /// Its rack.
    #[kafka(versions = "3+", nullable = "3+")]
    pub rack_id: Option<&'a str>,
}

/// What a consumer is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "0-3", flexible = "none")]
pub struct ConsumerProtocolAssignment<'a> {
    /// The partitions.
    pub assigned_partitions: Vec<ConsumerProtocolTopicPartitions<'a>>,
    /// What its assignor wants to tell it besides.
    #[kafka(nullable)]
    pub user_data: Option<&'a [u8]>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ConsumerProtocolTopicPartitions<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
}

impl<'a> ConsumerProtocolSubscription<'a> {
    /// Reads a subscription, its version before it.
    ///
    /// # Errors
    /// When the version is negative, or the bytes don't begin with a subscription.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        decode(bytes, "ConsumerProtocolSubscription.version")
    }

    /// The subscription in `version`, which stands before it.
    ///
    /// # Errors
    /// When there is no such version or a value doesn't fit.
    pub fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode_prefixed(version, self, version)
    }
}

impl<'a> ConsumerProtocolAssignment<'a> {
    /// Reads an assignment, its version before it.
    ///
    /// # Errors
    /// When the version is negative, or the bytes don't begin with an assignment.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        decode(bytes, "ConsumerProtocolAssignment.version")
    }

    /// The assignment in `version`, which stands before it.
    ///
    /// # Errors
    /// When there is no such version or a value doesn't fit.
    pub fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode_prefixed(version, self, version)
    }
}

fn decode<'a, M: Message<'a>>(bytes: &'a [u8], field: &'static str) -> Result<M, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let version = decode_prefix(&mut decoder, field)?;
    M::decode_body(&mut decoder, version.min(M::VERSION_LAST))
}
