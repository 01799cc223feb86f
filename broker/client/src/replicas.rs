//! What an administrator asks about replicas: who leads, where they move, how large they are.

use std::collections::BTreeMap;

use ottla_wire::messages::{
    AlterPartitionReassignmentsRequest, Cursor, DescribableLogDirTopic, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, ELECTION_PREFERRED, ElectLeadersRequest, ElectLeadersTopic,
    ListPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic, TopicRequest,
    UnregisterBrokerRequest,
};
use ottla_wire::{ErrorCode, apis};

use crate::admin::{check, missing};
use crate::{Client, ClientError};

/// What became of one partition of a request.
#[derive(Debug, Clone)]
pub struct PartitionOutcome {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// Done, or why not.
    pub result: Result<(), ClientError>,
}

impl PartitionOutcome {
    fn new(topic: &str, partition: i32, code: i16, message: Option<&str>) -> Self {
        let result = check(&format!("{topic}-{partition}"), code, message);
        Self { topic: topic.to_owned(), partition, result }
    }
}

/// Where a partition is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReplicas {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The node ids, the preferred leader's first; none to stop a move that is under way.
    pub replicas: Option<Vec<i32>>,
}

/// A partition that is on its way to other brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovingPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The node ids of all replicas, those that come and go among them.
    pub replicas: Vec<i32>,
    /// The node ids that come.
    pub adding: Vec<i32>,
    /// The node ids that go.
    pub removing: Vec<i32>,
}

/// A partition as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The leader's node id, if there is one.
    pub leader: Option<i32>,
    /// The leader's epoch, -1 if unknown.
    pub leader_epoch: i32,
    /// The node ids of all replicas, the preferred leader's first.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// Those that aren't in sync and may lead all the same.
    pub elr: Vec<i32>,
    /// Those that can't be reached.
    pub offline: Vec<i32>,
}

/// Partitions of one topic after the other, gathered by topic.
fn by_topic<'a, T>(partitions: impl Iterator<Item = (&'a str, T)>) -> BTreeMap<&'a str, Vec<T>> {
    let mut topics: BTreeMap<&str, Vec<T>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(partition);
    }
    topics
}

impl Client {
    /// Makes the first replica of each of these partitions its leader (none: of all). A partition where that
    /// is so already has the outcome ELECTION_NOT_NEEDED, or none if all are meant.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn elect_preferred(
        &self,
        partitions: Option<&[(&str, i32)]>,
    ) -> Result<Vec<PartitionOutcome>, ClientError> {
        let topics = partitions.map(|partitions| by_topic(partitions.iter().copied()));
        let topic = |(topic, partitions)| ElectLeadersTopic { topic, partitions };
        let request = ElectLeadersRequest {
            election_type: ELECTION_PREFERRED,
            topic_partitions: topics.map(|topics| topics.into_iter().map(topic).collect()),
            timeout_ms: self.change_timeout_ms(),
        };
        let reply = self.call_any::<apis::ElectLeaders>(&request).await?;
        let response = reply.body()?;
        check("the election", response.error_code, None)?;
        let topics = response.replica_election_results.iter();
        let outcomes = topics.flat_map(|topic| {
            topic.partition_result.iter().map(|result| {
                let message = result.error_message.as_deref();
                PartitionOutcome::new(&topic.topic, result.partition_id, result.error_code, message)
            })
        });
        Ok(outcomes.collect())
    }

    /// Moves partitions to other brokers, or stops moves. They go on by themselves; see [`Client::moving`].
    ///
    /// # Errors
    /// When no broker answers or the request as a whole is refused.
    pub async fn reassign(&self, moves: &[NewReplicas]) -> Result<Vec<PartitionOutcome>, ClientError> {
        let asked = |new: &NewReplicas| ReassignablePartition {
            partition_index: new.partition,
            replicas: new.replicas.clone(),
        };
        let topics = by_topic(moves.iter().map(|new| (new.topic.as_str(), asked(new))));
        let topic = |(name, partitions)| ReassignableTopic { name, partitions };
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.change_timeout_ms(),
            allow_replication_factor_change: true,
            topics: topics.into_iter().map(topic).collect(),
        };
        let reply = self.call_any::<apis::AlterPartitionReassignments>(&request).await?;
        let response = reply.body()?;
        check("the moves", response.error_code, response.error_message.as_deref())?;
        let outcomes = response.responses.iter().flat_map(|topic| {
            topic.partitions.iter().map(|result| {
                let message = result.error_message.as_deref();
                PartitionOutcome::new(&topic.name, result.partition_index, result.error_code, message)
            })
        });
        Ok(outcomes.collect())
    }

    /// The partitions that are on their way to other brokers.
    ///
    /// # Errors
    /// What the broker says; or when none answers.
    pub async fn moving(&self) -> Result<Vec<MovingPartition>, ClientError> {
        let request =
            ListPartitionReassignmentsRequest { timeout_ms: self.change_timeout_ms(), topics: None };
        let reply = self.call_any::<apis::ListPartitionReassignments>(&request).await?;
        let response = reply.body()?;
        check("the moves", response.error_code, response.error_message.as_deref())?;
        let moving = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| MovingPartition {
                topic: topic.name.to_string(),
                partition: partition.partition_index,
                replicas: partition.replicas.clone(),
                adding: partition.adding_replicas.clone(),
                removing: partition.removing_replicas.clone(),
            })
        });
        Ok(moving.collect())
    }

    /// All partitions of these topics (none named: of all), page by page.
    ///
    /// # Errors
    /// What the broker says, as UNKNOWN_TOPIC_OR_PARTITION; or when none answers.
    pub async fn describe_partitions(&self, topics: &[&str]) -> Result<Vec<DescribedPartition>, ClientError> {
        let mut found = Vec::new();
        let mut next: Option<(String, i32)> = None;
        loop {
            let cursor = next
                .as_ref()
                .map(|(topic, index)| Cursor { topic_name: topic.as_str().into(), partition_index: *index });
            let request = DescribeTopicPartitionsRequest {
                topics: topics.iter().map(|name| TopicRequest { name }).collect(),
                cursor,
                ..Default::default()
            };
            let reply = self.call_any::<apis::DescribeTopicPartitions>(&request).await?;
            let response = reply.body()?;
            for topic in &response.topics {
                let name = topic.name.as_deref().unwrap_or_default();
                check(name, topic.error_code, None)?;
                found.extend(topic.partitions.iter().map(|p| DescribedPartition {
                    topic: name.to_owned(),
                    partition: p.partition_index,
                    leader: Some(p.leader_id).filter(|id| *id >= 0),
                    leader_epoch: p.leader_epoch,
                    replicas: p.replica_nodes.clone(),
                    isr: p.isr_nodes.clone(),
                    elr: p.eligible_leader_replicas.clone().unwrap_or_default(),
                    offline: p.offline_replicas.clone(),
                }));
            }
            match &response.next_cursor {
                Some(cursor) => next = Some((cursor.topic_name.to_string(), cursor.partition_index)),
                None => return Ok(found),
            }
        }
    }

    /// How many bytes these partitions (none: all) take on a broker, of those that it has.
    ///
    /// # Errors
    /// What the broker says; or when it doesn't answer.
    pub async fn partition_sizes(
        &self,
        broker: i32,
        partitions: Option<&[(&str, i32)]>,
    ) -> Result<BTreeMap<(String, i32), u64>, ClientError> {
        let topics = partitions.map(|partitions| by_topic(partitions.iter().copied()));
        let topic = |(topic, partitions)| DescribableLogDirTopic { topic, partitions };
        let topics = topics.map(|topics| topics.into_iter().map(topic).collect());
        let request = DescribeLogDirsRequest { topics };
        let reply = self.call_broker::<apis::DescribeLogDirs>(broker, &request).await?;
        let response = reply.body()?;
        check("the log directories", response.error_code, None)?;
        let mut sizes = BTreeMap::new();
        for dir in response.results.iter().filter(|dir| ErrorCode::from_wire(dir.error_code).is_none()) {
            for topic in &dir.topics {
                for partition in &topic.partitions {
                    let key = (topic.name.to_string(), partition.partition_index);
                    sizes.insert(key, u64::try_from(partition.partition_size).unwrap_or(0));
                }
            }
        }
        Ok(sizes)
    }

    /// Makes the cluster forget a broker that is gone for good.
    ///
    /// # Errors
    /// What the broker says, as when that one lives; or when none answers.
    pub async fn unregister_broker(&self, id: i32) -> Result<(), ClientError> {
        let reply =
            self.call_any::<apis::UnregisterBroker>(&UnregisterBrokerRequest { broker_id: id }).await?;
        let response = reply.body()?;
        check(&format!("broker {id}"), response.error_code, response.error_message.as_deref())
    }
}

impl PartitionOutcome {
    /// The outcome of the one partition that was asked for.
    ///
    /// # Errors
    /// Why it wasn't done, or that the broker didn't mention it.
    pub fn only(outcomes: Vec<Self>) -> Result<(), ClientError> {
        outcomes.into_iter().next().map_or_else(|| Err(missing("the partition")), |outcome| outcome.result)
    }
}
