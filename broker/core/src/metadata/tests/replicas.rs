//! Who is in sync, who stays eligible, and who leads: joining and leaving, fencing, disks, elections.

use ottla_types::{BrokerId, LeaderEpoch, PartitionEpoch};

use super::*;

/// A partition on brokers 0, 1 and 2 of three, led by 0, with all in sync.
fn three() -> World {
    let mut world = World::with_brokers(3);
    world.create(by_hand("t", &[&[0, 1, 2]])).unwrap();
    world.show("t", "leader 0 epoch 0 isr 0 1 2");
    world
}

impl World {
    /// What is known of a topic's first partition, as text.
    pub fn show(&self, topic: &str, expected: &str) {
        let p = self.partition(topic, 0);
        let list = |ids: &[BrokerId]| ids.iter().map(|id| format!(" {id}")).collect::<Vec<_>>().concat();
        let leader = p.leader.map_or("-".to_owned(), |id| id.to_string());
        let mut text = format!("leader {leader} epoch {} isr{}", p.leader_epoch, list(&p.isr));
        for (name, ids) in [("elr", &p.elr), ("adding", &p.adding), ("removing", &p.removing)] {
            if !ids.is_empty() {
                text += &format!(" {name}{}", list(ids));
            }
        }
        assert_eq!(text, expected);
    }

    /// What the leader of a topic's first partition would ask for, with everything as it is now.
    pub fn asked(&self, topic: &str, isr: &[i32]) -> AlterPartitions {
        let partition = self.partition(topic, 0);
        let leader = partition.leader.unwrap();
        let member = |id: &i32| IsrMember { broker: BrokerId(*id), broker_epoch: self.epoch(*id) };
        AlterPartitions {
            broker: leader,
            broker_epoch: self.epoch(leader.0),
            partitions: vec![AlterPartition {
                topic: self.image.topic(topic).unwrap().id,
                partition: PartitionIndex(0),
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                isr: isr.iter().map(member).collect(),
            }],
        }
    }

    pub fn ask(&mut self, asked: AlterPartitions) -> Result<PartitionEpoch, AlterPartitionError> {
        match self.run(Command::AlterPartitions(asked)) {
            Ok(Reply::PartitionsAltered(mut results)) => results.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub fn set_isr(&mut self, topic: &str, isr: &[i32]) -> Result<PartitionEpoch, AlterPartitionError> {
        let asked = self.asked(topic, isr);
        self.ask(asked)
    }

    fn elect(&mut self, topic: &str, kind: ElectionKind) -> Result<ElectedLeader, ElectionError> {
        let election =
            Election { topic: self.image.topic(topic).unwrap().id, partition: PartitionIndex(0), kind };
        match self.run(Command::ElectLeaders(ElectLeaders { elections: vec![election] })) {
            Ok(Reply::LeadersElected(mut results)) => results.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn configure(&mut self, topic: &str, key: &str, value: &str) {
        let set = vec![(key.to_owned(), ConfigOperation::Set(value.to_owned()))];
        let change = TopicConfigChange { name: topic.to_owned(), change: ConfigChange::Incremental(set) };
        let command = AlterTopicConfigs { topics: vec![change], validate_only: false };
        self.run(Command::AlterTopicConfigs(command)).unwrap();
    }

    /// Registers again after the process was killed, and is taken into service.
    fn restart(&mut self, id: i32, disk_number: u8) {
        let Command::RegisterBroker(mut command) = register(id, disk_number) else { unreachable!() };
        command.incarnation = IncarnationId(self.image.version.0.into());
        command.clean_shutdown = false;
        self.run(Command::RegisterBroker(command)).unwrap();
        let epoch = self.epoch(id);
        self.run(Command::UnfenceBroker(UnfenceBroker { id: BrokerId(id), epoch })).unwrap();
    }
}

#[test]
fn who_leaves_below_the_minimum_stays_eligible_and_the_last_may_leave_too() {
    let mut world = three();
    world.fence(2);
    world.show("t", "leader 0 epoch 0 isr 0 1");
    world.fence(0);
    world.show("t", "leader 1 epoch 1 isr 1 elr 0");
    world.fence(1);
    world.show("t", "leader - epoch 2 isr elr 0 1");
    assert_eq!(world.partition("t", 0).last_known_leader, Some(BrokerId(1)));
    world.bring_up(2, 1);
    world.show("t", "leader - epoch 2 isr elr 0 1");
    world.bring_up(0, 1);
    world.show("t", "leader 0 epoch 3 isr 0 elr 1");
    assert_eq!(world.partition("t", 0).last_known_leader, None);
    world.set_isr("t", &[0, 2]).unwrap();
    world.show("t", "leader 0 epoch 3 isr 0 2");
}

#[test]
fn a_leader_that_registers_again_leads_in_a_new_epoch() {
    let mut world = World::with_brokers(1);
    world.create(by_hand("t", &[&[0]])).unwrap();
    let old = world.asked("t", &[0]);
    world.bring_up(0, 1);
    world.show("t", "leader 0 epoch 2 isr 0");
    let stale = world.run(Command::AlterPartitions(old));
    assert!(matches!(stale, Err(Rejection::StaleBrokerEpoch { .. })), "{stale:?}");
}

#[test]
fn a_lower_minimum_ends_what_was_eligible() {
    for lower in ["topic", "cluster"] {
        let mut world = three();
        world.fence(2);
        world.fence(1);
        world.show("t", "leader 0 epoch 0 isr 0 elr 1");
        match lower {
            "topic" => world.configure("t", "min.insync.replicas", "1"),
            _ => {
                let Command::RegisterBroker(mut command) = register(7, 1) else { unreachable!() };
                command.min_insync_replicas = Some(1);
                world.run(Command::RegisterBroker(command)).unwrap();
            }
        }
        world.show("t", "leader 0 epoch 0 isr 0");
    }
}

#[test]
fn the_minimum_is_the_topics_else_the_clusters_and_never_more_than_the_replicas() {
    let mut world = three();
    world.create(by_hand("one", &[&[0]])).unwrap();
    let min = |world: &World, name: &str| {
        let topic = world.image.topic(name).unwrap();
        world.image.min_insync_replicas(topic, &topic.partitions[0])
    };
    assert_eq!((min(&world, "t"), min(&world, "one")), (2, 1));
    world.configure("t", "min.insync.replicas", "3");
    assert_eq!(min(&world, "t"), 3);
    world.configure("t", "min.insync.replicas", "9");
    assert_eq!(min(&world, "t"), 3);
}

#[test]
fn replicas_that_are_away_when_a_topic_is_created_join_later() {
    let mut world = World::with_brokers(3);
    world.fence(0);
    world.create(by_hand("t", &[&[0, 1, 2]])).unwrap();
    world.show("t", "leader 1 epoch 0 isr 1 2");
    let created = world.create(NewTopic { replication_factor: 3, ..topic("u", 3) }).unwrap();
    assert_eq!(created.replication_factor, 3);
    assert!(world.leaders("u").iter().all(|leader| [1, 2].contains(leader)), "{:?}", world.leaders("u"));
    world.fence(1);
    world.fence(2);
    assert!(world.create(NewTopic { replication_factor: 3, ..topic("v", 1) }).is_err(), "nobody is live");
}

#[test]
fn a_topic_gets_three_replicas_or_as_many_as_there_are_brokers_or_what_is_configured() {
    let factor = |world: &mut World, name: &str, default| {
        let command = CreateTopics { default_replication_factor: default, ..create(vec![topic(name, 1)]) };
        match world.run(Command::CreateTopics(command)) {
            Ok(Reply::TopicsCreated(mut results)) => results.remove(0).unwrap().replication_factor,
            other => panic!("{other:?}"),
        }
    };
    for (brokers, expected) in [(1, 1), (2, 2), (3, 3), (5, 3)] {
        assert_eq!(factor(&mut World::with_brokers(brokers), "t", -1), expected);
    }
    let mut world = World::with_brokers(5);
    assert_eq!(factor(&mut world, "four", 4), 4);
    let Command::RegisterBroker(mut command) = register(7, 1) else { unreachable!() };
    command.default_replication_factor = Some(2);
    world.run(Command::RegisterBroker(command)).unwrap();
    assert_eq!(factor(&mut world, "two", -1), 2);
}

#[test]
fn isr_changes_are_compared_and_set() {
    use AlterPartitionError::*;
    let mut world = three();
    let before = world.asked("t", &[0, 1]);
    let with = |edit: &dyn Fn(&mut AlterPartition)| {
        let mut asked = before.clone();
        edit(&mut asked.partitions[0]);
        asked
    };
    let cases = [
        (with(&|p| p.topic = topic_id("u")), UnknownTopicId),
        (with(&|p| p.partition = PartitionIndex(1)), UnknownPartition),
        (with(&|p| p.leader_epoch = LeaderEpoch(-1)), FencedLeaderEpoch),
        (with(&|p| p.leader_epoch = LeaderEpoch(1)), NotController),
        (with(&|p| p.partition_epoch = PartitionEpoch(1)), NotController),
        (with(&|p| p.partition_epoch = PartitionEpoch(-1)), InvalidUpdateVersion),
        (with(&|p| p.isr.remove(0).broker = BrokerId(0)), InvalidRequest),
        (with(&|p| p.isr.push(p.isr[0])), InvalidRequest),
        (with(&|p| p.isr[1].broker = BrokerId(9)), InvalidRequest),
        (
            AlterPartitions { broker: BrokerId(1), broker_epoch: world.epoch(1), ..before.clone() },
            InvalidRequest,
        ),
    ];
    for (asked, expected) in cases {
        assert_eq!(world.ask(asked.clone()), Err(expected), "{asked:?}");
        world.show("t", "leader 0 epoch 0 isr 0 1 2");
    }
    assert_eq!(world.ask(before.clone()), Ok(PartitionEpoch(1)));
    assert_eq!(world.ask(before), Ok(PartitionEpoch(1)), "the same again is so already");
    assert!(world.log.last().unwrap().is_empty());
    world.show("t", "leader 0 epoch 0 isr 0 1");
}

#[test]
fn only_replicas_of_the_present_registration_join() {
    let mut world = three();
    world.set_isr("t", &[0, 1]).unwrap();
    let fetched_before = world.asked("t", &[0, 1, 2]);
    let refused = Err(AlterPartitionError::IneligibleReplica(BrokerId(2)));
    world.fence(2);
    assert_eq!(world.ask(fetched_before.clone()), refused, "fenced");
    world.restart(2, 1);
    let void = Err(AlterPartitionError::InvalidUpdateVersion);
    assert_eq!(world.ask(fetched_before.clone()), void, "a refusal is final, whatever comes late");
    let mut again = world.asked("t", &[0, 1, 2]);
    again.partitions[0].isr[2] = fetched_before.partitions[0].isr[2];
    assert_eq!(world.ask(again), refused, "registered again since");
    let epoch = world.epoch(2);
    world.run(Command::ControlledShutdown(ControlledShutdown { id: BrokerId(2), epoch })).unwrap();
    assert_eq!(world.set_isr("t", &[0, 1, 2]), refused, "stopping");
    world.restart(2, 1);
    world.set_isr("t", &[0, 1, 2]).unwrap();
}

#[test]
fn a_wiped_disk_begins_anew_where_another_replica_is_complete() {
    let mut world = three();
    world.fence(1);
    world.bring_up(1, 2);
    world.show("t", "leader 0 epoch 0 isr 0 2");
    assert_eq!(world.partition("t", 0).directories, [disk(0, 1), disk(1, 2), disk(2, 1)]);
    world.set_isr("t", &[0, 1, 2]).unwrap();

    // Both others are gone, one of them stays eligible; then the disk of the leader is wiped.
    world.fence(1);
    world.fence(2);
    world.show("t", "leader 0 epoch 0 isr 0 elr 2");
    world.fence(0);
    world.bring_up(0, 2);
    world.show("t", "leader - epoch 1 isr elr 2");
    world.bring_up(2, 1);
    world.show("t", "leader 2 epoch 2 isr 2");
    assert_eq!(world.partition("t", 0).directories[0], disk(0, 2));
}

#[test]
fn the_last_complete_replica_stays_recorded_on_its_wiped_disk() {
    let mut world = three();
    world.configure("t", "min.insync.replicas", "1");
    (1..3).for_each(|id| world.fence(id));
    world.fence(0);
    world.show("t", "leader - epoch 1 isr elr 0");
    world.bring_up(0, 2);
    (1..3).for_each(|id| world.bring_up(id, 1));
    world.show("t", "leader - epoch 1 isr elr 0");
    assert_eq!(world.partition("t", 0).directories[0], disk(0, 1), "it is offline, not empty");
    world.fence(0);
    world.bring_up(0, 1);
    world.show("t", "leader 0 epoch 2 isr 0");
}

#[test]
fn an_unclean_stop_is_forgiven_where_acknowledged_means_synced() {
    let mut world = three();
    world.create(NewTopic { config: written(), ..by_hand("w", &[&[0, 1, 2]]) }).unwrap();
    world.fence(2);
    world.fence(1);
    for name in ["t", "w"] {
        world.show(name, "leader 0 epoch 0 isr 0 elr 1");
    }
    world.restart(1, 1);
    world.show("t", "leader 0 epoch 0 isr 0 elr 1");
    world.show("w", "leader 0 epoch 0 isr 0");
    world.restart(0, 1);
    world.show("t", "leader 1 epoch 1 isr 1 elr 0");
    world.show("w", "leader 0 epoch 2 isr 0");
}

fn written() -> Vec<(String, Option<String>)> {
    vec![("ack.durability".to_owned(), Some("written".to_owned()))]
}

#[test]
fn a_clean_stop_and_the_same_process_lose_nothing_that_was_written() {
    let mut world = World::with_brokers(3);
    world.create(NewTopic { config: written(), ..by_hand("w", &[&[0, 1, 2]]) }).unwrap();
    world.fence(2);
    world.fence(1);
    world.run(register(1, 1)).unwrap();
    world.show("w", "leader 0 epoch 0 isr 0 elr 1");
    let Command::RegisterBroker(mut command) = register(1, 1) else { unreachable!() };
    command.clean_shutdown = false;
    world.run(Command::RegisterBroker(command)).unwrap();
    world.show("w", "leader 0 epoch 0 isr 0 elr 1");
    assert!(world.image.broker(BrokerId(1)).unwrap().fenced);
}

#[test]
fn who_stops_hands_over_and_stays_where_it_is_needed() {
    let mut world = three();
    world.create(by_hand("alone", &[&[0]])).unwrap();
    world.create(by_hand("two", &[&[0, 1]])).unwrap();
    let (id, epoch) = (BrokerId(0), world.epoch(0));
    let stop = Command::ControlledShutdown(ControlledShutdown { id, epoch });
    assert_eq!(world.run(stop.clone()), Ok(Reply::BrokerStopping { leading: 1 }));
    assert!(!world.image.broker(id).unwrap().fenced);
    world.show("t", "leader 1 epoch 1 isr 1 2");
    world.show("alone", "leader 0 epoch 0 isr 0");
    // Without 0 nothing would be acknowledged here any more.
    world.show("two", "leader 1 epoch 1 isr 0 1");
    world.fence(0);
    world.show("two", "leader 1 epoch 1 isr 1 elr 0");
    world.show("alone", "leader - epoch 1 isr elr 0");
    assert_eq!(world.run(stop), Ok(Reply::BrokerStopping { leading: 0 }));
}

#[test]
fn the_preferred_leader_is_elected_when_it_can_be() {
    let mut world = three();
    let kind = |result: Result<ElectedLeader, ElectionError>| result.unwrap_err().kind;
    assert_eq!(kind(world.elect("t", ElectionKind::Preferred)), ElectionErrorKind::ElectionNotNeeded);
    world.fence(0);
    assert_eq!(
        kind(world.elect("t", ElectionKind::Preferred)),
        ElectionErrorKind::PreferredLeaderNotAvailable
    );
    world.bring_up(0, 1);
    assert_eq!(
        kind(world.elect("t", ElectionKind::Preferred)),
        ElectionErrorKind::PreferredLeaderNotAvailable,
        "not in sync"
    );
    world.set_isr("t", &[0, 1, 2]).unwrap();
    let elected = world.elect("t", ElectionKind::Preferred).unwrap();
    assert_eq!((elected.leader, elected.leader_epoch, elected.may_lose), (BrokerId(0), LeaderEpoch(2), None));
    world.show("t", "leader 0 epoch 2 isr 0 1 2");
}

#[test]
fn an_unclean_leader_is_elected_only_by_name_and_only_without_a_leader() {
    let mut world = three();
    let unclean = |id| ElectionKind::Unclean { replica: BrokerId(id) };
    let kind = |result: Result<ElectedLeader, ElectionError>| result.unwrap_err().kind;
    assert_eq!(kind(world.elect("t", unclean(1))), ElectionErrorKind::ElectionNotNeeded);
    (0..3).rev().for_each(|id| world.fence(id));
    world.show("t", "leader - epoch 1 isr elr 0 1");
    assert_eq!(kind(world.elect("t", unclean(2))), ElectionErrorKind::EligibleLeadersNotAvailable);
    world.bring_up(2, 1);
    world.show("t", "leader - epoch 1 isr elr 0 1");
    assert_eq!(kind(world.elect("t", unclean(9))), ElectionErrorKind::InvalidRequest);
    let elected = world.elect("t", unclean(2)).unwrap();
    assert_eq!((elected.leader, elected.leader_epoch), (BrokerId(2), LeaderEpoch(2)));
    let lost = elected.may_lose.unwrap();
    assert!(lost.contains("records that it lacks") && lost.contains("broker 0, 1 had"), "{lost}");
    world.show("t", "leader 2 epoch 2 isr 2");
    let recorded = world.partition("t", 0).unclean.clone().unwrap();
    assert_eq!((recorded.given_up, recorded.empty), (ids(&[0, 1]), false));
    world.bring_up(0, 1);
    world.show("t", "leader 2 epoch 2 isr 2");
}

#[test]
fn a_lost_disk_is_given_up_only_by_name() {
    let mut world = World::with_brokers(1);
    world.create(by_hand("t", &[&[0]])).unwrap();
    world.fence(0);
    world.bring_up(0, 2);
    world.show("t", "leader - epoch 1 isr elr 0");
    let elected = world.elect("t", ElectionKind::Unclean { replica: BrokerId(0) }).unwrap();
    assert!(elected.may_lose.unwrap().contains("all records that were here"));
    world.show("t", "leader 0 epoch 2 isr 0");
    assert_eq!(world.partition("t", 0).directories, [disk(0, 2)]);
}
