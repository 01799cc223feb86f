//! One file for each API: its request, its response, and the structs in them.
//!
//! The names are Kafka's, in Rust's spelling. Where a version lacks a field it has Kafka's default.

mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod produce;
mod shared;

pub use api_versions::*;
pub use create_partitions::*;
pub use create_topics::*;
pub use delete_topics::*;
pub use describe_cluster::*;
pub use describe_configs::*;
pub use describe_topic_partitions::*;
pub use fetch::*;
pub use find_coordinator::*;
pub use init_producer_id::*;
pub use list_offsets::*;
pub use metadata::*;
pub use produce::*;
pub use shared::*;
