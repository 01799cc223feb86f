//! CreatePartitions: gives topics more partitions.

use std::borrow::Cow;

use ottla_core::metadata::{Command, CreatePartitions as GrowCommand, NewPartitions, Reply};
use ottla_types::BrokerId;
use ottla_wire::ErrorCode;
use ottla_wire::apis::CreatePartitions;
use ottla_wire::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use super::commands::{Failure, submit};
use super::duplicates::once_or_more;
use crate::request::{Begun, Call, topic_error};

/// Adds partitions.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<CreatePartitions>()?;
        let named = request.topics.iter().map(|topic| (topic.name, topic));
        let (asked, twice) = once_or_more(named);
        let failures: Vec<Option<Failure>> =
            match submit(&call, command(&call, &request, &asked), request.timeout_ms).await {
                Ok(Reply::PartitionsCreated(results)) => {
                    call.broker.wait_applied(call.broker.image().version).await;
                    results
                        .into_iter()
                        .map(|result| {
                            let error = result.err()?;
                            Some(Failure { code: topic_error(error.kind), message: error.message.into() })
                        })
                        .collect()
                }
                Ok(reply) => panic!("the reply's variant follows the command's: {reply:?}"),
                Err(failure) => vec![Some(failure); asked.len()],
            };
        let names = asked.iter().map(|topic| topic.name).zip(failures);
        let twice = twice.into_iter().map(|name| (name, Some(Failure::NAMED_TWICE)));
        let results = names.chain(twice).map(|(name, failure)| CreatePartitionsTopicResult {
            name: Cow::Owned(name.to_owned()),
            error_code: failure.as_ref().map_or(ErrorCode::None, |failure| failure.code).code(),
            error_message: failure.map(|failure| failure.message),
        });
        let response = CreatePartitionsResponse { results: results.collect(), ..Default::default() };
        call.respond::<CreatePartitions>(&response)
    })
}

fn command(
    call: &Call,
    request: &CreatePartitionsRequest<'_>,
    asked: &[&CreatePartitionsTopic<'_>],
) -> Command {
    Command::CreatePartitions(GrowCommand {
        topics: asked
            .iter()
            .map(|topic| NewPartitions {
                name: topic.name.to_owned(),
                count: topic.count,
                assignments: topic.assignments.as_ref().map(|list| {
                    list.iter()
                        .map(|a| -> Vec<BrokerId> { a.broker_ids.iter().map(|id| BrokerId(*id)).collect() })
                        .collect()
                }),
            })
            .collect(),
        validate_only: request.validate_only,
        seed: call.broker.image().version.0,
    })
}
