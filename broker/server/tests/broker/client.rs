//! A tiny client: sends requests, reads answers, and makes and reads batches.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use ottla_log::{BatchBuilder, BatchHeader, Batches, HEADER_BYTES, Records as LogRecords};
use ottla_types::{LeaderEpoch, Offset};
use ottla_wire::messages::*;
use ottla_wire::{Api, Decoder, ErrorCode, Records, ResponseHeader, apis, encode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that isn't here by then never comes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One connection.
pub struct Client {
    pub socket: TcpStream,
    correlation_id: i32,
}

/// A response as it came, to be decoded.
pub struct Answer {
    frame: Vec<u8>,
    version: i16,
}

impl Answer {
    /// Decodes it as the response of `A`.
    pub fn decode<A: Api>(&self) -> A::Response<'_> {
        let mut decoder = Decoder::new(&self.frame);
        ResponseHeader::decode(&mut decoder, A::response_header_version(self.version)).unwrap();
        A::decode_response(decoder, self.version).unwrap()
    }
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// Speaks over a connection that is there.
    pub fn over(socket: TcpStream) -> Self {
        Self { socket, correlation_id: 0 }
    }

    /// Sends a request without waiting for its answer.
    pub async fn send<A: Api>(&mut self, version: i16, request: &A::Request<'_>) {
        self.correlation_id += 1;
        let frame = encode_request::<A>(BytesMut::new(), self.correlation_id, Some("test"), version, request)
            .unwrap();
        self.socket.write_all(&frame.bytes).await.unwrap();
    }

    /// Reads the next answer; none if the connection was closed instead.
    pub async fn receive(&mut self, version: i16) -> Option<Answer> {
        let mut length = [0; 4];
        let read = async {
            self.socket.read_exact(&mut length).await.ok()?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.socket.read_exact(&mut frame).await.ok()?;
            Some(Answer { frame, version })
        };
        timeout(PATIENCE, read).await.expect("an answer, or the end of the connection")
    }

    /// Sends a request and reads its answer.
    pub async fn call<A: Api>(&mut self, version: i16, request: &A::Request<'_>) -> Answer {
        self.send::<A>(version, request).await;
        let answer = self.receive(version).await.expect("an answer");
        assert_eq!(answer.frame[..4], self.correlation_id.to_be_bytes(), "answers come in order");
        answer
    }

    /// Whether the other side has closed the connection.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = timeout(PATIENCE, self.socket.read(&mut byte)).await.expect("an answer or an end");
        matches!(read, Ok(0) | Err(_))
    }

    /// Creates a topic; panics if that fails.
    pub async fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let (num_partitions, replication_factor) = (partitions, 1);
        self.create(
            CreatableTopic { name, num_partitions, replication_factor, ..Default::default() },
            configs,
        )
        .await;
    }

    /// Creates a topic of one partition with these brokers as its replicas; panics if that fails.
    pub async fn create_topic_on(&mut self, name: &str, broker_ids: &[i32], configs: &[(&str, &str)]) {
        let broker_ids = broker_ids.to_vec();
        let assignments = vec![CreatableReplicaAssignment { partition_index: 0, broker_ids }];
        let (num_partitions, replication_factor) = (-1, -1);
        let topic =
            CreatableTopic { name, num_partitions, replication_factor, assignments, ..Default::default() };
        self.create(topic, configs).await;
    }

    async fn create(&mut self, topic: CreatableTopic<'_>, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| NamedConfig { name, value: Some(value) });
        let topic = CreatableTopic { configs: configs.collect(), ..topic };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let answer = self.call::<apis::CreateTopics>(7, &request).await;
        let response = answer.decode::<apis::CreateTopics>();
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    }

    /// The id of a topic.
    pub async fn topic_id(&mut self, name: &str) -> [u8; 16] {
        let topics = Some(vec![MetadataRequestTopic { name: Some(name), ..Default::default() }]);
        let request = MetadataRequest { topics, ..Default::default() };
        self.call::<apis::Metadata>(12, &request).await.decode::<apis::Metadata>().topics[0].topic_id
    }

    /// Sends one batch to a partition and returns its error and base offset.
    pub async fn produce(&mut self, topic: &str, partition: i32, batch: &[u8]) -> (ErrorCode, i64) {
        let answer = self.call::<apis::Produce>(9, &produce_request(topic, partition, batch, -1)).await;
        let response = answer.decode::<apis::Produce>();
        let partition = &response.responses[0].partition_responses[0];
        (ErrorCode::from_wire(partition.error_code), partition.base_offset)
    }

    /// All values from `offset` to the end of a partition.
    pub async fn values_from(&mut self, topic: &str, partition: i32, offset: i64) -> Vec<String> {
        let answer = self.call::<apis::Fetch>(11, &fetch_request(topic, partition, offset)).await;
        let response = answer.decode::<apis::Fetch>();
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, 0);
        values(data.records.bytes().unwrap_or_default())
    }
}

/// A batch of one record a value.
pub fn batch(values: &[&str]) -> Vec<u8> {
    build(BatchBuilder::new(Offset(0), LeaderEpoch(-1)), values)
}

/// The same from a builder that was set up.
pub fn build(builder: BatchBuilder, values: &[&str]) -> Vec<u8> {
    let add = |builder: BatchBuilder, value: &&str| builder.record(now_ms(), None, Some(value.as_bytes()));
    values.iter().fold(builder, add).build().to_vec()
}

/// The time of records.
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// The values of all records of some batches.
pub fn values(batches: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    for batch in Batches::new(batches) {
        let (header, bytes) = batch.unwrap();
        for record in LogRecords::new(header, &bytes[HEADER_BYTES..]) {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

/// The base offsets of some batches.
pub fn base_offsets(batches: &[u8]) -> Vec<i64> {
    Batches::new(batches).map(|batch| BatchHeader::base_offset(&batch.unwrap().0).0).collect()
}

/// A request with one batch.
pub fn produce_request<'a>(topic: &'a str, partition: i32, batch: &'a [u8], acks: i16) -> ProduceRequest<'a> {
    let data = PartitionProduceData { index: partition, records: Records::from(batch) };
    let topic = TopicProduceData { name: topic, partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}

/// A request for one partition that doesn't wait.
pub fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest<'_> {
    let partition = FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 10 << 20,
        ..Default::default()
    };
    let topic = FetchTopic { topic, partitions: vec![partition], ..Default::default() };
    FetchRequest { max_wait_ms: 0, min_bytes: 1, topics: vec![topic], ..Default::default() }
}
