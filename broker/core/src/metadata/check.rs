//! The invariants of an image.

use std::collections::BTreeSet;

use ottla_types::{BrokerId, PartitionIndex};

use super::image::{MetadataImage, PartitionImage, TopicImage};

impl MetadataImage {
    /// Checks what must be true of every image.
    ///
    /// # Errors
    /// The first thing that is wrong, for a test's report or a refusal to serve.
    pub fn check(&self) -> Result<(), String> {
        if self.changed > self.version {
            return Err(format!("changed at {}, after version {}", self.changed, self.version));
        }
        if self.topics.len() != self.topic_ids.len() {
            return Err(format!("{} topics have {} names", self.topics.len(), self.topic_ids.len()));
        }
        for broker in self.brokers.values() {
            if broker.epoch >= self.next_broker_epoch {
                return Err(format!("broker {} has epoch {}, which isn't issued", broker.id, broker.epoch));
            }
            if broker.in_controlled_shutdown && !broker.fenced {
                return Err(format!("broker {} is stopping and not fenced", broker.id));
            }
        }
        let mut partition_count = 0;
        for topic in self.topics.values() {
            self.check_topic(topic)?;
            partition_count += topic.partitions.len();
        }
        if partition_count != self.partition_count {
            return Err(format!("{} partitions were counted as {}", partition_count, self.partition_count));
        }
        Ok(())
    }

    fn check_topic(&self, topic: &TopicImage) -> Result<(), String> {
        if self.topic_ids.get(&topic.name) != Some(&topic.id) {
            return Err(format!("the name {} isn't that of topic {}", topic.name, topic.id));
        }
        if topic.id.is_zero() || topic.partitions.is_empty() {
            return Err(format!("topic {} has no id or no partitions", topic.name));
        }
        for (index, partition) in topic.numbered() {
            self.check_partition(partition).map_err(|wrong| at(topic, index, &wrong))?;
        }
        Ok(())
    }

    fn check_partition(&self, partition: &PartitionImage) -> Result<(), String> {
        let distinct: BTreeSet<&BrokerId> = partition.replicas.iter().collect();
        if distinct.is_empty() || distinct.len() != partition.replicas.len() {
            return Err(format!("replicas {:?} are none or not distinct", partition.replicas));
        }
        if partition.directories.len() != partition.replicas.len() {
            return Err("a replica has no disk".to_owned());
        }
        if let Some(unknown) = partition.replicas.iter().find(|id| self.broker(**id).is_none()) {
            return Err(format!("a replica is on broker {unknown}, which never registered"));
        }
        if partition.isr.is_empty() || partition.isr.iter().any(|id| !distinct.contains(id)) {
            return Err(format!("{:?} in sync are none or no replicas", partition.isr));
        }
        match partition.leader {
            Some(leader) if !self.may_lead(partition, leader) => {
                Err(format!("leader {leader} is not in sync, fenced, or lost its disk"))
            }
            None if partition.isr.iter().any(|id| self.may_lead(partition, *id)) => {
                Err("there is no leader although a replica in sync is online".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether `broker` holds a replica in sync and is online with the disk that has it.
    pub(super) fn may_lead(&self, partition: &PartitionImage, broker: BrokerId) -> bool {
        let position = partition.replicas.iter().position(|id| *id == broker);
        partition.isr.contains(&broker)
            && position.is_some_and(|position| self.is_online(partition, position))
    }
}

fn at(topic: &TopicImage, index: PartitionIndex, wrong: &str) -> String {
    format!("{}-{index}: {wrong}", topic.name)
}
