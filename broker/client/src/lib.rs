//! A small asynchronous Kafka client: connections, metadata, a producer, a consumer by assignment, and the
//! calls of an administrator. It speaks to any Kafka broker.
//!
//! ```no_run
//! use ottla_client::{Client, ClientConfig, Consumer, ConsumerConfig, NewTopic, Producer, ProducerConfig,
//! Start};
//!
//! # async fn example() -> Result<(), ottla_client::ClientError> {
//! let client = Client::connect(ClientConfig::new("127.0.0.1:9092")).await?;
//! client.create_topic(&NewTopic::new("orders", 3)).await?;
//!
//! let producer = Producer::new(&client, ProducerConfig::default());
//! // `send` waits only for room; what it returns waits for the acknowledgment.
//! let sent = producer.send("orders", None, Some(b"key"), Some(b"value")).await?;
//! println!("at offset {}", sent.await?.offset);
//!
//! let mut consumer = Consumer::new(&client, ConsumerConfig::default());
//! consumer.assign("orders", 0, Start::Earliest).await?;
//! for fetched in consumer.poll().await? {
//!     for record in fetched.records() {
//!         let record = record?;
//!         println!("{}: {:?}", record.offset, record.value);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Not here: consumer groups, transactions, TLS; and how records lie in a batch, which is `ottla-log`'s.

mod admin;
mod client;
mod config;
mod connection;
mod consumer;
mod error;
mod metadata;
mod outgoing;
mod partitioner;
mod producer;
mod quorum;
mod replicas;

pub use admin::{NewTopic, OffsetAt, TopicResult};
pub use client::Client;
pub use config::ClientConfig;
pub use connection::{Connection, Reply};
pub use consumer::{Consumer, ConsumerConfig, Fetched, Start};
pub use error::ClientError;
pub use metadata::{Broker, ClusterView, Partition, Topic};
pub use ottla_log::{Codec, CompressionError, Record, compress, decompress};
pub use partitioner::partition_of_key;
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerConfig};
pub use quorum::{QuorumMember, QuorumView};
pub use replicas::{DescribedPartition, MovingPartition, NewReplicas, PartitionOutcome};
