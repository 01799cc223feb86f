//! What a cluster says of itself over the Kafka protocol.

use ottla_client::{Broker, Partition};
use ottla_local::{BrokerSnapshot, ClusterSnapshot, PartitionSnapshot};

use crate::failure::Failure;
use crate::target;

/// The cluster at these addresses as it is.
///
/// # Errors
/// When none answers.
pub async fn cluster(bootstrap: &str) -> Result<ClusterSnapshot, Failure> {
    let client = target::at(bootstrap).await?;
    let view = client.refresh(None).await.map_err(target::failed)?;
    let partitions =
        view.topics.values().flat_map(|topic| topic.partitions.iter().map(|p| partition(&topic.name, p)));
    let mut cluster = ClusterSnapshot {
        name: String::new(),
        cluster_id: view.cluster_id.clone(),
        bootstrap_servers: bootstrap.to_owned(),
        active_controller: Some(view.controller_id).filter(|id| *id >= 0),
        brokers: view.brokers.values().map(broker).collect(),
        partitions: partitions.collect(),
    };
    cluster.count_replicas();
    Ok(cluster)
}

fn broker(broker: &Broker) -> BrokerSnapshot {
    BrokerSnapshot {
        id: broker.id,
        address: broker.address(),
        // Brokers that don't serve aren't told to clients.
        state: "Ready".to_owned(),
        rack: broker.rack.clone(),
        ..Default::default()
    }
}

fn partition(topic: &str, partition: &Partition) -> PartitionSnapshot {
    PartitionSnapshot {
        topic: topic.to_owned(),
        partition: partition.index,
        leader: Some(partition.leader_id).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
    }
}
