//! What this room's tests share: a data folder's partitions, and metadata as commands make it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla_core::config::BrokerDefaults;
use ottla_core::metadata::{Command, IncarnationId, MetadataImage, RegisterBroker, UnfenceBroker};
use ottla_core::partition::{Assignment, Peer};
use ottla_store::{AckDurability, Committer, LogConfig, PartitionLog, Store, StoreConfig};
use ottla_types::{
    BrokerEpoch, BrokerId, ClusterId, DirectoryId, LeaderEpoch, MetadataVersion, Offset, PartitionEpoch,
    PartitionIndex, TopicId, TopicName,
};

use super::partition::Lists;
use super::{Partition, Partitions, Streams};

/// The cluster of these tests.
pub const CLUSTER: ClusterId = ClusterId([1; 16]);
const PROCESS: IncarnationId = IncarnationId(1);

/// A topic of these tests, and its only partition.
pub const TOPIC: TopicId = TopicId([2; 16]);
/// See [`TOPIC`].
pub const INDEX: PartitionIndex = PartitionIndex(0);

/// A broker's store in this folder; nobody commits but the test.
pub fn open_store(folder: &Path, id: BrokerId) -> Store {
    let config = StoreConfig {
        cluster_id: Some(CLUSTER),
        committer: Committer::Manual,
        ..StoreConfig::new(folder, id)
    };
    Store::open(config).unwrap()
}

/// The log of [`TOPIC`]'s partition.
pub fn create_log(store: &Store) -> Arc<PartitionLog> {
    let config = LogConfig { ack_durability: AckDurability::Synced, ..LogConfig::default() };
    store.create_partition(TopicName::new("t").unwrap(), TOPIC, INDEX, config).unwrap()
}

/// How long members may lag.
pub const LAG_MAX: Duration = Duration::from_secs(3);

/// A broker's replica on this log, which knows of nobody yet.
pub fn replica_on(log: Arc<PartitionLog>, id: BrokerId) -> Arc<Partition> {
    Partition::new(id, log, Offset(0), LAG_MAX, Lists::default())
}

/// What brokers 1 to `replicas` are told of that partition, of which all are in sync.
pub fn led_by_the_first_of(replicas: i32) -> Assignment {
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
        elr: Vec::new(),
        min_insync_replicas: 1,
    }
}

/// A broker's store in this folder, and its partitions, of which none is open yet.
pub fn open(folder: &Path, id: BrokerId) -> (Arc<Store>, Partitions) {
    let store = Arc::new(open_store(folder, id));
    let (streams, _opened) = Streams::new();
    let (defaults, lag_max) = (BrokerDefaults::default(), Duration::from_secs(3));
    let partitions =
        Partitions::new((id, PROCESS), Arc::clone(&store), folder.to_owned(), defaults, lag_max, streams);
    (store, partitions)
}

/// The metadata after a command, which has to succeed.
pub fn after(image: &MetadataImage, command: &Command) -> MetadataImage {
    let decision = image.decide(command);
    decision.outcome.unwrap();
    let mut image = image.clone();
    image.apply(MetadataVersion(image.version.0 + 1), &decision.records);
    image
}

/// The metadata once a broker has registered, the first time and as the `epoch`th, and was unfenced.
pub fn with_live_broker(
    image: &MetadataImage,
    id: BrokerId,
    epoch: i64,
    directory_id: DirectoryId,
) -> MetadataImage {
    let register = RegisterBroker { clean_shutdown: true, ..RegisterBroker::new(id, PROCESS, directory_id) };
    let registered = after(image, &Command::RegisterBroker(register));
    after(&registered, &Command::UnfenceBroker(UnfenceBroker { id, epoch: BrokerEpoch(epoch) }))
}
