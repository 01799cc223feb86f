//! Topics are created and deleted.

use ottla_types::{BrokerId, PartitionIndex, TopicName};

use super::super::command::{CreateTopics, DeleteTopics, NewPartitionAssignment, NewTopic, TopicSelector};
use super::super::image::{MetadataImage, PartitionImage};
use super::super::internal::{colliding_internal, is_internal};
use super::super::record::Record;
use super::super::reply::{CreatedTopic, DeletedTopic, Reply, TopicError, TopicErrorKind, TopicResult};
use super::configs::new_config;
use super::partitions::Placer;
use super::refusals::{invalid_request, repeated, unknown_topic};
use super::{Draft, PARTITIONS_PER_COMMAND_MAX};

/// The metadata log, which is no topic. A request to create it is refused with the error that Kafka has for it.
const METADATA_TOPIC: &str = "__cluster_metadata";

impl MetadataImage {
    pub(super) fn create_topics(&self, command: &CreateTopics) -> (Vec<Record>, Reply) {
        let mut draft = Draft::new(self);
        let mut placer = Placer::new(self);
        let twice = repeated(command.topics.iter().map(|topic| topic.name.as_str()));
        let results = command.topics.iter().map(|topic| {
            if twice.contains(topic.name.as_str()) {
                return Err(invalid_request(format!("topic {:?} is named twice", topic.name)));
            }
            draft.create_topic(command, topic, &mut placer)
        });
        let mut results: Vec<TopicResult<CreatedTopic>> = results.collect();
        if command.validate_only {
            results.iter_mut().flatten().for_each(|created| created.id = ottla_types::TopicId::ZERO);
            draft.records.clear();
        }
        (draft.records, Reply::TopicsCreated(results))
    }

    pub(super) fn delete_topics(&self, command: &DeleteTopics) -> (Vec<Record>, Reply) {
        let mut draft = Draft::new(self);
        let results = command.topics.iter().map(|selector| draft.delete_topic(selector));
        let reply = Reply::TopicsDeleted(results.collect());
        (draft.records, reply)
    }

    /// Checks that a topic of this name can be created.
    pub(super) fn new_name(&self, name: &str) -> TopicResult<TopicName> {
        let invalid = |message: String| TopicError::new(TopicErrorKind::InvalidTopic, message);
        let valid = TopicName::new(name).map_err(|error| invalid(error.to_string()))?;
        if self.topic_ids.contains_key(&valid) {
            let message = format!("topic {name:?} already exists");
            return Err(TopicError::new(TopicErrorKind::TopicAlreadyExists, message));
        }
        if name == METADATA_TOPIC {
            return Err(invalid_request(format!("{name} is the metadata log: choose another name")));
        }
        // The brokers' own topics are created whatever there is, and nobody takes their place.
        let colliding = match is_internal(name) {
            true => None,
            false => colliding_internal(name).or(self.index.colliding(name).map(TopicName::as_str)),
        };
        match colliding {
            None => Ok(valid),
            Some(other) => Err(invalid(format!(
                "topic {name:?} would be {other} in metrics' names, where '.' and '_' are the same: \
                 choose another name"
            ))),
        }
    }
}

impl Draft {
    fn create_topic(
        &mut self,
        command: &CreateTopics,
        topic: &NewTopic,
        placer: &mut Placer,
    ) -> TopicResult<CreatedTopic> {
        if let Some(existing) = self.image.topics.get(&topic.id)
            && existing.name.as_str() == topic.name
        {
            // Ids are fresh, so this is the same request, sent again because its answer got lost.
            return Ok(created(topic, existing.partitions.iter().map(PartitionImage::target)));
        }
        let name = self.image.new_name(&topic.name)?;
        let config = new_config(&topic.config)?;
        let replicas = if topic.assignments.is_empty() {
            let (partitions, factor) = sizes(&self.image, command, topic)?;
            self.has_room(partitions)?;
            // The id is random, so topics start on different brokers.
            let seed = topic
                .id
                .0
                .iter()
                .fold(0u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            placer.place(&[], partitions, factor, seed)?
        } else {
            let replicas = self.image.manual_assignments(topic)?;
            self.has_room(replicas.len())?;
            replicas
        };
        placer.add(&replicas);
        self.create(topic.id, name, config, &replicas);
        Ok(created(topic, replicas.iter().map(Vec::as_slice)))
    }

    /// Creates a topic that was checked.
    pub(super) fn create(
        &mut self,
        id: ottla_types::TopicId,
        name: TopicName,
        config: std::collections::BTreeMap<String, String>,
        replicas: &[Vec<BrokerId>],
    ) {
        assert!(!id.is_zero() && !self.image.topics.contains_key(&id), "a new topic has a fresh id");
        assert!(!replicas.is_empty(), "a topic has a partition");
        let partitions = replicas.iter().map(|replicas| self.image.new_partition(replicas)).collect();
        self.push(Record::TopicCreated { id, name, config });
        self.push(Record::PartitionsCreated { topic: id, partitions });
    }

    fn delete_topic(&mut self, selector: &TopicSelector) -> TopicResult<DeletedTopic> {
        let topic = match selector {
            TopicSelector::Name(name) => self.image.topic(name).ok_or_else(|| unknown_topic(name))?,
            TopicSelector::Id(id) => self.image.topics.get(id).ok_or_else(|| {
                TopicError::new(TopicErrorKind::UnknownTopicId, format!("there is no topic with id {id}"))
            })?,
        };
        let deleted = DeletedTopic { name: topic.name.to_string(), id: topic.id };
        self.push(Record::TopicDeleted { topic: deleted.id });
        Ok(deleted)
    }

    /// Checks the limits on partitions before that many are added.
    pub(super) fn has_room(&self, partitions: usize) -> TopicResult<()> {
        let violation = |message: String| Err(TopicError::new(TopicErrorKind::PolicyViolation, message));
        if self.partitions_added + partitions > PARTITIONS_PER_COMMAND_MAX {
            return violation(format!(
                "one request may create {PARTITIONS_PER_COMMAND_MAX} partitions: ask for fewer at a time"
            ));
        }
        let all = self.image.partition_count;
        if all + partitions > super::PARTITIONS_MAX {
            let limit = super::PARTITIONS_MAX;
            return violation(format!(
                "the cluster has {all} of at most {limit} partitions: delete topics first"
            ));
        }
        Ok(())
    }
}

/// The answer about a topic that exists now, with these replicas by partition.
fn created<'a>(
    topic: &NewTopic,
    mut replicas: impl ExactSizeIterator<Item = &'a [BrokerId]>,
) -> CreatedTopic {
    CreatedTopic {
        name: topic.name.clone(),
        id: topic.id,
        partitions: i32::try_from(replicas.len()).expect("`has_room` allows no more than fit"),
        replication_factor: i16::try_from(replicas.next().map_or(0, <[_]>::len))
            .expect("`check_factor` allows a few"),
    }
}

/// How many partitions and replicas a topic without assignments gets.
fn sizes(image: &MetadataImage, command: &CreateTopics, topic: &NewTopic) -> TopicResult<(usize, usize)> {
    let or_default = |given: i32, default: i32| if given == -1 { default } else { given };
    let partitions = or_default(topic.partitions, command.default_partitions);
    let factor =
        or_default(i32::from(topic.replication_factor), i32::from(command.default_replication_factor));
    let unset = i32::try_from(image.default_replication_factor()).unwrap_or(i32::MAX);
    let factor = or_default(factor, unset);
    let wrong = |kind, message: &str| TopicError::new(kind, message);
    if partitions < 1 {
        let message = "a topic has at least one partition: use 1 or more, or -1 for the broker's default";
        return Err(wrong(TopicErrorKind::InvalidPartitions, message));
    }
    if factor < 1 {
        let message = "a partition has at least one replica: use 1 or more, or -1 for the broker's default";
        return Err(wrong(TopicErrorKind::InvalidReplicationFactor, message));
    }
    Ok((partitions.unsigned_abs() as usize, factor.unsigned_abs() as usize))
}

impl MetadataImage {
    /// The replicas that a topic says by hand, checked, by partition.
    fn manual_assignments(&self, topic: &NewTopic) -> TopicResult<Vec<Vec<BrokerId>>> {
        if topic.partitions != -1 || topic.replication_factor != -1 {
            return Err(invalid_request(
                "with replicas assigned by hand, the number of partitions and the replication factor must be -1"
                    .to_owned(),
            ));
        }
        let mut sorted: Vec<&NewPartitionAssignment> = topic.assignments.iter().collect();
        sorted.sort_by_key(|assignment| assignment.partition);
        for (expected, assignment) in (0..).map(PartitionIndex).zip(&sorted) {
            if assignment.partition != expected {
                let message = format!(
                    "assignments must be for the partitions 0, 1, 2 … once each: expected {expected}, found {}",
                    assignment.partition
                );
                return Err(TopicError::new(TopicErrorKind::InvalidReplicaAssignment, message));
            }
        }
        let replicas: Vec<Vec<BrokerId>> =
            sorted.into_iter().map(|assignment| assignment.replicas.clone()).collect();
        self.check_replicas(&replicas, replicas[0].len())?;
        Ok(replicas)
    }
}
