//! Room that is set aside for changes is there for them, whatever the process before has used of it.

use std::sync::Arc;

use ottla_log::{BatchBuilder, LogConfig};
use ottla_store::{Committer, PartitionLog, Store, StoreConfig};
use ottla_types::{BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

use crate::SimDisk;

const TOPIC: TopicId = TopicId([7; 16]);
/// Each letting go writes a line with the topic's name.
const LINES: i64 = 400;

fn open(disk: &SimDisk) -> (Store, Arc<PartitionLog>) {
    let config = StoreConfig {
        cluster_id: Some(ClusterId([1; 16])),
        committer: Committer::Manual,
        ..StoreConfig::new("/data", BrokerId(1))
    };
    let store = Store::open_on(Arc::new(disk.clone()), config).unwrap();
    let name = TopicName::new(&"t".repeat(240)).unwrap();
    let one_batch = LogConfig { segment_bytes: 100, ..LogConfig::default() };
    let log = store.create_partition(name, TOPIC, PartitionIndex(0), one_batch).unwrap();
    (store, log)
}

#[test]
fn what_is_let_go_can_be_written_down_on_a_full_disk_after_much_was() {
    let disk = SimDisk::new(1, None);
    let (store, log) = open(&disk);
    for _ in 0..LINES + 200 {
        let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(1_000, None, Some(b"a"));
        log.append(&batch.build().into(), LeaderEpoch(3), 1_000).unwrap();
    }
    store.commit_now().unwrap();
    store.checkpoint().unwrap();
    for offset in 1..=LINES {
        assert_eq!(log.advance_log_start(Offset(offset)), 1);
    }
    disk.restart(false);
    drop((store, log));
    let (_store, log) = open(&disk);
    disk.set_bytes_max(Some(disk.bytes()));
    for offset in LINES + 1..LINES + 100 {
        // What goes frees some bytes, which something else takes at once.
        assert_eq!(log.advance_log_start(Offset(offset)), 1, "{offset}");
        disk.set_bytes_max(Some(disk.bytes()));
    }
}
