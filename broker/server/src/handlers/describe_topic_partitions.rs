//! DescribeTopicPartitions: topics and their partitions for administrators, page by page.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ottla_core::metadata::{MetadataImage, PartitionImage, TopicImage, is_internal};
use ottla_types::{PartitionIndex, TopicName};
use ottla_wire::ErrorCode;
use ottla_wire::apis::DescribeTopicPartitions;
use ottla_wire::messages::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

use super::partitions::told;
use super::rights::TOPIC_OPERATIONS;
use crate::request::{Begun, Call};

/// The most partitions of one page, as in Kafka.
const PAGE_MAX: i32 = 2_000;

/// Answers one page from the image.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<DescribeTopicPartitions>()?;
        let image = call.broker.image();
        call.respond::<DescribeTopicPartitions>(&page(&request, &image))
    })
}

fn page<'a>(
    request: &DescribeTopicPartitionsRequest<'a>,
    image: &'a MetadataImage,
) -> DescribeTopicPartitionsResponse<'a> {
    let names: BTreeSet<&str> = match request.topics.is_empty() {
        true => image.topic_ids.keys().map(TopicName::as_str).collect(),
        false => request.topics.iter().map(|topic| topic.name).collect(),
    };
    let (from_topic, from_index) = match &request.cursor {
        Some(cursor) => (&*cursor.topic_name, usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => ("", 0),
    };
    let mut left = usize::try_from(request.response_partition_limit.clamp(1, PAGE_MAX)).unwrap_or(1);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|name| *name >= from_topic) {
        let first = if name == from_topic { from_index } else { 0 };
        if left == 0 {
            response.next_cursor = cursor(name, first);
            break;
        }
        let Some(topic) = image.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let count = topic.partitions.len().saturating_sub(first).min(left);
        response.topics.push(known(topic, image, first, count));
        left -= count;
        if first + count < topic.partitions.len() {
            response.next_cursor = cursor(name, first + count);
            break;
        }
    }
    response
}

fn cursor(name: &str, index: usize) -> Option<Cursor<'static>> {
    let partition_index = i32::try_from(index).expect("partitions are numbered by 32 bits");
    Some(Cursor { topic_name: Cow::Owned(name.to_owned()), partition_index })
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic<'_> {
    let error = match TopicName::new(name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(Cow::Borrowed(name)),
        is_internal: is_internal(name),
        ..Default::default()
    }
}

fn known<'a>(
    topic: &'a TopicImage,
    image: &MetadataImage,
    first: usize,
    count: usize,
) -> DescribeTopicPartitionsResponseTopic<'a> {
    let partitions = topic.numbered().skip(first).take(count);
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(Cow::Borrowed(topic.name.as_str())),
        topic_id: topic.id.0,
        is_internal: is_internal(topic.name.as_str()),
        partitions: partitions.map(|(index, state)| partition(index, state, image)).collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
    }
}

fn partition(
    index: PartitionIndex,
    state: &PartitionImage,
    image: &MetadataImage,
) -> DescribeTopicPartitionsResponsePartition {
    let told = told(image, state);
    DescribeTopicPartitionsResponsePartition {
        error_code: told.error.code(),
        partition_index: index.0,
        leader_id: told.leader_id,
        leader_epoch: told.leader_epoch,
        replica_nodes: told.replicas,
        isr_nodes: told.isr,
        eligible_leader_replicas: Some(told.elr),
        last_known_elr: Some(told.last_known_leader.into_iter().collect()),
        offline_replicas: told.offline,
    }
}
