//! What a cluster says of itself over the Kafka protocol.

use ottla_client::{Broker, Client, ClientError, ClusterView, DescribedPartition, Partition};
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
    let mut cluster = ClusterSnapshot {
        name: String::new(),
        cluster_id: view.cluster_id.clone(),
        bootstrap_servers: bootstrap.to_owned(),
        active_controller: Some(view.controller_id).filter(|id| *id >= 0),
        brokers: view.brokers.values().map(broker).collect(),
        partitions: partitions(&client, &view).await?,
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

/// The partitions with all that the cluster can tell of them: a Kafka before 3.8 knows no eligible leaders.
async fn partitions(client: &Client, view: &ClusterView) -> Result<Vec<PartitionSnapshot>, Failure> {
    let mut partitions: Vec<PartitionSnapshot> = match client.describe_partitions(&[]).await {
        Ok(described) => described.into_iter().map(described_partition).collect(),
        Err(ClientError::Unsupported { .. }) => view
            .topics
            .values()
            .flat_map(|topic| topic.partitions.iter().map(|p| partition(&topic.name, p)))
            .collect(),
        Err(error) => return Err(target::failed(error)),
    };
    let moving = match client.moving().await {
        Err(ClientError::Unsupported { .. }) => Vec::new(),
        moving => moving.map_err(target::failed)?,
    };
    for found in moving {
        let mut all = partitions.iter_mut();
        let partition = all.find(|p| p.topic == found.topic && p.partition == found.partition);
        if let Some(partition) = partition {
            (partition.adding, partition.removing) = (found.adding, found.removing);
        }
    }
    Ok(partitions)
}

fn described_partition(partition: DescribedPartition) -> PartitionSnapshot {
    PartitionSnapshot {
        topic: partition.topic,
        partition: partition.partition,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas,
        isr: partition.isr,
        elr: partition.elr,
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
        ..Default::default()
    }
}
