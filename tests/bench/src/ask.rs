//! Two questions over the Kafka protocol, without a client: who is there, and make me a topic.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use ottla_wire::messages::{CreatableTopic, CreateTopicsRequest, MetadataRequest, NamedConfig};
use ottla_wire::{Api, Decoder, ResponseHeader, apis, encode_request};

/// How long a server may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(90);
const METADATA_VERSION: i16 = 12;
const CREATE_TOPICS_VERSION: i16 = 5;

/// Waits until the server on this port of loopback answers a Metadata request with a broker.
///
/// # Errors
/// When it doesn't in time.
pub fn wait_for_metadata(port: u16) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(true) = has_brokers(port) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("no Metadata from port {port} in {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn has_brokers(port: u16) -> Result<bool> {
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    let frame =
        encode_request::<apis::Metadata>(BytesMut::new(), 1, Some("bench"), METADATA_VERSION, &request)?;
    let answer = exchange(port, &frame.bytes)?;
    let mut decoder = Decoder::new(&answer);
    ResponseHeader::decode(&mut decoder, apis::Metadata::response_header_version(METADATA_VERSION))?;
    let response = apis::Metadata::decode_response(decoder, METADATA_VERSION)?;
    Ok(!response.brokers.is_empty())
}

/// Creates a topic; a broker that has just started may need several tries.
///
/// # Errors
/// When the server refuses.
pub fn create_topic<'a>(
    port: u16,
    name: &'a str,
    partitions: i32,
    replication_factor: i16,
    config: &[(&'a str, &'a str)],
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match try_to_create(port, name, partitions, replication_factor, config) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            outcome => return outcome,
        }
    }
}

fn try_to_create<'a>(
    port: u16,
    name: &'a str,
    partitions: i32,
    replication_factor: i16,
    config: &[(&'a str, &'a str)],
) -> Result<()> {
    let setting = |(name, value): &(&'a str, &'a str)| NamedConfig { name, value: Some(value) };
    let topic = CreatableTopic {
        name,
        num_partitions: partitions,
        replication_factor,
        configs: config.iter().map(setting).collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let frame = encode_request::<apis::CreateTopics>(
        BytesMut::new(),
        1,
        Some("bench"),
        CREATE_TOPICS_VERSION,
        &request,
    )?;
    let answer = exchange(port, &frame.bytes)?;
    let mut decoder = Decoder::new(&answer);
    ResponseHeader::decode(&mut decoder, apis::CreateTopics::response_header_version(CREATE_TOPICS_VERSION))?;
    let response = apis::CreateTopics::decode_response(decoder, CREATE_TOPICS_VERSION)?;
    let result = response.topics.first().context("an answer about the topic")?;
    let message = result.error_message.as_ref().map_or("", Cow::as_ref);
    ensure!(result.error_code == 0, "topic {name}: error {} {message}", result.error_code);
    Ok(())
}

fn exchange(port: u16, frame: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(frame)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length))?;
    ensure!(length < 16 << 20, "an answer of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
