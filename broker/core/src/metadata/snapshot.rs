//! An image as the records that lead to it, so that a snapshot is a short log.

use ottla_types::{ClusterId, MetadataVersion, ProducerId};

use super::image::{ClusterDefaults, MetadataImage};
use super::record::Record;

impl MetadataImage {
    /// Records that, replayed on a new cluster's image, make this one.
    pub fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> =
            self.brokers.values().map(|broker| Record::BrokerRegistered(broker.as_ref().clone())).collect();
        records.insert(0, Record::BrokerEpochsIssued { next: self.next_broker_epoch });
        if self.next_producer_id > ProducerId(0) {
            records.push(Record::ProducerIdsAllocated { next: self.next_producer_id });
        }
        if self.defaults != ClusterDefaults::default() {
            records.push(Record::DefaultsChanged(self.defaults.clone()));
        }
        for (id, config) in &self.broker_configs {
            records.push(Record::BrokerConfigured { id: *id, config: config.clone() });
        }
        for topic in self.topics.values() {
            let (name, config) = (topic.name.clone(), topic.config.clone());
            records.push(Record::TopicCreated { id: topic.id, name, config });
            records.push(Record::PartitionsCreated { topic: topic.id, partitions: topic.partitions.clone() });
        }
        records
    }

    /// The image that `records` of a snapshot make, which is of `version` and last changed at `changed`.
    pub fn from_records(
        cluster_id: ClusterId,
        version: MetadataVersion,
        changed: MetadataVersion,
        records: &[Record],
    ) -> Self {
        assert!(changed <= version, "a change isn't later than the version that has it");
        let mut image = Self::new(cluster_id);
        for record in records {
            image.replay(record);
        }
        Self { version, changed, ..image }
    }
}
