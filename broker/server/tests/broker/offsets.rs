//! ListOffsets: edges, times, and what there is none of.

use ottla_log::BatchBuilder;
use ottla_types::{LeaderEpoch, Offset};
use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};

use crate::client::{PATIENCE, batch, now_ms};
use crate::harness::TestBroker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_found_by_edge_and_by_time() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let now = now_ms();
    for age in [3_000, 1_000, 2_000] {
        let one = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(now - age, None, Some(b"x")).build();
        assert_eq!(client.produce("t", 0, &one).await.0, ErrorCode::None);
    }
    let mut offset = async |partition: i32, timestamp: i64| {
        let asked = ListOffsetsPartition { partition_index: partition, timestamp, current_leader_epoch: -1 };
        let topic = ListOffsetsTopic { name: "t", partitions: vec![asked] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let answer = client.call::<apis::ListOffsets>(10, &request).await;
        let got = &answer.decode::<apis::ListOffsets>().topics[0].partitions[0];
        (ErrorCode::from_wire(got.error_code), got.offset, got.timestamp)
    };
    let none = ErrorCode::None;
    assert_eq!(offset(0, TIMESTAMP_LATEST).await, (none, 3, -1));
    assert_eq!(offset(0, TIMESTAMP_EARLIEST).await, (none, 0, -1));
    assert_eq!(offset(0, TIMESTAMP_EARLIEST_LOCAL).await, (none, 0, -1));
    assert_eq!(offset(0, TIMESTAMP_LATEST_TIERED).await, (none, -1, -1));
    assert_eq!(offset(0, TIMESTAMP_MAX).await, (none, 1, now - 1_000));
    assert_eq!(offset(0, 0).await, (none, 0, now - 3_000));
    assert_eq!(offset(0, now - 2_999).await, (none, 1, now - 1_000));
    assert_eq!(offset(0, now).await, (none, -1, -1));
    assert_eq!(offset(0, -99).await.0, ErrorCode::UnsupportedVersion);
    assert_eq!(offset(5, TIMESTAMP_LATEST).await.0, ErrorCode::UnknownTopicOrPartition);
    broker.stop().await;
}

/// As Apache Kafka: what stands for a time has a meaning from the version on that brought it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_for_a_time_came_with_a_version() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let first = [
        (TIMESTAMP_LATEST, 1),
        (TIMESTAMP_EARLIEST, 1),
        (TIMESTAMP_MAX, 7),
        (TIMESTAMP_EARLIEST_LOCAL, 8),
        (TIMESTAMP_LATEST_TIERED, 9),
        (TIMESTAMP_EARLIEST_PENDING_UPLOAD, 11),
    ];
    for version in 1..=11 {
        for (timestamp, first) in first {
            let asked = ListOffsetsPartition { partition_index: 0, timestamp, current_leader_epoch: -1 };
            let topic = ListOffsetsTopic { name: "t", partitions: vec![asked] };
            let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
            let answer = client.call::<apis::ListOffsets>(version, &request).await;
            let error =
                ErrorCode::from_wire(answer.decode::<apis::ListOffsets>().topics[0].partitions[0].error_code);
            let expected = if version < first { ErrorCode::UnsupportedVersion } else { ErrorCode::None };
            assert_eq!(error, expected, "{timestamp} in version {version}");
        }
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_moves_the_first_offset() {
    let broker = TestBroker::start(&["log.retention.check.interval.ms=50"]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[("segment.bytes", "2000"), ("retention.bytes", "3000")]).await;
    for _ in 0..40 {
        assert_eq!(client.produce("t", 0, &batch(&[&"x".repeat(200)])).await.0, ErrorCode::None);
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let asked = ListOffsetsPartition { timestamp: TIMESTAMP_EARLIEST, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t", partitions: vec![asked] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let answer = client.call::<apis::ListOffsets>(5, &request).await;
        if answer.decode::<apis::ListOffsets>().topics[0].partitions[0].offset > 0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "old segments go");
    }
    assert_eq!(client.values_from("t", 0, 39).await.len(), 1, "the newest stay");
    broker.stop().await;
}
