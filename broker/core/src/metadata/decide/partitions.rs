//! Partitions are placed, added and assigned.

use std::collections::{BTreeMap, BTreeSet};

use ottla_placement as placement;
use ottla_types::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId};

use super::super::command::{ApplyTopic, CreatePartitions, NewPartitions, SubmitAssignments};
use super::super::image::{BrokerImage, MetadataImage, PartitionImage, TopicImage};
use super::super::index::BrokerLoad;
use super::super::internal::is_internal;
use super::super::record::Record;
use super::super::reply::{AppliedTopic, Rejection, Reply, TopicError, TopicErrorKind, TopicResult};
use super::configs::checked;
use super::refusals::{invalid_request, repeated, unknown_topic};
use super::{Decided, Draft, REPLICATION_FACTOR_MAX};

impl MetadataImage {
    pub(super) fn create_partitions(&self, command: &CreatePartitions) -> (Vec<Record>, Reply) {
        let mut draft = Draft::new(self);
        let mut placer = Placer::new(self);
        let twice = repeated(command.topics.iter().map(|topic| topic.name.as_str()));
        let results = command.topics.iter().map(|topic| {
            if twice.contains(topic.name.as_str()) {
                return Err(invalid_request(format!("topic {:?} is named twice", topic.name)));
            }
            draft.grow(topic, command.seed, &mut placer)
        });
        let reply = Reply::PartitionsCreated(results.collect());
        (if command.validate_only { vec![] } else { draft.records }, reply)
    }

    pub(super) fn submit_assignments(&self, command: &SubmitAssignments) -> Decided {
        self.unchanged_since(command.version)?;
        let mut by_topic: BTreeMap<&str, BTreeMap<PartitionIndex, &Vec<BrokerId>>> = BTreeMap::new();
        for assignment in &command.partitions {
            let partitions = by_topic.entry(&assignment.topic).or_default();
            if partitions.insert(assignment.partition, &assignment.replicas).is_some() {
                let message =
                    format!("partition {}-{} is named twice", assignment.topic, assignment.partition);
                return Err(Rejection::Invalid { message });
            }
        }
        let mut draft = Draft::new(self);
        for (name, partitions) in by_topic {
            let topic = self.topic(name).ok_or_else(|| unknown_topic(name))?;
            draft.assign(topic, &partitions)?;
        }
        Ok((draft.records, Reply::AssignmentsAccepted))
    }

    pub(super) fn apply_topic(&self, command: &ApplyTopic) -> Decided {
        if let Some(version) = command.version {
            self.unchanged_since(version)?;
        }
        let current = self.topic(&command.name);
        if let Some(expected) = command.expected_id
            && current.map(|topic| topic.id) != Some(expected)
        {
            let (name, current) = (command.name.clone(), current.map(|topic| topic.id));
            return Err(Rejection::AnotherTopic { name, expected, current });
        }
        checked(&command.config)?;
        let mut draft = Draft::new(self);
        let id = match current {
            Some(topic) => draft.bring_to(topic, command)?,
            None => draft.apply_new(command)?,
        };
        let changed = !draft.records.is_empty();
        if command.validate_only {
            draft.records.clear();
        }
        Ok((draft.records, Reply::TopicApplied(AppliedTopic { id, changed })))
    }

    /// A new partition with these replicas, which were checked. Those that aren't live join the ISR later.
    pub(super) fn new_partition(&self, replicas: &[BrokerId]) -> PartitionImage {
        let isr: Vec<BrokerId> = replicas.iter().copied().filter(|id| self.brokers[id].is_active()).collect();
        assert!(replicas.len() <= REPLICATION_FACTOR_MAX, "the number of replicas was checked: {replicas:?}");
        assert!(
            !isr.is_empty(),
            "`check_replicas` and the placement see to it that one is live: {replicas:?}"
        );
        PartitionImage {
            replicas: replicas.to_vec(),
            directories: replicas.iter().map(|id| self.brokers[id].directory_id).collect(),
            leader: isr.first().copied(),
            isr,
            elr: vec![],
            last_known_leader: None,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            adding: vec![],
            removing: vec![],
            original: vec![],
            unclean: None,
        }
    }

    /// What each broker holds that isn't being emptied. Those that are out of service are among them: a topic
    /// may be created while a broker restarts.
    pub(super) fn loads(&self) -> Vec<placement::Broker> {
        let steady = self.brokers.values().filter(|broker| !broker.draining);
        steady.map(|broker| self.placement_broker(broker)).collect()
    }

    fn placement_broker(&self, broker: &BrokerImage) -> placement::Broker {
        let BrokerLoad { replicas, leaders } = self.index.load(broker.id);
        let (id, rack, live) = (broker.id, broker.rack.clone(), broker.is_active());
        placement::Broker { id, rack, replicas, leaders, live }
    }

    /// Checks the replicas of new partitions, which are to have `factor` each.
    pub(super) fn check_replicas(&self, partitions: &[Vec<BrokerId>], factor: usize) -> TopicResult<()> {
        let wrong = |message: String| Err(TopicError::new(TopicErrorKind::InvalidReplicaAssignment, message));
        for replicas in partitions {
            if replicas.is_empty() {
                return wrong("a partition has at least one replica: name a broker".to_owned());
            }
            if replicas.len() != factor {
                let found = replicas.len();
                return wrong(format!(
                    "all partitions of a topic have as many replicas: {factor}, not {found}"
                ));
            }
            self.check_brokers(replicas)?;
            check_factor(replicas.len())?;
            self.refuse_draining(replicas)?;
            if !replicas.iter().any(|id| self.brokers[id].is_active()) {
                let list: Vec<String> = replicas.iter().map(ToString::to_string).collect();
                return wrong(format!("broker {} is not live: wait for it or name another", list.join(", ")));
            }
        }
        Ok(())
    }

    /// Refuses a list of replicas that names a broker twice, or one that isn't registered.
    pub(super) fn check_brokers(&self, replicas: &[BrokerId]) -> TopicResult<()> {
        let wrong = |message: String| Err(TopicError::new(TopicErrorKind::InvalidReplicaAssignment, message));
        if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
            let ids: Vec<String> = replicas.iter().map(ToString::to_string).collect();
            return wrong(format!("a broker is named twice in {}", ids.join(", ")));
        }
        match replicas.iter().find(|id| self.broker(**id).is_none()) {
            Some(unknown) => wrong(format!("broker {unknown} is not registered")),
            None => Ok(()),
        }
    }
}

/// Refuses more replicas than there may be.
pub(super) fn check_factor(factor: usize) -> TopicResult<()> {
    if factor > REPLICATION_FACTOR_MAX {
        let message =
            format!("replication factor {factor} is too large: use {REPLICATION_FACTOR_MAX} at most");
        return Err(TopicError::new(TopicErrorKind::InvalidReplicationFactor, message));
    }
    Ok(())
}

/// What each broker that may get replicas holds, kept up while a command adds partitions.
pub(super) struct Placer {
    brokers: Vec<placement::Broker>,
}

impl Placer {
    pub(super) fn new(image: &MetadataImage) -> Self {
        Self { brokers: image.loads() }
    }

    pub(super) fn place(
        &self,
        existing: &[Vec<BrokerId>],
        count: usize,
        factor: usize,
        seed: u64,
    ) -> TopicResult<Vec<Vec<BrokerId>>> {
        check_factor(factor)?;
        placement::place(&self.brokers, existing, count, factor, seed)
            .map_err(|error| TopicError::new(TopicErrorKind::InvalidReplicationFactor, error.to_string()))
    }

    pub(super) fn add(&mut self, partitions: &[Vec<BrokerId>]) {
        for (position, id) in partitions.iter().flat_map(|replicas| replicas.iter().enumerate()) {
            if let Some(broker) = self.brokers.iter_mut().find(|broker| broker.id == *id) {
                broker.replicas += 1;
                broker.leaders += usize::from(position == 0);
            }
        }
    }
}

impl Draft {
    fn grow(&mut self, command: &NewPartitions, seed: u64, placer: &mut Placer) -> TopicResult<()> {
        let topic = self.image.topic(&command.name).ok_or_else(|| unknown_topic(&command.name))?.clone();
        let existing: Vec<Vec<BrokerId>> = topic.partitions.iter().map(|p| p.target().to_vec()).collect();
        let added = added_partitions(&topic, command.count)?;
        may_grow(&topic)?;
        self.has_room(added)?;
        let replicas = match &command.assignments {
            Some(replicas) if replicas.len() != added => {
                let message = format!("{added} partitions are added, and {} are assigned", replicas.len());
                return Err(TopicError::new(TopicErrorKind::InvalidReplicaAssignment, message));
            }
            Some(replicas) => {
                self.image.check_replicas(replicas, existing[0].len())?;
                replicas.clone()
            }
            None => placer.place(&existing, added, existing[0].len(), seed)?,
        };
        placer.add(&replicas);
        self.add_partitions(topic.id, &replicas);
        Ok(())
    }

    fn add_partitions(&mut self, topic: TopicId, replicas: &[Vec<BrokerId>]) {
        if !replicas.is_empty() {
            let partitions = replicas.iter().map(|replicas| self.image.new_partition(replicas)).collect();
            self.push(Record::PartitionsCreated { topic, partitions });
        }
    }

    /// Assigns partitions of one topic: those that exist are reassigned, those past the last are added.
    fn assign(
        &mut self,
        topic: &TopicImage,
        partitions: &BTreeMap<PartitionIndex, &Vec<BrokerId>>,
    ) -> Result<(), Rejection> {
        let mut added = Vec::new();
        let mut changes = Vec::new();
        for (&index, &replicas) in partitions {
            if let Some(present) = topic.partition(index) {
                let next = self.image.moved(topic, present, replicas)?;
                changes.extend(self.image.change_to(topic, index, next));
                continue;
            }
            may_grow(topic)?;
            let next = topic.partitions.len() + added.len();
            if usize::try_from(index.0) != Ok(next) {
                let message =
                    format!("the next new partition of topic {} is {next}, not {index}", topic.name);
                return Err(TopicError::new(TopicErrorKind::InvalidPartitions, message).into());
            }
            added.push(replicas.clone());
        }
        self.change(changes);
        self.has_room(added.len())?;
        let factor = self.image.topics[&topic.id].partitions[0].target().len();
        self.image.check_replicas(&added, factor)?;
        self.add_partitions(topic.id, &added);
        Ok(())
    }

    fn apply_new(&mut self, command: &ApplyTopic) -> Result<TopicId, Rejection> {
        let name = self.image.new_name(&command.name)?;
        if command.assignments.is_empty() {
            return Err(no_partitions(&command.name).into());
        }
        self.has_room(command.assignments.len())?;
        self.image.check_replicas(&command.assignments, command.assignments[0].len())?;
        self.create(command.new_id, name, command.config.clone(), &command.assignments);
        Ok(if command.validate_only { TopicId::ZERO } else { command.new_id })
    }

    /// Brings an existing topic to what the command says.
    fn bring_to(&mut self, topic: &TopicImage, command: &ApplyTopic) -> Result<TopicId, Rejection> {
        let (has, wanted) = (topic.partitions.len(), command.assignments.len());
        if wanted < has {
            let message =
                format!("topic {} has {has} partitions: their number can't decrease to {wanted}", topic.name);
            return Err(TopicError::new(TopicErrorKind::InvalidPartitions, message).into());
        }
        self.configure(topic, command.config.clone());
        let topic = self.image.topics[&topic.id].clone();
        let factor = command.assignments[0].len();
        if let Some(other) = command.assignments.iter().find(|replicas| replicas.len() != factor) {
            let message =
                format!("all partitions of a topic have as many replicas: {factor}, not {}", other.len());
            return Err(TopicError::new(TopicErrorKind::InvalidReplicaAssignment, message).into());
        }
        let partitions = (0..).map(PartitionIndex).zip(&command.assignments).collect();
        self.assign(&topic, &partitions)?;
        Ok(topic.id)
    }
}

fn no_partitions(name: &str) -> TopicError {
    let message = format!("topic {name:?} has no partitions: assign at least one");
    TopicError::new(TopicErrorKind::InvalidPartitions, message)
}

/// Refuses more partitions of an internal topic: a key's partition follows from their number, so what was
/// written before wouldn't be found any more. Apache Kafka 4.3.1 adds them.
fn may_grow(topic: &TopicImage) -> TopicResult<()> {
    if !is_internal(topic.name.as_str()) {
        return Ok(());
    }
    let (name, has) = (&topic.name, topic.partitions.len());
    let message = format!(
        "topic {name} is the brokers' own and keeps its {has} partitions: with more, what is in it would \
         not be found any more"
    );
    Err(TopicError::new(TopicErrorKind::InvalidPartitions, message))
}

/// How many partitions a topic gains on its way to `count`.
fn added_partitions(topic: &TopicImage, count: i32) -> TopicResult<usize> {
    let has = topic.partitions.len();
    let invalid = |message: String| Err(TopicError::new(TopicErrorKind::InvalidPartitions, message));
    match usize::try_from(count) {
        Ok(count) if count > has => Ok(count - has),
        Ok(count) if count == has => invalid(format!("topic {} already has {has} partitions", topic.name)),
        _ => invalid(format!(
            "topic {} has {has} partitions: their number can't decrease to {count}",
            topic.name
        )),
    }
}
