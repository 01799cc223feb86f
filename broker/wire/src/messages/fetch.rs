//! Fetch: reads record batches from partitions, within an incremental session or without one.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use super::{LeaderIdAndEpoch, NodeEndpoint};
use crate::codec::{Records, Uuid};

/// Asks for record batches.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "4-18", flexible = "12+")]
pub struct FetchRequest<'a> {
    /// The cluster's id, if the sender knows it; only controllers send it.
    #[kafka(versions = "12+", nullable = "12+", tag = 0)]
    pub cluster_id: Option<&'a str>,
    /// The follower's node id, -1 from a consumer.
    #[kafka(versions = "0-14", default = -1)]
    pub replica_id: i32,
    /// The follower's node id and broker epoch.
    #[kafka(versions = "15+", tag = 1)]
    pub replica_state: ReplicaState,
    /// For how long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// The fewest bytes to answer before that time is over.
    pub min_bytes: i32,
    /// The most bytes to answer; the first batch comes even if it is larger.
    #[kafka(default = i32::MAX)]
    pub max_bytes: i32,
    /// 0 reads uncommitted records, 1 only committed ones.
    pub isolation_level: i8,
    /// The fetch session, 0 for none yet.
    #[kafka(versions = "7+")]
    pub session_id: i32,
    /// The epoch within the session; -1 for no session, 0 for a new one.
    #[kafka(versions = "7+", default = -1)]
    pub session_epoch: i32,
    /// The topics; in a session only those that changed.
    pub topics: Vec<FetchTopic<'a>>,
    /// The partitions to be taken out of the session.
    #[kafka(versions = "7+")]
    pub forgotten_topics_data: Vec<ForgottenTopic<'a>>,
    /// The consumer's rack.
    #[kafka(versions = "11+")]
    pub rack_id: &'a str,
}

/// Who a follower is.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ReplicaState {
    /// The follower's node id, -1 from a consumer.
    #[kafka(default = -1)]
    pub replica_id: i32,
    /// The follower's broker epoch, -1 if unknown.
    #[kafka(default = -1)]
    pub replica_epoch: i64,
}

/// A topic with the partitions to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct FetchTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "0-12")]
    pub topic: &'a str,
    /// The topic's id.
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<FetchPartition>,
}

/// A partition to fetch, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct FetchPartition {
    /// The partition's index.
    pub partition: i32,
    /// The leader epoch that the sender knows, -1 if none.
    #[kafka(versions = "9+", default = -1)]
    pub current_leader_epoch: i32,
    /// The offset of the first record wanted.
    pub fetch_offset: i64,
    /// The epoch of the last record that the sender has, -1 if none.
    #[kafka(versions = "12+", default = -1)]
    pub last_fetched_epoch: i32,
    /// A follower's first offset, -1 from a consumer.
    #[kafka(versions = "5+", default = -1)]
    pub log_start_offset: i64,
    /// The most bytes to answer for this partition.
    pub partition_max_bytes: i32,
    /// The id of the follower's directory.
    #[kafka(versions = "17+", tag = 0)]
    pub replica_directory_id: Uuid,
    /// The high watermark that the follower knows.
    #[kafka(versions = "18+", tag = 1, default = i64::MAX)]
    pub high_watermark: i64,
}

/// A topic with partitions to be taken out of the session.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct ForgottenTopic<'a> {
    /// The topic's name.
    #[kafka(versions = "0-12")]
    pub topic: &'a str,
    /// The topic's id.
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
}

/// The record batches.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "4-18", flexible = "12+")]
pub struct FetchResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// An error of the whole request.
    #[kafka(versions = "7+")]
    pub error_code: i16,
    /// The fetch session, 0 if there is none.
    #[kafka(versions = "7+")]
    pub session_id: i32,
    /// The topics; in a session only those with news.
    pub responses: Vec<FetchableTopicResponse<'a>>,
    /// Where the leaders can be reached that the partitions name.
    #[kafka(versions = "16+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// A topic with its partitions' records.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct FetchableTopicResponse<'a> {
    /// The topic's name.
    #[kafka(versions = "0-12")]
    pub topic: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<PartitionData<'a>>,
}

/// A partition's records.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct PartitionData<'a> {
    /// The partition's index.
    pub partition_index: i32,
    /// The error code.
    pub error_code: i16,
    /// The high watermark: consumers see the records before it.
    pub high_watermark: i64,
    /// The last stable offset: all transactions before it have ended.
    #[kafka(default = -1)]
    pub last_stable_offset: i64,
    /// The partition's first offset.
    #[kafka(versions = "5+", default = -1)]
    pub log_start_offset: i64,
    /// Where a follower's log differs from the leader's.
    #[kafka(versions = "12+", tag = 0)]
    pub diverging_epoch: EpochEndOffset,
    /// The leader, if the broker isn't.
    #[kafka(versions = "12+", tag = 1)]
    pub current_leader: LeaderIdAndEpoch,
    /// The snapshot to fetch instead.
    #[kafka(versions = "12+", tag = 2)]
    pub snapshot_id: SnapshotId,
    /// The aborted transactions among the records; null for an uncommitted read.
    #[kafka(nullable)]
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// The replica that the consumer should rather read from, -1 for none.
    #[kafka(versions = "11+", default = -1)]
    pub preferred_read_replica: i32,
    /// The record batches.
    #[kafka(nullable)]
    pub records: Records<'a>,
}

/// The last offset of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct EpochEndOffset {
    /// The epoch, -1 for none.
    #[kafka(default = -1)]
    pub epoch: i32,
    /// Its last offset and one, -1 for none.
    #[kafka(default = -1)]
    pub end_offset: i64,
}

/// A snapshot of a log.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct SnapshotId {
    /// The last offset in it and one, -1 for none.
    #[kafka(default = -1)]
    pub end_offset: i64,
    /// The epoch of its last record, -1 for none.
    #[kafka(default = -1)]
    pub epoch: i32,
}

/// A transaction that was aborted.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct AbortedTransaction {
    /// The producer's id.
    pub producer_id: i64,
    /// The offset of its first record.
    pub first_offset: i64,
}
