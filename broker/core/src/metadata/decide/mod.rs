//! The active controller's decisions: a command and an image → records and an answer. Nothing changes here.

mod brokers;
mod chores;
mod configs;
mod isr;
mod partitions;
mod reassign;
mod refusals;
mod settle;
mod topics;

use ottla_types::{MetadataVersion, ProducerId};

use super::command::{AllocateProducerIds, Command};
use super::image::MetadataImage;
use super::record::Record;
use super::reply::{AllocatedProducerIds, Rejection, Reply};

/// How many partitions a cluster may have.
pub const PARTITIONS_MAX: usize = 200_000;

/// How many partitions one command may create.
pub const PARTITIONS_PER_COMMAND_MAX: usize = 10_000;

/// How many replicas a partition may have.
pub const REPLICATION_FACTOR_MAX: usize = 7;

/// How many producer ids a broker may ask for at once.
const PRODUCER_IDS_PER_COMMAND_MAX: u32 = 100_000;

/// What a command leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What becomes true; none if nothing has to change or the command is refused.
    pub records: Vec<Record>,
    /// The answer, to be told once the records are committed.
    pub outcome: Result<Reply, Rejection>,
}

impl Decision {
    fn refuse(rejection: Rejection) -> Self {
        Self { records: Vec::new(), outcome: Err(rejection) }
    }
}

impl MetadataImage {
    /// Decides about a command. The same image and command always lead to the same decision.
    ///
    /// With the records replayed, the next command can be decided before these are committed; see
    /// [`Self::apply`].
    pub fn decide(&self, command: &Command) -> Decision {
        let decided = match command {
            Command::RegisterBroker(command) => self.register_broker(command),
            Command::FenceBroker(command) => self.fence_broker(command),
            Command::UnfenceBroker(command) => self.unfence_broker(command),
            Command::ControlledShutdown(command) => self.shut_down_broker(command),
            Command::CreateTopics(command) => Ok(self.create_topics(command)),
            Command::DeleteTopics(command) => Ok(self.delete_topics(command)),
            Command::CreatePartitions(command) => Ok(self.create_partitions(command)),
            Command::AlterTopicConfigs(command) => Ok(self.alter_topic_configs(command)),
            Command::AllocateProducerIds(command) => self.allocate_producer_ids(command),
            Command::SubmitAssignments(command) => self.submit_assignments(command),
            Command::ApplyTopic(command) => self.apply_topic(command),
            Command::AlterPartitions(command) => self.alter_partitions(command),
            Command::ElectLeaders(command) => Ok(self.elect_leaders(command)),
            Command::ReassignPartitions(command) => Ok(self.reassign_partitions(command)),
            Command::DrainBroker(command) => self.drain_broker(command),
            Command::UnregisterBroker(command) => self.unregister_broker(command),
            Command::AlterBrokerConfigs(command) => Ok(self.alter_broker_configs(command)),
        };
        match decided {
            Ok((records, reply)) => Decision { records, outcome: Ok(reply) },
            Err(rejection) => Decision::refuse(rejection),
        }
    }

    fn allocate_producer_ids(&self, command: &AllocateProducerIds) -> Decided {
        self.present_broker(command.id, command.epoch)?;
        if command.count == 0 || command.count > PRODUCER_IDS_PER_COMMAND_MAX {
            let message =
                format!("ask for 1 to {PRODUCER_IDS_PER_COMMAND_MAX} producer ids, not {}", command.count);
            return Err(Rejection::Invalid { message });
        }
        let first = self.next_producer_id;
        let next = first.0.checked_add(i64::from(command.count)).map(ProducerId);
        let next =
            next.ok_or_else(|| Rejection::Invalid { message: "all producer ids are used up".to_owned() })?;
        let reply = AllocatedProducerIds { first, count: command.count };
        Ok((vec![Record::ProducerIdsAllocated { next }], Reply::ProducerIdsAllocated(reply)))
    }

    /// Refuses what was computed from a version that isn't today's metadata any more.
    fn unchanged_since(&self, given: MetadataVersion) -> Result<(), Rejection> {
        if given < self.changed {
            return Err(Rejection::StaleMetadataVersion { given, changed: self.changed });
        }
        Ok(())
    }
}

/// Records and the answer, or why not.
type Decided = Result<(Vec<Record>, Reply), Rejection>;

/// An image under which a command's own records already are, so that its later parts see its earlier ones.
struct Draft {
    image: MetadataImage,
    records: Vec<Record>,
    /// By those records.
    partitions_added: usize,
}

impl Draft {
    fn new(image: &MetadataImage) -> Self {
        Self { image: image.clone(), records: Vec::new(), partitions_added: 0 }
    }

    fn push(&mut self, record: Record) {
        self.image.replay(&record);
        if let Record::PartitionsCreated { partitions, .. } = &record {
            self.partitions_added += partitions.len();
        }
        self.records.push(record);
    }
}
