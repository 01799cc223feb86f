//! The store on the operating system's disk: what the broker does with it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{BatchBuilder, BatchHeader, Records};
use ottla_store::{LogConfig, PartitionLog, Store, StoreConfig, UpTo};
use ottla_types::{BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

const CLUSTER: ClusterId = ClusterId([1; 16]);
const TOPIC: TopicId = TopicId([2; 16]);
const P0: PartitionIndex = PartitionIndex(0);

fn open(dir: &Path) -> Store {
    let config = StoreConfig { cluster_id: Some(CLUSTER), ..StoreConfig::new(dir, BrokerId(1)) };
    Store::open(config).unwrap()
}

fn create(store: &Store, config: LogConfig) -> Arc<PartitionLog> {
    store.create_partition(TopicName::new("orders").unwrap(), TOPIC, P0, config).unwrap()
}

fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    for value in values {
        builder.push(1_000, None, Some(value.as_bytes()), &[]);
    }
    builder.build().into()
}

fn values(log: &PartitionLog, from: i64) -> Vec<String> {
    let mut values = Vec::new();
    let mut from = Offset(from);
    while let Some(slice) = log.read(from, 100, true, UpTo::Durable).unwrap() {
        let bytes = slice.to_bytes().unwrap();
        let mut rest = &bytes[..];
        while let Some(header) = BatchHeader::new(rest) {
            let (batch, after) = rest.split_at(header.batch_bytes());
            for record in Records::new(header, &batch[61..]) {
                let record = record.unwrap();
                values.push(format!("{}={}", record.offset, String::from_utf8_lossy(record.value.unwrap())));
            }
            rest = after;
        }
        from = slice.next_offset;
    }
    values
}

#[test]
fn records_are_there_after_a_clean_restart_and_after_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig::default());
    assert_eq!(log.append(&batch(&["a", "b"]), LeaderEpoch(3), 1_000).unwrap().last_offset, Offset(1));
    assert_eq!(log.append(&batch(&["c"]), LeaderEpoch(3), 1_000).unwrap().base_offset, Offset(2));
    log.sync().unwrap();
    assert_eq!(log.durable_end_offset(), Offset(3));
    assert_eq!(values(&log, 0), ["0=a", "1=b", "2=c"]);
    store.close().unwrap();
    drop((store, log));

    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!(values(&log, 0), ["0=a", "1=b", "2=c"]);
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(3)));
    log.append(&batch(&["d"]), LeaderEpoch(4), 1_000).unwrap();
    log.sync().unwrap();
    drop((store, log));

    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!(values(&log, 0), ["0=a", "1=b", "2=c", "3=d"]);
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(3)), Some((LeaderEpoch(3), Offset(3))));
}
