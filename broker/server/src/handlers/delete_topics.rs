//! DeleteTopics: by name or by id.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ottla_core::metadata::{Command, DeleteTopics as DeleteCommand, MetadataImage, Reply, TopicSelector};
use ottla_types::TopicId;
use ottla_wire::apis::DeleteTopics;
use ottla_wire::messages::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use ottla_wire::{ErrorCode, Uuid};

use super::commands::{Failure, submit};
use super::duplicates::once_or_more;
use crate::request::{Begun, Call, topic_error};

/// No topic has this id.
const NO_ID: Uuid = [0; 16];

/// Deletes topics.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<DeleteTopics>()?;
        let Sorted { asked, mut refused } = sorted_out(&request, &call.broker.image());
        let outcome = if call.broker.config.topics.delete_enabled {
            let command = Command::DeleteTopics(DeleteCommand { topics: asked.clone() });
            submit(&call, command, request.timeout_ms).await
        } else {
            Err(Failure {
                code: disabled(call.replier.version),
                message: "delete.topic.enable is false".into(),
            })
        };
        let mut responses: Vec<_> = match outcome {
            Ok(Reply::TopicsDeleted(results)) => {
                call.broker.wait_applied(call.broker.image().version).await;
                let zipped = asked.iter().zip(results);
                zipped
                    .map(|(selector, result)| match result {
                        Ok(deleted) => DeletableTopicResult {
                            name: Some(Cow::Owned(deleted.name)),
                            topic_id: deleted.id.0,
                            ..Default::default()
                        },
                        Err(error) => failed(
                            selector,
                            Failure { code: topic_error(error.kind), message: error.message.into() },
                        ),
                    })
                    .collect()
            }
            Ok(reply) => panic!("the reply's variant follows the command's: {reply:?}"),
            Err(failure) => asked.iter().map(|selector| failed(selector, failure.clone())).collect(),
        };
        responses.append(&mut refused);
        call.respond::<DeleteTopics>(&DeleteTopicsResponse { responses, ..Default::default() })
    })
}

/// Kafka's code for it came with version 3.
fn disabled(version: i16) -> ErrorCode {
    if version >= 3 { ErrorCode::TopicDeletionDisabled } else { ErrorCode::InvalidRequest }
}

/// What a request asks for.
struct Sorted<'a> {
    /// The topics to delete.
    asked: Vec<TopicSelector>,
    /// What is refused: what is named twice, once for each, and what isn't named or in two ways.
    refused: Vec<DeletableTopicResult<'a>>,
}

fn sorted_out<'a>(request: &DeleteTopicsRequest<'a>, image: &MetadataImage) -> Sorted<'a> {
    let refuse = |name: Option<&'a str>, topic_id: Uuid, message: &'static str| DeletableTopicResult {
        name: name.map(Cow::Borrowed),
        topic_id,
        error_code: ErrorCode::InvalidRequest.code(),
        error_message: Some(Cow::Borrowed(message)),
    };
    let mut names: Vec<_> = request.topic_names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let (mut ids, mut refused) = (Vec::new(), Vec::new());
    for (at, topic) in request.topics.iter().enumerate() {
        match (topic.name, topic.topic_id) {
            (Some(name), NO_ID) => names.push((name, at)),
            (None, NO_ID) => refused.push(refuse(None, NO_ID, "neither a name nor an id is given")),
            (None, id) => ids.push((id, at)),
            (name, id) => refused.push(refuse(name, id, "both a name and an id are given: give one of them")),
        }
    }
    let (names, names_twice) = once_or_more(names.into_iter().map(|named| (named.0, named)));
    let (ids, ids_twice) = once_or_more(ids.into_iter().map(|named| (named.0, named)));
    refused.extend(names_twice.into_iter().map(|name| refuse(Some(name), NO_ID, "the name is given twice")));
    refused.extend(ids_twice.iter().map(|id| refuse(None, *id, "the id is given twice")));
    let ids_twice: BTreeSet<Uuid> = ids_twice.into_iter().collect();
    let mut ids: BTreeMap<Uuid, usize> = ids.into_iter().collect();
    let mut asked = Vec::new();
    for (name, at) in names {
        let id = image.topic(name).map_or(NO_ID, |topic| topic.id.0);
        if ids.remove(&id).is_some() || ids_twice.contains(&id) {
            refused.push(refuse(Some(name), id, "the topic is given by its name and by its id"));
        } else {
            asked.push((at, TopicSelector::Name(name.to_owned())));
        }
    }
    asked.extend(ids.into_iter().map(|(id, at)| (at, TopicSelector::Id(TopicId(id)))));
    asked.sort_by_key(|(at, _)| *at);
    Sorted { asked: asked.into_iter().map(|(_, selector)| selector).collect(), refused }
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
        error_message: Some(failure.message),
    }
}
