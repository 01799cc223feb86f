//! Brokers register, go silent, come back with their disk or another, and stop.

use ottla_types::{BrokerId, LeaderEpoch};

use super::*;

#[test]
fn a_broker_starts_fenced_and_gets_a_new_epoch_each_time() {
    let mut world = World::new();
    assert_eq!(world.run(register(0, 1)), Ok(Reply::BrokerRegistered(BrokerEpoch(1))));
    assert!(world.image.broker(BrokerId(0)).unwrap().fenced);
    assert_eq!(world.image.live_brokers().count(), 0);
    assert_eq!(world.run(register(0, 1)), Ok(Reply::BrokerRegistered(BrokerEpoch(2))));
    let old = Command::UnfenceBroker(UnfenceBroker { id: BrokerId(0), epoch: BrokerEpoch(1) });
    let (id, given, current) = (BrokerId(0), BrokerEpoch(1), BrokerEpoch(2));
    assert_eq!(world.run(old), Err(Rejection::StaleBrokerEpoch { id, given, current }));
    let nobody = Command::FenceBroker(FenceBroker { id: BrokerId(5), epoch: BrokerEpoch(1) });
    assert_eq!(world.run(nobody), Err(Rejection::BrokerNotRegistered { id: BrokerId(5) }));
}

#[test]
fn an_id_belongs_to_its_live_broker() {
    let mut world = World::with_brokers(1);
    let refused = world.run(register(0, 2));
    assert_eq!(refused, Err(Rejection::DuplicateBrokerRegistration { id: BrokerId(0) }));
    assert!(world.run(register(0, 1)).is_ok(), "the same disk is the same broker, started again");
    assert!(world.run(register(0, 2)).is_ok(), "fenced by that, it may have another disk");
    assert!(world.run(register(-1, 1)).is_err());
}

#[test]
fn one_record_takes_all_leaders_of_a_fenced_broker_and_unfencing_gives_them_back() {
    let mut world = World::with_brokers(3);
    world.create(topic("a", 6)).unwrap();
    world.create(topic("b", 3)).unwrap();
    world.fence(1);
    let records = world.log.last().unwrap();
    let [Record::BrokerChanged(_), Record::PartitionsChanged(changes)] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(changes.len(), 3);
    for (topic, count) in [("a", 2), ("b", 1)] {
        assert_eq!(world.leaders(topic).iter().filter(|leader| **leader == -1).count(), count);
    }
    let index = world.leaders("a").iter().position(|leader| *leader == -1).unwrap();
    let partition = world.partition("a", i32::try_from(index).unwrap()).clone();
    assert_eq!(
        (partition.leader_epoch, &partition.isr, &partition.elr),
        (LeaderEpoch(1), &ids(&[]), &ids(&[1]))
    );
    assert_eq!(partition.last_known_leader, Some(BrokerId(1)));
    assert_eq!(world.image.offline_replicas(&partition), ids(&[1]));
    world.bring_up(1, 1);
    assert!(world.leaders("a").iter().chain(&world.leaders("b")).all(|leader| *leader >= 0));
    let back = world.partition("a", i32::try_from(index).unwrap());
    assert_eq!((back.leader, back.leader_epoch), (Some(BrokerId(1)), LeaderEpoch(2)));
}

#[test]
fn a_restart_that_nobody_noticed_still_ends_the_old_leaderships() {
    let mut world = World::with_brokers(1);
    world.create(topic("a", 1)).unwrap();
    world.run(register(0, 1)).unwrap();
    assert_eq!(world.leaders("a"), [-1]);
    assert_eq!(world.partition("a", 0).leader_epoch, LeaderEpoch(1));
}

#[test]
fn partitions_of_a_wiped_disk_stay_offline_until_the_disk_is_back() {
    let mut world = World::with_brokers(2);
    world.create(by_hand("a", &[&[0], &[1]])).unwrap();
    world.fence(0);
    world.bring_up(0, 2);
    assert_eq!(world.leaders("a"), [-1, 1], "an empty log in its place would be silent loss");
    assert_eq!(world.partition("a", 0).directories, [disk(0, 1)]);
    let held = |disk_number| world.image.partitions_on(BrokerId(0), disk(0, disk_number)).count();
    assert_eq!((held(1), held(2)), (1, 0), "the broker is not asked to make an empty log");

    world.create(by_hand("b", &[&[0]])).unwrap();
    assert_eq!(world.leaders("b"), [0], "new partitions are on the new disk");
    world.fence(0);
    world.bring_up(0, 1);
    assert_eq!((world.leaders("a"), world.leaders("b")), (vec![0, 1], vec![-1]));
    world.run(Command::DeleteTopics(DeleteTopics { topics: vec![TopicSelector::Name("b".into())] })).unwrap();
    world.create(by_hand("b", &[&[0]])).unwrap();
}

#[test]
fn a_stopping_broker_leads_nothing_and_comes_back_only_by_registering() {
    let mut world = World::with_brokers(2);
    world.create(by_hand("a", &[&[0], &[1]])).unwrap();
    let (id, epoch) = (BrokerId(0), world.epoch(0));
    assert_eq!(
        world.run(Command::ControlledShutdown(ControlledShutdown { id, epoch })),
        Ok(Reply::BrokerStopping { leading: 1 })
    );
    assert_eq!(world.leaders("a"), [0, 1], "nobody else can lead it");
    world.fence(0);
    assert_eq!(world.leaders("a"), [-1, 1]);
    let unfence = Command::UnfenceBroker(UnfenceBroker { id, epoch });
    assert!(matches!(world.run(unfence), Err(Rejection::Invalid { .. })));
    world.fence(0);
    assert!(world.image.broker(id).unwrap().in_controlled_shutdown);
    world.bring_up(0, 1);
    assert_eq!(world.leaders("a"), [0, 1]);
}

#[test]
fn what_is_so_already_needs_no_records() {
    let mut world = World::with_brokers(1);
    world.bring_up(0, 1);
    let changed = world.image.changed;
    let (id, epoch) = (BrokerId(0), world.epoch(0));
    assert_eq!(world.run(Command::UnfenceBroker(UnfenceBroker { id, epoch })), Ok(Reply::BrokerChanged));
    assert_eq!((world.image.changed, world.log.last().unwrap().len()), (changed, 0));
}

#[test]
fn producer_ids_are_given_out_once_and_only_to_brokers() {
    let mut world = World::with_brokers(1);
    let ask =
        |epoch, count| Command::AllocateProducerIds(AllocateProducerIds { id: BrokerId(0), epoch, count });
    let epoch = world.epoch(0);
    let mut firsts = Vec::new();
    for count in [1_000, 5, 1_000] {
        let Ok(Reply::ProducerIdsAllocated(block)) = world.run(ask(epoch, count)) else { panic!("refused") };
        assert_eq!(block.count, count);
        firsts.push(block.first.0);
    }
    assert_eq!(firsts, [0, 1_000, 1_005]);
    assert!(world.run(ask(BrokerEpoch(99), 1)).is_err());
    assert!(world.run(ask(epoch, 0)).is_err());
    assert!(world.run(ask(epoch, 1_000_000)).is_err());
}
