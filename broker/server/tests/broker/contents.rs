//! What lies inside of batches: which records are refused and how that is told, and which offset a time leads
//! to.

use ottla_log::{BatchBuilder, Codec, compress};
use ottla_types::{LeaderEpoch, Offset};
use ottla_wire::messages::*;
use ottla_wire::{ErrorCode, apis};

use crate::client::{Client, batch, build, now_ms, produce_request};
use crate::harness::TestBroker;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn builder() -> BatchBuilder {
    BatchBuilder::new(Offset(0), LeaderEpoch(-1))
}

fn compressed(codec: Codec, builder: &BatchBuilder) -> Vec<u8> {
    builder.build_compressed(codec, &compress(codec, builder.records()).unwrap())
}

/// The error, its words, and which records it names.
async fn refusal(
    client: &mut Client,
    version: i16,
    topic: &str,
    batch: &[u8],
) -> (ErrorCode, Option<String>, Vec<(i32, String)>) {
    let answer = client.call::<apis::Produce>(version, &produce_request(topic, 0, batch, -1)).await;
    let mut response = answer.decode::<apis::Produce>();
    let partition = response.responses.remove(0).partition_responses.remove(0);
    let named = partition.record_errors.into_iter().map(|error| {
        (error.batch_index, error.batch_index_error_message.map(String::from).unwrap_or_default())
    });
    let message = partition.error_message.map(String::from);
    (ErrorCode::from_wire(partition.error_code), message, named.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_to_blame_are_named_and_none_of_their_batch_is_appended() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    client.create_topic("timed", 1, &[("message.timestamp.after.max.ms", "1000")]).await;
    let (now, day) = (now_ms(), 86_400_000);
    let keys = builder().record(now, Some(b"k"), None).record(now, None, None).record(now, None, None);
    let times = builder().record(now, None, None).record(now + day, None, None);
    for codec in CODECS {
        let (code, message, named) = refusal(&mut client, 9, "compacted", &compressed(codec, &keys)).await;
        assert_eq!(code, ErrorCode::InvalidRecord, "{codec:?}");
        assert!(message.unwrap().contains("2 of the batch's records"), "{codec:?}");
        assert_eq!(named.iter().map(|one| one.0).collect::<Vec<_>>(), [1, 2], "{codec:?}");
        assert!(named[0].1.contains("needs a key"), "{named:?}");
        let (code, _, named) = refusal(&mut client, 9, "timed", &compressed(codec, &times)).await;
        assert_eq!((code, named.len(), named[0].0), (ErrorCode::InvalidTimestamp, 1, 1), "{codec:?}");
        assert!(named[0].1.contains("after.max.ms"), "{named:?}");
        let lie = builder().record(now, Some(b"k"), None).build_compressed(codec, b"\xff");
        let (code, message, named) = refusal(&mut client, 9, "timed", &lie).await;
        assert_eq!((code, named), (ErrorCode::InvalidRecord, Vec::new()), "{codec:?}");
        assert!(message.is_some());
    }
    for topic in ["compacted", "timed"] {
        let good = compressed(Codec::Lz4, &builder().record(now, Some(b"k"), None));
        assert_eq!(client.produce(topic, 0, &good).await, (ErrorCode::None, 0), "nothing came before");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_names_a_thousand_records_at_most_whatever_its_batches_hold() {
    const PARTITIONS: i32 = 20;
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("compacted", PARTITIONS, &[("cleanup.policy", "compact")]).await;
    let mut many = builder();
    for _ in 0..600 {
        many.push(now_ms(), None, None, &[]);
    }
    let batch = compressed(Codec::Zstd, &many);
    let mut request = produce_request("compacted", 0, &batch, -1);
    request.topic_data[0].partition_data = (0..PARTITIONS)
        .map(|index| PartitionProduceData { index, records: ottla_wire::Records::from(&*batch) })
        .collect();
    let answer = client.call::<apis::Produce>(9, &request).await;
    let partitions = answer.decode::<apis::Produce>().responses.remove(0).partition_responses;
    assert!(partitions.iter().all(|one| one.error_code == ErrorCode::InvalidRecord.code()));
    let named: Vec<usize> = partitions.iter().map(|one| one.record_errors.len()).collect();
    assert_eq!((named.len(), &named[..3]), (PARTITIONS as usize, &[600, 400, 0][..]));
    assert_eq!(named.iter().sum::<usize>(), 1_000);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kafka_refuses_for_its_size_its_version_or_its_transaction_is_refused() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    client.create_topic("small", 1, &[("segment.bytes", "500")]).await;
    let (code, message, _) = refusal(&mut client, 9, "small", &batch(&[&"x".repeat(500)])).await;
    assert_eq!(code, ErrorCode::RecordListTooLarge);
    assert!(message.unwrap().contains("segment.bytes"));
    let zstd = compressed(Codec::Zstd, &builder().record(now_ms(), None, Some(b"x")));
    for version in 3..7 {
        let (code, ..) = refusal(&mut client, version, "small", &zstd).await;
        assert_eq!(code, ErrorCode::UnsupportedCompressionType, "version {version}");
    }
    assert_eq!(refusal(&mut client, 7, "small", &zstd).await.0, ErrorCode::None);
    let transactional = build(builder().transactional(), &["x"]);
    let (code, ..) = refusal(&mut client, 9, "small", &transactional).await;
    assert_eq!(code, ErrorCode::TransactionalIdAuthorizationFailed);
    let mut old = batch(&["x"]);
    old[16] = 1;
    assert_eq!(refusal(&mut client, 9, "small", &old).await.0, ErrorCode::InvalidRecord);
    // The shortest message of format 0: an offset, a length, a checksum, and nothing.
    let mut shortest = [0; 26];
    shortest[8..12].copy_from_slice(&14_i32.to_be_bytes());
    assert_eq!(refusal(&mut client, 9, "small", &shortest).await.0, ErrorCode::InvalidRecord);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_leads_to_the_record_itself() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    let now = now_ms();
    let mut thousand = builder();
    for index in 0..1_000 {
        thousand.push(now + index.min(900), None, Some(&[7; 1_000]), &[]);
    }
    for (index, codec) in CODECS.into_iter().enumerate() {
        let topic = format!("t{index}");
        client.create_topic(&topic, 1, &[]).await;
        let batch = compressed(codec, &thousand);
        assert_eq!(client.produce(&topic, 0, &batch).await, (ErrorCode::None, 0), "{codec:?}");
        for (asked, expected) in [
            (now + 500, (500, now + 500)),
            (now - 1, (0, now)),
            (now + 901, (-1, -1)),
            (TIMESTAMP_MAX, (900, now + 900)),
        ] {
            let partition = ListOffsetsPartition { timestamp: asked, ..Default::default() };
            let topics = vec![ListOffsetsTopic { name: &topic, partitions: vec![partition] }];
            let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
            let answer = client.call::<apis::ListOffsets>(7, &request).await;
            let got = &answer.decode::<apis::ListOffsets>().topics[0].partitions[0];
            assert_eq!((got.offset, got.timestamp), expected, "{codec:?}, {}", asked - now);
        }
    }
    broker.stop().await;
}
