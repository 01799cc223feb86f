//! ListOffsets: the first and the last offset of a partition, and offsets by time.

use std::borrow::Cow;

use ottla_store::{ReadError, TimestampOffset};
use ottla_types::{LeaderEpoch, Offset, PartitionIndex};
use ottla_wire::ErrorCode;
use ottla_wire::apis::ListOffsets;
use ottla_wire::messages::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
    TIMESTAMP_EARLIEST, TIMESTAMP_EARLIEST_LOCAL, TIMESTAMP_EARLIEST_PENDING_UPLOAD, TIMESTAMP_LATEST,
    TIMESTAMP_LATEST_TIERED, TIMESTAMP_MAX,
};

use super::duplicates::grouped;
use crate::broker::{Led, TopicRef};
use crate::partitions::Standing;
use crate::request::{Begun, Call, read_error, unavailable_error};

/// Looks up each partition's offset, one after the other.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<ListOffsets>()?;
        let named =
            request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |one| (topic.name, one)));
        let mut topics = Vec::with_capacity(request.topics.len());
        for (name, asked) in grouped(named) {
            let mut partitions = Vec::with_capacity(asked.len());
            for (_, asked) in grouped(asked.into_iter().map(|one| (one.partition_index, one))) {
                partitions.push(match asked[..] {
                    [one] => partition(&call, name, one).await,
                    _ => response(asked[0], Err(ErrorCode::InvalidRequest)),
                });
            }
            topics.push(ListOffsetsTopicResponse { name: Cow::Borrowed(name), partitions });
        }
        let response = ListOffsetsResponse { topics, ..Default::default() };
        call.respond::<ListOffsets>(&response)
    })
}

/// An offset, with its record's time and epoch; −1 for what there is none of.
struct TimestampAndOffset {
    offset: i64,
    timestamp: i64,
    epoch: i32,
}

const NOTHING: TimestampAndOffset = TimestampAndOffset { offset: -1, timestamp: -1, epoch: -1 };

async fn partition(call: &Call, topic: &str, asked: &ListOffsetsPartition) -> ListOffsetsPartitionResponse {
    let index = PartitionIndex(asked.partition_index);
    let (epoch, timestamp) = (LeaderEpoch(asked.current_leader_epoch), asked.timestamp);
    let led = call.broker.led_partition_in(TopicRef::Name(topic), index, epoch);
    let is_known = version_first(timestamp).is_some_and(|first| call.replier.version >= first);
    let found = match led.map_err(|why| unavailable_error(&why)) {
        Err(error) => Err(error),
        Ok(_) if !is_known => Err(ErrorCode::UnsupportedVersion),
        Ok(led) if is_time(timestamp) => {
            let found = call.broker.openings.look_up(move || find(&led, timestamp)).await;
            found.unwrap_or(Err(ErrorCode::NotLeaderOrFollower))
        }
        Ok(led) => find(&led, timestamp),
    };
    response(asked, found)
}

fn response(
    asked: &ListOffsetsPartition,
    found: Result<TimestampAndOffset, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let (error, found) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, NOTHING),
    };
    ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        error_code: error.code(),
        timestamp: found.timestamp,
        offset: found.offset,
        leader_epoch: found.epoch,
    }
}

/// The first version in which a time, or what stands for one, may be asked for; none if it has no meaning.
fn version_first(timestamp: i64) -> Option<i16> {
    match timestamp {
        0.. | TIMESTAMP_LATEST | TIMESTAMP_EARLIEST => Some(1),
        TIMESTAMP_MAX => Some(7),
        TIMESTAMP_EARLIEST_LOCAL => Some(8),
        TIMESTAMP_LATEST_TIERED => Some(9),
        TIMESTAMP_EARLIEST_PENDING_UPLOAD => Some(11),
        _ => None,
    }
}

/// Whether records have to be read for it.
fn is_time(timestamp: i64) -> bool {
    timestamp >= 0 || timestamp == TIMESTAMP_MAX
}

fn find(led: &Led, timestamp: i64) -> Result<TimestampAndOffset, ErrorCode> {
    let (log, leader_epoch) = (&led.partition.log, led.leader_epoch);
    let Standing { is_current, offsets, .. } = led.standing;
    let edge = |offset: Offset, epoch: i32| TimestampAndOffset { offset: offset.0, timestamp: -1, epoch };
    let at_time = |found: Result<Option<TimestampOffset>, ReadError>| match found {
        // Beyond the high watermark nobody may see it yet.
        Ok(Some(at)) if at.offset < offsets.high_watermark => Ok(TimestampAndOffset {
            offset: at.offset.0,
            timestamp: at.timestamp_ms,
            epoch: at.leader_epoch.0,
        }),
        Ok(_) => Ok(NOTHING),
        Err(error) => Err(read_error(&error)),
    };
    match timestamp {
        // A new leader may not know yet how far its predecessor acknowledged records (KIP-207).
        TIMESTAMP_LATEST if !is_current => Err(ErrorCode::OffsetNotAvailable),
        TIMESTAMP_LATEST => Ok(edge(offsets.high_watermark, leader_epoch.0)),
        TIMESTAMP_EARLIEST | TIMESTAMP_EARLIEST_LOCAL => {
            let epoch = log.epoch_at(offsets.log_start).unwrap_or(leader_epoch);
            Ok(edge(offsets.log_start, epoch.0))
        }
        TIMESTAMP_MAX => at_time(log.offset_for_max_timestamp()),
        // Nothing is ever in tiered storage.
        TIMESTAMP_LATEST_TIERED | TIMESTAMP_EARLIEST_PENDING_UPLOAD => Ok(NOTHING),
        timestamp if timestamp >= 0 => at_time(log.offset_for_timestamp(timestamp)),
        _ => Err(ErrorCode::InvalidRequest),
    }
}
