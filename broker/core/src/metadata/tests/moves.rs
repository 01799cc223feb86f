//! Partitions move: reassignments, draining, and the chores that they leave.

use super::*;

fn reassign(world: &mut World, topic: &str, replicas: Option<&[i32]>) -> TopicResult<()> {
    let topic = world.image.topic(topic).unwrap().id;
    let asked = Reassignment { topic, partition: PartitionIndex(0), replicas: replicas.map(ids) };
    match world.run(Command::ReassignPartitions(ReassignPartitions { partitions: vec![asked] })) {
        Ok(Reply::PartitionsReassigned(mut results)) => results.remove(0),
        other => panic!("{other:?}"),
    }
}

fn drain(world: &mut World, id: i32, draining: bool) -> Result<Reply, Rejection> {
    world.run(Command::DrainBroker(DrainBroker { id: BrokerId(id), draining }))
}

/// Carries out all chores, with every follower catching up, until there are none; answers with how many
/// rounds.
fn until_idle(world: &mut World) -> usize {
    for round in 0..100 {
        let chores = world.image.chores();
        if chores.is_empty() {
            return round;
        }
        for chore in chores {
            match world.run(chore).unwrap() {
                Reply::PartitionsReassigned(results) => {
                    assert!(results.iter().all(Result::is_ok), "{results:?}")
                }
                Reply::LeadersElected(results) => assert!(results.iter().all(Result::is_ok), "{results:?}"),
                other => panic!("{other:?}"),
            }
        }
        catch_up(world);
    }
    panic!("there is always something to do: {:?}", world.image.chores());
}

/// Everybody who is live is in sync.
fn catch_up(world: &mut World) {
    let image = world.image.clone();
    for topic in image.topics.values() {
        for (index, partition) in topic.numbered().filter(|(_, partition)| partition.leader.is_some()) {
            let leader = partition.leader.unwrap();
            let online = partition.replicas.iter().filter(|id| image.is_replica_online(partition, **id));
            let member = |id: &BrokerId| IsrMember { broker: *id, broker_epoch: image.brokers[id].epoch };
            let asked = AlterPartition {
                topic: topic.id,
                partition: index,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                isr: online.map(member).collect(),
            };
            let command = AlterPartitions {
                broker: leader,
                broker_epoch: image.brokers[&leader].epoch,
                partitions: vec![asked],
            };
            world.ask(command).unwrap();
        }
    }
}

#[test]
fn a_move_is_complete_when_what_it_adds_is_in_sync() {
    let mut world = World::with_brokers(5);
    world.create(by_hand("t", &[&[0, 1, 2]])).unwrap();
    reassign(&mut world, "t", Some(&[3, 1, 4])).unwrap();
    world.show("t", "leader 0 epoch 0 isr 1 0 2 adding 3 4 removing 0 2");
    assert_eq!(world.partition("t", 0).replicas, ids(&[3, 1, 4, 0, 2]));
    world.set_isr("t", &[0, 1, 2, 3]).unwrap();
    world.show("t", "leader 0 epoch 0 isr 3 1 0 2 adding 3 4 removing 0 2");
    world.set_isr("t", &[0, 1, 2, 3, 4]).unwrap();
    world.show("t", "leader 3 epoch 1 isr 3 1 4");
    assert_eq!(world.partition("t", 0).replicas, ids(&[3, 1, 4]));
}

#[test]
fn a_move_without_a_new_leader_has_a_new_epoch_all_the_same() {
    let mut world = World::with_brokers(3);
    world.create(by_hand("t", &[&[0, 1]])).unwrap();
    reassign(&mut world, "t", Some(&[0, 2])).unwrap();
    world.set_isr("t", &[0, 1, 2]).unwrap();
    world.show("t", "leader 0 epoch 1 isr 0 2");
}

#[test]
fn a_move_goes_back_when_it_is_cancelled() {
    let mut world = World::with_brokers(5);
    world.create(by_hand("t", &[&[0, 1, 2]])).unwrap();
    assert_eq!(reassign(&mut world, "t", None).unwrap_err().kind, TopicErrorKind::NoReassignmentInProgress);
    reassign(&mut world, "t", Some(&[3, 4, 1])).unwrap();
    world.set_isr("t", &[0, 1, 2, 3]).unwrap();
    reassign(&mut world, "t", None).unwrap();
    world.show("t", "leader 0 epoch 1 isr 0 1 2");
    assert_eq!(world.partition("t", 0).replicas, ids(&[0, 1, 2]), "in the order that it had");
}

#[test]
fn a_move_replaces_another_and_can_not_be_cancelled_once_it_is_needed() {
    let mut world = World::with_brokers(5);
    world.create(by_hand("t", &[&[0, 1]])).unwrap();
    reassign(&mut world, "t", Some(&[2, 3])).unwrap();
    reassign(&mut world, "t", Some(&[2, 4])).unwrap();
    world.show("t", "leader 0 epoch 1 isr 0 1 adding 2 4 removing 0 1");
    world.set_isr("t", &[0, 1, 2]).unwrap();
    world.fence(1);
    world.set_isr("t", &[0, 2]).unwrap();
    let refused = reassign(&mut world, "t", None).unwrap_err();
    assert!(refused.message.contains("too few others"), "{}", refused.message);
    world.show("t", "leader 0 epoch 1 isr 2 0 adding 2 4 removing 0 1");
}

#[test]
fn a_move_waits_until_enough_are_in_sync_without_what_it_removes() {
    let mut world = World::with_brokers(4);
    world.create(by_hand("t", &[&[0, 1, 2]])).unwrap();
    world.fence(1);
    world.fence(2);
    reassign(&mut world, "t", Some(&[1, 2, 3])).unwrap();
    world.set_isr("t", &[0, 3]).unwrap();
    world.show("t", "leader 0 epoch 0 isr 3 0 adding 3 removing 0");
    world.bring_up(2, 1);
    world.set_isr("t", &[0, 2, 3]).unwrap();
    world.show("t", "leader 2 epoch 1 isr 2 3");
}

#[test]
fn the_replication_factor_changes_and_the_minimum_follows_when_it_is_complete() {
    let mut world = World::with_brokers(3);
    world.create(by_hand("t", &[&[0]])).unwrap();
    let min = |world: &World| {
        let topic = world.image.topic("t").unwrap();
        world.image.min_insync_replicas(topic, &topic.partitions[0])
    };
    reassign(&mut world, "t", Some(&[0, 1, 2])).unwrap();
    assert_eq!(min(&world), 1, "nothing stops while replicas are added");
    world.set_isr("t", &[0, 1]).unwrap();
    world.set_isr("t", &[0, 1, 2]).unwrap();
    world.show("t", "leader 0 epoch 0 isr 0 1 2");
    assert_eq!(min(&world), 2);
    reassign(&mut world, "t", Some(&[2])).unwrap();
    world.show("t", "leader 2 epoch 1 isr 2");
    assert_eq!(min(&world), 1);
}

#[test]
fn targets_are_checked() {
    let mut world = World::with_brokers(3);
    world.create(by_hand("t", &[&[0]])).unwrap();
    drain(&mut world, 2, true).unwrap();
    let bad: [&[i32]; 4] = [&[], &[1, 1], &[9], &[2]];
    for replicas in bad {
        let refused = reassign(&mut world, "t", Some(replicas)).unwrap_err();
        assert_eq!(refused.kind, TopicErrorKind::InvalidReplicaAssignment, "{replicas:?}");
    }
    assert_eq!(reassign(&mut world, "t", Some(&[0])), Ok(()), "it is so");
    assert!(world.log.last().unwrap().is_empty());
}

#[test]
fn manifests_and_plans_move_partitions_too() {
    let mut world = World::with_brokers(4);
    world.create(by_hand("t", &[&[0, 1], &[1, 0]])).unwrap();
    let assignment =
        ReplicaAssignment { topic: "t".to_owned(), partition: PartitionIndex(0), replicas: ids(&[2, 1]) };
    let version = world.image.version;
    let submit = SubmitAssignments { version, partitions: vec![assignment] };
    assert_eq!(world.run(Command::SubmitAssignments(submit)), Ok(Reply::AssignmentsAccepted));
    world.show("t", "leader 0 epoch 0 isr 1 0 adding 2 removing 0");
    let mut command = ApplyTopic {
        name: "t".to_owned(),
        new_id: topic_id("new"),
        config: Default::default(),
        assignments: vec![ids(&[2, 1]), ids(&[1, 0])],
        version: None,
        expected_id: None,
        validate_only: false,
    };
    let applied = world.run(Command::ApplyTopic(command.clone())).unwrap();
    assert!(matches!(applied, Reply::TopicApplied(AppliedTopic { changed: false, .. })), "it is on its way");
    command.assignments = vec![ids(&[2, 1, 3]), ids(&[1, 0, 2])];
    world.run(Command::ApplyTopic(command)).unwrap();
    world.show("t", "leader 0 epoch 0 isr 1 0 adding 2 3 removing 0");
    catch_up(&mut world);
    world.show("t", "leader 2 epoch 1 isr 2 1 3");
    assert_eq!(world.partition("t", 1).isr, ids(&[1, 0, 2]));
}

#[test]
fn a_drained_broker_ends_up_empty_and_nothing_is_placed_on_it() {
    let mut world = World::with_brokers(4);
    world.create(NewTopic { replication_factor: 3, ..topic("t", 130) }).unwrap();
    let held = |world: &World, id: i32| {
        let partitions = world.image.topics.values().flat_map(|topic| &topic.partitions);
        partitions.filter(|partition| partition.replicas.contains(&BrokerId(id))).count()
    };
    let before: Vec<usize> = (0..4).map(|id| held(&world, id)).collect();
    drain(&mut world, 1, true).unwrap();
    assert!(!world.leaders("t").contains(&1), "its leaderships move at once");
    assert!(world.create(by_hand("hand", &[&[1]])).unwrap_err().message.contains("being drained"));
    world.create(NewTopic { replication_factor: 3, ..topic("u", 20) }).unwrap();
    assert_eq!(held(&world, 1), before[1]);
    let [Command::ReassignPartitions(first)] = &world.image.chores()[..] else { panic!("one command") };
    assert_eq!(first.partitions.len(), 50, "only so many at a time");
    until_idle(&mut world);
    assert_eq!(held(&world, 1), 0);
    let after: Vec<usize> = [0, 2, 3].map(|id| held(&world, id)).to_vec();
    assert_eq!(after.iter().sum::<usize>(), 450);
    assert!(after.iter().max().unwrap() - after.iter().min().unwrap() <= 1, "{after:?}");

    let live = world.run(Command::UnregisterBroker(UnregisterBroker { id: BrokerId(1) }));
    assert!(live.unwrap_err().to_string().contains("stop it first"));
    world.fence(1);
    let holds = world.run(Command::UnregisterBroker(UnregisterBroker { id: BrokerId(2) }));
    assert!(holds.is_err());
    world.run(Command::UnregisterBroker(UnregisterBroker { id: BrokerId(1) })).unwrap();
    assert!(world.image.broker(BrokerId(1)).is_none());
}

#[test]
fn ending_a_drain_takes_back_what_is_not_complete() {
    let mut world = World::with_brokers(4);
    world.create(by_hand("t", &[&[1, 0, 2]])).unwrap();
    drain(&mut world, 1, true).unwrap();
    world.show("t", "leader 0 epoch 1 isr 1 0 2");
    for chore in world.image.chores() {
        world.run(chore).unwrap();
    }
    world.show("t", "leader 0 epoch 1 isr 0 2 1 adding 3 removing 1");
    world.bring_up(1, 1);
    assert!(world.image.broker(BrokerId(1)).unwrap().draining, "a restart doesn't end it");
    catch_up(&mut world);
    world.create(by_hand("u", &[&[0, 2, 3]])).unwrap();
    drain(&mut world, 1, false).unwrap();
    assert_eq!(world.partition("t", 0).replicas, ids(&[3, 0, 2]), "what is complete stays");

    drain(&mut world, 3, true).unwrap();
    for chore in world.image.chores() {
        world.run(chore).unwrap();
    }
    assert!(world.partition("t", 0).is_reassigning());
    drain(&mut world, 3, false).unwrap();
    assert_eq!(world.partition("t", 0).replicas, ids(&[3, 0, 2]));
    assert!(!world.partition("t", 0).is_reassigning());
    until_idle(&mut world);
    assert_eq!(world.leaders("t"), [3], "the preferred leader leads again");
}

#[test]
fn a_drain_is_refused_if_what_is_there_would_not_fit() {
    let mut world = World::with_brokers(3);
    world.create(by_hand("t", &[&[0, 1, 2]])).unwrap();
    let refused = drain(&mut world, 0, true).unwrap_err().to_string();
    assert!(refused.contains("3 other brokers are needed") && refused.contains("t-0"), "{refused}");
    world.bring_up(3, 1);
    drain(&mut world, 0, true).unwrap();
    assert!(drain(&mut world, 1, true).is_err(), "one at a time fits");
    drain(&mut world, 0, true).unwrap();
    assert!(drain(&mut world, 7, true).is_err());
    assert!(drain(&mut World::with_brokers(1), 0, true).is_err(), "a cluster needs a broker");
}

#[test]
fn preferred_leaders_get_their_partitions_back() {
    let mut world = World::with_brokers(3);
    world.create(NewTopic { replication_factor: 3, ..topic("t", 9) }).unwrap();
    let preferred = world.leaders("t");
    world.fence(1);
    assert_ne!(world.leaders("t"), preferred);
    assert!(world.image.chores().is_empty(), "it isn't there");
    world.bring_up(1, 1);
    assert!(world.image.chores().is_empty(), "it isn't in sync");
    catch_up(&mut world);
    assert_eq!(until_idle(&mut world), 1);
    assert_eq!(world.leaders("t"), preferred);
}

#[test]
fn racks_stay_apart_in_a_drain() {
    let mut world = World::new();
    for id in 0..6 {
        let Command::RegisterBroker(mut command) = register(id, 1) else { unreachable!() };
        command.rack = Some(format!("rack-{}", id % 3));
        world.run(Command::RegisterBroker(command)).unwrap();
        let epoch = world.epoch(id);
        world.run(Command::UnfenceBroker(UnfenceBroker { id: BrokerId(id), epoch })).unwrap();
    }
    world.create(NewTopic { replication_factor: 3, ..topic("t", 12) }).unwrap();
    drain(&mut world, 4, true).unwrap();
    until_idle(&mut world);
    for partition in &world.image.topic("t").unwrap().partitions {
        let racks: std::collections::BTreeSet<i32> = partition.replicas.iter().map(|id| id.0 % 3).collect();
        assert_eq!(racks.len(), 3, "{:?}", partition.replicas);
        assert!(!partition.replicas.contains(&BrokerId(4)));
    }
}

#[test]
fn a_move_that_an_older_controller_left_lying_is_completed() {
    let mut world = World::with_brokers(3);
    world.create(by_hand("t", &[&[0, 1]])).unwrap();
    reassign(&mut world, "t", Some(&[0, 2])).unwrap();
    let Record::PartitionsChanged(mut changes) = world.log.last().unwrap()[0].clone() else { panic!() };
    changes[0].isr = ids(&[0, 2, 1]);
    changes[0].partition_epoch.0 += 1;
    world.image.apply(MetadataVersion(world.image.version.0 + 1), &[Record::PartitionsChanged(changes)]);
    world.image.check().unwrap();
    assert_eq!(until_idle(&mut world), 1);
    world.show("t", "leader 0 epoch 1 isr 0 2");
}

#[test]
fn a_drain_goes_on_where_it_was_after_a_snapshot() {
    let mut world = World::with_brokers(4);
    world.create(NewTopic { replication_factor: 2, ..topic("t", 120) }).unwrap();
    drain(&mut world, 0, true).unwrap();
    for chore in world.image.chores() {
        world.run(chore).unwrap();
    }
    let MetadataImage { cluster_id, version, changed, .. } = world.image;
    let records = serde_json::to_string(&world.image.records()).unwrap();
    let records: Vec<Record> = serde_json::from_str(&records).unwrap();
    world.image = MetadataImage::from_records(cluster_id, version, changed, &records);
    assert!(world.image.chores().is_empty(), "as many move as may");
    catch_up(&mut world);
    until_idle(&mut world);
    let partitions = &world.image.topic("t").unwrap().partitions;
    assert!(partitions.iter().all(|partition| !partition.replicas.contains(&BrokerId(0))));
}
