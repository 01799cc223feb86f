//! Internal topics are created on first use.

use std::sync::Arc;
use std::time::Duration;

use ottla_core::metadata::{Command, CreateTopics, OFFSETS_TOPIC, Reply, TopicErrorKind};

use super::create_topics::random_topic_id;
use crate::broker::Broker;
use crate::coordinator::new_offsets_topic;

/// For so long the active controller is waited for. A client that isn't served by then asks again.
const LIMIT: Duration = Duration::from_secs(5);

/// Creates the topic that keeps groups and offsets, if there is none, whether or not topics are created for
/// who asks for them. Returns whether there is one; this broker then has its own partitions of it, or will in
/// a moment.
pub async fn create_offsets_topic(broker: &Arc<Broker>) -> bool {
    let exists = || broker.image().topic(OFFSETS_TOPIC).is_some();
    if !exists() {
        broker.offsets_topic.once(|| create(Arc::clone(broker))).await;
        broker.wait_applied(broker.image().version).await;
    }
    exists()
}

async fn create(broker: Arc<Broker>) {
    let command = Command::CreateTopics(CreateTopics {
        topics: vec![new_offsets_topic(&broker.config.groups.offsets_topic, random_topic_id())],
        validate_only: false,
        default_partitions: -1,
        default_replication_factor: -1,
    });
    let results = match broker.quorum.submit_within(command, LIMIT).await {
        Ok(Reply::TopicsCreated(results)) => results,
        Ok(reply) => panic!("the reply's variant follows the command's: {reply:?}"),
        Err(error) => {
            tracing::warn!(topic = OFFSETS_TOPIC, %error, "cannot create the topic that groups need");
            return;
        }
    };
    let failed = results.into_iter().find_map(Result::err);
    match failed.filter(|error| error.kind != TopicErrorKind::TopicAlreadyExists) {
        Some(error) => {
            tracing::warn!(topic = OFFSETS_TOPIC, %error, "cannot create the topic that groups need");
        }
        // If another broker was first, this one's image may not have it yet.
        None => {
            let mut images = broker.images.clone();
            let seen = images.wait_for(|image| image.topic(OFFSETS_TOPIC).is_some());
            let _ = tokio::time::timeout(LIMIT, seen).await;
        }
    }
}
