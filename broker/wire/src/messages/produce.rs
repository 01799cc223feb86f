//! Produce: appends record batches to partitions.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use super::{LeaderIdAndEpoch, NodeEndpoint};
use crate::codec::{Records, Uuid};

/// Asks to append record batches. With `acks` 0 there is no response.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "3-13", flexible = "9+")]
pub struct ProduceRequest<'a> {
    /// The transactional id, null if the producer isn't transactional.
    #[kafka(nullable)]
    pub transactional_id: Option<&'a str>,
    /// Whose acknowledgment is waited for: 0 nobody's, 1 the leader's, -1 that of all replicas in sync.
    pub acks: i16,
    /// For how long to wait for it, in milliseconds.
    pub timeout_ms: i32,
    /// The topics.
    pub topic_data: Vec<TopicProduceData<'a>>,
}

/// A topic with the records for its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TopicProduceData<'a> {
    /// The topic's name.
    #[kafka(versions = "0-12")]
    pub name: &'a str,
    /// The topic's id.
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    /// The partitions.
    pub partition_data: Vec<PartitionProduceData<'a>>,
}

/// The records for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct PartitionProduceData<'a> {
    /// The partition's index.
    pub index: i32,
    /// The record batch.
    #[kafka(nullable)]
    pub records: Records<'a>,
}

/// What became of each partition's records.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "3-13", flexible = "9+")]
pub struct ProduceResponse<'a> {
    /// The topics.
    pub responses: Vec<TopicProduceResponse<'a>>,
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Where the leaders can be reached that the partitions name.
    #[kafka(versions = "10+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// A topic with its partitions' results.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct TopicProduceResponse<'a> {
    /// The topic's name.
    #[kafka(versions = "0-12")]
    pub name: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    /// The partitions.
    pub partition_responses: Vec<PartitionProduceResponse<'a>>,
}

/// What became of one partition's records.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct PartitionProduceResponse<'a> {
    /// The partition's index.
    pub index: i32,
    /// The error code.
    pub error_code: i16,
    /// The offset of the first record.
    pub base_offset: i64,
    /// When the broker appended them, in milliseconds since 1970; -1 if the records keep their own time.
    #[kafka(default = -1)]
    pub log_append_time_ms: i64,
    /// The partition's first offset.
    #[kafka(versions = "5+", default = -1)]
    pub log_start_offset: i64,
    /// Which records were refused and why.
    #[kafka(versions = "8+")]
    pub record_errors: Vec<BatchIndexAndErrorMessage<'a>>,
    /// The error in words.
    #[kafka(versions = "8+", nullable = "8+")]
    pub error_message: Option<Cow<'a, str>>,
    /// The leader, if the broker isn't.
    #[kafka(versions = "10+", tag = 0)]
    pub current_leader: LeaderIdAndEpoch,
}

/// A record that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct BatchIndexAndErrorMessage<'a> {
    /// The record's index in the batch.
    pub batch_index: i32,
    /// Why it was refused.
    #[kafka(nullable)]
    pub batch_index_error_message: Option<Cow<'a, str>>,
}
