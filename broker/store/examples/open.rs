//! Measures opening many partitions: `cargo run --release -p ottla-store --example open -- DIR [PARTITIONS]`.
//!
//! Prints the time to create them with a batch each, to open them after a clean shutdown and after a crash,
//! and the resident memory then.

use std::error::Error;
use std::time::Instant;

use bytes::Bytes;
use ottla_log::{BatchBuilder, LogConfig};
use ottla_store::{Store, StoreConfig};
use ottla_types::{BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

fn resident_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap_or("unknown").trim().to_owned()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("name a directory")?;
    let partitions: i32 = arguments.next().map_or(Ok(4_000), |text| text.parse())?;
    let open = || {
        let cluster_id = Some(ClusterId([1; 16]));
        Store::open(StoreConfig { cluster_id, ..StoreConfig::new(&dir, BrokerId(1)) })
    };
    let (name, id) = (TopicName::new("many")?, TopicId([2; 16]));
    let batch: Bytes =
        BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(1_000, None, Some(&[0; 900])).build().into();
    println!("empty: {}", resident_kib());
    let started = Instant::now();
    let store = open()?;
    for index in (0..partitions).map(PartitionIndex) {
        let log = store.create_partition(name.clone(), id, index, LogConfig::default())?;
        log.append(&batch, LeaderEpoch(0), 1_000)?;
    }
    println!("create and append: {:?}, {}", started.elapsed(), resident_kib());
    let started = Instant::now();
    store.close()?;
    drop(store);
    println!("sync and close: {:?}", started.elapsed());
    let started = Instant::now();
    let store = open()?;
    println!("open after a clean shutdown: {:?}, {}", started.elapsed(), resident_kib());
    drop(store);
    let started = Instant::now();
    let store = open()?;
    println!("open after a crash: {:?}, {}", started.elapsed(), resident_kib());
    store.close()?;
    Ok(())
}
