//! Room that is set aside for changes is there for them, whatever the process before has used of it.

use std::sync::Arc;

use ottla_log::BatchBuilder;
use ottla_store::{PartitionLog, Store};
use ottla_types::{LeaderEpoch, Offset};

use crate::SimDisk;
use crate::test_support::open_with;

/// Each letting go writes a line with the topic's name.
const LINES: i64 = 400;

fn open(disk: &SimDisk) -> (Store, Arc<PartitionLog>) {
    // A batch is a segment.
    open_with(&"t".repeat(240), 100, disk)
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
