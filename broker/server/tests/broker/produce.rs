//! Produce: offsets, acknowledgements, idempotence, errors a partition, and one order of answers.

use ottla_log::BatchBuilder;
use ottla_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, Records, apis};

use crate::client::{batch, build, produce_request};
use crate::harness::TestBroker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_get_the_next_offsets_in_every_version() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let topic_id = client.topic_id("t").await;
    let two = batch(&["a", "b"]);
    for (count, version) in (3..=13).enumerate() {
        let mut request = produce_request("t", 0, &two, -1);
        request.topic_data[0].topic_id = topic_id;
        let answer = client.call::<apis::Produce>(version, &request).await;
        let response = answer.decode::<apis::Produce>();
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, 2 * count as i64), "version {version}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_appended_and_answered_in_their_order() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let count = 200;
    for number in 0..count {
        let one = batch(&[&number.to_string()]);
        // The last one waits for the disk, and so for all before it: only what is synced is read.
        let acks = [1, -1][number % 2];
        client.send::<apis::Produce>(9, &produce_request("t", 0, &one, acks)).await;
    }
    for number in 0..count {
        let answer = client.receive(9).await.unwrap();
        let response = answer.decode::<apis::Produce>();
        assert_eq!(response.responses[0].partition_responses[0].base_offset, number as i64);
    }
    let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(client.values_from("t", 0, 0).await, expected);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_acks_there_is_no_answer_and_an_error_closes() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    client.send::<apis::Produce>(9, &produce_request("t", 0, &batch(&["silent"]), 0)).await;
    assert_eq!(client.produce("t", 0, &batch(&["loud"])).await, (ErrorCode::None, 1));
    client.send::<apis::Produce>(9, &produce_request("no-such-topic", 0, &batch(&["x"]), 0)).await;
    assert!(client.is_closed().await);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_has_its_own_error() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 3, &[("max.message.bytes", "500")]).await;
    let (good, large) = (batch(&["x"]), batch(&[&"x".repeat(500)]));
    let mut corrupt = good.clone();
    *corrupt.last_mut().unwrap() ^= 1;
    let cases = [
        (0, &good, ErrorCode::None),
        (1, &large, ErrorCode::MessageTooLarge),
        (2, &corrupt, ErrorCode::CorruptMessage),
        (3, &good, ErrorCode::UnknownTopicOrPartition),
    ];
    let data =
        cases.map(|(index, batch, _)| PartitionProduceData { index, records: Records::from(&batch[..]) });
    let mut request = produce_request("t", 0, &good, -1);
    request.topic_data[0].partition_data = data.to_vec();
    let answer = client.call::<apis::Produce>(9, &request).await;
    let response = answer.decode::<apis::Produce>();
    for ((_, _, expected), got) in cases.iter().zip(&response.responses[0].partition_responses) {
        assert_eq!(ErrorCode::from_wire(got.error_code), *expected, "{:?}", got.error_message);
        assert_eq!(got.error_message.is_some(), *expected != ErrorCode::None);
    }
    let mut bad_acks = produce_request("t", 0, &good, 2);
    bad_acks.timeout_ms = 100;
    let answer = client.call::<apis::Produce>(9, &bad_acks).await;
    let error = answer.decode::<apis::Produce>().responses[0].partition_responses[0].error_code;
    assert_eq!(error, ErrorCode::InvalidRequiredAcks.code());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_batch_of_an_idempotent_producer_gets_its_old_offset() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[]).await;
    let request = InitProducerIdRequest { transaction_timeout_ms: 1_000, ..Default::default() };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = client.call::<apis::InitProducerId>(4, &request).await;
        let response = answer.decode::<apis::InitProducerId>();
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        ids.push(ProducerId(response.producer_id));
    }
    assert_ne!(ids[0], ids[1]);
    let sequenced = |sequence: i32, values: &[&str]| {
        let builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
        build(builder.producer(ids[0], ProducerEpoch(0), sequence), values)
    };
    assert_eq!(client.produce("t", 0, &sequenced(0, &["a", "b"])).await, (ErrorCode::None, 0));
    assert_eq!(client.produce("t", 0, &sequenced(2, &["c"])).await, (ErrorCode::None, 2));
    assert_eq!(client.produce("t", 0, &sequenced(0, &["a", "b"])).await, (ErrorCode::None, 0));
    for sequence in 3..8 {
        let one_more = client.produce("t", 0, &sequenced(sequence, &["d"])).await;
        assert_eq!(one_more, (ErrorCode::None, i64::from(sequence)));
    }
    // Its place is forgotten by now, but not that it was appended. Clients take this error for success.
    let old = client.produce("t", 0, &sequenced(0, &["a", "b"])).await;
    assert_eq!(old, (ErrorCode::DuplicateSequenceNumber, -1));
    let gap = client.produce("t", 0, &sequenced(9, &["x"])).await;
    assert_eq!(gap, (ErrorCode::OutOfOrderSequenceNumber, -1));
    assert_eq!(client.values_from("t", 0, 0).await, ["a", "b", "c", "d", "d", "d", "d", "d"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_refused() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    let request = InitProducerIdRequest { transactional_id: Some("t"), ..Default::default() };
    let answer = client.call::<apis::InitProducerId>(4, &request).await;
    assert_eq!(answer.decode::<apis::InitProducerId>().error_code, ErrorCode::InvalidRequest.code());
    let request = FindCoordinatorRequest { coordinator_keys: vec!["t"], key_type: 1, ..Default::default() };
    let answer = client.call::<apis::FindCoordinator>(4, &request).await;
    let response = answer.decode::<apis::FindCoordinator>();
    assert_eq!(response.coordinators[0].error_code, ErrorCode::InvalidRequest.code());
    assert_eq!(response.coordinators[0].error_message.as_deref(), Some("transactions are not supported yet"));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_may_count_records_as_stored_once_written() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("t", 1, &[("ack.durability", "written")]).await;
    for number in 0..20 {
        assert_eq!(client.produce("t", 0, &batch(&["x"])).await, (ErrorCode::None, number));
        assert_eq!(
            client.values_from("t", 0, number).await,
            ["x"],
            "what is acknowledged can be read at once"
        );
    }
    broker.stop().await;
}
