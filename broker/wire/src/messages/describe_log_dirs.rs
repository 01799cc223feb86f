//! DescribeLogDirs: a broker's data folders and how large the partitions in them are.

use std::borrow::Cow;

use ottla_wire_derive::Message;

/// Asks for directories.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsRequest<'a> {
    /// The partitions; null for all.
    #[kafka(nullable)]
    pub topics: Option<Vec<DescribableLogDirTopic<'a>>>,
}

/// A topic asked for.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribableLogDirTopic<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partitions' indexes.
    pub partitions: Vec<i32>,
}

/// The directories.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// An error of the whole request.
    #[kafka(versions = "3+")]
    pub error_code: i16,
    /// The directories.
    pub results: Vec<DescribeLogDirsResult<'a>>,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeLogDirsResult<'a> {
    /// The error code; KAFKA_STORAGE_ERROR if the directory can't be used.
    pub error_code: i16,
    /// Its path.
    pub log_dir: Cow<'a, str>,
    /// The topics in it.
    pub topics: Vec<DescribeLogDirsTopic<'a>>,
    /// The size of its volume in bytes, -1 if unknown.
    #[kafka(versions = "4+", default = -1)]
    pub total_bytes: i64,
    /// How many bytes of the volume can still be used, -1 if unknown.
    #[kafka(versions = "4+", default = -1)]
    pub usable_bytes: i64,
    /// Whether it gets no further partitions.
    #[kafka(versions = "5+")]
    pub is_cordoned: bool,
}

/// A topic in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeLogDirsTopic<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// Its partitions in that directory.
    pub partitions: Vec<DescribeLogDirsPartition>,
}

/// A partition in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct DescribeLogDirsPartition {
    /// The partition's index.
    pub partition_index: i32,
    /// The bytes of its segments.
    pub partition_size: i64,
    /// How many records its log is behind the high watermark.
    pub offset_lag: i64,
    /// Whether it is being copied here from another directory.
    pub is_future_key: bool,
}
