//! ListPartitionReassignments: which partitions are on their way to other brokers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ottla_core::metadata::{MetadataImage, TopicImage};
use ottla_types::PartitionIndex;
use ottla_wire::apis::ListPartitionReassignments;
use ottla_wire::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, ListPartitionReassignmentsTopic,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};

use super::partitions::ids;
use crate::request::{Begun, Call, CallError, Count};

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

/// What it tells of, if it is asked for all partitions.
///
/// # Errors
/// When the request can't be decoded.
pub fn count(call: &Call) -> Result<Count, CallError> {
    Ok(Count::all_if(call.decode::<ListPartitionReassignments>()?.topics.is_none(), call))
}

fn moving<'a>(
    request: &ListPartitionReassignmentsRequest<'_>,
    image: &'a MetadataImage,
) -> Vec<OngoingTopicReassignment<'a>> {
    let is_moving = |topic: &OngoingTopicReassignment<'_>| !topic.partitions.is_empty();
    match &request.topics {
        None => {
            let topics = image.topic_ids.values().map(|id| of_topic(&image.topics[id], |_| true));
            topics.filter(is_moving).collect()
        }
        Some(asked) => {
            let topics = by_name(asked).into_iter().filter_map(|(name, indexes)| {
                Some(of_topic(image.topic(name)?, |index: PartitionIndex| indexes.contains(&index.0)))
            });
            topics.filter(is_moving).collect()
        }
    }
}

/// What is asked of each topic, which is told once however often it is named.
fn by_name<'a>(asked: &[ListPartitionReassignmentsTopic<'a>]) -> BTreeMap<&'a str, BTreeSet<i32>> {
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for topic in asked {
        topics.entry(topic.name).or_default().extend(&topic.partition_indexes);
    }
    topics
}

fn of_topic(topic: &TopicImage, is_asked: impl Fn(PartitionIndex) -> bool) -> OngoingTopicReassignment<'_> {
    let moving = topic.numbered().filter(|(index, state)| is_asked(*index) && state.is_reassigning());
    OngoingTopicReassignment {
        name: Cow::Borrowed(topic.name.as_str()),
        partitions: moving
            .map(|(index, state)| OngoingPartitionReassignment {
                partition_index: index.0,
                replicas: ids(&state.replicas),
                adding_replicas: ids(&state.adding),
                removing_replicas: ids(&state.removing),
            })
            .collect(),
    }
}
