//! The store on the operating system's disk: what the broker does with it, and what it refuses.

pub(crate) mod memory_disk;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use ottla_log::{BatchBuilder, BatchHeader, MetaProperties, Records};
use ottla_types::{
    BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicName,
};

use crate::{
    AckDurability, AppendError, LogConfig, PartitionLog, ReadError, Store, StoreConfig, StoreError,
    TimestampType, UpTo,
};

const CLUSTER: ClusterId = ClusterId([1; 16]);
const TOPIC: TopicId = TopicId([2; 16]);
const P0: PartitionIndex = PartitionIndex(0);

fn config(dir: &Path) -> StoreConfig {
    StoreConfig { cluster_id: Some(CLUSTER), ..StoreConfig::new(dir, BrokerId(1)) }
}

fn open(dir: &Path) -> Store {
    Store::open(config(dir)).unwrap()
}

fn create(store: &Store, config: LogConfig) -> Arc<PartitionLog> {
    store.create_partition(TopicName::new("orders").unwrap(), TOPIC, P0, config).unwrap()
}

fn timed(time: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    for (index, value) in values.iter().enumerate() {
        builder.push(time + index as i64, None, Some(value.as_bytes()), &[]);
    }
    builder.build().into()
}

fn append(log: &Arc<PartitionLog>, values: &[&str]) -> Offset {
    log.append(&timed(1_000, values), LeaderEpoch(3), 1_000).unwrap().base_offset
}

fn values(log: &PartitionLog, from: Offset) -> Vec<String> {
    let (mut values, mut from) = (Vec::new(), from);
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

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 300, index_interval_bytes: 100, ..LogConfig::default() }
}

#[test]
fn records_are_there_after_a_clean_restart_and_after_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig::default());
    assert_eq!(append(&log, &["a", "b"]), Offset(0));
    assert_eq!(append(&log, &["c"]), Offset(2));
    log.sync().unwrap();
    assert_eq!(log.durable_end_offset(), Offset(3));
    assert_eq!(values(&log, Offset(0)), ["0=a", "1=b", "2=c"]);
    store.close().unwrap();
    assert!(dir.path().join(".kafka_cleanshutdown").exists() && crate::closed_cleanly(dir.path()));
    drop((store, log));

    let store = open(dir.path());
    assert!(!crate::closed_cleanly(dir.path()));
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!(values(&log, Offset(1)), ["0=a", "1=b", "2=c"]);
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(3)));
    log.append(&timed(1_000, &["d"]), LeaderEpoch(4), 1_000).unwrap();
    log.sync().unwrap();
    let directory_id = store.directory_id();
    drop((store, log));

    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!(values(&log, Offset(0)), ["0=a", "1=b", "2=c", "3=d"]);
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(3)), Some((LeaderEpoch(3), Offset(3))));
    assert_eq!(store.directory_id(), directory_id);
    assert_eq!(store.partitions(), [(TopicName::new("orders").unwrap(), TOPIC, P0)]);
}

#[test]
fn an_append_becomes_durable_by_itself_and_the_hook_hears_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig::default());
    let (sender, receiver) = std::sync::mpsc::channel();
    log.add_durable_hook(Arc::new(move |offset| sender.send(offset).unwrap_or_default()));
    append(&log, &["a"]);
    let heard = receiver.recv_timeout(std::time::Duration::from_secs(120)).unwrap();
    assert_eq!((heard, log.durable_end_offset()), (Offset(1), Offset(1)));
}

#[test]
fn a_store_that_is_dropped_leaves_no_log_in_memory() {
    for large in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(StoreConfig { committer: crate::Committer::Manual, ..config(dir.path()) }).unwrap();
        let log = create(&store, LogConfig::default());
        append(&log, &["a"]);
        store.commit_now().unwrap();
        // By the journal or, what is too large for it, by a sync of its own; nobody does either.
        append(&log, &[&"a".repeat(if large { 200_000 } else { 1 })]);
        assert!(log.durable_end_offset() < log.end_offset());
        let watch = Arc::downgrade(&log);
        drop((log, store));
        assert_eq!(watch.strong_count(), 0, "large: {large}");
    }
}

#[test]
fn a_committer_that_ends_by_a_bug_stops_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let on_fatal: crate::FatalHook = Arc::new(move |error| sender.send(error.clone()).unwrap_or_default());
    let store = Store::open(StoreConfig { on_fatal, ..config(dir.path()) }).unwrap();
    let log = create(&store, LogConfig::default());
    log.add_durable_hook(Arc::new(|_| panic!("a bug, for the test")));
    append(&log, &["a"]);
    let fatal = receiver.recv_timeout(std::time::Duration::from_secs(120)).unwrap();
    assert!(fatal.to_string().contains("bug"), "{fatal}");
    assert!(matches!(log.append(&timed(1_000, &["b"]), LeaderEpoch(3), 1_000), Err(AppendError::Failed)));
    assert!(matches!(store.close(), Err(StoreError::Failed)), "no mark of a clean shutdown");
}

#[test]
fn written_partitions_acknowledge_at_once_and_are_synced_at_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig { ack_durability: AckDurability::Written, ..LogConfig::default() });
    let heard = Arc::new(AtomicI64::new(-1));
    let hears = Arc::clone(&heard);
    log.add_durable_hook(Arc::new(move |offset| hears.store(offset.0, Ordering::Release)));
    append(&log, &["a"]);
    assert_eq!((heard.load(Ordering::Acquire), log.durable_end_offset()), (1, Offset(1)));
    assert_eq!(values(&log, Offset(0)), ["0=a"]);
    store.checkpoint().unwrap();
    assert!(!log.state.lock().is_unsynced());
}

#[test]
fn foreign_and_damaged_directories_are_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let locked = Store::open(config(dir.path())).unwrap_err();
    assert!(
        matches!(&locked, StoreError::Locked { .. }) && locked.to_string().contains("log.dirs"),
        "{locked}"
    );
    store.close().unwrap();
    drop(store);
    let refused = |config: StoreConfig| Store::open(config).map(drop).unwrap_err();
    let foreign = refused(StoreConfig { cluster_id: Some(ClusterId([9; 16])), ..config(dir.path()) });
    assert!(
        matches!(&foreign, StoreError::ForeignCluster { .. }) && foreign.to_string().contains("log.dirs")
    );
    let foreign = refused(StoreConfig { node_id: BrokerId(2), ..config(dir.path()) });
    assert!(matches!(&foreign, StoreError::ForeignNode { .. }) && foreign.to_string().contains("node.id"));
    let meta = dir.path().join(MetaProperties::FILE);
    let good = std::fs::read(&meta).unwrap();
    for bad in [&b""[..], b"node.id=1\n", b"\xff\xfe", b"version=9\n"] {
        std::fs::write(&meta, bad).unwrap();
        let corrupt = refused(config(dir.path()));
        assert!(
            matches!(&corrupt, StoreError::CorruptMeta { .. }) && corrupt.to_string().contains("restore it")
        );
    }
    std::fs::remove_file(&meta).unwrap();
    std::fs::create_dir(dir.path().join("orders-0")).unwrap();
    assert!(matches!(refused(config(dir.path())), StoreError::MissingMeta { .. }));
    std::fs::write(&meta, good).unwrap();
    drop(open(dir.path()));
    let empty = tempfile::tempdir().unwrap();
    let unknown = refused(StoreConfig { cluster_id: None, ..config(empty.path()) });
    assert!(matches!(unknown, StoreError::NotFormatted { .. }));
}

#[test]
fn a_folder_counts_as_formatted_once_it_has_the_file_that_is_to_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let with = || StoreConfig { formatted_with: Some(("first", "new")), ..config(dir.path()) };
    let (first, meta) = (dir.path().join("first"), dir.path().join(MetaProperties::FILE));
    // An attempt that was cut short before the file was there.
    std::fs::write(dir.path().join("first.tmp"), "new").unwrap();
    std::fs::create_dir(dir.path().join("meta.properties.tmp")).unwrap();
    assert!(matches!(Store::open(with()), Err(StoreError::Io { .. })), "it can't be formatted");
    assert!(first.exists() && !meta.exists(), "the file comes first");
    // And one that was cut short once it was.
    std::fs::remove_dir(dir.path().join("meta.properties.tmp")).unwrap();
    drop(Store::open(with()).unwrap());
    assert!(meta.exists() && std::fs::read_to_string(&first).unwrap() == "new");
    // One in use has lost its meta.properties.
    std::fs::write(&first, "used").unwrap();
    drop(Store::open(with()).unwrap());
    assert_eq!(std::fs::read_to_string(&first).unwrap(), "used");
    for entry in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        if entry.file_name() != "first" {
            let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
    }
    assert!(matches!(Store::open(with()), Err(StoreError::MissingMeta { found, .. }) if found == "first"));
}

#[test]
fn retries_of_an_idempotent_producer_are_recognized_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let batch = |sequence| -> Bytes {
        let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
        builder
            .producer(ProducerId(7), ProducerEpoch(0), sequence)
            .record(1_000, None, Some(b"v"))
            .build()
            .into()
    };
    for clean in [true, false] {
        let store = open(dir.path());
        let log = create(&store, LogConfig::default());
        let next = log.end_offset().0 as i32;
        for sequence in next..next + 3 {
            log.append(&batch(sequence), LeaderEpoch(0), 1_000).unwrap();
        }
        log.sync().unwrap();
        if clean {
            store.close().unwrap();
        }
        drop((store, log));
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        for sequence in next..next + 3 {
            let again = log.append(&batch(sequence), LeaderEpoch(0), 1_000).unwrap();
            assert_eq!(
                (again.duplicate, again.base_offset),
                (true, Offset(i64::from(sequence))),
                "clean {clean}"
            );
        }
        let gap = log.append(&batch(next + 4), LeaderEpoch(0), 1_000).unwrap_err();
        assert!(matches!(gap, AppendError::Sequence(_)), "{gap}");
        assert_eq!(log.end_offset(), Offset(i64::from(next) + 3));
    }
}

#[test]
fn reads_keep_to_whole_batches_and_to_what_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(StoreConfig { committer: crate::Committer::Manual, ..config(dir.path()) }).unwrap();
    let log = create(&store, small_segments());
    let batch_bytes = timed(1_000, &["a", "b"]).len();
    for _ in 0..9 {
        append(&log, &["a", "b"]);
    }
    assert!(log.read(Offset(0), 1_000, true, UpTo::Durable).unwrap().is_none(), "nothing is durable yet");
    assert_eq!(log.read(Offset(0), 1, true, UpTo::End).unwrap().unwrap().len, batch_bytes);
    store.commit_now().unwrap();
    assert!(
        log.read(Offset(0), batch_bytes - 1, false, UpTo::Durable).unwrap().is_none(),
        "too small a limit"
    );
    for from in 0..18 {
        for max_bytes in [1, batch_bytes, 2 * batch_bytes + 1, 10_000] {
            let slice = log.read(Offset(from), max_bytes, true, UpTo::Durable).unwrap().unwrap();
            assert_eq!(slice.base_offset, Offset(from / 2 * 2));
            assert_eq!(slice.len % batch_bytes, 0);
            assert!(slice.len <= max_bytes.max(batch_bytes));
            let records = (slice.len / batch_bytes * 2) as i64;
            assert_eq!(slice.next_offset.0 - slice.base_offset.0, records);
        }
    }
    assert!(log.read(Offset(18), 1, true, UpTo::Durable).unwrap().is_none());
    for out_of_range in [-1, 19] {
        let error = log.read(Offset(out_of_range), 1, true, UpTo::Durable).unwrap_err();
        assert!(matches!(error, ReadError::OutOfRange { .. }), "{error}");
    }
}

#[test]
fn offsets_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig { timestamp_before_max_ms: i64::MAX, ..small_segments() });
    let mut times = Vec::new();
    for (batch, time) in [100, 200, 150, 300, 50, 400, 390, 500].into_iter().enumerate() {
        let values = ["x", "y", "z"];
        log.append(&timed(time, &values[..1 + batch % 3]), LeaderEpoch(0), 1_000).unwrap();
        times.extend((0..=(batch % 3) as i64).map(|index| time + index));
    }
    log.sync().unwrap();
    let check = |log: &PartitionLog| {
        for wanted in [0, 50, 100, 101, 160, 201, 202, 203, 300, 400, 499, 501, 502] {
            let linear = times.iter().position(|time| *time >= wanted).map(|at| (at as i64, times[at]));
            let found =
                log.offset_for_timestamp(wanted).unwrap().map(|found| (found.offset.0, found.timestamp_ms));
            assert_eq!(found, linear, "time {wanted}");
        }
        let greatest = log.offset_for_max_timestamp().unwrap().unwrap();
        let most = *times.iter().max().unwrap();
        let first = times.iter().position(|time| *time == most).unwrap() as i64;
        assert_eq!((greatest.offset.0, greatest.timestamp_ms), (first, most));
    };
    check(&log);
    store.close().unwrap();
    drop((store, log));
    let store = open(dir.path());
    check(&store.partition(TOPIC, P0).unwrap());
}

#[test]
fn append_time_is_written_into_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig { timestamp_type: TimestampType::Append, ..LogConfig::default() });
    let appended = log.append(&timed(5, &["a"]), LeaderEpoch(0), 9_000).unwrap();
    assert_eq!(appended.log_append_time_ms, 9_000);
    let bytes = log.read_bytes(Offset(0), 1_000, UpTo::End).unwrap();
    let header = ottla_log::check_batch(&bytes).unwrap();
    assert_eq!((header.timestamp_type(), header.max_timestamp()), (TimestampType::Append, 9_000));
}

#[test]
fn a_cut_tail_is_gone_and_its_offsets_are_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, small_segments());
    for value in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        append(&log, &[value]);
    }
    store.checkpoint().unwrap();
    log.truncate_to(Offset(3)).unwrap();
    assert_eq!((log.end_offset(), log.durable_end_offset()), (Offset(3), Offset(3)));
    let stale = log.append(&timed(1_000, &["x"]), LeaderEpoch(2), 1_000).unwrap_err();
    assert!(matches!(stale, AppendError::Epoch { .. }), "{stale}");
    log.append(&timed(1_000, &["D"]), LeaderEpoch(4), 1_000).unwrap();
    log.sync().unwrap();
    assert_eq!(values(&log, Offset(0)), ["0=a", "1=b", "2=c", "3=D"]);
    drop((store, log));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!(values(&log, Offset(0)), ["0=a", "1=b", "2=c", "3=D"]);
    log.append(&timed(1_000, &["e", "f"]), LeaderEpoch(4), 1_000).unwrap();
    log.sync().unwrap();
    log.advance_log_start(Offset(5));
    log.truncate_to(Offset(5)).unwrap();
    assert_eq!(
        (log.log_start_offset(), log.end_offset()),
        (Offset(5), Offset(5)),
        "nothing of that batch remains"
    );
    log.reset_to(Offset(100)).unwrap();
    assert_eq!((log.log_start_offset(), log.end_offset()), (Offset(100), Offset(100)));
    assert_eq!(append(&log, &["z"]), Offset(100));
    log.sync().unwrap();
    drop((store, log));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!((log.log_start_offset(), values(&log, Offset(100))), (Offset(100), vec!["100=z".to_owned()]));
}

#[test]
fn retention_deletes_old_segments_and_a_restart_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig { retention_ms: Some(1_000), ..small_segments() });
    for value in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        append(&log, &[value]);
    }
    log.sync().unwrap();
    let before = log.size_bytes();
    assert_eq!(log.enforce_retention(2_000, log.end_offset()), 0, "nothing is old enough");
    log.set_config(LogConfig { retention_ms: None, retention_bytes: Some(before / 2), ..small_segments() });
    assert!(log.enforce_retention(2_000, log.end_offset()) > 0);
    let start = log.log_start_offset();
    assert!(start > Offset(0) && log.size_bytes() < before && log.size_bytes() >= before / 2);
    assert!(matches!(log.read(Offset(0), 1, true, UpTo::Durable), Err(ReadError::OutOfRange { .. })));
    log.set_config(LogConfig { retention_ms: Some(1_000), ..small_segments() });
    assert_eq!(log.enforce_retention(i64::MAX, start), 0, "what isn't committed stays, however old it is");
    assert!(log.enforce_retention(i64::MAX, log.end_offset()) > 0);
    assert_eq!((log.log_start_offset(), log.end_offset(), log.size_bytes()), (Offset(8), Offset(8), 0));
    assert_eq!(append(&log, &["i"]), Offset(8));
    log.sync().unwrap();
    drop((store, log));
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!((log.log_start_offset(), values(&log, Offset(8))), (Offset(8), vec!["8=i".to_owned()]));
}

/// Records tell of their epoch after a crash, where no checkpoint has. Of those that are gone nothing does.
#[test]
fn a_log_without_records_names_no_epoch_that_was_not_its_last() {
    for (ends, named) in [
        (End::Crash, None),
        (End::CrashAfterCheckpoint, Some(LeaderEpoch(5))),
        (End::Close, Some(LeaderEpoch(5))),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = emptied(dir.path());
        match ends {
            End::Crash => {}
            End::CrashAfterCheckpoint => store.checkpoint().unwrap(),
            End::Close => store.close().unwrap(),
        }
        drop(store);
        let log = open(dir.path()).partition(TOPIC, P0).unwrap();
        let known = (log.log_start_offset(), log.end_offset(), log.latest_epoch());
        assert_eq!(known, (Offset(8), Offset(8), named), "{ends:?}");
    }
}

#[derive(Debug)]
enum End {
    Crash,
    CrashAfterCheckpoint,
    Close,
}

/// A store with a log of two epochs whose records are all let go, of which a checkpoint has told the first.
fn emptied(dir: &Path) -> Store {
    let store = open(dir);
    let log = create(&store, LogConfig { retention_ms: Some(1_000), ..small_segments() });
    for epoch in [3, 3, 3, 3, 5, 5, 5, 5] {
        log.append(&timed(1_000, &["a"]), LeaderEpoch(epoch), 1_000).unwrap();
        if log.end_offset() == Offset(4) {
            log.sync().unwrap();
            store.checkpoint().unwrap();
        }
    }
    log.sync().unwrap();
    assert!(log.enforce_retention(i64::MAX, log.end_offset()) > 0);
    let known = (log.log_start_offset(), log.end_offset(), log.latest_epoch());
    assert_eq!(known, (Offset(8), Offset(8), Some(LeaderEpoch(5))));
    store
}

#[test]
fn a_deleted_topic_leaves_nothing_to_one_of_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig::default());
    append(&log, &["old"]);
    store.checkpoint().unwrap();
    let name = TopicName::new("orders").unwrap();
    let other = TopicId([3; 16]);
    let taken = store.create_partition(name.clone(), other, P0, LogConfig::default()).unwrap_err();
    assert!(matches!(taken, StoreError::ForeignTopic { .. }), "{taken}");
    store.delete_topic(TOPIC).unwrap();
    assert!(matches!(log.append(&timed(1_000, &["x"]), LeaderEpoch(3), 1_000), Err(AppendError::Deleted)));
    assert!(matches!(log.read(Offset(0), 1, true, UpTo::End), Err(ReadError::Deleted)));
    assert!(!dir.path().join("orders-0").exists());
    let log = store.create_partition(name, other, P0, LogConfig::default()).unwrap();
    assert_eq!(log.end_offset(), Offset(0));
    append(&log, &["new"]);
    log.sync().unwrap();
    assert_eq!(values(&log, Offset(0)), ["0=new"]);
}

#[test]
fn batches_with_offsets_of_their_own_have_to_follow_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig::default());
    let batch = |base| BatchBuilder::new(Offset(base), LeaderEpoch(1)).record(1, None, Some(b"v")).build();
    let two: Bytes = [batch(0), batch(1)].concat().into();
    assert_eq!(log.append_as_is(&two, 1_000).unwrap().last_offset, Offset(1));
    let gap = log.append_as_is(&batch(3).into(), 1_000).unwrap_err();
    assert!(matches!(gap, AppendError::Offset { expected: Offset(2), given: Offset(3) }), "{gap}");
    let mut torn = batch(2);
    torn.pop();
    assert!(matches!(log.append_as_is(&torn.into(), 1_000), Err(AppendError::Batch(_))));
    assert_eq!(log.end_offset(), Offset(2));
}

#[test]
fn a_flipped_byte_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig::default());
    for value in ["a", "b", "c"] {
        append(&log, &[value]);
    }
    store.close().unwrap();
    drop((store, log));
    let path = dir.path().join("orders-0/00000000000000000000.log");
    let good = std::fs::read(&path).unwrap();
    let batch_bytes = good.len() / 3;
    for at in batch_bytes..2 * batch_bytes {
        let mut bad = good.clone();
        bad[at] ^= 4;
        std::fs::write(&path, bad).unwrap();
        let store = open(dir.path());
        let log = store.partition(TOPIC, P0).unwrap();
        let first = log.read(Offset(0), 10_000, true, UpTo::Durable).unwrap().unwrap();
        assert_eq!(first.to_bytes().unwrap(), good[..batch_bytes], "byte {at}");
        let damaged = log.read(Offset(1), 10_000, true, UpTo::Durable);
        assert!(matches!(damaged, Err(ReadError::Corrupt { .. })), "byte {at}: {damaged:?}");
        assert_eq!(log.end_offset(), Offset(3), "byte {at}");
        store.close().unwrap();
        drop((store, log));
        std::fs::remove_file(dir.path().join("orders-0/00000000000000000003.log")).ok();
    }
}

#[test]
fn idle_partitions_hold_no_files_beyond_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig { open_files_max: 8, ..config(dir.path()) }).unwrap();
    let name = TopicName::new("many").unwrap();
    for partition in 0..40 {
        let index = PartitionIndex(partition);
        let log = store.create_partition(name.clone(), TOPIC, index, LogConfig::default()).unwrap();
        append(&log, &["a"]);
        log.sync().unwrap();
        assert_eq!(values(&log, Offset(0)), ["0=a"]);
        assert!(store.open_files() <= 8);
    }
}
