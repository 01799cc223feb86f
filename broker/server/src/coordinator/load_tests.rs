//! Shards that load: in pieces, whatever is in the log, and without holding others up.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_core::coordinator::{Now, Shard, Unavailable};
use ottla_core::group::{Groups, Reply};
use ottla_core::partition::FollowerFetch;
use ottla_log::{BatchBuilder, Batches, Codec, HEADER_BYTES, LogConfig, TimestampType, compress};
use ottla_types::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::codec::encode;
use super::codec_tests::{group_record, offset_record};
use super::load::{DECISION_BYTES_MIN, Loaded, decision_bytes, load_batch, troublesome_settings};
use super::test_support::{
    ALONE, FIRST, Led, SECOND, World, commit, commit_with, committed_fine, list, not_committed, until,
};
use crate::config::CoordinatorConfig;

const TWO: Led<'static> = Led { leader: 1, isr: &[1, 2], minimum: 1 };

fn in_small_pieces() -> CoordinatorConfig {
    CoordinatorConfig { load_buffer_bytes: 4 << 10, ..CoordinatorConfig::default() }
}

/// 1.5 MiB of commits, in batches of all sizes; another epoch, a restart of the broker.
#[tokio::test]
async fn what_was_committed_is_there_in_the_next_epoch_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path(), in_small_pieces());
    world.serves(FIRST).await;
    for round in 0..10 {
        let asked: Vec<_> = (0..50)
            .map(|n| world.ask(FIRST, commit_with(&format!("g{n}"), round * 100 + n, 3_000)))
            .collect();
        for one in asked {
            assert_eq!(world.answer_of(one).await, committed_fine());
        }
    }
    world.image(FIRST, &ALONE, true);
    world.serves(FIRST).await;
    assert_eq!((world.committed("g0").await, world.committed("g49").await), (Some(900), Some(949)));
    assert_eq!(world.answer(commit("g0", 77)).await, committed_fine());
    world.stopped().await;
    let world = World::new(folder.path(), in_small_pieces());
    world.serves(FIRST).await;
    assert_eq!((world.committed("g0").await, world.committed("g49").await), (Some(77), Some(949)));
    let Reply::ListGroups(Ok(groups)) = world.answer(list()).await else { panic!("it serves") };
    assert_eq!(groups.len(), 50);
    world.stopped().await;
}

/// The first shard begins in a new epoch, with a record in its log that the follower hasn't got yet, and has
/// read it.
async fn begin_with_an_uncommitted_record(world: &World) {
    world.image(FIRST, &TWO, false);
    let asked = world.ask(FIRST, commit("g", 6));
    world.appended_up_to(1).await;
    world.image(FIRST, &TWO, true);
    assert_eq!(world.answer_of(asked).await, not_committed(Unavailable::NotCoordinator));
    until("it has read all and waits", async || world.partition(FIRST).purgatory.count() == 1).await;
}

/// What is in the log and isn't known to be committed is neither shown nor decided on.
#[tokio::test]
async fn a_shard_serves_only_once_all_that_it_loaded_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path(), CoordinatorConfig::default());
    world.serves(FIRST).await;
    begin_with_an_uncommitted_record(&world).await;
    let loading = Reply::ListGroups(Err(Unavailable::Loading));
    world.serves(SECOND).await;
    assert_eq!(world.answer(list()).await, loading);
    let fetch = |offset| FollowerFetch {
        broker: BrokerId(2),
        broker_epoch: BrokerEpoch(1),
        directory: DirectoryId([1; 16]),
        leader_epoch: world.partition(FIRST).standing().leader_epoch,
        fetch_offset: Offset(offset),
        last_epoch: world.partition(FIRST).log.latest_epoch().filter(|_| offset > 0),
    };
    world.partition(FIRST).on_fetch(&fetch(0)).unwrap();
    assert_eq!(world.answer(list()).await, loading);
    world.partition(FIRST).on_fetch(&fetch(1)).unwrap();
    world.serves(FIRST).await;
    assert_eq!(world.committed("g").await, Some(6));
    world.stopped().await;
}

#[tokio::test]
async fn a_load_that_waits_ends_when_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path(), CoordinatorConfig::default());
    world.serves(FIRST).await;
    begin_with_an_uncommitted_record(&world).await;
    world.image(FIRST, &Led { leader: 2, ..TWO }, true);
    until("it is gone", async || world.partition(FIRST).purgatory.count() == 0).await;
    world.image(FIRST, &TWO, true);
    until("it waits", async || world.partition(FIRST).purgatory.count() == 1).await;
    world.stopped().await;
}

/// Fifty commits, and a bit of the bytes in the middle of their log is another one.
async fn damaged(folder: &Path) {
    let world = World::new(folder, CoordinatorConfig::default());
    world.serves(FIRST).await;
    for n in 0..50 {
        assert_eq!(world.answer(commit(&format!("g{n}"), n)).await, committed_fine());
    }
    world.stopped().await;
    let segment = folder.join("__consumer_offsets-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
}

/// Nobody else has what is damaged: the rest is better than nothing.
#[tokio::test]
async fn damage_that_nobody_can_repair_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    damaged(folder.path()).await;
    let world = World::new(folder.path(), CoordinatorConfig::default());
    world.serves(FIRST).await;
    let Reply::ListGroups(Ok(groups)) = world.answer(list()).await else { panic!("it serves") };
    assert_eq!(groups.len(), 49, "one of them was damaged");
    assert_eq!((world.committed("g0").await, world.committed("g49").await), (Some(0), Some(49)));
    assert_eq!(world.answer(commit("g25", 1)).await, committed_fine());
    world.stopped().await;
}

/// Another replica in sync may have what is damaged here: passing over it would lose what was acknowledged.
#[tokio::test]
async fn damage_that_may_be_repaired_is_waited_for_while_another_shard_serves() {
    let folder = tempfile::tempdir().unwrap();
    damaged(folder.path()).await;
    let world = World::new(folder.path(), CoordinatorConfig::default());
    // Before the host has had its turn.
    world.image(FIRST, &TWO, true);
    world.serves(SECOND).await;
    let log = Arc::clone(&world.partition(FIRST).log);
    until("it has come upon the damage", async || !log.damage().is_empty()).await;
    // For longer than it pauses before it looks again.
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_millis(1_500) {
        let asked = world.ask(SECOND, commit("g", 1));
        assert_eq!(world.answer_of(asked).await, committed_fine());
        assert_eq!(world.answer(list()).await, Reply::ListGroups(Err(Unavailable::Loading)));
        assert_eq!(world.partition(FIRST).purgatory.count(), 0, "it has not read on");
    }
    world.image(FIRST, &ALONE, false);
    world.serves(FIRST).await;
    let Reply::ListGroups(Ok(groups)) = world.answer(list()).await else { panic!("it serves") };
    assert_eq!(groups.len(), 49);
    world.stopped().await;
}

#[tokio::test]
async fn a_load_that_waits_for_a_repair_ends_with_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    damaged(folder.path()).await;
    let world = World::new(folder.path(), CoordinatorConfig::default());
    world.image(FIRST, &TWO, true);
    let log = Arc::clone(&world.partition(FIRST).log);
    until("it has come upon the damage", async || !log.damage().is_empty()).await;
    world.stopped().await;
}

/// Two records, as a coordinator writes them.
fn builder() -> BatchBuilder {
    let mut builder = BatchBuilder::new(Offset(10), LeaderEpoch(1));
    for record in [offset_record(), group_record()] {
        let encoded = encode(&record).unwrap();
        builder.push(1_000, Some(&encoded.key), encoded.value.as_deref(), &[]);
    }
    builder
}

/// What is loaded of a batch, and what is passed over.
fn loaded_from(batch: &[u8], from: i64) -> (u64, u64, usize) {
    let config = CoordinatorConfig::default();
    let mut shard = Shard::new(LeaderEpoch(1), config.shard_limits(1 << 20), Groups::new(config.groups));
    let mut loaded = Loaded::default();
    let (header, batch) = Batches::new(batch).next().unwrap().unwrap();
    load_batch(header, &batch[HEADER_BYTES..], Offset(from), &mut shard, &mut loaded);
    let _ = shard.on_loaded(Now::default());
    shard.machine().assert_consistent();
    (loaded.records, loaded.skipped.count, shard.machine().group_count())
}

fn loaded(batch: &[u8]) -> (u64, u64, usize) {
    loaded_from(batch, 0)
}

#[test]
fn what_cannot_be_read_is_passed_over_and_the_rest_is_loaded() {
    assert_eq!(loaded(&builder().build()), (2, 0, 1));
    assert_eq!(loaded_from(&builder().build(), 11), (1, 0, 1), "the log begins within the batch");
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let compressed = compress(codec, builder().records()).unwrap();
        assert_eq!(loaded(&builder().build_compressed(codec, &compressed)), (2, 0, 1));
        assert_eq!(loaded(&builder().build_compressed(codec, b"no such thing")), (0, 1, 0));
    }
    // Of another kind, without a key, with half a key, of a newer version.
    let mut more = builder();
    for (key, value) in [
        (Some(&b"\0\x03\0\x01g"[..]), Some(&b"\0\0\0\0\0\x01\0"[..])),
        (Some(b"\0\x63"), None),
        (None, Some(b"value")),
        (Some(b"\0\x02\0"), None),
        (Some(b"\0\x02\0\x01g"), Some(b"\0\x63")),
    ] {
        more.push(1_000, key, value, &[]);
    }
    let encoded = encode(&offset_record()).unwrap();
    more.push(1_000, Some(&encoded.key), encoded.value.as_deref(), &[]);
    assert_eq!(loaded(&more.build()), (3, 5, 1));
    // Records that end in the middle of one.
    let records = builder().records().to_vec();
    let cut = builder().build_compressed(Codec::None, &records[..records.len() - 1]);
    assert_eq!(loaded(&cut), (1, 1, 1));
}

#[test]
fn offsets_of_transactions_and_their_markers_are_no_offsets() {
    let in_transaction = builder().producer(ProducerId(1), ProducerEpoch(0), 0).transactional();
    assert_eq!(loaded(&in_transaction.clone().build()), (0, 1, 0));
    assert_eq!(loaded(&in_transaction.control().build()), (0, 0, 0));
}

/// A log that Apache Kafka or an older broker wrote has it all: a coordinator starts on it.
#[tokio::test]
async fn a_shard_starts_on_whatever_is_in_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path(), CoordinatorConfig::default());
    world.serves(FIRST).await;
    world.image(FIRST, &Led { leader: 2, ..TWO }, true);
    let log = Arc::clone(&world.partition(FIRST).log);
    let append = |builder: BatchBuilder| {
        let epoch = log.latest_epoch().unwrap_or(LeaderEpoch(0));
        let batch = builder.build();
        let at = ottla_log::patch_header(&batch, log.end_offset(), epoch);
        let batch: Bytes = [&at[..], &batch[HEADER_BYTES..]].concat().into();
        log.append_as_is(&batch, crate::clock::now_ms()).unwrap();
    };
    append(builder());
    append(BatchBuilder::new(Offset(0), LeaderEpoch(0)).record(1_000, None, Some(b"value")));
    append(BatchBuilder::new(Offset(0), LeaderEpoch(0)).record(1_000, Some(b"\0\x63"), None));
    append(builder().producer(ProducerId(1), ProducerEpoch(0), 0).transactional());
    append(builder());
    world.image(FIRST, &ALONE, true);
    world.serves(FIRST).await;
    let Reply::ListGroups(Ok(groups)) = world.answer(list()).await else { panic!("it serves") };
    assert_eq!(groups.len(), 1);
    world.stopped().await;
}

#[test]
fn settings_by_hand_that_lose_offsets_are_named() {
    let sound = LogConfig { compact: true, delete: false, ..LogConfig::default() };
    assert_eq!(troublesome_settings(&sound), Vec::<&str>::new());
    let count = |change: fn(&mut LogConfig)| {
        let mut config = sound.clone();
        change(&mut config);
        troublesome_settings(&config).len()
    };
    assert_eq!(count(|config| config.max_message_bytes = 1_000), 1);
    assert_eq!(count(|config| config.segment_bytes = 1_000), 1);
    assert_eq!(count(|config| config.delete = true), 1);
    assert_eq!(count(|config| config.ack_durability = ottla_log::AckDurability::Written), 1);
    assert_eq!(count(|config| config.timestamp_type = TimestampType::Append), 1);
    assert!(decision_bytes(&sound) > DECISION_BYTES_MIN);
}
