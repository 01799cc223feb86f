//! What the tests of single stores share.

use std::sync::Arc;

use ottla_log::LogConfig;
use ottla_store::{Committer, PartitionLog, Store, StoreConfig};
use ottla_types::{BrokerId, ClusterId, PartitionIndex, TopicId, TopicName};

use crate::SimDisk;

/// The store of a disk, committed by hand, and the log of its only partition, which is made if it isn't
/// there.
pub(crate) fn open_with(topic: &str, segment_bytes: u32, disk: &SimDisk) -> (Store, Arc<PartitionLog>) {
    let config = StoreConfig {
        cluster_id: Some(ClusterId([1; 16])),
        committer: Committer::Manual,
        ..StoreConfig::new("/data", BrokerId(1))
    };
    let store = Store::open_on(Arc::new(disk.clone()), config).unwrap();
    let config = LogConfig { segment_bytes, ..LogConfig::default() };
    let (name, id) = (TopicName::new(topic).unwrap(), TopicId([7; 16]));
    let log = store.create_partition(name, id, PartitionIndex(0), config).unwrap();
    (store, log)
}
