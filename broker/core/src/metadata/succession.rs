//! What a metadata quorum begins with that was rebuilt from an older one's image.
//!
//! Changes may be lost that were committed after this image, and were acted upon: brokers registered, replicas led, producer
//! ids were given out. So all that is counted goes on far beyond anything that these changes can have reached.

use std::sync::Arc;

use ottla_types::{BrokerEpoch, LeaderEpoch, MetadataVersion, PartitionEpoch, ProducerId};

use super::image::{MetadataImage, PartitionImage, TopicImage};

/// How many epochs of each partition, and of the brokers' registrations, are left out. A change raises one by one, so that
/// so many changes would have to be lost for one to be given out twice.
const EPOCHS_SKIPPED: i32 = 100_000;

/// How many producer ids are left out.
const PRODUCER_IDS_SKIPPED: i64 = 10_000_000_000;

impl MetadataImage {
    /// This image as a new quorum carries it on, from `version` on, which is later than its own.
    ///
    /// # Panics
    /// When it isn't later.
    pub fn carried_on(&self, version: MetadataVersion) -> Self {
        assert!(version > self.version, "versions aren't given out twice");
        let topics = self.topics.iter().map(|(id, topic)| {
            let partitions = topic.partitions.iter().map(carried_on).collect();
            (*id, Arc::new(TopicImage { partitions, ..topic.as_ref().clone() }))
        });
        Self {
            version,
            changed: version,
            topics: topics.collect(),
            next_broker_epoch: BrokerEpoch(self.next_broker_epoch.0 + i64::from(EPOCHS_SKIPPED)),
            next_producer_id: ProducerId(self.next_producer_id.0 + PRODUCER_IDS_SKIPPED),
            ..self.clone()
        }
    }
}

/// Leaders and replicas in sync stay: who leads has what was acknowledged, whatever the lost changes said of the others.
fn carried_on(partition: &PartitionImage) -> PartitionImage {
    PartitionImage {
        leader_epoch: LeaderEpoch(partition.leader_epoch.0.saturating_add(EPOCHS_SKIPPED)),
        partition_epoch: PartitionEpoch(partition.partition_epoch.0.saturating_add(EPOCHS_SKIPPED)),
        ..partition.clone()
    }
}
