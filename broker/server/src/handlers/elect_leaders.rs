//! ElectLeaders: gives partitions their preferred leader back.
//!
//! An unclean election is refused here. It gives up records, so an administrator says which replica is to
//! lead, and Kafka's request has no place for that; the control API has.

use std::borrow::Cow;

use ottla_core::metadata::{
    Command, ElectLeaders as ElectCommand, Election, ElectionKind, MetadataImage, Reply,
};
use ottla_types::PartitionIndex;
use ottla_wire::ErrorCode;
use ottla_wire::apis::ElectLeaders;
use ottla_wire::messages::{
    ELECTION_PREFERRED, ELECTION_UNCLEAN, ElectLeadersPartitionResult, ElectLeadersRequest,
    ElectLeadersResponse, ElectLeadersTopicResult,
};

use super::commands::{Failure, submit};
use super::partitions::by_topic;
use crate::request::{Begun, Call, CallError, Count, election_error};

/// Elects leaders.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<ElectLeaders>()?;
        let image = call.broker.image();
        let all = request.topic_partitions.is_none();
        let (mut results, elections) = sorted_out(&request, &image);
        let positions = (0..results.len()).filter(|position| results[*position].outcome.is_ok());
        let positions: Vec<usize> = positions.collect();
        for (position, outcome) in positions.into_iter().zip(elect(&call, elections, &request).await) {
            results[position].outcome = outcome;
        }
        // Who asks about all partitions is told of those where something was to be done.
        let told = results
            .into_iter()
            .filter(|ballot| !all || ballot.outcome.as_ref().err().map(|f| f.code) != Some(NOT_NEEDED))
            .map(|ballot| (ballot.topic, ballot.result()));
        let replica_election_results = by_topic(told)
            .into_iter()
            .map(|(topic, partition_result)| ElectLeadersTopicResult {
                topic: Cow::Borrowed(topic),
                partition_result,
            })
            .collect();
        call.respond::<ElectLeaders>(&ElectLeadersResponse { replica_election_results, ..Default::default() })
    })
}

/// What it tells of, if it is asked for all partitions.
///
/// # Errors
/// When the request can't be decoded.
pub fn count(call: &Call) -> Result<Count, CallError> {
    Ok(Count::all_if(call.decode::<ElectLeaders>()?.topic_partitions.is_none(), call))
}

const NOT_NEEDED: ErrorCode = ErrorCode::ElectionNotNeeded;

/// A partition, and whether its leader is elected.
struct Ballot<'a> {
    topic: &'a str,
    partition: i32,
    outcome: Result<(), Failure>,
}

impl<'a> Ballot<'a> {
    fn result(self) -> ElectLeadersPartitionResult<'a> {
        let (error, message) = match self.outcome {
            Ok(()) => (ErrorCode::None, None),
            Err(failure) => (failure.code, Some(failure.message)),
        };
        ElectLeadersPartitionResult {
            partition_id: self.partition,
            error_code: error.code(),
            error_message: message,
        }
    }
}

/// All partitions that are asked for, and the elections of those among them that can be tried, in the same
/// order.
fn sorted_out<'a>(
    request: &ElectLeadersRequest<'a>,
    image: &'a MetadataImage,
) -> (Vec<Ballot<'a>>, Vec<Election>) {
    let asked: Vec<(&str, i32)> = match &request.topic_partitions {
        None => image
            .topic_ids
            .iter()
            .flat_map(|(name, id)| image.topics[id].numbered().map(|(index, _)| (name.as_str(), index.0)))
            .collect(),
        Some(topics) => topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic, *partition)))
            .collect(),
    };
    let mut elections = Vec::new();
    (
        asked
            .into_iter()
            .map(|(topic, partition)| {
                let outcome = election(topic, partition, request.election_type, image);
                let outcome = outcome.map(|election| elections.push(election));
                Ballot { topic, partition, outcome }
            })
            .collect(),
        elections,
    )
}

fn election(
    name: &str,
    partition: i32,
    election_type: i8,
    image: &MetadataImage,
) -> Result<Election, Failure> {
    // The answer names topic and partition; a text for each would be many times as long as what was asked,
    // all the more where the name isn't one of a topic.
    let refuse = |code: ErrorCode, message: &'static str| Err(Failure { code, message: message.into() });
    let index = PartitionIndex(partition);
    let Some((topic, state)) = image.topic(name).and_then(|topic| Some((topic, topic.partition(index)?)))
    else {
        return refuse(ErrorCode::UnknownTopicOrPartition, "there is no such partition");
    };
    match (election_type, state.leader) {
        (ELECTION_PREFERRED, _) => {
            Ok(Election { topic: topic.id, partition: index, kind: ElectionKind::Preferred })
        }
        (ELECTION_UNCLEAN, Some(_)) => refuse(NOT_NEEDED, "the partition has a leader"),
        (ELECTION_UNCLEAN, None) => {
            let message = format!(
                "an unclean election gives up records, so it names the replica that is to lead: \
                 ottla elect-leader {name} --partition {partition} --unclean --replica BROKER"
            );
            Err(Failure { code: ErrorCode::PolicyViolation, message: message.into() })
        }
        _ => refuse(ErrorCode::InvalidRequest, "there is no such election: use 0, preferred"),
    }
}

async fn elect(
    call: &Call,
    elections: Vec<Election>,
    request: &ElectLeadersRequest<'_>,
) -> Vec<Result<(), Failure>> {
    let count = elections.len();
    if count == 0 {
        return Vec::new();
    }
    let command = Command::ElectLeaders(ElectCommand { elections });
    match submit(call, command, request.timeout_ms).await {
        Ok(Reply::LeadersElected(results)) => results
            .into_iter()
            .map(|result| match result {
                Ok(_) => Ok(()),
                Err(error) => {
                    Err(Failure { code: election_error(error.kind), message: error.message.into() })
                }
            })
            .collect(),
        Ok(reply) => panic!("the reply's variant follows the command's: {reply:?}"),
        Err(failure) => vec![Err(failure); count],
    }
}
