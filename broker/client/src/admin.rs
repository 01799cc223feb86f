//! What an administrator asks: topics made, changed and deleted, settings, offsets.

use ottla_types::TopicId;
use ottla_wire::messages::{
    CreatableTopic, CreatePartitionsRequest, CreatePartitionsTopic, CreateTopicsRequest, DeleteTopicState,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeConfigsResource,
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, NamedConfig, RESOURCE_TOPIC,
};
use ottla_wire::{ErrorCode, apis};

use crate::client::Lane;
use crate::{Broker, Client, ClientError};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the broker's default.
    pub partitions: i32,
    /// How many replicas each; -1 for the broker's default.
    pub replication_factor: i16,
    /// Settings by name.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's default settings and replication factor.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication_factor: -1, configs: Vec::new() }
    }
}

/// A topic that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicResult {
    /// Its name.
    pub name: String,
    /// Its id, zero if the broker told none.
    pub id: TopicId,
}

/// An offset and the time of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetAt {
    /// The offset, -1 for none.
    pub offset: i64,
    /// The record's time in milliseconds since 1970, -1 for none.
    pub timestamp_ms: i64,
    /// The record's leader epoch, -1 if unknown.
    pub leader_epoch: i32,
}

/// An error unless `code` is none.
pub(crate) fn check(what: &str, code: i16, message: Option<&str>) -> Result<(), ClientError> {
    match ErrorCode::from_wire(code) {
        ErrorCode::None => Ok(()),
        error => Err(ClientError::broker(what, error, message)),
    }
}

/// A response that lacks what was asked for.
pub(crate) fn missing(what: &str) -> ClientError {
    ClientError::broker(what, ErrorCode::UnknownServerError, Some("the response doesn't mention it"))
}

impl Client {
    /// For how long a broker may take to carry out a change, in milliseconds.
    pub(crate) fn change_timeout_ms(&self) -> i32 {
        i32::try_from(self.config().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// What the broker says, as TOPIC_ALREADY_EXISTS; or when none answers.
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<TopicResult, ClientError> {
        let configs = topic.configs.iter().map(|(name, value)| NamedConfig { name, value: Some(value) });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: &topic.name,
                num_partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                assignments: Vec::new(),
                configs: configs.collect(),
            }],
            timeout_ms: self.change_timeout_ms(),
            validate_only: false,
        };
        self.retry(None, || async {
            let reply = self.call_any::<apis::CreateTopics>(&request).await?;
            let response = reply.body()?;
            let result = response.topics.first().ok_or_else(|| missing(&topic.name))?;
            check(&topic.name, result.error_code, result.error_message.as_deref())?;
            Ok(TopicResult { name: topic.name.clone(), id: TopicId(result.topic_id) })
        })
        .await
    }

    /// Deletes a topic by name.
    ///
    /// # Errors
    /// What the broker says, as UNKNOWN_TOPIC_OR_PARTITION; or when none answers.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name), topic_id: [0; 16] }],
            topic_names: vec![name],
            timeout_ms: self.change_timeout_ms(),
        };
        let reply = self.call_any::<apis::DeleteTopics>(&request).await?;
        let response = reply.body()?;
        let result = response.responses.first().ok_or_else(|| missing(name))?;
        check(name, result.error_code, result.error_message.as_deref())
    }

    /// Gives a topic more partitions, `count` in all.
    ///
    /// # Errors
    /// What the broker says, as INVALID_PARTITIONS; or when none answers.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name, count, assignments: None }],
            timeout_ms: self.change_timeout_ms(),
            validate_only: false,
        };
        let reply = self.call_any::<apis::CreatePartitions>(&request).await?;
        let response = reply.body()?;
        let result = response.results.first().ok_or_else(|| missing(name))?;
        check(name, result.error_code, result.error_message.as_deref())
    }

    /// A topic's settings by name; none for a secret or unset value.
    ///
    /// # Errors
    /// What the broker says; or when none answers.
    pub async fn describe_topic_configs(
        &self,
        name: &str,
    ) -> Result<Vec<(String, Option<String>)>, ClientError> {
        let resource = DescribeConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: name,
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let reply = self.call_any::<apis::DescribeConfigs>(&request).await?;
        let response = reply.body()?;
        let result = response.results.first().ok_or_else(|| missing(name))?;
        check(name, result.error_code, result.error_message.as_deref())?;
        Ok(result
            .configs
            .iter()
            .map(|config| (config.name.to_string(), config.value.as_deref().map(str::to_owned)))
            .collect())
    }

    /// The brokers that are alive and the controller's node id, -1 if unknown.
    ///
    /// # Errors
    /// What the broker says; or when none answers.
    pub async fn describe_cluster(&self) -> Result<(Vec<Broker>, i32), ClientError> {
        let reply = self.call_any::<apis::DescribeCluster>(&DescribeClusterRequest::default()).await?;
        let response = reply.body()?;
        check("the cluster", response.error_code, response.error_message.as_deref())?;
        let brokers = response.brokers.iter().map(|broker| Broker {
            id: broker.broker_id,
            host: broker.host.to_string(),
            port: broker.port,
            rack: broker.rack.as_deref().map(str::to_owned),
        });
        Ok((brokers.collect(), response.controller_id))
    }

    /// A partition's offset by time: a time in milliseconds since 1970 or one of the `TIMESTAMP_` constants
    /// of [`ottla_wire::messages`]. Tries again after retriable errors.
    ///
    /// # Errors
    /// What the leader says; or when it can't be reached.
    pub async fn list_offset(
        &self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<OffsetAt, ClientError> {
        let lane = Lane::default();
        self.retry(Some(topic), || self.list_offset_once(lane, topic, partition, timestamp)).await
    }

    async fn list_offset_once(
        &self,
        lane: Lane,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<OffsetAt, ClientError> {
        let (connection, current_leader_epoch) = self.leader(lane, topic, partition).await?;
        let asked = ListOffsetsPartition { partition_index: partition, current_leader_epoch, timestamp };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name: topic, partitions: vec![asked] }],
            timeout_ms: self.change_timeout_ms(),
            ..Default::default()
        };
        let reply = connection.call::<apis::ListOffsets>(&request).await?;
        let response = reply.body()?;
        let what = format!("{topic}-{partition}");
        let result = response.topics.first().and_then(|topic| topic.partitions.first());
        let result = result.ok_or_else(|| missing(&what))?;
        check(&what, result.error_code, None)?;
        let (offset, timestamp_ms, leader_epoch) = (result.offset, result.timestamp, result.leader_epoch);
        Ok(OffsetAt { offset, timestamp_ms, leader_epoch })
    }
}
