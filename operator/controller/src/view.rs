//! The control API's ClusterView in the plan's types.

use ottla_control::proto;
use ottla_plan::{BrokerView, ClusterView, PartitionView, TopicView};
use ottla_types::BrokerId;

/// The same view, in the plan's types.
pub(crate) fn view_of(view: &proto::ClusterView) -> ClusterView {
    ClusterView {
        cluster_id: view.cluster_id.clone(),
        metadata_version: view.metadata_version,
        active_controller: view.active_controller.map(BrokerId),
        brokers: view.brokers.iter().map(broker).collect(),
        topics: view.topics.iter().map(|t| (t.name.clone(), topic(t))).collect(),
        quorum_trouble: Some(view.quorum_trouble.clone()).filter(|trouble| !trouble.is_empty()),
    }
}

fn broker(broker: &proto::BrokerView) -> BrokerView {
    let rack = Some(broker.rack.clone()).filter(|rack| !rack.is_empty());
    BrokerView {
        id: BrokerId(broker.id),
        fenced: broker.fenced || broker.in_controlled_shutdown,
        draining: broker.draining,
        rack,
        directory_id: broker.directory_id.clone(),
    }
}

fn topic(topic: &proto::TopicView) -> TopicView {
    let mut partitions: Vec<_> = topic.partitions.iter().collect();
    partitions.sort_by_key(|p| p.index);
    let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
    TopicView {
        id: topic.id.clone(),
        config: topic.config.clone().into_iter().collect(),
        partitions: partitions
            .into_iter()
            .map(|p| PartitionView {
                replicas: ids(&p.replicas),
                leader: p.leader.map(BrokerId),
                isr: ids(&p.isr),
                elr: ids(&p.elr),
                offline: ids(&p.offline_replicas),
                adding: ids(&p.adding),
                removing: ids(&p.removing),
                min_insync_replicas: p.min_insync_replicas.try_into().unwrap_or(usize::MAX),
                unclean_election: p.unclean_election.clone(),
            })
            .collect(),
    }
}
