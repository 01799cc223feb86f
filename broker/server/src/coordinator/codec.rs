//! The group coordinator's records as bytes, and as batches of whole decisions.
//!
//! What a record's key and value look like is [`ottla_wire::group_records`]'; here is which of its fields mean
//! what.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::coordinator::{Append, Ticket};
use ottla_core::group::{
    Generation, GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetAndMetadata, OffsetCommitKey,
    Record,
};
use ottla_log::{BatchBuilder, HEADER_BYTES};
use ottla_types::{IdError, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use ottla_wire::group_records::{self as wire, DecodedGroupRecord, EncodedGroupRecord, GroupRecord};
use ottla_wire::{DecodeError, EncodeError};

/// What "none" is for numbers in records.
const NONE: i32 = -1;

/// Several decisions share a batch up to so many bytes. One alone may be as large as the topic takes: that is
/// how an administrator makes room for large groups.
const SHARED_BATCH_BYTES_MAX: usize = 1 << 20;

/// The most that a record takes up in a batch beside its key and value: the lengths of itself and of both,
/// its offset, attributes, time and headers.
const RECORD_OVERHEAD_BYTES: usize = 5 + 5 + 5 + 5 + 1 + 1 + 1;

/// Why a record that was read is passed over.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is of another kind of coordinator or group, or of a newer version.
    #[error("a record of type {0}, which isn't known here")]
    Type(i16),
    /// It has no key.
    #[error("a record without a key")]
    NoKey,
    /// Key or value are no such thing.
    #[error("a record that can't be read: {0}")]
    Malformed(#[from] DecodeError),
    /// It names a topic that can't be.
    #[error("an offset of a topic that can't be: {0}")]
    Topic(#[from] IdError),
}

/// A batch that is ready to be appended.
#[derive(Debug)]
pub struct FilledBatch {
    /// The first decision in it.
    pub first: Ticket,
    /// The last one.
    pub last: Ticket,
    /// It, without offset and epoch.
    pub bytes: Bytes,
}

/// This decision is larger than a batch may be, or has a text that no record can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge(pub Ticket);

/// Takes so many decisions as fit into one batch; none if there is none. A batch may have `bytes_max` bytes,
/// and its records the time `wall_ms`.
///
/// # Errors
/// When the first decision doesn't fit into a batch. It is taken.
pub fn next_batch(
    appends: &mut VecDeque<Append<Record>>,
    bytes_max: usize,
    wall_ms: i64,
) -> Option<Result<FilledBatch, TooLarge>> {
    let first = appends.front()?.ticket;
    let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let mut last = None;
    while let Some(append) = appends.front() {
        let decision = encode_all(&append.records);
        let fits = decision.as_ref().is_ok_and(|(_, bytes)| match last {
            None => HEADER_BYTES + bytes <= bytes_max,
            Some(_) => builder.bytes() + bytes <= bytes_max.min(SHARED_BATCH_BYTES_MAX),
        });
        let Some((records, _)) = decision.ok().filter(|_| fits) else { break };
        for record in &records {
            builder.push(wall_ms, Some(&record.key), record.value.as_deref(), &[]);
        }
        last = Some(append.ticket);
        appends.pop_front();
    }
    let Some(last) = last else {
        appends.pop_front();
        return Some(Err(TooLarge(first)));
    };
    Some(Ok(FilledBatch { first, last, bytes: builder.build().into() }))
}

/// A decision's records, and the most bytes that they take up in a batch.
fn encode_all(records: &[Record]) -> Result<(Vec<EncodedGroupRecord>, usize), EncodeError> {
    let encoded = records.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    let bytes = |one: &EncodedGroupRecord| {
        RECORD_OVERHEAD_BYTES + one.key.len() + one.value.as_ref().map_or(0, Bytes::len)
    };
    let total = encoded.iter().map(bytes).sum();
    Ok((encoded, total))
}

/// A record's key and value, as Apache Kafka 4 writes them.
///
/// # Errors
/// When a text is longer than the format allows.
pub fn encode(record: &Record) -> Result<EncodedGroupRecord, EncodeError> {
    match record {
        Record::OffsetCommit { key, value } => {
            let (group, topic) = (key.group.as_str(), key.topic.as_str());
            let key = wire::OffsetCommitKey { group, topic, partition: key.partition.0 };
            GroupRecord::OffsetCommit(key, value.as_ref().map(to_offset_value)).encode()
        }
        Record::GroupMetadata { key, value } => {
            let key = wire::GroupMetadataKey { group: key.group.as_str() };
            GroupRecord::GroupMetadata(key, value.as_ref().map(to_group_value)).encode()
        }
    }
}

/// The version that has a time to expire has neither a leader epoch nor the topic's id.
fn to_offset_value(value: &OffsetAndMetadata) -> wire::OffsetCommitValue<'_> {
    let expire_timestamp = value.expire_timestamp_ms.unwrap_or(i64::from(NONE));
    wire::OffsetCommitValue {
        offset: value.offset.0,
        leader_epoch: value.leader_epoch.map_or(NONE, |epoch| epoch.0),
        metadata: &value.metadata,
        commit_timestamp: value.commit_timestamp_ms,
        expire_timestamp,
        topic_id: value.topic_id.0,
    }
}

fn to_group_value(value: &GroupMetadataValue) -> wire::GroupMetadataValue<'_> {
    wire::GroupMetadataValue {
        protocol_type: &value.protocol_type,
        generation: value.generation.0,
        protocol: value.protocol.as_deref(),
        leader: value.leader.as_ref().map(|id| id.as_str()),
        current_state_timestamp: value.current_state_timestamp_ms.unwrap_or(i64::from(NONE)),
        members: value.members.iter().map(to_member).collect(),
    }
}

fn to_member(member: &MemberMetadata) -> wire::MemberMetadata<'_> {
    let milliseconds = |ms: u64| i32::try_from(ms).unwrap_or(i32::MAX);
    wire::MemberMetadata {
        member_id: member.member.as_str(),
        group_instance_id: member.instance.as_ref().map(|id| id.as_str()),
        client_id: &member.client_id,
        client_host: &member.client_host,
        rebalance_timeout: milliseconds(member.rebalance_timeout_ms),
        session_timeout: milliseconds(member.session_timeout_ms),
        subscription: &member.subscription,
        assignment: &member.assignment,
    }
}

/// Reads a record's key and value, in any version that Apache Kafka 4 reads.
///
/// # Errors
/// When it isn't one that is known here.
pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Record, Unreadable> {
    match GroupRecord::decode(key.ok_or(Unreadable::NoKey)?, value)? {
        DecodedGroupRecord::Known(GroupRecord::OffsetCommit(key, value)) => {
            let topic = TopicName::new(key.topic)?;
            let partition = PartitionIndex(key.partition);
            let key = OffsetCommitKey { group: key.group.into(), topic, partition };
            Ok(Record::OffsetCommit { key, value: value.map(of_offset_value) })
        }
        DecodedGroupRecord::Known(GroupRecord::GroupMetadata(key, value)) => {
            let key = GroupMetadataKey { group: key.group.into() };
            Ok(Record::GroupMetadata { key, value: value.map(of_group_value) })
        }
        DecodedGroupRecord::Known(other) => Err(Unreadable::Type(other.record_type())),
        DecodedGroupRecord::Unknown { record_type } => Err(Unreadable::Type(record_type)),
    }
}

fn of_offset_value(value: wire::OffsetCommitValue<'_>) -> OffsetAndMetadata {
    OffsetAndMetadata {
        offset: Offset(value.offset),
        leader_epoch: (value.leader_epoch != NONE).then_some(LeaderEpoch(value.leader_epoch)),
        metadata: value.metadata.into(),
        commit_timestamp_ms: value.commit_timestamp,
        expire_timestamp_ms: known(value.expire_timestamp),
        topic_id: TopicId(value.topic_id),
    }
}

fn of_group_value(value: wire::GroupMetadataValue<'_>) -> GroupMetadataValue {
    GroupMetadataValue {
        protocol_type: value.protocol_type.to_owned(),
        generation: Generation(value.generation),
        protocol: value.protocol.map(ToOwned::to_owned),
        leader: value.leader.map(Into::into),
        current_state_timestamp_ms: known(value.current_state_timestamp),
        members: value.members.into_iter().map(of_member).collect(),
    }
}

fn of_member(member: wire::MemberMetadata<'_>) -> MemberMetadata {
    let milliseconds = |ms: i32| u64::try_from(ms).unwrap_or(0);
    let rebalance_timeout = match member.rebalance_timeout {
        // The first version had none: the session's counted.
        NONE => member.session_timeout,
        given => given,
    };
    MemberMetadata {
        member: member.member_id.into(),
        instance: member.group_instance_id.map(Into::into),
        client_id: member.client_id.into(),
        client_host: member.client_host.into(),
        rebalance_timeout_ms: milliseconds(rebalance_timeout),
        session_timeout_ms: milliseconds(member.session_timeout),
        subscription: Arc::from(member.subscription),
        assignment: Arc::from(member.assignment),
    }
}

fn known(timestamp_ms: i64) -> Option<i64> {
    (timestamp_ms != i64::from(NONE)).then_some(timestamp_ms)
}
