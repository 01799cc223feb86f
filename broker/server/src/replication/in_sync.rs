//! Who is in sync: leaders propose it to the controller, many partitions at a time.

use std::sync::Arc;
use std::time::Duration;

use ottla_core::metadata::{AlterPartition, AlterPartitionError, AlterPartitions, Command, IsrMember, Reply};
use ottla_core::partition::IsrProposal;
use ottla_types::BrokerEpoch;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::broker::Broker;
use crate::partitions::{Partition, PartitionKey};

/// How often leaders look for followers that lag.
const TICK: Duration = Duration::from_millis(500);
/// How long to wait before proposals whose outcome is unknown are made again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long one batch of proposals may take.
const SUBMIT_LIMIT: Duration = Duration::from_secs(5);
/// Partitions in one command; the others follow in the next.
const BATCH_MAX: usize = 2_000;

/// Makes proposals until it is dropped.
pub async fn propose(broker: Arc<Broker>) {
    let proposals = Arc::clone(broker.partitions.proposals());
    loop {
        proposals.changed().await;
        while !proposals.is_empty() {
            let batch = collect(&broker);
            // Without an epoch this broker isn't registered, so it leads nothing.
            let Some(epoch) = broker.quorum.broker_epoch().filter(|_| !batch.is_empty()) else { continue };
            if !submit(&broker, epoch, &batch).await {
                tokio::time::sleep(RETRY_PAUSE).await;
                // Unchanged, as they may have been committed: only a newer state or a refusal settles them.
                batch.iter().for_each(|(partition, _)| proposals.push(partition.key()));
            }
        }
    }
}

fn collect(broker: &Broker) -> Vec<(Arc<Partition>, IsrProposal)> {
    let mut batch = Vec::new();
    while batch.len() < BATCH_MAX
        && let Some((topic, index)) = broker.partitions.proposals().pop()
    {
        // It may be settled meanwhile.
        if let Some(partition) = broker.partitions.get(topic, index)
            && let Some(proposal) = partition.pending_proposal()
        {
            batch.push((partition, proposal));
        }
    }
    batch
}

/// Whether the outcome is known.
async fn submit(broker: &Broker, epoch: BrokerEpoch, batch: &[(Arc<Partition>, IsrProposal)]) -> bool {
    let partitions = batch.iter().map(|(partition, proposal)| wanted(partition.key(), proposal)).collect();
    let command = Command::AlterPartitions(AlterPartitions {
        broker: broker.config.node_id,
        broker_epoch: epoch,
        partitions,
    });
    match broker.quorum.submit_within(command, SUBMIT_LIMIT).await {
        Ok(Reply::PartitionsAltered(results)) => {
            let mut all_settled = true;
            for (one, result) in batch.iter().zip(results) {
                all_settled &= settle(broker, one, result);
            }
            all_settled
        }
        Ok(other) => {
            warn!(?other, "the active controller answered something else");
            false
        }
        Err(reason) => {
            debug!(%reason, "who is in sync is not known to the controller yet");
            false
        }
    }
}

fn wanted((topic, partition): PartitionKey, proposal: &IsrProposal) -> AlterPartition {
    AlterPartition {
        topic,
        partition,
        leader_epoch: proposal.leader_epoch,
        partition_epoch: proposal.partition_epoch,
        isr: proposal
            .isr
            .iter()
            .map(|(broker, broker_epoch)| IsrMember { broker: *broker, broker_epoch: *broker_epoch })
            .collect(),
    }
}

/// Takes note of one outcome; false if it has to be proposed again.
fn settle<T>(
    broker: &Broker,
    (partition, proposal): &(Arc<Partition>, IsrProposal),
    result: Result<T, AlterPartitionError>,
) -> bool {
    let name = partition.log.topic_partition();
    match result {
        Ok(_) => {
            let before =
                partition.with_replica(|replica| replica.assignment().map_or(0, |known| known.isr.len()));
            broker.metrics.count_isr_change(proposal.isr.len() > before);
            let isr: Vec<i32> = proposal.isr.iter().map(|(id, _)| id.0).collect();
            info!(partition = %name, ?isr, "replicas in sync");
            true
        }
        // The state is a newer one, which this broker's image brings; until then what was proposed may be
        // true.
        Err(
            AlterPartitionError::InvalidUpdateVersion
            | AlterPartitionError::FencedLeaderEpoch
            | AlterPartitionError::UnknownTopicId
            | AlterPartitionError::UnknownPartition,
        ) => true,
        Err(AlterPartitionError::NotController) => false,
        Err(error @ (AlterPartitionError::IneligibleReplica(_) | AlterPartitionError::InvalidRequest)) => {
            debug!(partition = %name, %error, "the controller refuses a change of those in sync");
            partition.on_proposal_refused(proposal);
            true
        }
    }
}

/// Looks now and then for followers that lag, until it is dropped: one timer for all partitions that are led.
pub async fn keep_in_sync(broker: Arc<Broker>) {
    let mut timer = tokio::time::interval(TICK);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        for partition in broker.partitions.led() {
            partition.on_tick();
        }
    }
}
