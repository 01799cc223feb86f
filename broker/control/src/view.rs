//! A metadata image as the control API shows it.

use ottla_core::metadata::{BrokerImage, MetadataImage, PartitionImage, TopicImage};
use ottla_types::BrokerId;

use crate::proto;

/// Shows `image`, with who is the active controller and which nodes vote.
pub fn cluster_view(
    image: &MetadataImage,
    active_controller: Option<BrokerId>,
    voters: &[BrokerId],
) -> proto::ClusterView {
    proto::ClusterView {
        cluster_id: image.cluster_id.to_string(),
        metadata_version: image.version.0,
        active_controller: active_controller.map(i32::from),
        voters: voters.iter().map(|id| id.0).collect(),
        brokers: image.brokers.values().map(|broker| broker_view(broker)).collect(),
        // By name, as people look for them.
        topics: image.topic_ids.values().map(|id| topic_view(image, &image.topics[id])).collect(),
        quorum_trouble: String::new(),
    }
}

fn broker_view(broker: &BrokerImage) -> proto::BrokerView {
    proto::BrokerView {
        id: broker.id.0,
        epoch: broker.epoch.0,
        fenced: broker.fenced,
        rack: broker.rack.clone().unwrap_or_default(),
        listeners: broker
            .listeners
            .iter()
            .map(|endpoint| proto::Listener {
                name: endpoint.name.clone(),
                host: endpoint.host.clone(),
                port: u32::from(endpoint.port),
                security_protocol: endpoint.security_protocol.to_string(),
            })
            .collect(),
        control_address: broker.control_address.clone(),
        directory_id: broker.directory_id.to_string(),
        in_controlled_shutdown: broker.in_controlled_shutdown,
        draining: broker.draining,
    }
}

fn topic_view(image: &MetadataImage, topic: &TopicImage) -> proto::TopicView {
    proto::TopicView {
        name: topic.name.to_string(),
        id: topic.id.to_string(),
        partitions: topic.numbered().map(|(index, p)| partition_view(image, topic, index.0, p)).collect(),
        config: topic.config.clone().into_iter().collect(),
    }
}

fn partition_view(
    image: &MetadataImage,
    topic: &TopicImage,
    index: i32,
    partition: &PartitionImage,
) -> proto::PartitionView {
    let ids = |list: &[BrokerId]| list.iter().map(|id| id.0).collect();
    proto::PartitionView {
        index,
        replicas: ids(&partition.replicas),
        isr: ids(&partition.isr),
        leader: partition.leader.map(i32::from),
        leader_epoch: partition.leader_epoch.0,
        partition_epoch: partition.partition_epoch.0,
        offline_replicas: ids(&image.offline_replicas(partition)),
        elr: ids(&partition.elr),
        last_known_leader: partition.last_known_leader.map(i32::from),
        adding: ids(&partition.adding),
        removing: ids(&partition.removing),
        unclean_election: partition.unclean.as_ref().map(ToString::to_string).unwrap_or_default(),
        min_insync_replicas: u32::try_from(image.min_insync_replicas(topic, partition)).unwrap_or(u32::MAX),
    }
}
