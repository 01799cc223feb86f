//! ListPartitionReassignments: which partitions are on their way to other brokers.

use std::borrow::Cow;

use ottla_core::metadata::{MetadataImage, PartitionImage, TopicImage};
use ottla_types::PartitionIndex;
use ottla_wire::apis::ListPartitionReassignments;
use ottla_wire::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, OngoingPartitionReassignment,
    OngoingTopicReassignment,
};

use super::call::{Begun, Call};
use super::partitions::ids;

/// Answers from the image.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<ListPartitionReassignments>()?;
        let image = call.broker.image();
        let topics = moving(&request, &image);
        call.respond::<ListPartitionReassignments>(&ListPartitionReassignmentsResponse {
            topics,
            ..Default::default()
        })
    })
}

fn moving<'a>(
    request: &ListPartitionReassignmentsRequest<'_>,
    image: &'a MetadataImage,
) -> Vec<OngoingTopicReassignment<'a>> {
    let topics: Vec<_> = match &request.topics {
        None => image.topic_ids.values().map(|id| of_topic(&image.topics[id], |_| true)).collect(),
        Some(asked) => asked
            .iter()
            .filter_map(|asked| {
                let is_asked = |index: PartitionIndex| asked.partition_indexes.contains(&index.0);
                Some(of_topic(image.topic(asked.name)?, is_asked))
            })
            .collect(),
    };
    topics.into_iter().filter(|topic| !topic.partitions.is_empty()).collect()
}

fn of_topic(topic: &TopicImage, is_asked: impl Fn(PartitionIndex) -> bool) -> OngoingTopicReassignment<'_> {
    let moving = topic.numbered().filter(|(index, state)| is_asked(*index) && state.is_reassigning());
    let partition = |(index, state): (PartitionIndex, &PartitionImage)| OngoingPartitionReassignment {
        partition_index: index.0,
        replicas: ids(&state.replicas),
        adding_replicas: ids(&state.adding),
        removing_replicas: ids(&state.removing),
    };
    OngoingTopicReassignment {
        name: Cow::Borrowed(topic.name.as_str()),
        partitions: moving.map(partition).collect(),
    }
}
