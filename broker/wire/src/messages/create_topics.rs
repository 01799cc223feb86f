//! CreateTopics.

use std::borrow::Cow;

use ottla_wire_derive::Message;

use super::NamedConfig;
use crate::codec::Uuid;

/// Asks to create topics.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "2-7", flexible = "5+")]
pub struct CreateTopicsRequest<'a> {
    /// The topics.
    pub topics: Vec<CreatableTopic<'a>>,
    /// For how long to wait, in milliseconds.
    #[kafka(default = 60_000)]
    pub timeout_ms: i32,
    /// Whether only to say what would happen.
    pub validate_only: bool,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatableTopic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// How many partitions; -1 for the broker's default or where there are assignments.
    pub num_partitions: i32,
    /// How many replicas each; -1 for the broker's default or where there are assignments.
    pub replication_factor: i16,
    /// Which brokers get which partitions; empty for the broker to choose.
    pub assignments: Vec<CreatableReplicaAssignment>,
    /// The topic's configuration.
    pub configs: Vec<NamedConfig<'a>>,
}

/// The replicas of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatableReplicaAssignment {
    /// The partition's index.
    pub partition_index: i32,
    /// The node ids, the preferred leader's first.
    pub broker_ids: Vec<i32>,
}

/// What became of each topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[kafka(versions = "2-7", flexible = "5+")]
pub struct CreateTopicsResponse<'a> {
    /// For how long the request was delayed by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The topics.
    pub topics: Vec<CreatableTopicResult<'a>>,
}

/// What became of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatableTopicResult<'a> {
    /// The topic's name.
    pub name: Cow<'a, str>,
    /// The topic's id.
    #[kafka(versions = "7+")]
    pub topic_id: Uuid,
    /// The error code.
    pub error_code: i16,
    /// The error in words.
    #[kafka(nullable)]
    pub error_message: Option<Cow<'a, str>>,
    /// Why the configuration isn't told, if it isn't.
    #[kafka(versions = "5+", tag = 0)]
    pub topic_config_error_code: i16,
    /// How many partitions the topic has.
    #[kafka(versions = "5+", default = -1)]
    pub num_partitions: i32,
    /// How many replicas each.
    #[kafka(versions = "5+", default = -1)]
    pub replication_factor: i16,
    /// The topic's configuration.
    #[kafka(versions = "5+", nullable = "5+")]
    pub configs: Option<Vec<CreatableTopicConfigs<'a>>>,
}

/// A setting of a topic that was created.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
pub struct CreatableTopicConfigs<'a> {
    /// The setting's name.
    pub name: Cow<'a, str>,
    /// Its value.
    #[kafka(nullable)]
    pub value: Option<Cow<'a, str>>,
    /// Whether it can't be changed.
    pub read_only: bool,
    /// Where it comes from (see DescribeConfigs).
    #[kafka(default = -1)]
    pub config_source: i8,
    /// Whether it is secret.
    pub is_sensitive: bool,
}
