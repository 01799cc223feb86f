//! The client against a broker that fails on demand.

mod support;

use std::time::Duration;

use ottla_client::{
    Acks, Client, ClientConfig, ClientError, Codec, Connection, Consumer, ConsumerConfig, Producer,
    ProducerConfig, Start,
};
use ottla_log::{BatchBuilder, BatchHeader};
use ottla_types::{LeaderEpoch, Offset};
use ottla_wire::messages::MetadataRequest;
use ottla_wire::{ApiKey, ErrorCode, apis};
use support::{Fault, TestBroker};
use tokio::net::{TcpListener, TcpStream};

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

async fn connect(broker: &TestBroker) -> Client {
    Client::connect(ClientConfig::new(&broker.address())).await.expect("the broker is there")
}

/// One record a batch, so that the tests know what is sent.
fn one_by_one() -> ProducerConfig {
    ProducerConfig { batch_bytes: 1, linger: Duration::ZERO, ..Default::default() }
}

/// All values of a partition, from its start.
async fn read_all(client: &Client, topic: &str, count: usize) -> Vec<(i64, Vec<u8>)> {
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    consumer.assign(topic, 0, Start::Earliest).await.expect("the partition exists");
    let mut read = Vec::new();
    while read.len() < count {
        for fetched in consumer.poll().await.expect("the broker answers") {
            for record in fetched.records() {
                let record = record.expect("a record");
                read.push((record.offset.0, record.value.unwrap_or_default().to_vec()));
            }
        }
    }
    read
}

fn numbered(count: usize) -> Vec<(i64, Vec<u8>)> {
    (0..count).map(|index| (index as i64, format!("value {index}").into_bytes())).collect()
}

#[tokio::test]
async fn records_come_back_in_order_in_every_compression() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    for (round, codec) in CODECS.into_iter().enumerate() {
        let client = connect(&broker).await;
        let producer = Producer::new(&client, ProducerConfig { codec, ..Default::default() });
        let mut sent = Vec::new();
        for index in round * 100..(round + 1) * 100 {
            let value = format!("value {index}");
            sent.push(producer.send("orders", None, None, Some(value.as_bytes())).await.unwrap());
        }
        for (index, delivery) in sent.into_iter().enumerate() {
            assert_eq!(delivery.await.unwrap().offset, (round * 100 + index) as i64, "{codec:?}");
        }
        assert_eq!(read_all(&client, "orders", (round + 1) * 100).await, numbered((round + 1) * 100));
    }
    let codecs: Vec<_> =
        broker.batches("orders", 0).iter().map(|batch| BatchHeader::new(batch).unwrap().codec()).collect();
    for codec in CODECS {
        assert!(codecs.contains(&Some(codec)), "{codec:?} is among {codecs:?}");
    }
}

#[tokio::test]
async fn a_batch_sent_twice_is_stored_once_and_order_is_kept() {
    let faults = [
        Fault::CloseAfterStoring,
        Fault::CloseBeforeStoring,
        Fault::Refuse(ErrorCode::NotLeaderOrFollower),
        Fault::Refuse(ErrorCode::NotEnoughReplicas),
    ];
    for fault in faults {
        let broker = TestBroker::start(&[("orders", 1)]).await;
        let client = connect(&broker).await;
        let producer = Producer::new(&client, one_by_one());
        broker.fail_next(&[fault, fault]);
        let mut sent = Vec::new();
        for index in 0..20 {
            let value = format!("value {index}");
            sent.push(producer.send("orders", Some(0), None, Some(value.as_bytes())).await.unwrap());
        }
        for (index, delivery) in sent.into_iter().enumerate() {
            assert_eq!(delivery.await.unwrap().offset, index as i64);
        }
        assert_eq!(read_all(&client, "orders", 20).await, numbered(20));
        assert!(broker.produce_requests() > 20, "some were sent again");
    }
}

#[tokio::test]
async fn a_refused_batch_fails_alone() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    let client = connect(&broker).await;
    let producer = Producer::new(&client, one_by_one());
    producer.send("orders", Some(0), None, Some(b"value 0")).await.unwrap().await.unwrap();
    broker.fail_next(&[Fault::Refuse(ErrorCode::MessageTooLarge)]);
    let mut sent = Vec::new();
    for value in ["refused", "value 1", "value 2"] {
        sent.push(producer.send("orders", Some(0), None, Some(value.as_bytes())).await.unwrap());
    }
    let mut results = Vec::new();
    for delivery in sent {
        results.push(delivery.await.map(|delivered| delivered.offset).map_err(|error| error.error_code()));
    }
    assert_eq!(results, [Err(Some(ErrorCode::MessageTooLarge)), Ok(1), Ok(2)]);
    assert_eq!(read_all(&client, "orders", 3).await, numbered(3));
}

#[tokio::test]
async fn records_are_gathered_into_batches_and_flushed() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    let client = connect(&broker).await;
    let linger = Duration::from_secs(3600);
    let producer = Producer::new(&client, ProducerConfig { linger, ..Default::default() });
    let mut sent = Vec::new();
    for index in 0..50 {
        let value = format!("value {index}");
        sent.push(producer.send("orders", None, None, Some(value.as_bytes())).await.unwrap());
    }
    assert!(sent.iter().all(|delivery| !delivery.is_done()), "they linger");
    producer.flush().await;
    assert!(sent.iter().all(|delivery| delivery.is_done()));
    assert_eq!(broker.produce_requests(), 1, "one batch for all");
    assert_eq!(read_all(&client, "orders", 50).await, numbered(50));
}

#[tokio::test]
async fn dropping_a_producer_sends_what_it_has_gathered() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    let client = connect(&broker).await;
    let linger = Duration::from_secs(3600);
    let producer = Producer::new(&client, ProducerConfig { linger, ..Default::default() });
    let sent = producer.send("orders", None, None, Some(b"value 0")).await.unwrap();
    drop(producer);
    assert_eq!(sent.await.unwrap().offset, 0);
}

#[tokio::test]
async fn the_buffer_bounds_what_is_not_acknowledged() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    let client = connect(&broker).await;
    let config = ProducerConfig { buffer_bytes: 200, ..one_by_one() };
    let producer = Producer::new(&client, config);
    for _ in 0..100 {
        drop(producer.send("orders", Some(0), None, Some(&[7; 100])).await.unwrap());
    }
    producer.flush().await;
    assert_eq!(broker.batches("orders", 0).len(), 100);
    let error = producer.send("orders", Some(0), None, Some(&[7; 300])).await.unwrap_err();
    assert!(matches!(error, ClientError::Invalid(_)), "{error}");
}

#[tokio::test]
async fn keys_choose_partitions_and_others_spread() {
    let broker = TestBroker::start(&[("orders", 3)]).await;
    let client = connect(&broker).await;
    let producer = Producer::new(&client, one_by_one());
    for key in ["21", "foobar", "21"] {
        let sent = producer.send("orders", None, Some(key.as_bytes()), None).await.unwrap();
        let expected = ottla_client::partition_of_key(key.as_bytes(), 3);
        assert_eq!(sent.await.unwrap().partition, expected);
    }
    for _ in 0..6 {
        producer.send("orders", None, None, Some(b"v")).await.unwrap().await.unwrap();
    }
    for partition in 0..3 {
        assert!(broker.batches("orders", partition).len() >= 2, "partition {partition}");
    }
}

#[tokio::test]
async fn without_acknowledgments_nothing_is_waited_for() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    let client = connect(&broker).await;
    let producer = Producer::new(&client, ProducerConfig { acks: Acks::None, ..one_by_one() });
    let sent = producer.send("orders", Some(0), None, Some(b"value 0")).await.unwrap();
    assert_eq!(sent.await.unwrap().offset, -1);
    assert_eq!(read_all(&client, "orders", 1).await, numbered(1));
}

#[tokio::test]
async fn a_consumer_starts_where_it_is_told_within_a_batch_too() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    let mut builder = BatchBuilder::new(Offset(0), LeaderEpoch(-1));
    for index in 0..10 {
        builder.push(index, None, Some(format!("value {index}").as_bytes()), &[]);
    }
    broker.append("orders", 0, &builder.build());
    let control = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).control().record(0, Some(b"k"), None).build();
    broker.append("orders", 0, &control);
    let client = connect(&broker).await;
    let mut consumer = Consumer::new(&client, ConsumerConfig::default());
    consumer.assign("orders", 0, Start::Offset(7)).await.unwrap();
    let fetched = consumer.poll().await.unwrap();
    let offsets: Vec<_> = fetched.iter().flat_map(|f| f.records()).map(|r| r.unwrap().offset.0).collect();
    assert_eq!(offsets, [7, 8, 9]);
    assert_eq!(consumer.position("orders", 0), Some(11), "the control batch is passed");
    consumer.assign("orders", 0, Start::Latest).await.unwrap();
    assert_eq!(consumer.position("orders", 0), Some(11));
}

#[tokio::test]
async fn a_response_that_ends_within_a_batch_is_read_in_two() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(0, None, Some(&[1; 100])).build();
    for _ in 0..3 {
        broker.append("orders", 0, &batch);
    }
    let client = connect(&broker).await;
    let partition_bytes_max = (batch.len() * 2 - 10) as i32;
    let mut consumer = Consumer::new(&client, ConsumerConfig { partition_bytes_max, ..Default::default() });
    consumer.assign("orders", 0, Start::Earliest).await.unwrap();
    let mut offsets = Vec::new();
    while offsets.len() < 3 {
        for fetched in consumer.poll().await.unwrap() {
            offsets.extend(fetched.records().map(|record| record.unwrap().offset.0));
        }
    }
    assert_eq!(offsets, [0, 1, 2]);
}

#[tokio::test]
async fn an_offset_out_of_range_and_a_corrupt_batch_are_errors() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    let mut batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(0, None, Some(b"value")).build();
    let client = connect(&broker).await;
    let mut consumer = Consumer::new(&client, ConsumerConfig::default());
    consumer.assign("orders", 0, Start::Offset(5)).await.unwrap();
    assert_eq!(consumer.poll().await.unwrap_err().error_code(), Some(ErrorCode::OffsetOutOfRange));
    *batch.last_mut().unwrap() ^= 1;
    broker.append("orders", 0, &batch);
    consumer.assign("orders", 0, Start::Earliest).await.unwrap();
    let error = consumer.poll().await.unwrap_err();
    assert!(matches!(error, ClientError::Batch { .. }), "{error}");
}

#[tokio::test]
async fn a_failing_partition_does_not_cost_the_records_of_another() {
    let broker = TestBroker::start(&[("orders", 2)]).await;
    let batch = BatchBuilder::new(Offset(0), LeaderEpoch(-1)).record(0, None, Some(b"value 0")).build();
    broker.append("orders", 0, &batch);
    let client = connect(&broker).await;
    let mut consumer = Consumer::new(&client, ConsumerConfig::default());
    consumer.assign("orders", 0, Start::Earliest).await.unwrap();
    consumer.assign("orders", 1, Start::Offset(5)).await.unwrap();
    let fetched = consumer.poll().await.unwrap();
    assert_eq!(fetched.iter().map(|f| (f.partition, f.records().count())).collect::<Vec<_>>(), [(0, 1)]);
    let error = consumer.poll().await.unwrap_err();
    assert_eq!(error.to_string(), "orders-1 at offset 5: OFFSET_OUT_OF_RANGE");
}

#[tokio::test]
async fn older_brokers_are_spoken_to_in_their_versions() {
    let broker = TestBroker::start(&[("orders", 1)]).await;
    for (key, version) in [
        (ApiKey::Produce, 3),
        (ApiKey::Fetch, 4),
        (ApiKey::Metadata, 1),
        (ApiKey::ListOffsets, 1),
        (ApiKey::InitProducerId, 0),
    ] {
        broker.limit_version(key, version);
    }
    let client = connect(&broker).await;
    let producer = Producer::new(&client, one_by_one());
    producer.send("orders", Some(0), None, Some(b"value 0")).await.unwrap().await.unwrap();
    assert_eq!(read_all(&client, "orders", 1).await, numbered(1));
}

/// The reading side knows of the end before the writing side does, which could still write a request.
#[tokio::test]
async fn a_request_on_a_connection_that_has_ended_fails_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broker = TestBroker::start(&[]).await;
    let to = broker.address();
    let way = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        tokio::io::copy_bidirectional(&mut near, &mut far).await
    });
    let connection = Connection::connect(&address, &ClientConfig::new("")).await.unwrap();
    way.abort();
    while !connection.is_closed() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let outcome = connection.call::<apis::Metadata>(&MetadataRequest::default()).await;
    assert!(matches!(outcome, Err(ClientError::Connection { .. })), "{outcome:?}");
}

#[tokio::test]
async fn an_unknown_topic_and_an_absent_broker_are_said_by_name() {
    let broker = TestBroker::start(&[]).await;
    let mut config = ClientConfig::new(&broker.address());
    config.retry_timeout = Duration::ZERO;
    let client = Client::connect(config).await.unwrap();
    let producer = Producer::new(&client, ProducerConfig::default());
    let error = producer.send("nothing", None, None, None).await.unwrap_err();
    assert_eq!(error.to_string(), "nothing: UNKNOWN_TOPIC_OR_PARTITION");
    // A port that was free a moment ago, and is again.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::connect(ClientConfig::new(&address)).await.unwrap_err();
    assert!(error.to_string().contains(&address) && error.to_string().contains("is the cluster running"));
}
