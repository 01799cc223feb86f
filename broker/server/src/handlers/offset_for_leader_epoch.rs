//! OffsetForLeaderEpoch: where an epoch ends in the log of a partition that this broker leads.

use std::borrow::Cow;

use ottla_types::{LeaderEpoch, Offset, PartitionIndex};
use ottla_wire::ErrorCode;
use ottla_wire::apis::OffsetForLeaderEpoch;
use ottla_wire::messages::{
    OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderPartitionResult,
    OffsetForLeaderTopicResult,
};

use crate::broker::{Led, TopicRef};
use crate::request::{Begun, Call, unavailable_error};

/// Looks the epochs up.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<OffsetForLeaderEpoch>()?;
        let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
            topic: Cow::Borrowed(topic.topic),
            partitions: topic.partitions.iter().map(|asked| partition(&call, topic.topic, asked)).collect(),
        });
        let response = OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() };
        call.respond::<OffsetForLeaderEpoch>(&response)
    })
}

fn partition(call: &Call, topic: &str, asked: &OffsetForLeaderPartition) -> OffsetForLeaderPartitionResult {
    let known = LeaderEpoch(asked.current_leader_epoch);
    let led = call.broker.led_partition_in(TopicRef::Name(topic), PartitionIndex(asked.partition), known);
    let (error, found) = match led {
        Ok(led) => (ErrorCode::None, end_of(&led, LeaderEpoch(asked.leader_epoch))),
        Err(why) => (unavailable_error(&why), None),
    };
    let (leader_epoch, end_offset) = found.map_or((-1, -1), |(epoch, end)| (epoch.0, end.0));
    OffsetForLeaderPartitionResult {
        error_code: error.code(),
        partition: asked.partition,
        leader_epoch,
        end_offset,
    }
}

/// The greatest epoch up to `epoch` and its end.
///
/// The newest epoch ends at the log's end, not at the high watermark. That one may lie below what a consumer
/// has read from the leader before, until the new leader hears from its followers; the consumer would then
/// take records for lost that are there. An epoch that is older than the log ends where the log starts, and
/// isn't lost either. Nothing is known of an epoch that is yet to come.
fn end_of(led: &Led, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
    if epoch > led.leader_epoch {
        return None;
    }
    let found = led.partition.log.end_offset_for_epoch(epoch);
    found.or_else(|| (epoch.0 >= 0).then_some((epoch, led.standing.offsets.log_start)))
}
