//! What a metadata quorum begins with that was rebuilt from an older one's image.
//!
//! Changes may be lost that were committed after this image, and were acted upon: brokers registered,
//! replicas led, producer ids were given out. So all that is counted goes on far beyond anything that these
//! changes can have reached.

use std::sync::Arc;

use ottla_types::{BrokerEpoch, BrokerId, LeaderEpoch, MetadataVersion, PartitionEpoch, ProducerId};

use super::image::{MetadataImage, PartitionImage, TopicImage};

/// How many epochs of each partition, and of the brokers' registrations, are left out at least. A change
/// raises one by one, so that so many changes would have to be lost for one to be given out twice.
const EPOCHS_SKIPPED: i32 = 100_000;

/// How many producer ids are left out at least.
const PRODUCER_IDS_SKIPPED: i64 = 10_000_000_000;

/// Brokers leave out different multiples of that, up to this one: two that rebuild the same quorum by
/// mistake, each beside the other, give out different ones.
const MULTIPLES: i32 = 1_000;

impl MetadataImage {
    /// This image as a new quorum carries it on, which broker `by` begins, from `version` on, which is later
    /// than its own.
    ///
    /// # Panics
    /// When it isn't later.
    pub fn carried_on(&self, version: MetadataVersion, by: BrokerId) -> Self {
        assert!(version > self.version, "versions aren't given out twice");
        let multiple = 1 + by.0.rem_euclid(MULTIPLES);
        let epochs = EPOCHS_SKIPPED * multiple;
        let topics = self.topics.iter().map(|(id, topic)| {
            let partitions = topic.partitions.iter().map(|partition| partition.carried_on(epochs)).collect();
            (*id, Arc::new(TopicImage { partitions, ..topic.as_ref().clone() }))
        });
        Self {
            version,
            changed: version,
            topics: topics.collect(),
            next_broker_epoch: BrokerEpoch(self.next_broker_epoch.0 + i64::from(epochs)),
            next_producer_id: ProducerId(
                self.next_producer_id.0 + PRODUCER_IDS_SKIPPED * i64::from(multiple),
            ),
            ..self.clone()
        }
    }
}

impl PartitionImage {
    /// Leaders and replicas in sync stay: who leads has what was acknowledged, whatever the lost changes said
    /// of the others.
    fn carried_on(&self, epochs: i32) -> Self {
        Self {
            leader_epoch: LeaderEpoch(self.leader_epoch.0.saturating_add(epochs)),
            partition_epoch: PartitionEpoch(self.partition_epoch.0.saturating_add(epochs)),
            ..self.clone()
        }
    }

    /// Whether this is from before a rebuild of the metadata quorum, so that a move may be lost that was
    /// carried out: no partition has had so many leaders otherwise.
    pub fn is_carried_on(&self) -> bool {
        self.leader_epoch.0 >= EPOCHS_SKIPPED
    }

    /// Whether `id` is known to hold what was acknowledged: it is in sync or eligible, and no administrator
    /// let it begin without since the rebuild.
    pub fn should_hold_records(&self, id: BrokerId) -> bool {
        let began_without = self
            .unclean
            .as_ref()
            .is_some_and(|unclean| unclean.replica == id && unclean.leader_epoch.0 >= EPOCHS_SKIPPED);
        (self.isr.contains(&id) || self.elr.contains(&id)) && !began_without
    }
}
