//! CreateTopics: carried to the active controller, which decides on each topic.

use std::borrow::Cow;

use ottla_core::config::ConfigSource;
use ottla_core::metadata::{
    Command, CreateTopics as CreateCommand, CreatedTopic, NewPartitionAssignment, NewTopic, Reply,
    TopicResult,
};
use ottla_types::{BrokerId, PartitionIndex, TopicId};
use ottla_wire::ErrorCode;
use ottla_wire::apis::CreateTopics;
use ottla_wire::messages::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::commands::{Failure, submit};
use super::duplicates::once_or_more;
use crate::request::{Begun, Call, topic_error};

/// Creates topics.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<CreateTopics>()?;
        let named = request.topics.iter().map(|topic| (topic.name, topic));
        let (asked, twice) = once_or_more(named);
        let mut topics: Vec<_> =
            match submit(&call, command(&call, &request, &asked), request.timeout_ms).await {
                Ok(Reply::TopicsCreated(results)) => {
                    call.broker.wait_applied(call.broker.image().version).await;
                    let zipped = asked.iter().zip(results);
                    zipped.map(|(topic, result)| answer(&call, topic, result)).collect()
                }
                Ok(reply) => panic!("the reply's variant follows the command's: {reply:?}"),
                Err(failure) => asked.iter().map(|topic| failed(topic.name, &failure)).collect(),
            };
        topics.extend(twice.into_iter().map(|name| failed(name, &Failure::NAMED_TWICE)));
        call.respond::<CreateTopics>(&CreateTopicsResponse { topics, ..Default::default() })
    })
}

fn command(call: &Call, request: &CreateTopicsRequest<'_>, asked: &[&CreatableTopic<'_>]) -> Command {
    Command::CreateTopics(CreateCommand {
        topics: asked
            .iter()
            .map(|topic| NewTopic {
                name: topic.name.to_owned(),
                id: random_topic_id(),
                partitions: topic.num_partitions,
                replication_factor: topic.replication_factor,
                assignments: topic
                    .assignments
                    .iter()
                    .map(|a| NewPartitionAssignment {
                        partition: PartitionIndex(a.partition_index),
                        replicas: a.broker_ids.iter().map(|id| BrokerId(*id)).collect(),
                    })
                    .collect(),
                config: topic
                    .configs
                    .iter()
                    .map(|c| (c.name.to_owned(), c.value.map(str::to_owned)))
                    .collect(),
            })
            .collect(),
        validate_only: request.validate_only,
        default_partitions: call.broker.config.topics.partitions,
        default_replication_factor: call.broker.config.topics.replication_factor.unwrap_or(-1),
    })
}

fn answer<'a>(
    call: &Call,
    topic: &CreatableTopic<'a>,
    result: TopicResult<CreatedTopic>,
) -> CreatableTopicResult<'a> {
    match result {
        Ok(created) => CreatableTopicResult {
            name: Cow::Borrowed(topic.name),
            topic_id: created.id.0,
            num_partitions: created.partitions,
            replication_factor: created.replication_factor,
            configs: Some(configs(call, topic)),
            ..Default::default()
        },
        Err(error) => {
            failed(topic.name, &Failure { code: topic_error(error.kind), message: error.message.into() })
        }
    }
}

fn failed<'a>(name: &'a str, failure: &Failure) -> CreatableTopicResult<'a> {
    CreatableTopicResult {
        name: Cow::Borrowed(name),
        error_code: failure.code.code(),
        error_message: Some(failure.message.clone()),
        topic_config_error_code: ErrorCode::None.code(),
        ..Default::default()
    }
}

/// What is in force for the new topic.
fn configs(call: &Call, topic: &CreatableTopic<'_>) -> Vec<CreatableTopicConfigs<'static>> {
    let own = topic.configs.iter().filter_map(|c| Some((c.name.to_owned(), c.value?.to_owned()))).collect();
    let values = ottla_core::config::describe(&own, &call.broker.partitions.defaults());
    values
        .into_iter()
        .map(|value| CreatableTopicConfigs {
            name: Cow::Borrowed(value.definition.name),
            value: Some(Cow::Owned(value.value)),
            read_only: false,
            config_source: source_code(value.source),
            is_sensitive: false,
        })
        .collect()
}

/// Kafka's number of where a topic's setting comes from.
pub(super) fn source_code(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::Topic => 1,
        ConfigSource::OneBroker(_) => 2,
        ConfigSource::AllBrokers(_) => 3,
        ConfigSource::Broker(_) => 4,
        ConfigSource::Default => 5,
    }
}

/// A new topic's id; never one whose text begins with a dash, which command lines take for a flag.
pub fn random_topic_id() -> TopicId {
    loop {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("it worked when the broker started");
        let id = TopicId(bytes);
        if !id.is_zero() && !id.to_string().starts_with('-') {
            return id;
        }
    }
}
