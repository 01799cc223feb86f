//! Who is woken by what changed.

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use ottla_api::{KafkaCluster, Topic};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::lenient::Unread;

/// Who is woken by what changed. Stores have the change before anyone is woken.
#[derive(Clone)]
pub(crate) struct Wake {
    /// Clusters that something of changed.
    pub clusters: mpsc::UnboundedSender<ObjectRef<KafkaCluster>>,
    /// Topics that something about changed.
    pub topics: mpsc::UnboundedSender<Changed>,
}

/// A change of a cluster's view, and the topics that it concerns.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    /// The cluster.
    pub cluster: ObjectRef<KafkaCluster>,
    /// The names of the topics; none: any.
    pub topics: Option<Vec<String>>,
}

/// Wakes whom an object concerns that can't be decoded.
pub(crate) type WakeOfUnread = Arc<dyn Fn(&Unread) + Send + Sync>;

/// Wakes a cluster, and its Topics.
pub(crate) fn wake_of_clusters(wake: Wake) -> impl FnMut(&KafkaCluster) -> bool + Send + 'static {
    move |cluster| {
        let key = ObjectRef::from_obj(cluster);
        wake.topics.send(Changed { cluster: key.clone(), topics: None }).is_ok()
            && wake.clusters.send(key).is_ok()
    }
}

/// Wakes a Topic, and those that wait for the same topic.
pub(crate) fn wake_of_topics(wake: Wake) -> impl FnMut(&Topic) -> bool + Send + 'static {
    move |topic| {
        let cluster =
            ObjectRef::new(&topic.spec.cluster_ref.name).within(&topic.namespace().unwrap_or_default());
        let topics = Some(vec![topic.topic_name().to_owned()]);
        wake.topics.send(Changed { cluster, topics }).is_ok()
    }
}

/// Wakes a cluster that can't be decoded, and its Topics.
pub(crate) fn wake_of_unread_clusters(wake: Wake) -> WakeOfUnread {
    Arc::new(move |unread| {
        let key = ObjectRef::new(unread.name()).within(unread.namespace());
        // Nobody listens once the operator stops.
        let _ = wake.topics.send(Changed { cluster: key.clone(), topics: None });
        let _ = wake.clusters.send(key);
    })
}

/// Wakes the one that waits for a Topic that can't be decoded: it has its topic's name.
pub(crate) fn wake_of_unread_topics(wake: Wake) -> WakeOfUnread {
    Arc::new(move |unread| {
        let says = |pointer: &str| unread.spec.pointer(pointer).and_then(Value::as_str);
        let Some(cluster) = says("/clusterRef/name") else { return };
        let cluster = ObjectRef::new(cluster).within(unread.namespace());
        let topics = Some(vec![says("/topicName").unwrap_or(unread.name()).to_owned()]);
        // Nobody listens once the operator stops.
        let _ = wake.topics.send(Changed { cluster, topics });
    })
}
