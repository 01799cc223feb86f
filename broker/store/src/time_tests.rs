//! What the records' times decide: where an offset is found, when a segment is closed, and when it goes.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_log::{BatchBuilder, BatchHeader, Codec, HEADER_BYTES, compress, with_times};
use ottla_types::{BrokerId, ClusterId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

use crate::{Committer, LogConfig, PartitionLog, Store, StoreConfig, TimestampType};

const TOPIC: TopicId = TopicId([2; 16]);
const P0: PartitionIndex = PartitionIndex(0);
const DAY: i64 = 86_400_000;
const NOW: i64 = 20_000 * DAY;
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn open(dir: &Path) -> Store {
    let config = StoreConfig { cluster_id: Some(ClusterId([1; 16])), ..StoreConfig::new(dir, BrokerId(1)) };
    Store::open(config).unwrap()
}

/// A store that syncs when it is told to, of partitions with these settings.
fn open_manual(dir: &Path, config: &LogConfig) -> Store {
    let config = StoreConfig {
        cluster_id: Some(ClusterId([1; 16])),
        default_config: config.clone(),
        committer: Committer::Manual,
        ..StoreConfig::new(dir, BrokerId(1))
    };
    Store::open(config).unwrap()
}

/// Four batches of one record in a segment, an index entry after each second one, and records for 10 ms.
fn small_and_short_lived() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 200,
        retention_ms: Some(10),
        ..LogConfig::default()
    }
}

fn create(store: &Store, config: LogConfig) -> Arc<PartitionLog> {
    store.create_partition(TopicName::new("orders").unwrap(), TOPIC, P0, config).unwrap()
}

fn batch(codec: Codec, times: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    for time in times {
        builder.push(*time, None, Some(&[7; 100]), &[]);
    }
    builder.build_compressed(codec, &compress(codec, builder.records()).unwrap()).into()
}

/// The batch as a client sends it that doesn't know its greatest time, or tells another one.
fn claiming(batch: &Bytes, max_timestamp_ms: i64) -> Bytes {
    let header = with_times(batch, TimestampType::Create, max_timestamp_ms);
    [&header[..], &batch[HEADER_BYTES..]].concat().into()
}

fn append(log: &Arc<PartitionLog>, batch: &Bytes) -> Offset {
    log.append(batch, LeaderEpoch(0), NOW).unwrap().base_offset
}

fn by_time(log: &PartitionLog, time: i64) -> Option<(i64, i64)> {
    log.offset_for_timestamp(time).unwrap().map(|found| (found.offset.0, found.timestamp_ms))
}

fn latest(log: &PartitionLog) -> Option<(i64, i64)> {
    log.offset_for_max_timestamp().unwrap().map(|found| (found.offset.0, found.timestamp_ms))
}

#[test]
fn a_record_is_found_by_its_time_inside_of_any_batch() {
    for codec in CODECS {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store, LogConfig { segment_bytes: 1_000, ..LogConfig::default() });
        let times = [[10, 20, 30], [25, 50, 40], [50, 5, 50], [1, 2, 3]].map(|three| three.map(|t| NOW + t));
        for three in &times {
            // Sarama up to 1.43 sends −1 as the greatest time.
            append(&log, &claiming(&batch(codec, three), -1));
        }
        log.sync().unwrap();
        let all = times.concat();
        for wanted in 0..=60 {
            let first = all.iter().position(|time| *time >= NOW + wanted);
            let first = first.map(|at| (at as i64, all[at]));
            assert_eq!(by_time(&log, NOW + wanted), first, "{codec:?}, {wanted}");
        }
        assert_eq!(latest(&log), Some((4, NOW + 50)), "{codec:?}: of several the first");
    }
}

#[test]
fn what_is_gone_is_not_found_by_its_time() {
    for codec in CODECS {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let log = create(&store, LogConfig::default());
        append(&log, &batch(codec, &[NOW + 90, NOW + 70, NOW + 10]));
        append(&log, &batch(codec, &[NOW + 20, NOW + 60]));
        log.sync().unwrap();
        log.advance_log_start(Offset(1));
        assert_eq!(by_time(&log, NOW + 80), None, "{codec:?}");
        assert_eq!((by_time(&log, NOW + 65), latest(&log)), (Some((1, NOW + 70)), Some((1, NOW + 70))));
        log.advance_log_start(Offset(2));
        assert_eq!(by_time(&log, NOW + 15), Some((3, NOW + 20)), "{codec:?}");
        assert_eq!((by_time(&log, NOW + 61), latest(&log)), (None, Some((4, NOW + 60))), "{codec:?}");
    }
}

#[test]
fn the_latest_record_is_found_by_opening_no_batch_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig::default());
    let batches = [90, 20, 30, 40, 35].map(|time| batch(Codec::None, &[NOW + time]));
    for batch in &batches {
        append(&log, batch);
    }
    log.sync().unwrap();
    log.advance_log_start(Offset(1));
    // What can't be read isn't missed: these are earlier.
    let segment = dir.path().join("orders-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    for at in [1, 2, 4] {
        let end = batches[..=at].iter().map(Bytes::len).sum::<usize>();
        bytes[end - 1] ^= 1;
    }
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(latest(&log), Some((3, NOW + 40)));
}

#[test]
fn the_time_of_an_append_is_told_of_all_its_records() {
    for codec in CODECS {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let config = LogConfig { timestamp_type: TimestampType::Append, ..LogConfig::default() };
        let log = create(&store, config);
        append(&log, &batch(codec, &[NOW + DAY, NOW - DAY]));
        log.sync().unwrap();
        assert_eq!((by_time(&log, NOW - DAY), latest(&log)), (Some((0, NOW)), Some((0, NOW))), "{codec:?}");
        assert_eq!(by_time(&log, NOW + 1), None, "{codec:?}");
    }
}

/// How many segments 200 batches make whose times are `age_ms` before now.
fn segments(age_ms: i64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig { retention_ms: None, ..LogConfig::default() });
    for index in 0..200 {
        append(&log, &batch(Codec::None, &[NOW - age_ms + index]));
    }
    std::fs::read_dir(dir.path().join("orders-0"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".log"))
        .count()
}

#[test]
fn records_from_long_ago_fill_segments_like_others() {
    assert_eq!((segments(0), segments(30 * DAY)), (1, 1));
}

#[test]
fn retention_goes_by_the_records_and_not_by_what_the_header_claims() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = create(&store, LogConfig { retention_ms: Some(DAY), ..LogConfig::default() });
    append(&log, &claiming(&batch(Codec::Lz4, &[NOW, NOW]), 0));
    append(&log, &claiming(&batch(Codec::None, &[NOW - DAY]), NOW + DAY));
    log.sync().unwrap();
    assert_eq!(retain(&log, NOW + DAY), 0, "the first are from now");
    assert!(retain(&log, NOW + DAY + 1) > 0, "the last are no newer");
    assert_eq!(log.log_start_offset(), Offset(3));
}

#[test]
fn segments_without_a_time_go_by_that_of_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_ms: Some(DAY), segment_bytes: 300, ..LogConfig::default() };
    let store = open(dir.path());
    let log = create(&store, config.clone());
    let timeless = || claiming(&batch(Codec::None, &[-1]), -1);
    let header = timeless();
    let header = BatchHeader::new(&header).unwrap();
    assert_eq!((header.base_timestamp(), header.max_timestamp()), (-1, -1));
    append(&log, &timeless());
    append(&log, &timeless());
    log.sync().unwrap();
    assert_eq!(retain(&log, NOW + DAY), 0);
    assert_eq!(retain(&log, NOW + DAY + 1), 2, "the time of the last write is what counts");
    let kept = append(&log, &timeless());
    append(&log, &timeless());
    log.sync().unwrap();
    store.close().unwrap();
    drop((store, log));
    // The file systems' clock is the real one, and a start knows of no other.
    let written = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let written_ms = i64::try_from(written.as_millis()).unwrap();
    let store = open(dir.path());
    let log = store.partition(TOPIC, P0).unwrap();
    log.set_config(config);
    assert_eq!(retain(&log, written_ms - 3_600_000), 0);
    assert_eq!(log.log_start_offset(), kept);
    assert!(retain(&log, written_ms + 2 * DAY) > 0, "they are older than a day");
    assert_eq!(log.log_start_offset(), log.end_offset());
}

/// After a crash segments are looked through and get their indexes anew; from the next checkpoint on only
/// these are asked.
#[test]
fn a_closed_segments_latest_time_is_known_after_any_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_and_short_lived();
    let open = || open_manual(dir.path(), &config);
    let store = open();
    let log = create(&store, config.clone());
    for time in 0..8 {
        append(&log, &batch(Codec::None, &[NOW + time]));
    }
    log.sync().unwrap();
    drop((store, log));
    for start in 0..3 {
        let store = open();
        let log = store.partition(TOPIC, P0).unwrap();
        for time in 0..8 {
            assert_eq!(by_time(&log, NOW + time), Some((time, NOW + time)), "start {start}");
        }
        assert_eq!(retain(&log, NOW + 13), 0, "start {start}");
        store.checkpoint().unwrap();
    }
    let store = open();
    let log = store.partition(TOPIC, P0).unwrap();
    assert_eq!(retain(&log, NOW + 14), 1);
    assert_eq!(log.log_start_offset(), Offset(4));
}

/// Deletes what is too old. Returns the number of segments.
fn retain(log: &Arc<PartitionLog>, now_ms: i64) -> usize {
    let limit = log.end_offset();
    let mut deleted = log.enforce_retention(now_ms, limit);
    while log.learn_age(now_ms, limit) {
        deleted += log.enforce_retention(now_ms, limit);
    }
    deleted
}

/// A segment goes as soon as it has been read: a full disk need not wait for all of a large log.
#[test]
fn old_segments_go_one_by_one_as_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_and_short_lived();
    let store = open_manual(dir.path(), &config);
    let log = create(&store, config.clone());
    for time in 0..12 {
        append(&log, &batch(Codec::None, &[NOW + time]));
    }
    store.close().unwrap();
    drop((store, log));
    let store = open_manual(dir.path(), &config);
    let log = store.partition(TOPIC, P0).unwrap();
    let (late, limit) = (NOW + DAY, log.end_offset());
    let mut starts = vec![log.log_start_offset()];
    while log.learn_age(late, limit) {
        assert_eq!(log.enforce_retention(late, limit), 1);
        starts.push(log.log_start_offset());
    }
    assert_eq!(starts, [0, 4, 8, 12].map(Offset));
}

/// What happens to a file.
type Harm = fn(&mut Vec<u8>);

/// Nothing guards an index, and records are deleted by the time that it says.
#[test]
fn a_time_index_that_lies_costs_no_records() {
    const SEGMENT: &str = "orders-0/00000000000000000000";
    // Of the last entry of the index: the time, or the entry; or all of it.
    let index: [(&str, Harm); 4] = [
        ("timeindex", |bytes| {
            let at = bytes.len() - 12;
            bytes[at..at + 8].copy_from_slice(&(NOW - 900 * DAY).to_be_bytes());
        }),
        ("timeindex", |bytes| bytes.truncate(bytes.len() - 12)),
        ("timeindex", |bytes| bytes.fill(0)),
        ("timeindex", Vec::clear),
    ];
    // Of the log: the latest time in a header, and the last batch.
    let log: [(&str, Harm); 2] = [
        ("log", |bytes| {
            let at = bytes.len() * 3 / 4 + 35;
            bytes[at..at + 8].copy_from_slice(&(NOW - 900 * DAY).to_be_bytes());
        }),
        ("log", |bytes| bytes.truncate(bytes.len() * 3 / 4)),
    ];
    let config = small_and_short_lived();
    let is_index = |number: usize| number < index.len();
    for (number, (file, harm)) in index.iter().chain(&log).enumerate() {
        // The latest record of the first segment is its last one, or one from before its last index entry.
        for times in [[0, 1, 2, 3], [3, 0, 1, 2]] {
            let dir = tempfile::tempdir().unwrap();
            let open = || open_manual(dir.path(), &config);
            let store = open();
            let log = create(&store, config.clone());
            for time in times.into_iter().chain(4..8) {
                append(&log, &batch(Codec::None, &[NOW + time]));
            }
            store.close().unwrap();
            drop((store, log));
            let path = dir.path().join(format!("{SEGMENT}.{file}"));
            let mut bytes = std::fs::read(&path).unwrap();
            harm(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let store = open();
            let log = store.partition(TOPIC, P0).unwrap();
            let deleted = retain(&log, NOW + 13);
            assert_eq!(deleted, 0, "harm {number}, {times:?}: not all are older than 10 ms");
            if is_index(number) {
                assert_eq!(retain(&log, NOW + 14), 1, "harm {number}, {times:?}");
                assert_eq!(log.log_start_offset(), Offset(4));
            }
            // What goes for its size needn't be read.
            log.set_config(LogConfig { retention_bytes: Some(0), ..config.clone() });
            assert!(retain(&log, NOW + 13) > 0, "harm {number}, {times:?}");
        }
    }
}
