//! A leader whose log was damaged while its broker was away.

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::partition::{Assignment, Peer};
use ottla_log::BatchBuilder;
use ottla_store::{AckDurability, Committer, LogConfig, Store, StoreConfig};
use ottla_types::{
    BrokerEpoch, BrokerId, ClusterId, DirectoryId, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex,
    ProducerEpoch, ProducerId, TopicId, TopicName,
};

use super::{Partition, ProduceError, ReadyList};

fn batch(sequence: i32) -> Bytes {
    let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    let producer = builder.producer(ProducerId(7), ProducerEpoch(0), sequence);
    producer.record(crate::clock::now_ms(), None, Some(b"value")).build().into()
}

fn open(dir: &std::path::Path) -> Store {
    let cluster_id = Some(ClusterId([1; 16]));
    let config =
        StoreConfig { cluster_id, committer: Committer::Manual, ..StoreConfig::new(dir, BrokerId(1)) };
    Store::open(config).unwrap()
}

fn led_by_the_first_of(replicas: i32) -> Assignment {
    let peer = |id| Peer {
        broker: BrokerId(id),
        directory: DirectoryId([1; 16]),
        broker_epoch: Some(BrokerEpoch(1)),
        may_join: true,
    };
    Assignment {
        leader: Some(BrokerId(1)),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(1),
        replicas: (1..=replicas).map(peer).collect(),
        isr: (1..=replicas).map(BrokerId).collect(),
        min_insync_replicas: 1,
    }
}

/// The leader is sent the second of a producer's batches again, which was damaged, and the snapshot of producers is lost.
fn sent_again_to_one_of(replicas: i32) -> Result<(), ProduceError> {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let config = LogConfig { ack_durability: AckDurability::Synced, ..LogConfig::default() };
    let (topic, id, index) = (TopicName::new("t").unwrap(), TopicId([2; 16]), PartitionIndex(0));
    let log = store.create_partition(topic, id, index, config).unwrap();
    for sequence in 0..2 {
        log.append(&batch(sequence), LeaderEpoch(3), crate::clock::now_ms()).unwrap();
    }
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    drop((store, log));
    let (segment, snapshot) = ("t-0/00000000000000000000.log", "t-0/00000000000000000002.snapshot");
    let half = std::fs::read(dir.path().join(segment)).unwrap().len() / 2;
    let file = std::fs::File::options().write(true).open(dir.path().join(segment)).unwrap();
    file.set_len(half as u64).unwrap();
    std::fs::remove_file(dir.path().join(snapshot)).unwrap();
    let store = open(dir.path());
    let log = store.partition(id, index).unwrap();
    assert_eq!(log.damage(), [Offset(1)..Offset(2)]);
    let partition = Partition::new(BrokerId(1), log, Offset(2), Arc::default());
    partition.on_image(led_by_the_first_of(replicas), |_| Arc::<ReadyList>::default());
    partition.append(&batch(1), false).map(drop)
}

#[test]
fn what_may_be_a_repetition_waits_until_a_peer_has_mended_the_log() {
    assert!(matches!(sent_again_to_one_of(3), Err(ProduceError::Mending)));
    // Nobody could mend it.
    sent_again_to_one_of(1).unwrap();
}
