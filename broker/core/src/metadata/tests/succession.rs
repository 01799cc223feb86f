//! What a rebuilt quorum begins with.

use super::*;

#[test]
fn nothing_that_was_counted_is_given_out_twice() {
    let mut world = World::with_brokers(3);
    world.create(by_hand("t", &[&[0, 1], &[1, 2], &[2, 0]])).unwrap();
    let command = AllocateProducerIds { id: BrokerId(0), epoch: world.epoch(0), count: 1_000 };
    world.run(Command::AllocateProducerIds(command)).unwrap();
    world.fence(1);
    let before = world.image.clone();
    let after = before.carried_on(MetadataVersion(before.version.0 + 1_000), BrokerId(0));
    after.check().unwrap();
    assert_eq!(after.brokers, before.brokers);
    assert!(after.next_broker_epoch.0 > before.next_broker_epoch.0 + 1_000);
    assert!(after.next_producer_id.0 > before.next_producer_id.0 + 1_000_000);
    for (id, topic) in &before.topics {
        for (index, partition) in topic.numbered() {
            let carried = after.topics[id].partition(index).unwrap();
            assert!(carried.leader_epoch.0 > partition.leader_epoch.0 + 1_000);
            assert!(carried.partition_epoch.0 > partition.partition_epoch.0 + 1_000);
            assert_eq!((carried.leader, &carried.isr), (partition.leader, &partition.isr));
            assert!(carried.is_carried_on() && !partition.is_carried_on());
        }
    }
    let (version, records) = (after.version, after.records());
    assert_eq!(MetadataImage::from_records(before.cluster_id, version, version, &records), after);
    // And it goes on from there.
    world.image = after;
    world.bring_up(1, 1);
    assert!(world.epoch(1).0 > before.next_broker_epoch.0 + 1_000);
}

#[test]
fn two_rebuilds_of_one_quorum_give_out_different_epochs_and_ids() {
    let mut world = World::with_brokers(2);
    world.create(by_hand("t", &[&[0, 1]])).unwrap();
    let counted = |by: i32| {
        let image = world.image.carried_on(MetadataVersion(world.image.version.0 + 1_000), BrokerId(by));
        let partition = image.topics.values().next().unwrap().partitions[0].clone();
        [
            i64::from(partition.leader_epoch.0),
            i64::from(partition.partition_epoch.0),
            image.next_broker_epoch.0,
            image.next_producer_id.0,
        ]
    };
    for (one, other) in [(0, 1), (1, 2), (0, 999)] {
        for (of_one, of_other) in counted(one).into_iter().zip(counted(other)) {
            assert!(of_other - of_one >= 100_000, "{of_one} of broker {one}, {of_other} of broker {other}");
        }
    }
    // An id of the largest kind is as good as any other.
    assert!(counted(i32::MAX)[0] >= 100_000);
}
