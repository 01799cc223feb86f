//! Configurations change as a whole or key by key.

use std::collections::BTreeMap;

use super::*;

fn alter(world: &mut World, name: &str, change: ConfigChange) -> TopicResult<()> {
    let topics = vec![TopicConfigChange { name: name.to_owned(), change }];
    match world.run(Command::AlterTopicConfigs(AlterTopicConfigs { topics, validate_only: false })) {
        Ok(Reply::TopicConfigsAltered(mut results)) => results.remove(0),
        other => panic!("{other:?}"),
    }
}

fn incremental(key: &str, operation: ConfigOperation) -> ConfigChange {
    ConfigChange::Incremental(vec![(key.to_owned(), operation)])
}

fn config(world: &World) -> Vec<(&str, &str)> {
    let config = &world.image.topic("t").unwrap().config;
    config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[test]
fn keys_are_set_deleted_and_lists_changed() {
    let mut world = World::with_brokers(1);
    world.create(topic("t", 1)).unwrap();
    alter(&mut world, "t", incremental("retention.ms", ConfigOperation::Set("5".into()))).unwrap();
    alter(&mut world, "t", incremental("cleanup.policy", ConfigOperation::Append("compact".into()))).unwrap();
    assert_eq!(config(&world), [("cleanup.policy", "delete,compact"), ("retention.ms", "5")]);
    alter(&mut world, "t", incremental("cleanup.policy", ConfigOperation::Append("compact".into()))).unwrap();
    assert!(world.log.last().unwrap().is_empty(), "it is there already");
    alter(&mut world, "t", incremental("cleanup.policy", ConfigOperation::Subtract("delete".into())))
        .unwrap();
    alter(&mut world, "t", incremental("retention.ms", ConfigOperation::Delete)).unwrap();
    assert_eq!(config(&world), [("cleanup.policy", "compact")]);
    for (key, operation) in [
        ("retention.ms", ConfigOperation::Delete),
        ("no.such", ConfigOperation::Delete),
        ("cleanup.policy", ConfigOperation::Append("compact".into())),
    ] {
        alter(&mut world, "t", incremental(key, operation)).unwrap();
        assert!(world.log.last().unwrap().is_empty(), "nothing of {key} changes");
    }
    alter(&mut world, "t", incremental("cleanup.policy", ConfigOperation::Subtract("compact".into())))
        .unwrap();
    assert_eq!(config(&world), [("cleanup.policy", "")], "neither of them");
    alter(&mut world, "t", ConfigChange::Replace(BTreeMap::new())).unwrap();
    assert_eq!(config(&world), []);
}

#[test]
fn bad_changes_are_refused_as_a_whole() {
    let mut world = World::with_brokers(1);
    world.create(topic("t", 1)).unwrap();
    let two = ConfigChange::Incremental(vec![
        ("retention.ms".into(), ConfigOperation::Set("5".into())),
        ("segment.bytes".into(), ConfigOperation::Set("5".into())),
    ]);
    let bad = [
        two,
        incremental("no.such", ConfigOperation::Set("5".into())),
        incremental("no.such", ConfigOperation::Subtract("5".into())),
        incremental("retention.ms", ConfigOperation::Append("5".into())),
        incremental("leader.replication.throttled.replicas", ConfigOperation::Set("*,0:1".into())),
        ConfigChange::Replace(BTreeMap::from([("retention.ms".into(), "never".into())])),
    ];
    for change in bad {
        assert_eq!(alter(&mut world, "t", change).unwrap_err().kind, TopicErrorKind::InvalidConfig);
        assert_eq!(config(&world), []);
    }
    let unknown = alter(&mut world, "u", ConfigChange::Replace(BTreeMap::new())).unwrap_err();
    assert_eq!(unknown.kind, TopicErrorKind::UnknownTopicOrPartition);
}

#[test]
fn brokers_are_throttled_one_by_one_or_all() {
    let mut world = World::with_brokers(1);
    let set = |key: &str, value: &str| vec![(key.to_owned(), ConfigOperation::Set(value.to_owned()))];
    let alter = |world: &mut World, id: Option<i32>, operations| {
        let change = ConfigChange::Incremental(operations);
        let brokers = vec![BrokerConfigChange { id: id.map(BrokerId), change }];
        match world.run(Command::AlterBrokerConfigs(AlterBrokerConfigs { brokers, validate_only: false })) {
            Ok(Reply::BrokerConfigsAltered(mut results)) => results.remove(0),
            other => panic!("{other:?}"),
        }
    };
    let rate = "leader.replication.throttled.rate";
    alter(&mut world, None, set(rate, "1000")).unwrap();
    alter(&mut world, Some(0), set(rate, "5")).unwrap();
    let rates = |world: &World, name: &str| {
        (0..2).map(|id| world.image.broker_config(BrokerId(id), name).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rates(&world, rate), ["5", "1000"]);
    assert_eq!(rates(&world, "follower.replication.throttled.rate"), ["9223372036854775807"; 2]);
    for (id, operations) in
        [(Some(0), set(rate, "-1")), (Some(0), set("log.dirs", "x")), (Some(9), set(rate, "5"))]
    {
        assert!(alter(&mut world, id, operations).is_err());
    }
    alter(&mut world, Some(0), vec![(rate.to_owned(), ConfigOperation::Delete)]).unwrap();
    assert_eq!(rates(&world, rate), ["1000", "1000"]);
}

#[test]
fn what_is_set_on_brokers_is_the_default_of_topics() {
    let mut world = World::with_brokers(2);
    world.create(by_hand("t", &[&[0, 1]])).unwrap();
    let set = |key: &str, value: &str| vec![(key.to_owned(), ConfigOperation::Set(value.to_owned()))];
    let alter = |world: &mut World, id: Option<i32>, operations| {
        let change = ConfigChange::Incremental(operations);
        let brokers = vec![BrokerConfigChange { id: id.map(BrokerId), change }];
        match world.run(Command::AlterBrokerConfigs(AlterBrokerConfigs { brokers, validate_only: false })) {
            Ok(Reply::BrokerConfigsAltered(mut results)) => results.remove(0),
            other => panic!("{other:?}"),
        }
    };
    alter(&mut world, None, set("log.retention.ms", "7")).unwrap();
    alter(&mut world, Some(1), set("log.retention.ms", "5")).unwrap();
    alter(&mut world, Some(1), vec![("no.such".to_owned(), ConfigOperation::Delete)]).unwrap();
    for (key, value) in [
        ("log.retention.hours", "1"),
        ("log.retention.ms", "-2"),
        ("ottla.ack.durability", "written"),
        ("unclean.leader.election.enable", "true"),
        ("node.id", "2"),
    ] {
        assert_eq!(alter(&mut world, None, set(key, value)).unwrap_err().kind, TopicErrorKind::InvalidConfig);
    }
    let needed = |world: &World| {
        let topic = world.image.topic("t").unwrap();
        world.image.min_insync_replicas(topic, &topic.partitions[0])
    };
    assert_eq!(needed(&world), 2);
    // Below the minimum, who leaves stays eligible until the minimum falls.
    world.fence(1);
    assert_eq!(world.partition("t", 0).elr, ids(&[1]));
    let one = alter(&mut world, Some(0), set("min.insync.replicas", "1")).unwrap_err();
    assert!(one.message.contains("is set on all brokers"), "{}", one.message);
    alter(&mut world, None, set("min.insync.replicas", "1")).unwrap();
    assert_eq!((needed(&world), world.partition("t", 0).elr.len()), (1, 0));
    alter(&mut world, None, vec![("min.insync.replicas".to_owned(), ConfigOperation::Delete)]).unwrap();
    assert_eq!(needed(&world), 2);
}

#[test]
fn a_new_topics_configuration_has_values() {
    let mut world = World::with_brokers(1);
    let without = NewTopic { config: vec![("retention.ms".to_owned(), None)], ..topic("t", 1) };
    let refused = world.create(without).unwrap_err();
    assert_eq!(refused.kind, TopicErrorKind::InvalidConfig);
    assert!(refused.message.contains("retention.ms has no value"), "{}", refused.message);
}

#[test]
fn throttled_replicas_are_pairs_or_all() {
    let mut world = World::with_brokers(1);
    world.create(topic("t", 1)).unwrap();
    let key = "leader.replication.throttled.replicas";
    for good in ["*", "0:1,0:2", ""] {
        alter(&mut world, "t", incremental(key, ConfigOperation::Set(good.into()))).unwrap();
    }
    for bad in ["0", "0:x", "**"] {
        alter(&mut world, "t", incremental(key, ConfigOperation::Set(bad.into()))).unwrap_err();
    }
}

#[test]
fn unclean_leaders_can_not_be_allowed_in_general() {
    let mut world = World::with_brokers(1);
    world.create(topic("t", 1)).unwrap();
    let set = |value: &str| incremental("unclean.leader.election.enable", ConfigOperation::Set(value.into()));
    alter(&mut world, "t", set("false")).unwrap();
    let refused = alter(&mut world, "t", set("true")).unwrap_err();
    assert!(refused.message.contains("an administrator names it"), "{}", refused.message);
}
