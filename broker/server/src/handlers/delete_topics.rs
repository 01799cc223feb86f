//! DeleteTopics: by name or by id.

use std::borrow::Cow;

use ottla_core::metadata::{Command, DeleteTopics as DeleteCommand, Reply, TopicSelector};
use ottla_types::TopicId;
use ottla_wire::ErrorCode;
use ottla_wire::apis::DeleteTopics;
use ottla_wire::messages::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};

use super::call::{Begun, Call};
use super::commands::{Failure, submit};
use super::errors::topic_error;

/// Deletes topics.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<DeleteTopics>()?;
        let selectors = selectors(&request);
        let outcome = if call.broker.config.topics.delete_enabled {
            let command = Command::DeleteTopics(DeleteCommand { topics: selectors.clone() });
            submit(&call, command, request.timeout_ms).await
        } else {
            Err(Failure {
                code: disabled(call.replier.version),
                message: "delete.topic.enable is false".to_owned(),
            })
        };
        let responses = match outcome {
            Ok(Reply::TopicsDeleted(results)) => {
                call.broker.wait_applied(call.broker.image().version).await;
                let zipped = selectors.iter().zip(results);
                zipped
                    .map(|(selector, result)| match result {
                        Ok(deleted) => DeletableTopicResult {
                            name: Some(Cow::Owned(deleted.name)),
                            topic_id: deleted.id.0,
                            ..Default::default()
                        },
                        Err(error) => failed(
                            selector,
                            Failure { code: topic_error(error.kind), message: error.message },
                        ),
                    })
                    .collect()
            }
            Ok(reply) => panic!("the reply's variant follows the command's: {reply:?}"),
            Err(failure) => selectors.iter().map(|selector| failed(selector, failure.clone())).collect(),
        };
        call.respond::<DeleteTopics>(&DeleteTopicsResponse { responses, ..Default::default() })
    })
}

/// Kafka's code for it came with version 3.
fn disabled(version: i16) -> ErrorCode {
    if version >= 3 { ErrorCode::TopicDeletionDisabled } else { ErrorCode::InvalidRequest }
}

fn selectors(request: &DeleteTopicsRequest<'_>) -> Vec<TopicSelector> {
    let by_name = request.topic_names.iter().map(|name| TopicSelector::Name((*name).to_owned()));
    let either = request.topics.iter().map(|topic| match topic.name {
        Some(name) => TopicSelector::Name(name.to_owned()),
        None => TopicSelector::Id(TopicId(topic.topic_id)),
    });
    by_name.chain(either).collect()
}

fn failed(selector: &TopicSelector, failure: Failure) -> DeletableTopicResult<'_> {
    let (name, topic_id) = match selector {
        TopicSelector::Name(name) => (Some(Cow::Borrowed(name.as_str())), [0; 16]),
        TopicSelector::Id(id) => (None, id.0),
    };
    DeletableTopicResult {
        name,
        topic_id,
        error_code: failure.code.code(),
        error_message: Some(Cow::Owned(failure.message)),
    }
}
