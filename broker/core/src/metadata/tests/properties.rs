//! Any sequence of commands keeps the invariants, and the log and a snapshot lead to the same image.

use proptest::prelude::*;

use super::*;

fn any_command() -> impl Strategy<Value = (Command, bool)> {
    let broker = || 0i32..4;
    let name = || prop::sample::select(vec!["a", "b", "a.b", "a_b", "no good", "c"]);
    let epoch_is_right = || prop::bool::weighted(0.9);
    let command = prop_oneof![
        4 => (broker(), 1u8..3).prop_map(|(id, disk)| register(id, disk)),
        6 => broker().prop_map(unfence),
        2 => broker().prop_map(|id| Command::FenceBroker(FenceBroker { id: BrokerId(id), epoch: BrokerEpoch(0) })),
        1 => broker().prop_map(shutdown),
        4 => (name(), -1i32..6, 0u8..8).prop_map(|(name, count, id)| {
            let fresh = TopicId([id.max(1); 16]);
            Command::CreateTopics(create(vec![NewTopic { id: fresh, ..topic(name, count) }]))
        }),
        2 => (name(), prop::collection::vec(0i32..5, 1..4), 0u8..8).prop_map(|(name, brokers, id)| {
            let replicas: Vec<&[i32]> = brokers.chunks(1).collect();
            let fresh = TopicId([id.max(1); 16]);
            Command::CreateTopics(create(vec![NewTopic { id: fresh, ..by_hand(name, &replicas) }]))
        }),
        1 => name().prop_map(|name| {
            Command::DeleteTopics(DeleteTopics { topics: vec![TopicSelector::Name(name.to_owned())] })
        }),
        2 => (name(), 0i32..9, any::<u64>()).prop_map(|(name, count, seed)| {
            let topics = vec![NewPartitions { name: name.to_owned(), count, assignments: None }];
            Command::CreatePartitions(CreatePartitions { topics, validate_only: seed % 5 == 0, seed })
        }),
        1 => (name(), prop::sample::select(vec!["1", "-1", "x"])).prop_map(|(name, value)| {
            let set = ("retention.ms".to_owned(), ConfigOperation::Set(value.to_owned()));
            let change = TopicConfigChange { name: name.to_owned(), change: ConfigChange::Incremental(vec![set]) };
            Command::AlterTopicConfigs(AlterTopicConfigs { topics: vec![change], validate_only: false })
        }),
        1 => (broker(), 0u32..5).prop_map(|(id, count)| {
            Command::AllocateProducerIds(AllocateProducerIds { id: BrokerId(id), epoch: BrokerEpoch(0), count })
        }),
        1 => (broker(), any::<bool>())
            .prop_map(|(id, draining)| Command::DrainBroker(DrainBroker { id: BrokerId(id), draining })),
        1 => broker().prop_map(|id| Command::UnregisterBroker(UnregisterBroker { id: BrokerId(id) })),
        2 => (0u8..8, 0i32..4, prop::option::of(prop::collection::vec(broker(), 1..3))).prop_map(
            |(id, partition, replicas)| {
                let replicas = replicas.map(|replicas| ids(&replicas));
                let topic = TopicId([id.max(1); 16]);
                let moved = Reassignment { topic, partition: PartitionIndex(partition), replicas };
                Command::ReassignPartitions(ReassignPartitions { partitions: vec![moved] })
            }
        ),
        1 => (0u8..8, 0i32..4).prop_map(|(id, partition)| {
            let topic = TopicId([id.max(1); 16]);
            let kind = ElectionKind::Preferred;
            let election = Election { topic, partition: PartitionIndex(partition), kind };
            Command::ElectLeaders(ElectLeaders { elections: vec![election] })
        }),
        1 => (name(), 0i32..5, broker(), 0u64..40).prop_map(|(name, partition, broker, version)| {
            let replicas = ids(&[broker]);
            let assignment =
                ReplicaAssignment { topic: name.to_owned(), partition: PartitionIndex(partition), replicas };
            let version = MetadataVersion(version);
            Command::SubmitAssignments(SubmitAssignments { version, partitions: vec![assignment] })
        }),
    ];
    (command, epoch_is_right())
}

fn unfence(id: i32) -> Command {
    Command::UnfenceBroker(UnfenceBroker { id: BrokerId(id), epoch: BrokerEpoch(0) })
}

fn shutdown(id: i32) -> Command {
    Command::ControlledShutdown(ControlledShutdown { id: BrokerId(id), epoch: BrokerEpoch(0) })
}

/// Puts in the epoch that the broker has now.
fn with_epoch(world: &World, mut command: Command) -> Command {
    let slot = match &mut command {
        Command::UnfenceBroker(UnfenceBroker { id, epoch })
        | Command::FenceBroker(FenceBroker { id, epoch })
        | Command::ControlledShutdown(ControlledShutdown { id, epoch })
        | Command::AllocateProducerIds(AllocateProducerIds { id, epoch, .. }) => Some((*id, epoch)),
        _ => None,
    };
    if let Some((id, epoch)) = slot {
        *epoch = world.epoch(id.0);
    }
    command
}

/// Ids are random outside of tests; here they may come again, which a proposer never does.
fn reuses_an_id(world: &World, command: &Command) -> bool {
    match command {
        Command::CreateTopics(create) => create.topics.iter().any(|topic| {
            world
                .log
                .iter()
                .flatten()
                .any(|record| matches!(record, Record::TopicCreated { id, .. } if *id == topic.id))
        }),
        _ => false,
    }
}

proptest! {
    #[test]
    fn invariants_hold_and_log_and_snapshot_agree(commands in prop::collection::vec(any_command(), 1..80)) {
        let mut world = World::new();
        for (command, right_epoch) in commands {
            let command = if right_epoch { with_epoch(&world, command) } else { command };
            if !reuses_an_id(&world, &command) {
                // It checks the image after each.
                let _ = world.run(command);
            }
        }
        let mut replayed = MetadataImage::new(world.image.cluster_id);
        for (version, records) in (1..).map(MetadataVersion).zip(&world.log) {
            let json = serde_json::to_string(records).unwrap();
            replayed.apply(version, &serde_json::from_str::<Vec<Record>>(&json).unwrap());
        }
        prop_assert_eq!(&replayed, &world.image);
        let MetadataImage { cluster_id, version, changed, .. } = world.image;
        let restored = MetadataImage::from_records(cluster_id, version, changed, &world.image.records());
        prop_assert_eq!(&restored, &world.image);
    }

    #[test]
    fn deciding_changes_nothing_and_repeats_itself(commands in prop::collection::vec(any_command(), 1..30)) {
        let mut world = World::with_brokers(3);
        for (command, _) in commands {
            let command = with_epoch(&world, command);
            if reuses_an_id(&world, &command) {
                continue;
            }
            let before = world.image.clone();
            prop_assert_eq!(world.image.decide(&command), world.image.decide(&command));
            prop_assert_eq!(&before, &world.image);
            let _ = world.run(command);
        }
    }

    /// A command whose answer got lost is sent again.
    #[test]
    fn a_command_that_is_sent_again_changes_nothing_more(commands in prop::collection::vec(any_command(), 1..40)) {
        let mut world = World::with_brokers(3);
        for (command, _) in commands {
            let command = with_epoch(&world, command);
            if reuses_an_id(&world, &command) {
                continue;
            }
            let _ = world.run(command.clone());
            // One more epoch, or block of ids, that nobody uses.
            let gives_out = matches!(command, Command::RegisterBroker(_) | Command::AllocateProducerIds(_));
            let again = world.image.decide(&command);
            prop_assert!(gives_out || again.records.is_empty(), "{:?} leads to {:?}", command, again.records);
        }
    }
}
