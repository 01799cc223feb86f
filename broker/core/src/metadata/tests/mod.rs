//! The metadata, command by command: a small world of brokers and topics, and what it looks like after each.

mod brokers;
mod configs;
mod legacy;
mod moves;
mod partitions;
mod promise;
mod properties;
mod replicas;
mod succession;
mod topics;

use std::cell::Cell;

use ottla_types::{BrokerEpoch, BrokerId, ClusterId, DirectoryId, MetadataVersion, PartitionIndex, TopicId};

use super::*;

thread_local! {
    static WALKS: Cell<usize> = const { Cell::new(0) };
}

/// Every partition of an image is about to be looked at.
pub fn count_a_walk() {
    WALKS.set(WALKS.get() + 1);
}

/// How often all partitions were looked at while something was done.
pub fn walks_during(work: impl FnOnce()) -> usize {
    let before = WALKS.get();
    work();
    WALKS.get() - before
}

/// A cluster in the making: commands are decided, their records replayed.
pub struct World {
    pub image: MetadataImage,
    pub log: Vec<Vec<Record>>,
}

impl World {
    pub fn new() -> Self {
        Self { image: MetadataImage::new(ClusterId([1; 16])), log: Vec::new() }
    }

    /// A world with this many live brokers, from 0.
    pub fn with_brokers(count: i32) -> Self {
        let mut world = Self::new();
        (0..count).for_each(|id| world.bring_up(id, 1));
        world
    }

    /// Decides and replays; the image must be sound after it.
    pub fn run(&mut self, command: Command) -> Result<Reply, Rejection> {
        let decision = self.image.decide(&command);
        assert!(decision.outcome.is_ok() || decision.records.is_empty(), "a refused command changes nothing");
        self.image.apply(MetadataVersion(self.image.version.0 + 1), &decision.records);
        self.log.push(decision.records);
        self.image.check().unwrap_or_else(|wrong| panic!("{command:?}: {wrong}"));
        decision.outcome
    }

    pub fn bring_up(&mut self, id: i32, disk: u8) {
        self.run(register(id, disk)).unwrap();
        let epoch = self.epoch(id);
        self.run(Command::UnfenceBroker(UnfenceBroker { id: BrokerId(id), epoch })).unwrap();
    }

    pub fn fence(&mut self, id: i32) {
        let epoch = self.epoch(id);
        self.run(Command::FenceBroker(FenceBroker { id: BrokerId(id), epoch })).unwrap();
    }

    pub fn epoch(&self, id: i32) -> BrokerEpoch {
        self.image.broker(BrokerId(id)).map_or(BrokerEpoch(-1), |broker| broker.epoch)
    }

    pub fn create(&mut self, topic: NewTopic) -> TopicResult<CreatedTopic> {
        match self.run(Command::CreateTopics(create(vec![topic]))) {
            Ok(Reply::TopicsCreated(mut results)) => results.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Leaders by partition; −1 for none.
    pub fn leaders(&self, topic: &str) -> Vec<i32> {
        let partitions = &self.image.topic(topic).unwrap().partitions;
        partitions.iter().map(|partition| partition.leader.map_or(-1, |id| id.0)).collect()
    }

    pub fn partition(&self, topic: &str, index: i32) -> &PartitionImage {
        self.image.partition(topic, PartitionIndex(index)).unwrap()
    }
}

pub fn disk(broker: i32, number: u8) -> DirectoryId {
    let mut id = [number; 16];
    id[0] = broker.to_le_bytes()[0];
    DirectoryId(id)
}

pub fn register(id: i32, disk_number: u8) -> Command {
    Command::RegisterBroker(RegisterBroker {
        control_address: format!("broker-{id}:9095"),
        clean_shutdown: true,
        ..RegisterBroker::new(BrokerId(id), IncarnationId(7), disk(id, disk_number))
    })
}

pub fn create(topics: Vec<NewTopic>) -> CreateTopics {
    CreateTopics { topics, validate_only: false, default_partitions: 2, default_replication_factor: 1 }
}

pub fn topic_id(name: &str) -> TopicId {
    let mut id = [0xee; 16];
    for (slot, byte) in id.iter_mut().zip(name.bytes()) {
        *slot = byte;
    }
    TopicId(id)
}

/// A topic with this many partitions by placement.
pub fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        id: topic_id(name),
        partitions,
        replication_factor: -1,
        assignments: vec![],
        config: vec![],
    }
}

/// A topic with its replicas by hand.
pub fn by_hand(name: &str, replicas: &[&[i32]]) -> NewTopic {
    let assignments = (0..)
        .map(PartitionIndex)
        .zip(replicas)
        .map(|(partition, replicas)| NewPartitionAssignment { partition, replicas: ids(replicas) });
    NewTopic { partitions: -1, assignments: assignments.collect(), ..topic(name, -1) }
}

pub fn ids(list: &[i32]) -> Vec<BrokerId> {
    list.iter().copied().map(BrokerId).collect()
}
