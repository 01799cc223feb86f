//! Metadata: brokers, topics, partitions and their leaders; creates topics that are asked for, if enabled.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_core::metadata::{
    Command, CreateTopics, MetadataImage, NewTopic, Reply, TopicErrorKind, TopicImage,
};
use ottla_types::{BrokerId, TopicName};
use ottla_wire::ErrorCode;
use ottla_wire::apis::Metadata;
use ottla_wire::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use tokio::time::{Instant, sleep_until};

use super::LARGE_BYTES;
use super::call::{Begun, Call, CallError, CallMemory};
use super::partitions::told;
use super::registry::Count;
use super::rights::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS};
use crate::broker::{TopicRef, random_topic_id};
use crate::net::{Outcome, Response};

/// Topics that one request may create.
const CREATED_MAX: usize = 100;

/// Creates what has to be created, then answers from the image.
pub fn begin(mut call: Call) -> Begun {
    Box::pin(async move {
        let is_large = call.cost_bytes > LARGE_BYTES;
        let request = call.decode::<Metadata>()?;
        if request.allow_auto_topic_creation && call.broker.config.topics.auto_create {
            create_missing(&call, &request).await;
        }
        drop(request);
        let no_sooner = Instant::now() + settling(call.context.since.elapsed());
        // Until its turn to be sent has come, it holds nothing that others wait for.
        let kept =
            call.broker.limits.waiting.keep(call.context.peer.ip(), call.frame.len() + call.cost_bytes);
        let Some(kept) = kept.filter(|_| !is_large) else {
            // A large one is made by the thread that this runs on.
            sleep_until(no_sooner).await;
            return Ok(Outcome::Respond(answer(&call).await?));
        };
        call.memory = CallMemory::default();
        Ok(Outcome::Later(Box::pin(async move {
            let _kept = kept;
            sleep_until(no_sooner).await;
            let answer = answer(&call).await;
            answer.inspect_err(|error| tracing::error!(%error, "cannot encode a metadata response")).ok()
        })))
    })
}

/// What it tells of. A name that is short may be one of a topic of many partitions.
///
/// # Errors
/// When the request can't be decoded.
pub fn count(call: &Call) -> Result<Count, CallError> {
    let request = call.decode::<Metadata>()?;
    let image = call.broker.image();
    match &request.topics {
        Some(topics) if !asks_for_all(&request, call.replier.version) => {
            let found = each_once(topics).filter_map(|asked| find(asked, &image));
            Ok(found.fold(Count::default(), |Count { topics, partitions }, topic| Count {
                topics: topics + 1,
                partitions: partitions + topic.partitions.len(),
            }))
        }
        _ => Ok(Count::all(&image)),
    }
}

fn asks_for_all(request: &MetadataRequest<'_>, version: i16) -> bool {
    request.topics.as_ref().is_none_or(|topics| topics.is_empty() && version == 0)
}

/// How long a client waits for an answer at the least, by the age of its connection: whoever has been connected for long
/// may ask because it has just lost a leader, by a connection that broke a moment before this broker's.
fn settling(connected: Duration) -> Duration {
    const NEW: Duration = Duration::from_secs(1);
    const SETTLING: Duration = Duration::from_millis(15);
    if connected < NEW { Duration::ZERO } else { SETTLING }
}

/// Made when its turn to be sent has come, and not before: what the requests before it waited for may have been who
/// leads.
async fn answer(call: &Call) -> Result<Response, CallError> {
    let request = call.decode::<Metadata>()?;
    let by_any_of = |topic: &TopicImage, doubted: &[BrokerId]| {
        topic
            .partitions
            .iter()
            .any(|partition| partition.leader.is_some_and(|leader| doubted.contains(&leader)))
    };
    let concerns = |image: &MetadataImage, doubted: &[BrokerId]| match &request.topics {
        Some(topics) if !topics.is_empty() => {
            topics.iter().filter_map(|asked| find(asked, image)).any(|topic| by_any_of(topic, doubted))
        }
        _ => image.topics.values().any(|topic| by_any_of(topic, doubted)),
    };
    let (image, doubted) = call.broker.image_without_doubt(concerns).await;
    let response = respond(call, &request, &image, &doubted);
    Ok(call.replier.encode::<Metadata>(&response, Vec::new())?)
}

/// The topic that is asked for, by name or id.
fn find<'i>(asked: &MetadataRequestTopic<'_>, image: &'i MetadataImage) -> Option<&'i Arc<TopicImage>> {
    TopicRef::new(asked.name.is_none(), asked.name.unwrap_or_default(), asked.topic_id).find(image)
}

/// Creates the topics that are asked for by name and don't exist. One that can't be created is then answered
/// as unknown, and the client asks again.
async fn create_missing(call: &Call, request: &MetadataRequest<'_>) {
    let image = call.broker.image();
    let names = request.topics.iter().flatten().filter_map(|topic| topic.name);
    let is_missing = |name: &&str| TopicName::new(name).is_ok() && image.topic(name).is_none();
    let missing: BTreeSet<&str> = names.filter(is_missing).take(CREATED_MAX).collect();
    if missing.is_empty() {
        return;
    }
    let new_topic = |name: &str| NewTopic {
        name: name.to_owned(),
        id: random_topic_id(),
        partitions: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        config: Vec::new(),
    };
    let defaults = &call.broker.config.topics;
    let command = Command::CreateTopics(CreateTopics {
        topics: missing.into_iter().map(new_topic).collect(),
        validate_only: false,
        default_partitions: defaults.partitions,
        default_replication_factor: defaults.replication_factor.unwrap_or(-1),
    });
    match call.broker.quorum.submit(command).await {
        Ok(Reply::TopicsCreated(results)) => {
            let failed = results.into_iter().filter_map(Result::err);
            for error in failed.filter(|error| error.kind != TopicErrorKind::TopicAlreadyExists) {
                tracing::warn!(%error, "cannot create a topic that a client asked for");
            }
            let version = call.broker.image().version;
            call.broker.wait_applied(version).await;
        }
        Ok(reply) => panic!("the reply's variant follows the command's: {reply:?}"),
        Err(error) => tracing::warn!(%error, "cannot create topics that a client asked for"),
    }
}

fn respond<'a>(
    call: &Call,
    request: &MetadataRequest<'a>,
    image: &'a Arc<MetadataImage>,
    doubted: &[BrokerId],
) -> MetadataResponse<'a> {
    let version = call.replier.version;
    let shown = call.broker.brokers_for_clients(image, &call.context.listener);
    let brokers = shown.into_iter().map(|(broker, endpoint)| MetadataResponseBroker {
        node_id: broker.id.0,
        host: Cow::Borrowed(endpoint.host.as_str()),
        port: i32::from(endpoint.port),
        rack: broker.rack.as_deref().map(Cow::Borrowed),
    });
    let view = View { image, doubted };
    let operations = if request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { i32::MIN };
    let all = || image.topic_ids.values().map(|id| known(&image.topics[id], view, operations)).collect();
    let topics = match &request.topics {
        Some(topics) if !asks_for_all(request, version) => {
            each_once(topics).map(|asked| topic(asked, view, operations)).collect()
        }
        _ => all(),
    };
    MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(Cow::Owned(image.cluster_id.to_string())),
        controller_id: call.broker.controller_for_clients(image),
        topics,
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => CLUSTER_OPERATIONS,
            false => i32::MIN,
        },
        ..Default::default()
    }
}

/// The topics that are asked for, each once: the answer to a topic may be a thousand times as long as its name.
fn each_once<'t, 'a>(
    topics: &'t [MetadataRequestTopic<'a>],
) -> impl Iterator<Item = &'t MetadataRequestTopic<'a>> {
    let mut seen = HashSet::with_capacity(topics.len());
    topics.iter().filter(move |asked| seen.insert((asked.name, asked.topic_id)))
}

/// The metadata, and which leaders it may be wrong about.
#[derive(Clone, Copy)]
struct View<'a, 'd> {
    image: &'a MetadataImage,
    doubted: &'d [BrokerId],
}

fn topic<'a>(
    asked: &MetadataRequestTopic<'a>,
    view: View<'a, '_>,
    operations: i32,
) -> MetadataResponseTopic<'a> {
    let unknown = |error: ErrorCode, name: Option<&'a str>, topic_id| MetadataResponseTopic {
        error_code: error.code(),
        name: name.map(Cow::Borrowed),
        topic_id,
        ..Default::default()
    };
    match (find(asked, view.image), asked.name) {
        (Some(topic), _) => known(topic, view, operations),
        (None, Some(name)) if TopicName::new(name).is_err() => {
            unknown(ErrorCode::InvalidTopicException, Some(name), [0; 16])
        }
        (None, Some(name)) => unknown(ErrorCode::UnknownTopicOrPartition, Some(name), [0; 16]),
        (None, None) => unknown(ErrorCode::UnknownTopicId, None, asked.topic_id),
    }
}

fn known<'a>(topic: &'a TopicImage, view: View<'_, '_>, operations: i32) -> MetadataResponseTopic<'a> {
    let partition = |(index, state): (ottla_types::PartitionIndex, &ottla_core::metadata::PartitionImage)| {
        let told = told(view.image, state).in_doubt_of(view.doubted);
        MetadataResponsePartition {
            error_code: told.error.code(),
            partition_index: index.0,
            leader_id: told.leader_id,
            leader_epoch: told.leader_epoch,
            replica_nodes: told.replicas,
            isr_nodes: told.isr,
            offline_replicas: told.offline,
        }
    };
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(Cow::Borrowed(topic.name.as_str())),
        topic_id: topic.id.0,
        is_internal: false,
        partitions: topic.numbered().map(partition).collect(),
        topic_authorized_operations: operations,
    }
}
