//! Metadata: brokers, topics, partitions and their leaders; creates topics that are asked for, if enabled.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_core::metadata::{
    Command, CreateTopics, MetadataImage, NewTopic, OFFSETS_TOPIC, Reply, TopicErrorKind, TopicImage,
    is_internal,
};
use ottla_types::{BrokerId, TopicName};
use ottla_wire::ErrorCode;
use ottla_wire::apis::Metadata;
use ottla_wire::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use tokio::time::{Instant, sleep_until};

use super::create_topics::random_topic_id;
use super::dispatch::LARGE_BYTES;
use super::internal_topics::create_offsets_topic;
use super::partitions::told;
use super::rights::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS};
use crate::broker::TopicRef;
use crate::net::{Outcome, Response};
use crate::request::{Begun, Call, CallError, Count};

/// Topics that one request may create.
const CREATED_MAX: usize = 100;

/// Creates what has to be created, then answers from the image.
pub fn begin(mut call: Call) -> Begun {
    Box::pin(async move {
        let is_large = call.cost_bytes > LARGE_BYTES;
        let request = call.decode::<Metadata>()?;
        if is_invalid(&request, call.replier.version) {
            let topics = request.topics.iter().flatten().map(invalid).collect();
            return call.respond::<Metadata>(&MetadataResponse { topics, ..Default::default() });
        }
        if request.allow_auto_topic_creation && call.broker.config.topics.auto_create {
            create_missing(&call, &request).await;
        }
        drop(request);
        let no_sooner = Instant::now() + settling(call.context.since.elapsed());
        // Until its turn to be sent has come, it holds nothing that others wait for. The answer is made only
        // then.
        let waiting_bytes = call.frame.len() + call.arrays_bytes;
        let Some(kept) = (!is_large)
            .then(|| call.broker.limits.waiting.keep(call.context.peer.ip(), waiting_bytes))
            .flatten()
        else {
            // The thread that this runs on makes a large one. Where there is no room to wait, the answer is
            // made before its turn.
            sleep_until(no_sooner).await;
            return Ok(Outcome::Respond(answer(&call).await?));
        };
        drop(std::mem::take(&mut call.memory));
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
    let Some(asked) = asked_for(&request, call.replier.version) else { return Ok(Count::all(&image)) };
    let mut count = Count::default();
    let found = asked.into_iter().filter_map(|topic| topic.find(&image));
    found.for_each(|topic| count.add(topic, topic.partitions.len()));
    Ok(count)
}

/// The topics that are asked for, each once, as the answer to one may be a thousand times as long as its
/// name; none: all that there are. As in Apache Kafka names aren't looked at where there are ids.
fn asked_for<'a>(request: &MetadataRequest<'a>, version: i16) -> Option<Vec<TopicRef<'a>>> {
    let topics = request.topics.as_ref().filter(|topics| !topics.is_empty() || version > 0)?;
    let has_id = |topic: &&MetadataRequestTopic<'_>| topic.topic_id != [0; 16];
    let by_id = topics.iter().any(|topic| has_id(&topic));
    let mut seen = HashSet::with_capacity(topics.len());
    let asked = topics.iter().filter(|topic| !by_id || has_id(topic)).map(|topic| {
        TopicRef::new(by_id || topic.name.is_none(), topic.name.unwrap_or_default(), topic.topic_id)
    });
    Some(asked.filter(|topic| seen.insert(*topic)).collect())
}

/// Whether it names topics as no version before 12 does.
fn is_invalid(request: &MetadataRequest<'_>, version: i16) -> bool {
    version < 12
        && request.topics.iter().flatten().any(|topic| topic.name.is_none() || topic.topic_id != [0; 16])
}

/// How long a client waits for an answer at the least, by the age of its connection: whoever has been
/// connected for long may ask because it has just lost a leader, by a connection that broke a moment before
/// this broker's.
fn settling(connected: Duration) -> Duration {
    const NEW: Duration = Duration::from_secs(1);
    const SETTLING: Duration = Duration::from_millis(15);
    if connected < NEW { Duration::ZERO } else { SETTLING }
}

/// Made when its turn to be sent has come, and not before: what the requests before it waited for may have
/// been who leads.
async fn answer(call: &Call) -> Result<Response, CallError> {
    let request = call.decode::<Metadata>()?;
    let by_any_of = |topic: &TopicImage, doubted: &[BrokerId]| {
        topic
            .partitions
            .iter()
            .any(|partition| partition.leader.is_some_and(|leader| doubted.contains(&leader)))
    };
    let asked = asked_for(&request, call.replier.version);
    let (image, doubted) = call
        .broker
        .image_without_doubt(|image, doubted| match &asked {
            Some(asked) => {
                asked.iter().filter_map(|topic| topic.find(image)).any(|topic| by_any_of(topic, doubted))
            }
            None => image.topics.values().any(|topic| by_any_of(topic, doubted)),
        })
        .await;
    let response = respond(call, &request, asked, DoubtedImage { image: &image, doubted: &doubted });
    Ok(call.replier.encode::<Metadata>(&response, Vec::new())?)
}

/// Creates the topics that are asked for by name and don't exist. One that can't be created is then answered
/// as unknown, and the client asks again. Of internal ones only that of groups: nothing writes to the others
/// yet, and with a topic's usual settings they would be of no use to what will.
async fn create_missing(call: &Call, request: &MetadataRequest<'_>) {
    let image = call.broker.image();
    let asked = asked_for(request, call.replier.version).unwrap_or_default();
    let names = asked.into_iter().filter_map(|topic| match topic {
        TopicRef::Name(name) => Some(name),
        TopicRef::Id(_) => None,
    });
    let mut missing: BTreeSet<&str> = names
        .filter(|name| TopicName::new(name).is_ok() && image.topic(name).is_none())
        .take(CREATED_MAX)
        .collect();
    if missing.contains(OFFSETS_TOPIC) {
        create_offsets_topic(&call.broker).await;
    }
    missing.retain(|name| !is_internal(name));
    if missing.is_empty() {
        return;
    }
    let defaults = &call.broker.config.topics;
    let command = Command::CreateTopics(CreateTopics {
        topics: missing
            .into_iter()
            .map(|name| NewTopic {
                name: name.to_owned(),
                id: random_topic_id(),
                partitions: -1,
                replication_factor: -1,
                assignments: Vec::new(),
                config: Vec::new(),
            })
            .collect(),
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
    asked: Option<Vec<TopicRef<'a>>>,
    view: DoubtedImage<'a, '_>,
) -> MetadataResponse<'a> {
    let image = view.image;
    let shown = call.broker.brokers_for_clients(image, &call.context.listener);
    let brokers = shown.into_iter().map(|(broker, endpoint)| MetadataResponseBroker {
        node_id: broker.id.0,
        host: Cow::Borrowed(endpoint.host.as_str()),
        port: i32::from(endpoint.port),
        rack: broker.rack.as_deref().map(Cow::Borrowed),
    });
    let operations = if request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { i32::MIN };
    let topics = match asked {
        Some(asked) => asked.into_iter().map(|asked| topic(asked, view, operations)).collect(),
        None => image.topic_ids.values().map(|id| known(&image.topics[id], view, operations)).collect(),
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

/// The metadata, and which leaders it may be wrong about.
#[derive(Clone, Copy)]
struct DoubtedImage<'a, 'd> {
    image: &'a Arc<MetadataImage>,
    doubted: &'d [BrokerId],
}

fn topic<'a>(asked: TopicRef<'a>, view: DoubtedImage<'a, '_>, operations: i32) -> MetadataResponseTopic<'a> {
    match (asked.find(view.image), asked) {
        (Some(topic), _) => known(topic, view, operations),
        (None, TopicRef::Name(name)) if TopicName::new(name).is_err() => {
            without_partitions(ErrorCode::InvalidTopicException, asked)
        }
        (None, TopicRef::Name(_)) => without_partitions(ErrorCode::UnknownTopicOrPartition, asked),
        (None, TopicRef::Id(_)) => without_partitions(ErrorCode::UnknownTopicId, asked),
    }
}

fn invalid<'a>(asked: &MetadataRequestTopic<'a>) -> MetadataResponseTopic<'a> {
    MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        // Not null in these versions.
        name: Some(Cow::Borrowed(asked.name.unwrap_or_default())),
        topic_id: asked.topic_id,
        ..Default::default()
    }
}

fn without_partitions(error: ErrorCode, asked: TopicRef<'_>) -> MetadataResponseTopic<'_> {
    let (name, topic_id) = match asked {
        TopicRef::Name(name) => (Some(Cow::Borrowed(name)), [0; 16]),
        TopicRef::Id(id) => (None, id.0),
    };
    let is_internal = name.as_deref().is_some_and(is_internal);
    MetadataResponseTopic { error_code: error.code(), name, topic_id, is_internal, ..Default::default() }
}

fn known<'a>(
    topic: &'a TopicImage,
    view: DoubtedImage<'_, '_>,
    operations: i32,
) -> MetadataResponseTopic<'a> {
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(Cow::Borrowed(topic.name.as_str())),
        topic_id: topic.id.0,
        is_internal: is_internal(topic.name.as_str()),
        partitions: topic
            .numbered()
            .map(|(index, state)| {
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
            })
            .collect(),
        topic_authorized_operations: operations,
    }
}
