//! One file for each API: its request, its response, and the structs in them.
//!
//! The names are Kafka's, in Rust's spelling. Where a version lacks a field it has Kafka's default.

mod add_raft_voter;
mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod incremental_alter_configs;
mod init_producer_id;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_for_leader_epoch;
mod produce;
mod remove_raft_voter;
mod shared;
mod unregister_broker;

pub use add_raft_voter::*;
pub use alter_configs::*;
pub use alter_partition_reassignments::*;
pub use api_versions::*;
pub use create_partitions::*;
pub use create_topics::*;
pub use delete_topics::*;
pub use describe_cluster::*;
pub use describe_configs::*;
pub use describe_log_dirs::*;
pub use describe_quorum::*;
pub use describe_topic_partitions::*;
pub use elect_leaders::*;
pub use fetch::*;
pub use find_coordinator::*;
pub use incremental_alter_configs::*;
pub use init_producer_id::*;
pub use list_offsets::*;
pub use list_partition_reassignments::*;
pub use metadata::*;
pub use offset_for_leader_epoch::*;
pub use produce::*;
pub use remove_raft_voter::*;
pub use shared::*;
pub use unregister_broker::*;
