//! Records change the image; nothing else does.

use std::sync::Arc;

use ottla_types::{BrokerEpoch, BrokerId, MetadataVersion, TopicId};

use super::image::{BrokerImage, MetadataImage, PartitionImage, TopicImage};
use super::index::BrokerLoad;
use super::record::{BrokerChange, PartitionChange, Record};

impl MetadataImage {
    /// Replays the records of the log's entry at `version`. An entry without records changes only `version`.
    ///
    /// # Panics
    /// When the entry isn't a later one, or see [`Self::replay`].
    pub fn apply(&mut self, version: MetadataVersion, records: &[Record]) {
        assert!(version > self.version || version.0 == 0, "entry {version} after {}", self.version);
        for record in records {
            self.replay(record);
        }
        self.version = version;
        if !records.is_empty() {
            self.changed = version;
        }
    }

    /// Makes a record's fact true of this image, whose version stays.
    ///
    /// # Panics
    /// When the record doesn't follow from this image: the log is damaged, or there is a bug, and going on
    /// would spread it.
    pub fn replay(&mut self, record: &Record) {
        match record {
            Record::BrokerRegistered(broker) => self.register(broker),
            Record::BrokerChanged(change) => self.change_broker(change),
            Record::BrokerUnregistered { id } => {
                assert!(
                    self.brokers.remove(id).is_some_and(|broker| broker.fenced),
                    "{id} was out of service"
                );
                assert_eq!(self.index.load(*id), BrokerLoad::default(), "who is forgotten holds nothing");
                self.broker_configs.remove(&Some(*id));
            }
            Record::BrokerConfigured { id, config } if config.is_empty() => {
                self.broker_configs.remove(id);
            }
            Record::BrokerConfigured { id, config } => {
                self.broker_configs.insert(*id, config.clone());
            }
            Record::DefaultsChanged(defaults) => self.defaults = defaults.clone(),
            Record::PartitionsChanged(changes) => changes.iter().for_each(|change| self.change(change)),
            Record::TopicCreated { id, name, config } => {
                let topic =
                    TopicImage { id: *id, name: name.clone(), config: config.clone(), partitions: vec![] };
                let old_id = self.topic_ids.insert(name.clone(), *id);
                assert!(old_id.is_none(), "topic {name} exists");
                self.index.add_topic(name);
                let old_topic = self.topics.insert(*id, Arc::new(topic));
                assert!(old_topic.is_none(), "topic id {id} is used again");
            }
            Record::PartitionsCreated { topic, partitions } => {
                for new in partitions {
                    assert_eq!(new.replicas.len(), new.directories.len(), "each replica is on a disk");
                }
                self.topic_mut(*topic).partitions.extend_from_slice(partitions);
                self.partition_count += partitions.len();
                partitions.iter().for_each(|partition| self.index.add_partition(partition.target()));
            }
            Record::TopicConfigured { topic, config } => self.topic_mut(*topic).config.clone_from(config),
            Record::TopicDeleted { topic } => {
                let topic = self
                    .topics
                    .remove(topic)
                    .expect("decided on an image that has the topic, and replayed on the same");
                let id = self.topic_ids.remove(&topic.name);
                assert_eq!(id, Some(topic.id), "names and ids agree");
                assert!(self.partition_count >= topic.partitions.len(), "partitions are counted");
                self.partition_count -= topic.partitions.len();
                self.index.remove_topic(&topic.name);
                topic.partitions.iter().for_each(|partition| self.index.remove_partition(partition.target()));
            }
            Record::ProducerIdsAllocated { next } => {
                assert!(*next > self.next_producer_id, "producer ids are given out once");
                self.next_producer_id = *next;
            }
            Record::BrokerEpochsIssued { next } => {
                assert!(*next >= self.next_broker_epoch, "broker epochs only grow");
                self.next_broker_epoch = *next;
            }
        }
    }

    fn register(&mut self, broker: &BrokerImage) {
        let BrokerImage { id, epoch, fenced, .. } = *broker;
        // In a snapshot the epochs are issued first; live, a registration starts fenced.
        assert!(fenced || epoch < self.next_broker_epoch, "{id} starts fenced");
        self.next_broker_epoch = self.next_broker_epoch.max(BrokerEpoch(epoch.0 + 1));
        let before = self.brokers.insert(id, Arc::new(broker.clone()));
        assert!(
            before.is_none_or(|before| before.epoch < epoch),
            "each registration of {id} has a newer epoch"
        );
    }

    fn topic_mut(&mut self, id: TopicId) -> &mut TopicImage {
        Arc::make_mut(
            self.topics
                .get_mut(&id)
                .expect("decided on an image that has the topic, and replayed on the same"),
        )
    }

    fn broker_mut(&mut self, id: BrokerId) -> &mut BrokerImage {
        Arc::make_mut(
            self.brokers
                .get_mut(&id)
                .expect("decided on an image that has the broker, and replayed on the same"),
        )
    }

    fn change_broker(&mut self, change: &BrokerChange) {
        let broker = self.broker_mut(change.id);
        assert_eq!(broker.epoch, change.epoch, "a change is of the broker's present registration");
        broker.fenced = change.fenced;
        broker.in_controlled_shutdown = change.in_controlled_shutdown;
        broker.draining = change.draining;
    }

    fn change(&mut self, change: &PartitionChange) {
        let index =
            usize::try_from(change.partition.0).expect("decided on a partition, whose index isn't negative");
        let partition: &mut PartitionImage = &mut self.topic_mut(change.topic).partitions[index];
        assert!(change.leader_epoch >= partition.leader_epoch, "leader epochs never fall");
        assert!(
            change.leader_epoch > partition.leader_epoch || change.leader == partition.leader,
            "another leader has another epoch"
        );
        assert!(change.partition_epoch > partition.partition_epoch, "partition epochs only grow");
        assert!(
            change.leader.is_none_or(|leader| change.isr.contains(&leader)),
            "who leads is in sync: {change:?}"
        );
        partition.leader = change.leader;
        partition.isr.clone_from(&change.isr);
        partition.elr.clone_from(&change.elr);
        partition.last_known_leader = change.last_known_leader;
        partition.leader_epoch = change.leader_epoch;
        partition.partition_epoch = change.partition_epoch;
        if let Some(unclean) = &change.unclean {
            partition.unclean = Some(unclean.clone());
        }
        if let Some(moved) = &change.replicas {
            let before = partition.target().to_vec();
            assert_eq!(moved.replicas.len(), moved.directories.len(), "each replica is on a disk");
            partition.replicas.clone_from(&moved.replicas);
            partition.directories.clone_from(&moved.directories);
            partition.adding.clone_from(&moved.adding);
            partition.removing.clone_from(&moved.removing);
            partition.original.clone_from(&moved.original);
            let after = partition.target().to_vec();
            self.index.remove_partition(&before);
            self.index.add_partition(&after);
        }
    }
}
