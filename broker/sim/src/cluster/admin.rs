//! People: topics are created, deleted and created again, partitions move, brokers are emptied, minimums
//! change.

use ottla_core::metadata::{
    AlterTopicConfigs, Command, ConfigChange, ConfigOperation, CreateTopics, DeleteTopics, DrainBroker,
    ElectLeaders, Election, ElectionKind, NewTopic, ReassignPartitions, Reassignment, TopicConfigChange,
    TopicSelector,
};
use ottla_types::{BrokerId, TopicId};

use super::Key;
use super::net::{Message, Party};
use super::trace::say;
use super::world::{Cluster, Event};
use crate::Violation;

/// The administrator's number as a client.
const ADMIN: Party = Party::Client(usize::MAX);

impl Cluster {
    pub(super) fn administer(&mut self) -> Result<(), Violation> {
        let pace = self.plan.admin_every_ms;
        self.create_missing();
        let is_set_up = self.keys().len() >= self.plan.topics.len() && self.now > 1_000;
        if is_set_up && !self.is_healed {
            self.admin_acts();
        }
        let delay = if is_set_up && !self.is_healed { pace / 2 + self.rng.below(pace) } else { 250 };
        self.after(delay.min(3_000), Event::Admin);
        Ok(())
    }

    pub(super) fn command(&mut self, command: Command) {
        let number = self.next_number();
        self.send(ADMIN, Party::Quorum, Message::Command { number, command: Box::new(command) });
    }

    /// Creates what there should be and isn't.
    fn create_missing(&mut self) {
        let image = self.quorum.committed();
        if image.live_brokers().count() < self.plan.brokers.min(3) {
            return;
        }
        let live = image.live_brokers().count();
        for at in 0..self.plan.topics.len() {
            let name = format!("t{at}");
            let plan = self.plan.topics[at];
            let is_there = self.quorum.committed().topic(&name).is_some();
            if is_there || usize::try_from(plan.factor).is_ok_and(|factor| factor > live) {
                continue;
            }
            let (high, low) = (self.rng.number(), self.rng.number());
            let id = TopicId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes());
            let minimum = ("min.insync.replicas".to_owned(), Some(plan.min_insync.to_string()));
            let topic = NewTopic {
                name,
                id,
                partitions: plan.partitions,
                replication_factor: plan.factor,
                assignments: Vec::new(),
                config: vec![minimum],
            };
            let topics = vec![topic];
            let command = CreateTopics {
                topics,
                validate_only: false,
                default_partitions: 1,
                default_replication_factor: 1,
            };
            self.command(Command::CreateTopics(command));
        }
    }

    fn admin_acts(&mut self) {
        let keys = self.keys();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.rng.below(keys.len() as u64) as usize];
        let broker = super::broker_id(self.rng.below(self.nodes.len() as u64) as usize);
        let command = match self.rng.below(100) {
            0..10 => Command::DeleteTopics(DeleteTopics { topics: vec![TopicSelector::Id(key.0)] }),
            10..45 => self.move_partition(key),
            45..55 => {
                let partitions = vec![Reassignment { topic: key.0, partition: key.1, replicas: None }];
                Command::ReassignPartitions(ReassignPartitions { partitions })
            }
            55..65 => elect(key, ElectionKind::Preferred),
            65..73 => Command::DrainBroker(DrainBroker { id: broker, draining: self.rng.percent(50) }),
            73..93 => self.change_minimum(key),
            _ => return self.elect_uncleanly(),
        };
        say!(self, "people ask for {command:?}");
        self.command(command);
    }

    fn move_partition(&mut self, key: Key) -> Command {
        let mut brokers: Vec<BrokerId> = (0..self.nodes.len()).map(super::broker_id).collect();
        for at in (1..brokers.len()).rev() {
            let other = self.rng.below(at as u64 + 1) as usize;
            brokers.swap(at, other);
        }
        brokers.truncate(1 + self.rng.below(brokers.len() as u64) as usize);
        let partitions = vec![Reassignment { topic: key.0, partition: key.1, replicas: Some(brokers) }];
        Command::ReassignPartitions(ReassignPartitions { partitions })
    }

    fn change_minimum(&mut self, key: Key) -> Command {
        let name = self.quorum.committed().topics[&key.0].name.to_string();
        let minimum = ConfigOperation::Set((1 + self.rng.below(3)).to_string());
        let change = ConfigChange::Incremental(vec![("min.insync.replicas".to_owned(), minimum)]);
        let topics = vec![TopicConfigChange { name, change }];
        Command::AlterTopicConfigs(AlterTopicConfigs { topics, validate_only: false })
    }

    /// Lets any live replica lead a partition that has no leader, if the seed's people are like that.
    fn elect_uncleanly(&mut self) {
        if self.plan.is_reckless {
            let keys = self.leaderless();
            for key in keys {
                self.lead_uncleanly(key);
            }
        }
    }

    pub(super) fn leaderless(&self) -> Vec<Key> {
        let topics = self.quorum.committed().topics.values();
        let partitions =
            topics.flat_map(|topic| topic.numbered().map(move |(index, p)| ((topic.id, index), p)));
        partitions.filter(|(_, partition)| partition.leader.is_none()).map(|(key, _)| key).collect()
    }

    pub(super) fn lead_uncleanly(&mut self, key: Key) {
        let image = self.quorum.committed();
        let Some(partition) = image.topics.get(&key.0).and_then(|topic| topic.partition(key.1)) else {
            return;
        };
        let live = |id: &&BrokerId| image.broker(**id).is_some_and(|broker| broker.is_active());
        let live: Vec<BrokerId> = partition.replicas.iter().filter(live).copied().collect();
        if live.is_empty() {
            return;
        }
        let replica = live[self.rng.below(live.len() as u64) as usize];
        say!(self, "people let broker {replica} lead {:?}, whatever it lacks", super::Named(key));
        self.command(elect(key, ElectionKind::Unclean { replica }));
    }
}

pub(super) fn elect(key: Key, kind: ElectionKind) -> Command {
    Command::ElectLeaders(ElectLeaders { elections: vec![Election { topic: key.0, partition: key.1, kind }] })
}
