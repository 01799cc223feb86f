//! Folders of deleted partitions go while all else goes on, and what isn't the store's own stays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ottla_log::{DELETE_SUFFIX, STRAY_SUFFIX};
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

/// A folder that was named like a partition's, and isn't one.
#[test]
fn what_somebody_else_put_into_the_data_folder_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let put = |folder: &str, file: &str| {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join(file), "precious").unwrap();
    };
    let aside = |folder: &str| {
        let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
        let is_aside = |name: &str| name.starts_with(folder) && name.ends_with(STRAY_SUFFIX);
        let mut found = entries.filter(|entry| is_aside(&entry.file_name().to_string_lossy()));
        found.next().map(|entry| entry.path())
    };
    drop(Store::open(config(dir.path())).unwrap());
    put("notes-0", "notes.txt");
    put("docs-7/sub", "docs.txt");
    // What a partition leaves that was never made to its end.
    put("half-0", "partition.metadata.tmp");
    put("t-0", "00000000000000000000.index");
    let store = Store::open(config(dir.path())).unwrap();
    for (folder, file) in [("notes-0", "notes.txt"), ("docs-7", "sub/docs.txt")] {
        assert!(!dir.path().join(folder).exists());
        let kept = std::fs::read_to_string(aside(folder).expect(folder).join(file)).unwrap();
        assert_eq!(kept, "precious");
    }
    for own in ["half-0", "t-0"] {
        assert!(!dir.path().join(own).exists() && aside(own).is_none(), "{own}");
    }
    // While the store is open, just as a topic of that name is made.
    put("t-0", "notes.txt");
    create(&store, TOPIC);
    assert_eq!(std::fs::read_to_string(aside("t-0").unwrap().join("notes.txt")).unwrap(), "precious");
}
