//! AlterPartitionReassignments: moves partitions to other brokers, or stops that.

use std::borrow::Cow;

use ottla_core::metadata::{Command, MetadataImage, ReassignPartitions, Reassignment, Reply, TopicResult};
use ottla_types::{BrokerId, PartitionIndex};
use ottla_wire::ErrorCode;
use ottla_wire::apis::AlterPartitionReassignments;
use ottla_wire::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};

use super::commands::{Failure, submit};
use super::partitions::by_topic;
use crate::request::{Begun, Call, topic_error};

/// Puts the moves into the metadata; they go on by themselves from there.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<AlterPartitionReassignments>()?;
        let mut response = AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            ..Default::default()
        };
        let (mut moves, partitions) = sorted_out(&request, &call.broker.image());
        match reassign(&call, partitions, request.timeout_ms).await {
            Ok(outcomes) => {
                let pending = moves.iter_mut().filter(|(_, _, outcome)| outcome.is_ok());
                for ((_, _, place), outcome) in pending.zip(outcomes) {
                    *place = outcome.map_err(|error| Failure {
                        code: topic_error(error.kind),
                        message: error.message.into(),
                    });
                }
                let told = moves.into_iter().map(|(topic, index, outcome)| (topic, result(index, outcome)));
                response.responses = by_topic(told)
                    .into_iter()
                    .map(|(name, partitions)| ReassignableTopicResponse {
                        name: Cow::Borrowed(name),
                        partitions,
                    })
                    .collect();
            }
            Err(failure) => {
                response.error_code = failure.code.code();
                response.error_message = Some(failure.message);
            }
        }
        call.respond::<AlterPartitionReassignments>(&response)
    })
}

/// A partition by its topic's name, and whether it moves.
type Move<'a> = (&'a str, i32, Result<(), Failure>);

/// All partitions of the request, and what is asked of those among them that can be, in the same order.
fn sorted_out<'a>(
    request: &AlterPartitionReassignmentsRequest<'a>,
    image: &MetadataImage,
) -> (Vec<Move<'a>>, Vec<Reassignment>) {
    let mut asked = Vec::new();
    let mut moves = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let outcome = reassignment(topic.name, partition, request, image);
            let outcome = outcome.map(|reassignment| asked.push(reassignment));
            moves.push((topic.name, partition.partition_index, outcome));
        }
    }
    (moves, asked)
}

fn reassignment(
    name: &str,
    asked: &ReassignablePartition,
    request: &AlterPartitionReassignmentsRequest<'_>,
    image: &MetadataImage,
) -> Result<Reassignment, Failure> {
    let index = PartitionIndex(asked.partition_index);
    // The answer names topic and partition; a text for each would be many times as long as what was asked.
    let unknown =
        || Failure { code: ErrorCode::UnknownTopicOrPartition, message: "there is no such partition".into() };
    let topic = image.topic(name).ok_or_else(unknown)?;
    let state = topic.partition(index).ok_or_else(unknown)?;
    if let Some(replicas) = &asked.replicas
        && !request.allow_replication_factor_change
        && replicas.len() != state.target().len()
    {
        let message = format!("it has {} replicas, not {}", state.target().len(), replicas.len()).into();
        return Err(Failure { code: ErrorCode::InvalidReplicationFactor, message });
    }
    let replicas = asked.replicas.as_ref().map(|ids| ids.iter().copied().map(BrokerId).collect());
    Ok(Reassignment { topic: topic.id, partition: index, replicas })
}

async fn reassign(
    call: &Call,
    partitions: Vec<Reassignment>,
    timeout_ms: i32,
) -> Result<Vec<TopicResult<()>>, Failure> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let command = Command::ReassignPartitions(ReassignPartitions { partitions });
    match submit(call, command, timeout_ms).await? {
        Reply::PartitionsReassigned(results) => Ok(results),
        reply => panic!("the reply's variant follows the command's: {reply:?}"),
    }
}

fn result<'a>(partition_index: i32, outcome: Result<(), Failure>) -> ReassignablePartitionResponse<'a> {
    let (error, message) = match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err(failure) => (failure.code, Some(failure.message)),
    };
    ReassignablePartitionResponse { partition_index, error_code: error.code(), error_message: message }
}
