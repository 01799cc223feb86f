//! A broker of a few lines, in memory: it keeps batches as they come and fails on demand.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::BytesMut;
use ottla_log::{BatchHeader, HEADER_BYTES, patch_header};
use ottla_types::{LeaderEpoch, Offset};
use ottla_wire::messages::*;
use ottla_wire::{
    Api, ApiKey, Decoder, ErrorCode, Records, RequestHeader, apis, encode_response, for_each_api,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The id of every topic here: its first byte is the length of its name.
fn topic_id(name: &str) -> [u8; 16] {
    let mut id = [7; 16];
    id[0] = name.len() as u8;
    id
}

/// What the broker does with the next Produce.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this error and stores nothing.
    Refuse(ErrorCode),
    /// Stores the batch and closes the connection without an answer.
    CloseAfterStoring,
    /// Closes the connection and stores nothing.
    CloseBeforeStoring,
}

#[derive(Default)]
struct State {
    /// Batches of each partition of each topic, with the offsets that they were given.
    logs: HashMap<(String, i32), Vec<Vec<u8>>>,
    topics: HashMap<String, i32>,
    faults: VecDeque<Fault>,
    /// The last sequence of each producer and partition, with the offset of its batch.
    sequences: HashMap<(i64, String, i32), (i32, i64)>,
    next_producer_id: i64,
    produce_requests: usize,
    versions_max: HashMap<i16, i16>,
}

/// A handle to the broker; it serves until the test's runtime ends.
#[derive(Clone)]
pub struct TestBroker {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl TestBroker {
    /// Starts it on a free port, with these topics.
    pub async fn start(topics: &[(&str, i32)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let topics = topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let broker = Self { state: Arc::new(Mutex::new(State { topics, ..State::default() })), port };
        let serving = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        broker
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The next Produce requests meet these, in order.
    pub fn fail_next(&self, faults: &[Fault]) {
        self.state().faults.extend(faults);
    }

    /// Offers an API up to this version only.
    pub fn limit_version(&self, key: ApiKey, version: i16) {
        self.state().versions_max.insert(key.code(), version);
    }

    pub fn produce_requests(&self) -> usize {
        self.state().produce_requests
    }

    /// The batches of a partition.
    pub fn batches(&self, topic: &str, partition: i32) -> Vec<Vec<u8>> {
        self.state().logs.get(&(topic.to_owned(), partition)).cloned().unwrap_or_default()
    }

    /// Appends a batch as it is, offsets aside.
    pub fn append(&self, topic: &str, partition: i32, batch: &[u8]) -> i64 {
        self.state().append(topic, partition, batch)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the lock")
    }

    async fn serve(self, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u32().await {
            let mut frame = vec![0; length as usize];
            if stream.read_exact(&mut frame).await.is_err() {
                return;
            }
            let Some(response) = self.answer(&frame) else { return };
            if stream.write_all(&response).await.is_err() {
                return;
            }
        }
    }

    /// The response's bytes, which may be none at all; `None` closes the connection.
    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let mut decoder = Decoder::new(frame);
        let header = RequestHeader::decode(&mut decoder).expect("a header");
        let mut state = self.state();
        match ApiKey::from_code(header.api_key)? {
            ApiKey::ApiVersions => {
                reply::<apis::ApiVersions>(&header, decoder, |_| Some(state.api_versions()))
            }
            ApiKey::Metadata => {
                reply::<apis::Metadata>(&header, decoder, |request| Some(state.metadata(&request, self.port)))
            }
            ApiKey::InitProducerId => reply::<apis::InitProducerId>(&header, decoder, |_| {
                state.next_producer_id += 1;
                let producer_id = state.next_producer_id;
                Some(InitProducerIdResponse { producer_id, ..Default::default() })
            }),
            ApiKey::Produce => {
                let mut is_silent = false;
                let bytes = reply::<apis::Produce>(&header, decoder, |request| {
                    is_silent = request.acks == 0;
                    state.produce(&request)
                })?;
                Some(if is_silent { Vec::new() } else { bytes })
            }
            ApiKey::ListOffsets => {
                reply::<apis::ListOffsets>(&header, decoder, |request| Some(state.list_offsets(&request)))
            }
            ApiKey::Fetch => reply::<apis::Fetch>(&header, decoder, |request| Some(state.fetch(&request))),
            other => panic!("the test broker has no {other}"),
        }
    }
}

fn reply<A: Api>(
    header: &RequestHeader<'_>,
    decoder: Decoder<'_>,
    answer: impl FnOnce(A::Request<'_>) -> Option<A::Response<'static>>,
) -> Option<Vec<u8>> {
    let request = A::decode_request(decoder, header.api_version).expect("a request");
    let response = answer(request)?;
    let frame = encode_response::<A>(BytesMut::new(), header.correlation_id, header.api_version, &response);
    Some(frame.expect("it fits").bytes.to_vec())
}

impl State {
    fn api_versions(&self) -> ApiVersionsResponse<'static> {
        let mut api_keys = Vec::new();
        for_each_api!(A => {
            let newest = self.versions_max.get(&A::KEY.code()).copied().unwrap_or(*A::VERSIONS.end());
            api_keys.push(ApiVersion {
                api_key: A::KEY.code(), min_version: *A::VERSIONS.start(), max_version: newest,
            });
        });
        ApiVersionsResponse { api_keys, ..Default::default() }
    }

    fn metadata(&self, request: &MetadataRequest<'_>, port: u16) -> MetadataResponse<'static> {
        let asked: Vec<String> = match &request.topics {
            None => self.topics.keys().cloned().collect(),
            Some(topics) => topics.iter().filter_map(|topic| topic.name.map(str::to_owned)).collect(),
        };
        let describe = |name: String| {
            let count = self.topics.get(&name).copied();
            let partition = |partition_index| MetadataResponsePartition {
                partition_index,
                leader_id: 1,
                leader_epoch: 0,
                replica_nodes: vec![1],
                isr_nodes: vec![1],
                ..Default::default()
            };
            MetadataResponseTopic {
                error_code: if count.is_some() { 0 } else { ErrorCode::UnknownTopicOrPartition.code() },
                topic_id: topic_id(&name),
                partitions: (0..count.unwrap_or(0)).map(partition).collect(),
                name: Some(name.into()),
                ..Default::default()
            }
        };
        let host = Cow::Borrowed("127.0.0.1");
        MetadataResponse {
            brokers: vec![MetadataResponseBroker { node_id: 1, host, port: port.into(), rack: None }],
            topics: asked.into_iter().map(describe).collect(),
            ..Default::default()
        }
    }

    /// The name of a topic given by name or id.
    fn name(&self, name: &str, id: [u8; 16]) -> String {
        let by_id = || self.topics.keys().find(|name| topic_id(name) == id).cloned();
        if name.is_empty() { by_id().expect("an id that was told") } else { name.to_owned() }
    }

    fn append(&mut self, topic: &str, partition: i32, batch: &[u8]) -> i64 {
        let log = self.logs.entry((topic.to_owned(), partition)).or_default();
        let end = log.last().map_or(0, |last| BatchHeader::new(last).expect("a batch").next_offset().0);
        let mut stored = batch.to_vec();
        stored[..HEADER_BYTES].copy_from_slice(&patch_header(batch, Offset(end), LeaderEpoch(0)));
        log.push(stored);
        end
    }

    fn produce(&mut self, request: &ProduceRequest<'_>) -> Option<ProduceResponse<'static>> {
        self.produce_requests += 1;
        let fault = self.faults.pop_front();
        if fault == Some(Fault::CloseBeforeStoring) {
            return None;
        }
        let topic = &request.topic_data[0];
        let name = self.name(topic.name, topic.topic_id);
        let data = &topic.partition_data[0];
        let stored = match fault {
            Some(Fault::Refuse(error)) => Err(error),
            _ => self.store(&name, data.index, data.records.bytes().expect("records")),
        };
        if fault == Some(Fault::CloseAfterStoring) {
            return None;
        }
        let partition = PartitionProduceResponse {
            index: data.index,
            error_code: stored.err().map_or(0, ErrorCode::code),
            base_offset: stored.unwrap_or(-1),
            ..Default::default()
        };
        let topic_id = topic_id(&name);
        let topic =
            TopicProduceResponse { name: name.into(), topic_id, partition_responses: vec![partition] };
        Some(ProduceResponse { responses: vec![topic], ..Default::default() })
    }

    /// Stores a batch once, in the producer's sequence.
    fn store(&mut self, topic: &str, partition: i32, batch: &[u8]) -> Result<i64, ErrorCode> {
        let header = ottla_log::check_batch(batch).expect("a client sends whole batches");
        let producer = (header.producer_id().0, topic.to_owned(), partition);
        if producer.0 < 0 {
            return Ok(self.append(topic, partition, batch));
        }
        let last = self.sequences.get(&producer).copied();
        match last {
            Some((sequence, offset)) if header.last_sequence() <= sequence => return Ok(offset),
            Some((sequence, _)) if header.base_sequence() != sequence + 1 => {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            // As Kafka does, a producer that isn't known may begin with any.
            _ => {}
        }
        let last_sequence = header.last_sequence();
        let offset = self.append(topic, partition, batch);
        self.sequences.insert(producer, (last_sequence, offset));
        Ok(offset)
    }

    fn end(&self, topic: &str, partition: i32) -> i64 {
        let log = self.logs.get(&(topic.to_owned(), partition));
        let last = log.and_then(|log| log.last());
        last.map_or(0, |last| BatchHeader::new(last).expect("a batch").next_offset().0)
    }

    fn list_offsets(&self, request: &ListOffsetsRequest<'_>) -> ListOffsetsResponse<'static> {
        let topic = &request.topics[0];
        let asked = &topic.partitions[0];
        let offset = match asked.timestamp {
            TIMESTAMP_EARLIEST => 0,
            _ => self.end(topic.name, asked.partition_index),
        };
        let partition_index = asked.partition_index;
        let partitions = vec![ListOffsetsPartitionResponse { partition_index, offset, ..Default::default() }];
        let topics = vec![ListOffsetsTopicResponse { name: topic.name.to_owned().into(), partitions }];
        ListOffsetsResponse { topics, ..Default::default() }
    }

    fn fetch(&self, request: &FetchRequest<'_>) -> FetchResponse<'static> {
        let topics = request.topics.iter().map(|topic| {
            let name = self.name(topic.topic, topic.topic_id);
            let partitions = topic.partitions.iter().map(|asked| self.fetch_one(&name, asked)).collect();
            FetchableTopicResponse { topic_id: topic_id(&name), topic: name.clone().into(), partitions }
        });
        FetchResponse { responses: topics.collect(), ..Default::default() }
    }

    fn fetch_one(&self, topic: &str, asked: &FetchPartition) -> PartitionData<'static> {
        let end = self.end(topic, asked.partition);
        let is_in_range = (0..=end).contains(&asked.fetch_offset);
        let log = self.logs.get(&(topic.to_owned(), asked.partition)).map_or(&[][..], Vec::as_slice);
        let wanted = log
            .iter()
            .filter(|batch| BatchHeader::new(batch).expect("a batch").next_offset().0 > asked.fetch_offset);
        let mut records: Vec<u8> = wanted.flatten().copied().collect();
        // As Kafka does: cut wherever the limit is.
        records.truncate(asked.partition_max_bytes as usize);
        PartitionData {
            partition_index: asked.partition,
            error_code: if is_in_range { 0 } else { ErrorCode::OffsetOutOfRange.code() },
            high_watermark: end,
            records: Records::Bytes(records.into()),
            ..Default::default()
        }
    }
}
