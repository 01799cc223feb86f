//! CreatePartitions: gives topics more partitions.

use std::borrow::Cow;

use ottla_core::metadata::{Command, CreatePartitions as GrowCommand, NewPartitions, Reply};
use ottla_types::BrokerId;
use ottla_wire::ErrorCode;
use ottla_wire::apis::CreatePartitions;
use ottla_wire::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use super::call::{Begun, Call};
use super::commands::{Failure, submit};
use super::errors::topic_error;

/// Adds partitions.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<CreatePartitions>()?;
        let failures: Vec<Option<Failure>> =
            match submit(&call, command(&call, &request), request.timeout_ms).await {
                Ok(Reply::PartitionsCreated(results)) => {
                    call.broker.wait_applied(call.broker.image().version).await;
                    let failure = |result: Result<(), ottla_core::metadata::TopicError>| {
                        let error = result.err()?;
                        Some(Failure { code: topic_error(error.kind), message: error.message })
                    };
                    results.into_iter().map(failure).collect()
                }
                Ok(reply) => panic!("the reply's variant follows the command's: {reply:?}"),
                Err(failure) => vec![Some(failure); request.topics.len()],
            };
        let results =
            request.topics.iter().zip(failures).map(|(topic, failure)| CreatePartitionsTopicResult {
                name: Cow::Borrowed(topic.name),
                error_code: failure.as_ref().map_or(ErrorCode::None, |failure| failure.code).code(),
                error_message: failure.map(|failure| Cow::Owned(failure.message)),
            });
        let response = CreatePartitionsResponse { results: results.collect(), ..Default::default() };
        call.respond::<CreatePartitions>(&response)
    })
}

fn command(call: &Call, request: &CreatePartitionsRequest<'_>) -> Command {
    let replicas = |a: &ottla_wire::messages::CreatePartitionsAssignment| -> Vec<BrokerId> {
        a.broker_ids.iter().map(|id| BrokerId(*id)).collect()
    };
    let topic = |topic: &CreatePartitionsTopic<'_>| NewPartitions {
        name: topic.name.to_owned(),
        count: topic.count,
        assignments: topic.assignments.as_ref().map(|list| list.iter().map(replicas).collect()),
    };
    Command::CreatePartitions(GrowCommand {
        topics: request.topics.iter().map(topic).collect(),
        validate_only: request.validate_only,
        seed: call.broker.image().version.0,
    })
}
