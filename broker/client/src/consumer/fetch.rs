//! One Fetch request to one leader.

use std::sync::Arc;

use ottla_wire::messages::{FetchPartition, FetchRequest, FetchTopic, FetchableTopicResponse};
use ottla_wire::{Uuid, apis};

use super::ConsumerConfig;
use crate::client::Lane;
use crate::{Client, ClientError, Reply};

/// A partition and what is asked of it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) topic: Arc<str>,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
}

/// The partitions of one request, sorted by topic.
pub(super) type Partitions = Vec<Asked>;

/// A response, or why there is none.
#[derive(Debug)]
pub(super) struct FetchResult {
    pub(super) leader_id: i32,
    pub(super) partitions: Partitions,
    pub(super) reply: Result<Reply<apis::Fetch>, ClientError>,
}

/// Asks the broker at `address` for records, without a session.
pub(super) async fn fetch(
    client: &Client,
    lane: Lane,
    address: &str,
    config: &ConsumerConfig,
    partitions: &Partitions,
) -> Result<Reply<apis::Fetch>, ClientError> {
    let connection = client.connection_to(lane, address).await?;
    let topics = partitions.chunk_by(|a, b| a.topic == b.topic).map(|of_topic| FetchTopic {
        topic: &of_topic[0].topic,
        topic_id: of_topic[0].topic_id,
        partitions: of_topic.iter().map(|asked| partition(asked, config)).collect(),
    });
    let request = FetchRequest {
        max_wait_ms: i32::try_from(config.wait_max.as_millis()).unwrap_or(i32::MAX),
        min_bytes: config.bytes_min,
        max_bytes: config.bytes_max,
        topics: topics.collect(),
        ..Default::default()
    };
    connection.call_within::<apis::Fetch>(&request, Vec::new(), config.wait_max).await
}

fn partition(asked: &Asked, config: &ConsumerConfig) -> FetchPartition {
    FetchPartition {
        partition: asked.partition,
        current_leader_epoch: asked.leader_epoch,
        fetch_offset: asked.offset,
        partition_max_bytes: config.partition_bytes_max,
        ..Default::default()
    }
}

/// What was asked of a partition in a response; older versions name its topic, newer ones have its id.
pub(super) fn find<'p>(
    partitions: &'p Partitions,
    topic: &FetchableTopicResponse<'_>,
    partition: i32,
) -> Option<&'p Asked> {
    let is_topic = |asked: &Asked| match &*topic.topic {
        "" => topic.topic_id == asked.topic_id,
        name => *name == *asked.topic,
    };
    partitions.iter().find(|asked| asked.partition == partition && is_topic(asked))
}
