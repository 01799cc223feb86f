//! The invariants of an image.

use std::collections::BTreeSet;

use ottla_types::{BrokerId, PartitionIndex};

use super::image::{MetadataImage, PartitionImage, TopicImage};
use super::index::Index;

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
        }
        let mut partition_count = 0;
        let mut index = Index::default();
        for topic in self.topics.values() {
            self.check_topic(topic)?;
            partition_count += topic.partitions.len();
            index.add_topic(&topic.name);
            topic.partitions.iter().for_each(|partition| index.add_partition(partition.target()));
        }
        if index != self.index {
            return Err(format!("the topics give {index:?}, not {:?}", self.index));
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
            self.check_partition(topic, partition).map_err(|wrong| at(topic, index, &wrong))?;
        }
        Ok(())
    }

    fn check_partition(&self, topic: &TopicImage, partition: &PartitionImage) -> Result<(), String> {
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
        check_reassignment(partition)?;
        let complete: Vec<&BrokerId> = partition.isr.iter().chain(&partition.elr).collect();
        if complete.is_empty() || complete.iter().any(|id| !distinct.contains(id)) {
            return Err(format!("{complete:?} in sync or eligible are none or no replicas"));
        }
        if complete.iter().collect::<BTreeSet<_>>().len() != complete.len() {
            return Err(format!("{complete:?} in sync or eligible are not distinct"));
        }
        let min = self.min_insync_replicas(topic, partition);
        if !partition.elr.is_empty() && partition.isr.len() >= min {
            return Err(format!("{:?} are eligible although {min} are in sync", partition.elr));
        }
        self.check_leader(partition)
    }

    fn check_leader(&self, partition: &PartitionImage) -> Result<(), String> {
        let online = |id: &&BrokerId| self.is_replica_online(partition, **id);
        let Some(leader) = partition.leader else {
            let idle = partition.isr.iter().chain(&partition.elr).find(online);
            return idle.map_or(Ok(()), |id| Err(format!("nobody leads although {id} may")));
        };
        if partition.last_known_leader.is_some() {
            return Err("a leader was known before the one that there is".to_owned());
        }
        if !partition.isr.contains(&leader) {
            return Err(format!("leader {leader} is not in sync"));
        }
        // Metadata from before there was replication may have replicas in sync that are offline, without a
        // leader.
        match partition.isr.iter().find(|id| !online(id)) {
            Some(offline) => Err(format!("{offline} is in sync and fenced, or has another disk")),
            None => Ok(()),
        }
    }
}

fn check_reassignment(partition: &PartitionImage) -> Result<(), String> {
    let PartitionImage { replicas, adding, removing, original, .. } = partition;
    if !partition.is_reassigning() {
        return if original.is_empty() { Ok(()) } else { Err("a reassignment is over and isn't".to_owned()) };
    }
    let before: BTreeSet<&BrokerId> = replicas.iter().filter(|id| !adding.contains(id)).collect();
    let sound = replicas.ends_with(removing)
        && removing.len() < replicas.len()
        && adding.iter().all(|id| partition.target().contains(id))
        && before == original.iter().collect();
    if sound {
        Ok(())
    } else {
        Err(format!("{replicas:?} add {adding:?}, remove {removing:?}, were {original:?}"))
    }
}

fn at(topic: &TopicImage, index: PartitionIndex, wrong: &str) -> String {
    format!("{}-{index}: {wrong}", topic.name)
}
