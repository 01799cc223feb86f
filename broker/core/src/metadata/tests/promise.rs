//! What was acknowledged is never given up without an administrator's word, whatever brokers and people do.
//!
//! A model of the records beside the image: as long as enough are in sync, everything is acknowledged at once
//! and is on all of them. Whoever joins has caught up. So it is known of each disk how much of it that has,
//! and who leads or may lead must have all.

use std::collections::BTreeMap;

use ottla_types::{BrokerId, LeaderEpoch};
use proptest::prelude::*;

use super::*;

const BROKERS: i32 = 5;

/// One thing that happens; names and numbers are made to fit what is there.
#[derive(Clone, Debug)]
enum Step {
    Register {
        id: i32,
        disk: u8,
        clean: bool,
        min: Option<usize>,
    },
    Unfence(i32),
    Fence(i32),
    Stop(i32),
    Drain(i32, bool),
    Unregister(i32),
    SetIsr {
        topic: usize,
        members: u8,
    },
    /// A leader that sees nothing new repeats what it once asked for.
    Stale(usize),
    Prefer(usize),
    Unclean {
        topic: usize,
        replica: usize,
    },
    Reassign {
        topic: usize,
        replicas: Option<Vec<i32>>,
    },
    Configure {
        topic: usize,
        key: &'static str,
        value: &'static str,
    },
    Recreate {
        topic: usize,
        replicas: Vec<i32>,
    },
    Chores,
}

fn any_step() -> impl Strategy<Value = Step> {
    let broker = || 0..BROKERS;
    let topic = || 0usize..2;
    let replicas = || {
        let all: Vec<i32> = (0..BROKERS).collect();
        prop::sample::subsequence(all, 1..=4).prop_shuffle()
    };
    let config = prop::sample::select(vec![
        ("min.insync.replicas", "1"),
        ("min.insync.replicas", "2"),
        ("min.insync.replicas", "3"),
        ("ack.durability", "written"),
        ("ack.durability", "synced"),
    ]);
    prop_oneof![
        6 => (broker(), prop::bool::weighted(0.15), any::<bool>(), prop::option::weighted(0.1, 1usize..4))
            .prop_map(|(id, wiped, clean, min)| Step::Register { id, disk: 1 + u8::from(wiped), clean, min }),
        10 => broker().prop_map(Step::Unfence),
        8 => broker().prop_map(Step::Fence),
        2 => broker().prop_map(Step::Stop),
        2 => (broker(), any::<bool>()).prop_map(|(id, draining)| Step::Drain(id, draining)),
        1 => broker().prop_map(Step::Unregister),
        12 => (topic(), any::<u8>()).prop_map(|(topic, members)| Step::SetIsr { topic, members }),
        2 => any::<usize>().prop_map(Step::Stale),
        2 => topic().prop_map(Step::Prefer),
        1 => (topic(), 0usize..4).prop_map(|(topic, replica)| Step::Unclean { topic, replica }),
        4 => (topic(), prop::option::weighted(0.8, replicas()))
            .prop_map(|(topic, replicas)| Step::Reassign { topic, replicas }),
        2 => (topic(), config).prop_map(|(topic, (key, value))| Step::Configure { topic, key, value }),
        1 => (topic(), replicas()).prop_map(|(topic, replicas)| Step::Recreate { topic, replicas }),
        3 => Just(Step::Chores),
    ]
}

/// What is true of the records of one topic's partition.
#[derive(Default)]
struct Records {
    /// How much was acknowledged.
    acknowledged: u64,
    /// How much of it each disk has.
    on: BTreeMap<(BrokerId, DirectoryId), u64>,
    /// On how many disks the last of it was, less those that were lost since.
    copies: usize,
    /// Who led in each epoch, with which registration.
    leaders: BTreeMap<LeaderEpoch, (BrokerId, BrokerEpoch)>,
    leader_epoch: LeaderEpoch,
}

struct Model {
    world: World,
    records: BTreeMap<TopicId, Records>,
    asked: Vec<AlterPartitions>,
    created: u8,
}

impl Model {
    fn new() -> Self {
        let mut model =
            Self { world: World::with_brokers(BROKERS), records: BTreeMap::new(), asked: vec![], created: 0 };
        model.recreate(0, &[0, 1, 2]);
        model.recreate(1, &[3, 4]);
        model
    }

    fn name(topic: usize) -> &'static str {
        ["first", "second"][topic]
    }

    fn recreate(&mut self, topic: usize, replicas: &[i32]) {
        let delete = DeleteTopics { topics: vec![TopicSelector::Name(Self::name(topic).to_owned())] };
        self.act(Command::DeleteTopics(delete));
        self.created += 1;
        let id = TopicId([self.created; 16]);
        self.act(Command::CreateTopics(create(vec![NewTopic {
            id,
            ..by_hand(Self::name(topic), &[replicas])
        }])));
    }

    fn commands(&mut self, step: Step) -> Vec<Command> {
        let world = &self.world;
        let with = |topic: usize| {
            let topic = world.image.topic(Self::name(topic))?;
            Some((topic.id, &topic.partitions[0]))
        };
        let partition = PartitionIndex(0);
        let elect = |topic, kind| {
            Command::ElectLeaders(ElectLeaders { elections: vec![Election { topic, partition, kind }] })
        };
        let command = match step {
            Step::Register { id, disk, clean, min } => Some(started(world, id, disk, clean, min)),
            Step::Unfence(id) => {
                Some(Command::UnfenceBroker(UnfenceBroker { id: BrokerId(id), epoch: world.epoch(id) }))
            }
            Step::Fence(id) => {
                Some(Command::FenceBroker(FenceBroker { id: BrokerId(id), epoch: world.epoch(id) }))
            }
            Step::Stop(id) => Some(Command::ControlledShutdown(ControlledShutdown {
                id: BrokerId(id),
                epoch: world.epoch(id),
            })),
            Step::Drain(id, draining) => {
                Some(Command::DrainBroker(DrainBroker { id: BrokerId(id), draining }))
            }
            Step::Unregister(id) => Some(Command::UnregisterBroker(UnregisterBroker { id: BrokerId(id) })),
            Step::SetIsr { topic, members } => with(topic).and_then(|(_, partition)| {
                let leader = partition.leader?;
                let chosen = partition.replicas.iter().enumerate();
                let chosen = chosen.filter(|(n, id)| **id == leader || members & (1 << n) != 0);
                let isr: Vec<i32> = chosen.map(|(_, id)| id.0).collect();
                let asked = world.asked(Self::name(topic), &isr);
                self.asked.push(asked.clone());
                Some(Command::AlterPartitions(asked))
            }),
            Step::Stale(n) => self
                .asked
                .get(n.checked_rem(self.asked.len()).unwrap_or(0))
                .cloned()
                .map(Command::AlterPartitions),
            Step::Prefer(topic) => with(topic).map(|(id, _)| elect(id, ElectionKind::Preferred)),
            Step::Unclean { topic, replica } => with(topic).map(|(id, partition)| {
                let replica = partition.replicas[replica % partition.replicas.len()];
                elect(id, ElectionKind::Unclean { replica })
            }),
            Step::Reassign { topic, replicas } => with(topic).map(|(topic, _)| {
                let replicas = replicas.as_deref().map(ids);
                let partitions = vec![Reassignment { topic, partition, replicas }];
                Command::ReassignPartitions(ReassignPartitions { partitions })
            }),
            Step::Configure { topic, key, value } => {
                let set = vec![(key.to_owned(), ConfigOperation::Set(value.to_owned()))];
                let (name, change) = (Self::name(topic).to_owned(), ConfigChange::Incremental(set));
                let topics = vec![TopicConfigChange { name, change }];
                Some(Command::AlterTopicConfigs(AlterTopicConfigs { topics, validate_only: false }))
            }
            Step::Recreate { topic, replicas } => {
                self.recreate(topic, &replicas);
                None
            }
            Step::Chores => return world.image.chores(),
        };
        command.into_iter().collect()
    }

    /// Carries out a command, which must keep the image sound, and looks at what it did to the records.
    fn act(&mut self, command: Command) {
        let before = self.world.image.clone();
        if self.world.run(command.clone()).is_err() {
            return;
        }
        let image = self.world.image.clone();
        for topic in image.topics.values() {
            let records = self.records.entry(topic.id).or_default();
            let old = before.topics.get(&topic.id).map(|topic| &topic.partitions[0]);
            look(records, &image, topic, old, &command);
        }
        self.records.retain(|id, _| image.topics.contains_key(id));
    }
}

fn started(world: &World, id: i32, disk: u8, clean_shutdown: bool, min: Option<usize>) -> Command {
    let Command::RegisterBroker(command) = register(id, disk) else { unreachable!() };
    Command::RegisterBroker(RegisterBroker {
        incarnation: IncarnationId(world.image.version.0.into()),
        clean_shutdown,
        min_insync_replicas: min,
        ..command
    })
}

fn look(
    records: &mut Records,
    image: &MetadataImage,
    topic: &TopicImage,
    old: Option<&PartitionImage>,
    command: &Command,
) {
    let now = &topic.partitions[0];
    let disk_of = |id: &BrokerId| (*id, now.directory_of(*id).unwrap());
    assert!(now.leader_epoch >= records.leader_epoch, "{now:?}");
    records.leader_epoch = now.leader_epoch;
    if let Some(leader) = now.leader {
        let led_by = (leader, image.brokers[&leader].epoch);
        let first = *records.leaders.entry(now.leader_epoch).or_insert(led_by);
        assert_eq!(first, led_by, "one leader and one registration an epoch: {now:?}");
    }
    if let Command::RegisterBroker(register) = command {
        lose(records, image, topic, old, register);
    }
    let is_unclean = now.unclean != old.and_then(|old| old.unclean.clone());
    if is_unclean {
        assert!(matches!(command, Command::ElectLeaders(_)));
        records.acknowledged = records.on.get(&disk_of(&now.isr[0])).copied().unwrap_or(0);
        for has in records.on.values_mut() {
            *has = (*has).min(records.acknowledged);
        }
        records.copies = 1;
    }
    // Whoever a leader lets in has caught up.
    if matches!(command, Command::AlterPartitions(_)) {
        for id in now.isr.iter().filter(|id| old.is_some_and(|old| !old.isr.contains(id))) {
            records.on.insert(disk_of(id), records.acknowledged);
        }
    }
    for id in now.isr.iter().chain(&now.elr) {
        let has = records.on.get(&disk_of(id)).copied().unwrap_or(0);
        assert_eq!(has, records.acknowledged, "{id} lacks what was acknowledged: {now:?} after {command:?}");
    }
    let min = image.min_insync_replicas(topic, now);
    if now.leader.is_some() && now.isr.len() >= min {
        records.acknowledged += 1;
        for id in &now.isr {
            records.on.insert(disk_of(id), records.acknowledged);
        }
        records.copies = min;
    }
    let kept = now.isr.len() + now.elr.len();
    assert!(
        kept >= records.copies,
        "{kept} of {} copies are kept: {now:?} after {command:?}",
        records.copies
    );
}

/// A broker came back: with another disk, or without what it had only written.
fn lose(
    records: &mut Records,
    image: &MetadataImage,
    topic: &TopicImage,
    old: Option<&PartitionImage>,
    register: &RegisterBroker,
) {
    let now = &topic.partitions[0];
    let Some(old) = old.filter(|old| old.is_complete(register.id)) else { return };
    let lost_writes = image.acks_written(topic) && !register.clean_shutdown;
    let is_wiped = old.directory_of(register.id) != Some(register.directory_id);
    if !now.is_complete(register.id) {
        let is_enough = now.isr.len() >= image.min_insync_replicas(topic, now);
        assert!(
            lost_writes || is_wiped || is_enough,
            "a replica on {} was given up for nothing",
            register.id
        );
        records.copies = records.copies.saturating_sub(1);
    } else if lost_writes {
        // The last one is trusted all the same, with what it has left. That is what `written` means.
        assert!(now.isr.len() + now.elr.len() == 1, "{now:?}");
    } else if is_wiped {
        assert!(now.isr.len() + now.elr.len() == 1 && now.leader.is_none(), "{now:?}");
    }
    // The records of a disk that is away are still on it.
    if lost_writes && !now.is_complete(register.id) {
        records.on.insert((register.id, old.directory_of(register.id).unwrap()), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn who_may_lead_has_all_that_was_acknowledged(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            for command in model.commands(step) {
                model.act(command);
            }
        }
        let MetadataImage { cluster_id, version, changed, .. } = model.world.image;
        let restored = MetadataImage::from_records(cluster_id, version, changed, &model.world.image.records());
        prop_assert_eq!(&restored, &model.world.image);
    }
}
