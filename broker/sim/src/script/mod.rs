//! Known schedules, step by step: the shipped controller and replicas of one partition, with every message
//! and every loss in the script's hand. For what random schedules hardly ever come upon, as several rare
//! things have to meet, and for what Kafka learned (KIP-101, 279, 320, 903, 966).
//!
//! Logs are lists of values here; what is written is acknowledged, and `lose` says what a power loss takes.
//! Not here: time, stores and networks, which [`crate::run_cluster`] has.

mod schedules;

use std::collections::BTreeMap;

use ottla_core::metadata::{
    AlterPartition, AlterPartitions, AlterTopicConfigs, Command, ConfigChange, ConfigOperation, CreateTopics,
    ElectLeaders, Election, ElectionKind, FenceBroker, IncarnationId, IsrMember, MetadataImage,
    NewPartitionAssignment, NewTopic, PartitionImage, ReassignPartitions, Reassignment, RegisterBroker,
    Rejection, Reply, TopicConfigChange, UnfenceBroker,
};
use ottla_core::partition::{
    Assignment, Committed, FetchAnswer, FetchSpec, FollowerFetch, FollowerStep, IsrProposal, LogFacts,
    Replica,
};
use ottla_types::{
    BrokerEpoch, BrokerId, ClusterId, DirectoryId, LeaderEpoch, MetadataVersion, Offset, PartitionIndex,
    PlantedBug, TopicId,
};

use crate::Violation;
use crate::shadow::demand;

const TOPIC: TopicId = TopicId([7; 16]);
const PARTITION: PartitionIndex = PartitionIndex(0);
/// How long a follower may lag.
const LAG_MAX_MS: u64 = 1_000;

/// A schedule; it ends with a violation if a promise is broken.
pub type Schedule = fn() -> Result<(), Violation>;

/// The schedule that was written for a bug, if there is one.
pub fn schedule_for(bug: PlantedBug) -> Option<Schedule> {
    schedules::ALL.iter().find(|(of, _)| *of == bug).map(|(_, schedule)| *schedule)
}

/// A record: the epoch of its leader, and a value that no other has.
type Entry = (LeaderEpoch, u64);

struct Broker {
    epoch: BrokerEpoch,
    disk: u8,
    replica: Replica,
    log: Vec<Entry>,
    /// What is before is let go.
    start: usize,
}

/// A follower's question on its way.
struct Question {
    spec: FetchSpec,
    fetch: FollowerFetch,
}

struct Script {
    image: MetadataImage,
    brokers: BTreeMap<i32, Broker>,
    values: u64,
    processes: u128,
    /// What producers were told to be safe, by offset.
    acknowledged: BTreeMap<usize, Entry>,
    /// What is before may have been let go.
    let_go_to: usize,
}

fn facts(log: &[Entry], start: usize) -> LogFacts {
    let end = Offset(log.len() as i64);
    LogFacts { start: Offset(start as i64), end, synced: end }
}

fn end_of_epoch(log: &[Entry], start: usize, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
    let count = log[start..].partition_point(|entry| entry.0 <= epoch);
    Some((log[start..][..count].last()?.0, Offset((start + count) as i64)))
}

fn directory(id: i32, disk: u8) -> DirectoryId {
    let mut bytes = [disk; 16];
    bytes[0] = id.to_le_bytes()[0];
    DirectoryId(bytes)
}

impl Script {
    /// Live brokers, and a partition on them that the first one leads. Topics acknowledge what is only
    /// written, so that a power loss may take what was acknowledged.
    fn new(replicas: &[i32], minimum: usize) -> Self {
        let image = MetadataImage::new(ClusterId([1; 16]));
        let mut script = Self {
            image,
            brokers: BTreeMap::new(),
            values: 0,
            processes: 0,
            acknowledged: BTreeMap::new(),
            let_go_to: 0,
        };
        for id in 1..=3 {
            script.begin(id, 1, Vec::new());
            script.unfence(id);
        }
        let replicas = replicas.iter().copied().map(BrokerId).collect();
        let topic = NewTopic {
            name: "t".to_owned(),
            id: TOPIC,
            partitions: -1,
            replication_factor: -1,
            assignments: vec![NewPartitionAssignment { partition: PARTITION, replicas }],
            config: vec![("min.insync.replicas".to_owned(), Some(minimum.to_string()))],
        };
        let command = CreateTopics {
            topics: vec![topic],
            validate_only: false,
            default_partitions: 1,
            default_replication_factor: 1,
        };
        script.must(Command::CreateTopics(command));
        script.learn(&[1, 2, 3]);
        script
    }

    fn decide(&mut self, command: Command) -> Result<Reply, Rejection> {
        let decision = self.image.decide(&command);
        self.image.apply(MetadataVersion(self.image.version.0 + 1), &decision.records);
        decision.outcome
    }

    fn must(&mut self, command: Command) -> Reply {
        self.decide(command).unwrap_or_else(|rejection| panic!("a schedule's own command: {rejection}"))
    }

    fn broker(&mut self, id: i32) -> &mut Broker {
        self.brokers.get_mut(&id).expect("it runs")
    }

    /// A process begins on what its disk holds, and registers: fenced, with a new epoch.
    fn begin(&mut self, id: i32, disk: u8, log: Vec<Entry>) {
        self.processes += 1;
        let command = Command::RegisterBroker(RegisterBroker {
            acks_written: true,
            ..RegisterBroker::new(BrokerId(id), IncarnationId(self.processes), directory(id, disk))
        });
        let Ok(Reply::BrokerRegistered(epoch)) = self.decide(command) else {
            panic!("broker {id} registers")
        };
        let replica = Replica::new(BrokerId(id), Offset(0), facts(&log, 0), LAG_MAX_MS);
        self.brokers.insert(id, Broker { epoch, disk, replica, log, start: 0 });
    }

    /// The power goes and comes back: only the first `kept` records are left.
    fn lose(&mut self, id: i32, kept: usize) {
        self.fence(id);
        let Broker { disk, log, .. } = self.broker(id);
        let (disk, kept) = (*disk, log[..kept].to_vec());
        self.begin(id, disk, kept);
        self.unfence(id);
    }

    /// The disk is gone, and the broker with it.
    fn destroy(&mut self, id: i32) {
        self.fence(id);
        self.brokers.remove(&id);
    }

    fn fence(&mut self, id: i32) {
        let (id, epoch) = (BrokerId(id), self.brokers[&id].epoch);
        self.must(Command::FenceBroker(FenceBroker { id, epoch }));
    }

    fn unfence(&mut self, id: i32) {
        let (id, epoch) = (BrokerId(id), self.brokers[&id].epoch);
        self.must(Command::UnfenceBroker(UnfenceBroker { id, epoch }));
    }

    fn set_minimum(&mut self, minimum: usize) {
        let set = ("min.insync.replicas".to_owned(), ConfigOperation::Set(minimum.to_string()));
        let topics =
            vec![TopicConfigChange { name: "t".to_owned(), change: ConfigChange::Incremental(vec![set]) }];
        let command = AlterTopicConfigs { topics, validate_only: false };
        self.must(Command::AlterTopicConfigs(command));
    }

    fn move_to(&mut self, replicas: &[i32]) {
        let replicas = Some(replicas.iter().copied().map(BrokerId).collect());
        let partitions = vec![Reassignment { topic: TOPIC, partition: PARTITION, replicas }];
        self.must(Command::ReassignPartitions(ReassignPartitions { partitions }));
    }

    /// These brokers follow the newest image.
    fn learn(&mut self, ids: &[i32]) {
        for id in ids {
            let Some(assignment) = Assignment::of(&self.image, &self.image.topics[&TOPIC], PARTITION) else {
                panic!("the partition isn't deleted")
            };
            let broker = self.broker(*id);
            let _ = broker.replica.on_image(assignment, facts(&broker.log, broker.start), 0);
        }
        self.acknowledge();
    }

    /// A producer's record, as far as the leader takes it.
    fn append(&mut self, id: i32) {
        self.values += 1;
        let value = self.values;
        let Broker { replica, log, start, .. } = self.broker(id);
        let Ok(epoch) = replica.check_append(false) else { panic!("broker {id} doesn't lead") };
        log.push((epoch, value));
        replica.on_append(facts(log, *start).end, 0);
        let _ = replica.on_synced(facts(log, *start));
        self.acknowledge();
    }

    fn ask(&self, id: i32) -> Question {
        let Broker { epoch, disk, replica, log, start } = &self.brokers[&id];
        let Some(spec) = replica.fetch_spec(facts(log, *start), log[*start..].last().map(|entry| entry.0))
        else {
            panic!("broker {id} doesn't follow")
        };
        let fetch = FollowerFetch {
            broker: BrokerId(id),
            broker_epoch: *epoch,
            directory: directory(id, *disk),
            leader_epoch: spec.leader_epoch,
            fetch_offset: spec.fetch_offset,
            last_epoch: spec.last_epoch,
        };
        Question { spec, fetch }
    }

    /// A leader hears a question: its answer with the records, unless it refuses, and what it proposes.
    fn hear(
        &mut self,
        leader: i32,
        question: &Question,
    ) -> (Option<(FetchAnswer, Vec<Entry>)>, Option<IsrProposal>) {
        let Broker { replica, log, start, .. } = self.broker(leader);
        let (start, log_facts) = (*start, facts(log, *start));
        let heard = replica.on_fetch(&question.fetch, log_facts, |epoch| end_of_epoch(log, start, epoch), 0);
        let Ok((verdict, change)) = heard else { return (None, None) };
        let high_watermark = replica.high_watermark();
        let answer =
            FetchAnswer { asked: question.spec, verdict, high_watermark, log_start: log_facts.start };
        let records = self.records_from(leader, question.spec.fetch_offset);
        self.acknowledge();
        (Some((answer, records)), change.proposal)
    }

    /// What a broker's log holds now where a follower's answer was to begin.
    fn records_from(&self, id: i32, offset: Offset) -> Vec<Entry> {
        self.brokers[&id].log.get(offset.0 as usize..).unwrap_or_default().to_vec()
    }

    fn take(&mut self, id: i32, (answer, records): (FetchAnswer, Vec<Entry>)) {
        let Broker { replica, log, start, .. } = self.broker(id);
        match replica.on_answer(&answer, facts(log, *start), |epoch| end_of_epoch(log, *start, epoch)) {
            FollowerStep::Ignore => {}
            FollowerStep::Append(up_to) => {
                log.extend(records.into_iter().take_while(|record| record.0 <= up_to));
                let _ = replica.on_appended(&answer, facts(log, *start));
            }
            FollowerStep::Truncate(offset) => {
                log.truncate(offset.0 as usize);
                let _ = replica.on_truncated(facts(log, *start));
            }
            FollowerStep::Reset(offset) => {
                // Nothing is looked at before its start.
                *start = offset.0 as usize;
                log.resize(*start, (LeaderEpoch(-1), 0));
                let _ = replica.on_truncated(facts(log, *start));
            }
        }
    }

    /// One question and its answer.
    fn fetch_once(&mut self, follower: i32, leader: i32) {
        let question = self.ask(follower);
        if let (Some(answer), _) = self.hear(leader, &question) {
            self.take(follower, answer);
        }
    }

    /// A follower fetches until there is nothing more, which the leader hears of; what the leader proposes
    /// last.
    fn fetch(&mut self, follower: i32, leader: i32) -> Option<IsrProposal> {
        let mut proposed = None;
        for _ in 0..4 {
            let question = self.ask(follower);
            let (answer, proposal) = self.hear(leader, &question);
            proposed = proposal.or(proposed);
            let Some(answer) = answer else { break };
            self.take(follower, answer);
        }
        proposed
    }

    /// A follower fetches until it has everything, and its leader proposes that it joins.
    fn catch_up(&mut self, follower: i32, leader: i32) -> IsrProposal {
        self.fetch(follower, leader).unwrap_or_else(|| panic!("broker {follower} isn't proposed"))
    }

    /// The leader looks around, much later.
    fn tick(&mut self, leader: i32) -> Option<IsrProposal> {
        let Broker { replica, log, start, .. } = self.broker(leader);
        replica.on_tick(facts(log, *start), 10 * LAG_MAX_MS)
    }

    /// A proposal reaches the controller.
    fn propose(&mut self, leader: i32, proposal: &IsrProposal) -> bool {
        let isr = proposal.isr.iter().map(|&(broker, broker_epoch)| IsrMember { broker, broker_epoch });
        let partition = AlterPartition {
            topic: TOPIC,
            partition: PARTITION,
            leader_epoch: proposal.leader_epoch,
            partition_epoch: proposal.partition_epoch,
            isr: isr.collect(),
        };
        let (broker, broker_epoch) = (BrokerId(leader), self.brokers[&leader].epoch);
        let partitions = vec![partition];
        let command = AlterPartitions { broker, broker_epoch, partitions };
        let reply = self.decide(Command::AlterPartitions(command));
        matches!(reply, Ok(Reply::PartitionsAltered(results)) if results[0].is_ok())
    }

    /// The leader hears that its proposal was refused.
    fn refused(&mut self, leader: i32, proposal: &IsrProposal) {
        let Broker { replica, log, start, .. } = self.broker(leader);
        let _ = replica.on_proposal_refused(proposal, facts(log, *start));
    }

    /// A broker lets go what is before this offset.
    fn let_go(&mut self, id: i32, offset: usize) {
        let Broker { replica, log, start, .. } = self.broker(id);
        *start = offset;
        let _ = replica.on_log_start(facts(log, *start));
        self.let_go_to = self.let_go_to.max(offset);
    }

    /// An administrator lets this broker lead without what was acknowledged.
    fn elect_unclean(&mut self, id: i32) {
        let kind = ElectionKind::Unclean { replica: BrokerId(id) };
        let elections = vec![Election { topic: TOPIC, partition: PARTITION, kind }];
        self.must(Command::ElectLeaders(ElectLeaders { elections }));
        self.acknowledged.clear();
        self.let_go_to = 0;
    }

    fn partition(&self) -> &PartitionImage {
        self.image.topics[&TOPIC].partition(PARTITION).expect("it is there")
    }

    /// Producers are told of what any leader holds for safe.
    fn acknowledge(&mut self) {
        for Broker { replica, log, start, .. } in self.brokers.values() {
            for (offset, entry) in log.iter().enumerate().skip(*start) {
                if replica.committed(Offset(offset as i64), replica.leader_epoch()) == Committed::Yes {
                    self.acknowledged.entry(offset).or_insert(*entry);
                }
            }
        }
    }

    /// Everybody who may lead has what was acknowledged, and if something was, a disk of theirs is left. No
    /// schedule takes more disks than the minimum allows for.
    fn judge(&self) -> Result<(), Violation> {
        let partition = self.partition();
        let mut holders = 0;
        for id in partition.isr.iter().chain(&partition.elr) {
            let Some(broker) = self.brokers.get(&id.0) else { continue };
            if partition.directory_of(*id) != Some(directory(id.0, broker.disk)) {
                continue;
            }
            holders += 1;
            for (offset, entry) in self.acknowledged.range(broker.start.min(self.let_go_to)..) {
                let held = broker.log.get(*offset);
                demand!(held == Some(entry), "broker {id} may lead: {held:?} at {offset}, not {entry:?}");
            }
        }
        demand!(holders > 0 || self.acknowledged.is_empty(), "no disk of those that may lead is left");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ottla_types::plant;

    use super::*;

    #[test]
    fn each_schedule_finds_its_bug_and_nothing_else() {
        for (bug, schedule) in schedules::ALL {
            schedule().unwrap_or_else(|violation| panic!("{bug:?}: {violation}"));
            plant(Some(*bug));
            let found = schedule();
            plant(None);
            assert!(found.is_err(), "{bug:?} isn't found");
        }
    }
}
