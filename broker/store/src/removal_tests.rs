//! Folders of deleted partitions go while all else goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ottla_log::DELETE_SUFFIX;
use ottla_types::{LeaderEpoch, TopicId, TopicName};
use parking_lot::Mutex;

use crate::test_support::{Act, P0, TOPIC, WatchedDisk, batch, config};
use crate::{Committer, LogConfig, Store, StoreConfig};

/// Makes a partition of that name with a record.
fn create(store: &Store, id: TopicId) {
    let name = TopicName::new("t").unwrap();
    let log = store.create_partition(name, id, P0, LogConfig::default()).unwrap();
    log.append(&batch(b"a"), LeaderEpoch(3), 1_000).unwrap();
    log.sync().unwrap();
}

#[test]
fn deleting_a_large_partition_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (goes_on, waits) = mpsc::channel::<()>();
    let (waits, waited_in_vain) = (Mutex::new(waits), Arc::new(AtomicBool::new(false)));
    let in_vain = Arc::clone(&waited_in_vain);
    let watch = move |path: &Path, act: Act| {
        if matches!(act, Act::Remove) && path.to_string_lossy().contains(DELETE_SUFFIX) {
            let waited = waits.lock().recv_timeout(Duration::from_secs(30));
            in_vain.fetch_or(waited == Err(RecvTimeoutError::Timeout), Ordering::AcqRel);
        }
        Ok(())
    };
    let config = StoreConfig { committer: Committer::Thread, ..config(dir.path()) };
    let store = Store::open_on(Arc::new(WatchedDisk(Arc::new(watch))), config).unwrap();
    // Before the store is dropped, which waits for its threads.
    let goes_on = goes_on;
    create(&store, TOPIC);
    store.delete_partition(TOPIC, P0).unwrap();
    // The name is free at once.
    create(&store, TopicId([3; 16]));
    drop(goes_on);
    assert!(!waited_in_vain.load(Ordering::Acquire), "who deletes waits for the files");
    let is_left = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.into_iter().any(|name| name.to_string_lossy().ends_with(DELETE_SUFFIX))
    };
    let began = Instant::now();
    while is_left() {
        assert!(began.elapsed() < Duration::from_secs(60), "the folder stays");
        std::thread::sleep(Duration::from_millis(5));
    }
}
